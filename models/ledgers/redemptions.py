"""Redemptions: which participant redeemed which reward, and the cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from models import clock, ids
from models.db import Connection, array, copy, copy_text, run
from models.definitions.rewards import Reward
from models.identity.participants import ID_OF
from models.ledgers.base import Ledger

RedemptionKey = tuple[int, int, str]  # tenant, participant, reward


@dataclass(frozen=True, slots=True)
class Redemption:
    """One applied redemption, as a row of the ledger."""

    tenant_id: int
    id: str  # UUIDv7: when it was accepted; also the id of its cost
    participant_id: int
    reward_id: str
    points_deducted: int
    balance_after: int
    metadata: str | None  # JSON as sent

    @property
    def claimed_us(self) -> int:
        """Its instant, in microseconds, to the millisecond."""
        return ids.issued_at_us(UUID(self.id))


def counts(connection: Connection, keys: Iterable[RedemptionKey]) -> dict[RedemptionKey, int]:
    """How often some participants redeemed some rewards; missing where never.

    The caller holds the participants' row locks.
    """
    tenants, participants, rewards = zip(*sorted(keys), strict=True)
    rows = run(
        connection,
        """
        SELECT c.tenant_id, c.participant_id, c.reward_id::text, count(*)
        FROM unnest(CAST(%(tenants)s AS int[]), CAST(%(participants)s AS bigint[]),
          CAST(%(rewards)s AS uuid[])) AS k (tenant_id, participant_id, reward_id)
        JOIN reward_claims c USING (tenant_id, participant_id, reward_id) GROUP BY 1, 2, 3
        """,
        {
            "tenants": array(tenants),
            "participants": array(participants),
            "rewards": array(rewards),
        },
    )
    return {(row[0], row[1], row[2]): row[3] for row in rows}


_COLUMNS = (
    "tenant_id", "id", "participant_id", "reward_id", "points_deducted", "balance_after",
    "metadata",
)  # fmt: skip


def append(connection: Connection, claims: Iterable[Redemption]) -> None:
    """Write redemptions to the ledger; raise UniqueViolation when it holds one already."""
    copy(connection, "reward_claims", _COLUMNS, map(_line, claims))


def _line(redemption: Redemption) -> str:
    return (
        f"{redemption.tenant_id}\t{redemption.id}\t{redemption.participant_id}\t{redemption.reward_id}\t"
        f"{redemption.points_deducted}\t{redemption.balance_after}\t{copy_text(redemption.metadata)}\n"
    )


@dataclass(frozen=True, slots=True)
class RedemptionRow:
    """A redemption of the ledger with names in place of its numbers."""

    redemption: Redemption
    external_id: str
    code: str
    name: str
    type: str

    def answer(self) -> dict[str, Any]:
        """The answer to a redemption (contract §6)."""
        one = self.redemption
        return {
            "claim_id": one.id,
            "participant_id": self.external_id,
            "reward_id": one.reward_id,
            "reward_code": self.code,
            "reward_name": self.name,
            "reward_type": self.type,
            "points_deducted": one.points_deducted,
            "new_balance": one.balance_after,
            "transaction_id": one.id if one.points_deducted else None,
            "claimed_at": clock.to_text(one.claimed_us),
        }


def named(redemption: Redemption, external_id: str, reward: Reward) -> RedemptionRow:
    """A redemption with the names that its caller knows."""
    return RedemptionRow(redemption, external_id, reward.code, reward.name, reward.type)


_SELECT = """
    SELECT w.tenant_id, w.id::text AS id, w.participant_id, w.reward_id::text AS reward_id,
      w.points_deducted, w.balance_after, w.metadata, p.external_id, r.code, r.name, r.type
    FROM reward_claims w
    JOIN participants p ON p.tenant_id = w.tenant_id AND p.id = w.participant_id
    JOIN rewards r ON r.tenant_id = w.tenant_id AND r.id = w.reward_id
"""


def of_participant(
    connection: Connection, key: tuple[int, str], window: tuple[int, int]
) -> tuple[list[RedemptionRow], int]:
    """A page (limit, offset) of the redemptions of a participant (tenant, external id), the latest
    applied first, and how many there are."""
    limit, offset = window
    values = {"tenant_id": key[0], "external_id": key[1], "limit": limit, "offset": offset}
    rows = connection.execute(
        sa.text(f"{_SELECT} WHERE {_OF_ONE} {_LATEST_FIRST} LIMIT :limit OFFSET :offset"), values
    )
    found = [_found(row) for row in rows]
    total = connection.execute(
        sa.text(f"SELECT count(*) FROM reward_claims w WHERE {_OF_ONE}"),  # noqa: S608 - of this file
        values,
    )
    return found, total.scalar_one()


_OF_ONE = f"w.tenant_id = :tenant_id AND w.participant_id = {ID_OF}"

_LATEST_FIRST = "ORDER BY COALESCE(w.sequence, 0) DESC, w.id DESC"


def _found(row: Any) -> RedemptionRow:
    redemption = Redemption(
        row.tenant_id, row.id, row.participant_id, row.reward_id, row.points_deducted,
        row.balance_after, row.metadata,
    )  # fmt: skip
    return RedemptionRow(redemption, row.external_id, row.code, row.name, row.type)


ledger = Ledger(_SELECT, _found)
find, some = ledger.find, ledger.some
