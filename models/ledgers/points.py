"""Points: the ledger of their movements, and each participant's balance.

Double entry, one row per movement: what the debited account loses, the credited one gains. A
participant's account is `available`; its balance is the sum of its rows. The participant's row also
holds the sums, written under its lock in the same transaction; a constraint there keeps the balance
from going below zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa

from models import ids
from models.db import Connection, copy, copy_text, run
from models.identity.participants import ID_OF, ID_OF_PLAIN
from models.ledgers.base import Ledger
from models.ledgers.tier_changes import Upgrade

MovementKind = Literal[
    "award",
    "deduct",
    "claim",
    "milestone",
    "challenge",
    "opening",
    "opening_spent",
    "freeze",
    "revocation",
]
Account = Literal["issued", "available", "deducted", "redeemed"]

ACCOUNTS: dict[MovementKind, tuple[Account, Account]] = {  # debited, credited
    "award": ("issued", "available"),
    "milestone": ("issued", "available"),
    "challenge": ("issued", "available"),
    "deduct": ("available", "deducted"),
    "claim": ("available", "redeemed"),
    "freeze": ("available", "redeemed"),
    "revocation": ("available", "deducted"),  # what a milestone gave that was not reached
    "opening": ("issued", "available"),  # points earned elsewhere, and those spent there
    "opening_spent": ("available", "deducted"),
}


@dataclass(frozen=True, slots=True)
class Transaction:
    """One movement, as a row of the ledger."""

    tenant_id: int
    id: str  # UUIDv7: when it was accepted
    participant_id: int
    kind: MovementKind
    amount: int  # above zero
    balance_after: int
    source: str | None = None  # its cause: a streak, challenge or reward; None: a caller
    reason: str | None = None
    metadata: str | None = None  # JSON as sent
    upgrade: Upgrade | None = None  # the tier that it led to

    @property
    def created_us(self) -> int:
        """Its instant, in microseconds, to the millisecond."""
        return ids.issued_at_us(UUID(self.id))

    @property
    def is_credit(self) -> bool:
        """Whether it adds to the participant's balance."""
        return ACCOUNTS[self.kind][1] == "available"


_COLUMNS = (
    "tenant_id", "id", "participant_id", "kind", "debit", "credit", "amount", "balance_after",
    "tier_id", "previous_tier_id", "source", "reason", "metadata",
)  # fmt: skip


def append(connection: Connection, ledger: Iterable[Transaction]) -> None:
    """Write movements to the ledger; raise UniqueViolation when one of them is already there."""
    copy(connection, "point_transactions", _COLUMNS, map(_line, ledger))


def _line(transaction: Transaction) -> str:
    debit, credit = ACCOUNTS[transaction.kind]
    return (
        f"{transaction.tenant_id}\t{transaction.id}\t{transaction.participant_id}\t{transaction.kind}\t{debit}\t{credit}\t"
        f"{transaction.amount}\t{transaction.balance_after}\t{_tiers(transaction.upgrade)}\t{copy_text(transaction.source)}\t"
        f"{copy_text(transaction.reason)}\t{copy_text(transaction.metadata)}\n"
    )


def _tiers(upgrade: Upgrade | None) -> str:
    if upgrade is None:
        return "\\N\t\\N"
    return f"{upgrade.tier_id}\t{copy_text(upgrade.previous_id)}"


@dataclass(frozen=True, slots=True)
class MovementRow:
    """A movement of the ledger with its participant's external id."""

    transaction: Transaction
    external_id: str

    def answer(self) -> dict[str, Any]:
        """The documented answer (contract §6)."""
        return answer(self.transaction, self.external_id)


def answer(transaction: Transaction, external_id: str) -> dict[str, Any]:
    """The answer to an award or a deduction (contract §6)."""
    return {
        "transaction_id": transaction.id,
        "participant_id": external_id,
        "amount": transaction.amount,
        "new_balance": transaction.balance_after,
        "tier_upgrade": transaction.upgrade.answer() if transaction.upgrade else None,
    }


# -- reading ---------------------------------------------------------------------------------

_SELECT = """
    SELECT w.tenant_id, w.id::text AS id, w.participant_id, w.kind, w.amount, w.balance_after,
      w.source, w.reason, w.metadata, p.external_id, COALESCE(w.sequence, 0) AS sequence,
      w.tier_id::text AS tier_id, n.code, n.name, n.level,
      w.previous_tier_id::text AS previous_id, o.code AS previous_code, o.level AS previous_level
    FROM point_transactions w
    JOIN participants p ON p.tenant_id = w.tenant_id AND p.id = w.participant_id
    LEFT JOIN tiers n ON n.tenant_id = w.tenant_id AND n.id = w.tier_id
    LEFT JOIN tiers o ON o.tenant_id = w.tenant_id AND o.id = w.previous_tier_id
"""


PointsCursor = tuple[
    int, UUID
]  # in the order of application: the sequence (0: before there was one), id


@dataclass(frozen=True, slots=True)
class MovementPage:
    """Some of a participant's movements, the latest applied first."""

    items: list[Transaction]
    total: int
    last: PointsCursor | None  # of the last item, if more follow


@dataclass(frozen=True, slots=True)
class MovementQuery:
    """A filter for a participant's movements."""

    kind: MovementKind | None  # None: any
    limit: int
    offset: int = 0
    after: PointsCursor | None = None  # those applied before this one: none is repeated or left out


def page(connection: Connection, key: tuple[int, str], wanted: MovementQuery) -> MovementPage:
    """A page of the movements of a participant (tenant, external id), and how many there are.

    The sequence is assigned under the participant's lock, so the newest row has the balance.
    """
    values = {
        "tenant_id": key[0], "external_id": key[1], "kind": wanted.kind,
        "limit": wanted.limit + 1, "offset": wanted.offset,
        "sequence": wanted.after[0] if wanted.after else None,
        "id": wanted.after[1] if wanted.after else None,
    }  # fmt: skip
    rows = connection.execute(sa.text(_PAGE), values).all()
    shown = rows[: wanted.limit]
    total = connection.execute(
        sa.text(f"SELECT count(*) FROM point_transactions w WHERE {_OF_ONE}"),  # noqa: S608 - of this file
        values,
    )
    last = (shown[-1].sequence, UUID(shown[-1].id)) if len(rows) > len(shown) else None
    return MovementPage([_found(row).transaction for row in shown], total.scalar_one(), last)


_OF_ONE = f"""w.tenant_id = :tenant_id AND w.participant_id = {ID_OF}
    AND (CAST(:kind AS text) IS NULL OR w.kind = :kind)"""

_PAGE = f"""
    {_SELECT} WHERE {_OF_ONE} AND (CAST(:sequence AS bigint) IS NULL
      OR (COALESCE(w.sequence, 0), w.id) < (CAST(:sequence AS bigint), CAST(:id AS uuid)))
    ORDER BY COALESCE(w.sequence, 0) DESC, w.id DESC LIMIT :limit OFFSET :offset
"""


def _found(row: Any) -> MovementRow:
    upgrade = None
    if row.tier_id is not None:
        upgrade = Upgrade(
            row.tier_id, row.code, row.name, row.level,
            row.previous_id, row.previous_code, row.previous_level,
        )  # fmt: skip
    transaction = Transaction(
        row.tenant_id, row.id, row.participant_id, row.kind, row.amount, row.balance_after,
        row.source, row.reason, row.metadata, upgrade,
    )  # fmt: skip
    return MovementRow(transaction, row.external_id)


ledger = Ledger(_SELECT, _found)
find, some = ledger.find, ledger.some


@dataclass(frozen=True, slots=True)
class PointsBalance:
    """A participant's points: left, ever earned, and spent."""

    earned: int = 0
    spent: int = 0

    @property
    def balance(self) -> int:
        """The points left."""
        return self.earned - self.spent


def balance(connection: Connection, tenant_id: int, external_id: str) -> PointsBalance:
    """The points of a participant; zero for an unknown one."""
    rows = run(
        connection,
        "SELECT points_earned, points_spent FROM participants"  # noqa: S608 - a constant
        f" WHERE tenant_id = %(tenant_id)s AND id = {ID_OF_PLAIN}",
        {"tenant_id": tenant_id, "external_id": external_id},
    )
    return PointsBalance(*rows[0]) if rows else PointsBalance()
