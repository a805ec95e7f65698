"""Participants' data from elsewhere: profiles, opening balances, redemptions, progress.

Each function writes the rows of one request in the caller's transaction, and returns for each row
whether it changed anything. The same rows change nothing a second time: a profile has the row's
values, a balance is opened once, a redemption has its own id, and progress only rises.

None of it publishes a fact, gives a prize or takes stock. Participants are locked in key order, as
the drain's batches lock them, so that no live write comes in between. A participant imported after
its erasure is a new one; writes accepted before the erasure stay rejected.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa

from models import clock, ids
from models.db import Connection, array, run
from models.definitions import challenges, rewards
from models.definitions.challenges import ChallengeProgress
from models.identity import aliases, participants
from models.identity.participants import Participant
from models.identity.tenants import Tenant
from models.ledgers import tier_changes
from models.ledgers.points import ACCOUNTS, MovementKind
from models.ledgers.tier_changes import Source, Tier
from models.people import erasure
from models.rules.tiers import reached

ImportOutcome = Literal["imported", "unchanged"]


@dataclass(frozen=True, slots=True)
class RowRefusal:
    """Why a row was not imported: one of the API's codes, and its detail."""

    code: str
    detail: str


ImportResult = ImportOutcome | RowRefusal


def _held(connection: Connection, tenant: Tenant, names: Iterable[str]) -> dict[str, Participant]:
    """The participants that some external ids count for, locked, created if missing."""
    found, known = aliases.lock(connection, tenant.id, names)
    created = {name: participant for name, participant in found.items() if participant.is_created}
    if created:
        _remember_erasures(connection, tenant, created)
    return {name: found[current] for name, current in known.items()}


def _remember_erasures(
    connection: Connection, tenant: Tenant, created: Mapping[str, Participant]
) -> None:
    """Read in a statement after the insert, which may have waited for an erasure.

    See models/people/erasure.py.
    """
    digests = {
        (tenant.id, erasure.digest(tenant.tick_secret, name)): participant
        for name, participant in created.items()
    }
    found = erasure.since(connection, list(digests))
    for key, erased_us in found.items():
        digests[key].erased_us = erased_us
    participants.keep_erasures(connection, [digests[key] for key in found])


def _touch(connection: Connection, held: Mapping[str, Participant]) -> None:
    """Write back each participant once, also where an id and its alias are given."""
    participants.touch(connection, {row.id: row for row in held.values()}.values())


# -- opening balances ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpeningBalance:
    """A participant's points and tier from elsewhere."""

    participant_id: str
    total_earned: int
    total_spent: int  # at most as many
    tier_code: str | None = None
    tier_achieved_us: int | None = None


def open_balances(
    connection: Connection, tenant: Tenant, items: Sequence[OpeningBalance]
) -> list[ImportResult]:
    """Add each balance to its participant's, once: two movements, and the tier."""
    opening = _Opening(tenant, tier_changes.definitions.all_of(connection, tenant.id))
    good = [item for item in items if opening.knows(item)]
    held = _held(connection, tenant, (item.participant_id for item in good)) if good else {}
    opening.read(connection, held.values())
    results = [opening.open(held, item) for item in items]
    _touch(connection, held)
    opening.write(connection)
    return results


class _Opening:
    """The opening balances of one request, decided in memory."""

    def __init__(self, tenant: Tenant, known: Sequence[Tier]) -> None:
        self._tenant = tenant
        self._by_code = {tier.code: tier for tier in known}
        self._by_id = {str(tier.id): tier for tier in known}
        self._ladder = [tier for tier in known if tier.is_active and tier.award_type == "automatic"]
        self._opened: dict[int, tuple[int, int]] = {}  # by participant
        self._fresh: dict[int, tuple[int, int]] = {}
        self._movements: list[dict[str, Any]] = []
        self._changes: list[dict[str, Any]] = []
        self._ids = ids.uuid7s(clock.now_us())

    def read(self, connection: Connection, held: Iterable[Participant]) -> None:
        """Read which balances were opened before."""
        rows = run(
            connection,
            "SELECT id, opening_earned, opening_spent FROM participants"
            " WHERE tenant_id = %(tenant_id)s AND id = ANY(CAST(%(ids)s AS bigint[]))"
            " AND opening_earned IS NOT NULL",
            {"tenant_id": self._tenant.id, "ids": array(participant.id for participant in held)},
        )
        self._opened = {row[0]: (row[1], row[2]) for row in rows}

    def knows(self, item: OpeningBalance) -> bool:
        """Whether the tier that a row names exists."""
        return item.tier_code is None or item.tier_code in self._by_code

    def open(self, held: Mapping[str, Participant], item: OpeningBalance) -> ImportResult:
        """Open one balance."""
        if not self.knows(item):
            return RowRefusal("tier_not_found", f"Tier '{item.tier_code}' not found")
        participant = held[item.participant_id]
        totals = (item.total_earned, item.total_spent)
        if participant.id in self._opened:
            if self._opened[participant.id] == totals:
                return "unchanged"
            detail = "{} earned and {} spent were imported before".format(
                *self._opened[participant.id]
            )
            return RowRefusal("balance_conflict", f"This balance was opened: {detail}")
        self._opened[participant.id] = self._fresh[participant.id] = totals
        self._add_movement(participant, "opening", item.total_earned)
        self._add_movement(participant, "opening_spent", item.total_spent)
        self._lift(participant, item)
        return "imported"

    def _add_movement(self, participant: Participant, kind: MovementKind, amount: int) -> None:
        if not amount:
            return
        if kind == "opening":
            participant.earned += amount
        else:
            participant.spent += amount
        participant.is_richer = participant.is_changed = True
        debit, credit = ACCOUNTS[kind]
        self._movements.append(
            {
                "id": str(next(self._ids)), "participant_id": participant.id, "kind": kind,
                "debit": debit, "credit": credit, "amount": amount,
                "balance_after": participant.balance,
            }
        )  # fmt: skip

    def _lift(self, participant: Participant, item: OpeningBalance) -> None:
        """The tier that the file names, else the one that the points lead to; never a lower one."""
        current = self._by_id.get(participant.tier_id or "")
        level = current.level if current else None
        named = self._by_code.get(item.tier_code or "")
        tier = named or reached(self._ladder, level, participant.earned)
        if tier is None or (level is not None and tier.level <= level):
            return
        at_us = clock.now_us() if item.tier_achieved_us is None else item.tier_achieved_us
        source: Source = "assigned" if named else "points"
        self._changes.append(
            {
                "id": str(ids.uuid7(at_us)), "participant_id": participant.id, "source": source,
                "tier_id": str(tier.id), "previous_tier_id": participant.tier_id,
            }
        )  # fmt: skip
        participant.tier_id, participant.tier_us = str(tier.id), at_us
        participant.is_richer = participant.is_changed = True

    def write(self, connection: Connection) -> None:
        """Write the ledgers, and mark the opened balances."""
        _insert(connection, self._tenant.id, "point_transactions", self._movements)
        _insert(connection, self._tenant.id, "tier_changes", self._changes)
        fresh = [
            {"id": who, "earned": earned, "spent": spent}
            for who, (earned, spent) in self._fresh.items()
        ]
        connection.execute(_OPENED, {"tenant_id": self._tenant.id, "rows": json.dumps(fresh)})


_OPENED = sa.text("""
UPDATE participants p SET opening_earned = k.earned, opening_spent = k.spent
FROM json_to_recordset(CAST(:rows AS json)) AS k (id bigint, earned bigint, spent bigint)
WHERE p.tenant_id = :tenant_id AND p.id = k.id
""")

# COPY, which batches use, is not allowed for roles under row-level security.
_INSERT = {
    "point_transactions": sa.text("""
INSERT INTO point_transactions
  (tenant_id, id, participant_id, kind, debit, credit, amount, balance_after)
SELECT :tenant_id, id, participant_id, kind, debit, credit, amount, balance_after
FROM json_to_recordset(CAST(:rows AS json)) AS k (id uuid, participant_id bigint, kind text,
  debit text, credit text, amount bigint, balance_after bigint)
RETURNING id::text
"""),
    "tier_changes": sa.text("""
INSERT INTO tier_changes (tenant_id, id, participant_id, tier_id, previous_tier_id, source, reason)
SELECT :tenant_id, id, participant_id, tier_id, previous_tier_id, source, 'opening balance'
FROM json_to_recordset(CAST(:rows AS json)) AS k (id uuid, participant_id bigint, tier_id uuid,
  previous_tier_id uuid, source text)
RETURNING id::text
"""),
    "reward_claims": sa.text("""
INSERT INTO reward_claims
  (tenant_id, id, participant_id, reward_id, points_deducted, balance_after, metadata)
SELECT :tenant_id, id, participant_id, reward_id, points_deducted, balance_after, metadata
FROM json_to_recordset(CAST(:rows AS json)) AS k (id uuid, participant_id bigint, reward_id uuid,
  points_deducted bigint, balance_after bigint, metadata text)
ON CONFLICT DO NOTHING RETURNING id::text
"""),
}


def _insert(
    connection: Connection, tenant_id: int, table: str, rows: Sequence[Mapping[str, Any]]
) -> set[str]:
    """Insert rows of a ledger; return the ids of the new ones."""
    if not rows:
        return set()
    values = {"tenant_id": tenant_id, "rows": json.dumps(rows)}
    return set(connection.execute(_INSERT[table], values).scalars())


# -- redemptions -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ImportedRedemption:
    """A reward that a participant redeemed elsewhere."""

    participant_id: str
    reward_code: str
    claimed_us: int
    points_deducted: int
    balance_after: int
    metadata: str | None = None  # JSON as sent
    claim_id: str | None = None  # from its origin: two of one instant stay distinct


def add_redemptions(
    connection: Connection, tenant: Tenant, items: Sequence[ImportedRedemption]
) -> list[ImportResult]:
    """Add redemptions to the history. They count for each participant's limit, but take neither
    points (an opening balance has spent them already) nor stock."""
    known = {
        reward.code: str(reward.id) for reward in rewards.definitions.all_of(connection, tenant.id)
    }
    good = [item for item in items if item.reward_code in known]
    held = _held(connection, tenant, (item.participant_id for item in good)) if good else {}
    rows = {
        item: {
            "id": str(_redemption_id(tenant, item)),
            "participant_id": held[item.participant_id].id,
            "reward_id": known[item.reward_code],
            "points_deducted": item.points_deducted,
            "balance_after": item.balance_after,
            "metadata": item.metadata,
        }
        for item in good
    }
    fresh = _insert(connection, tenant.id, "reward_claims", list(rows.values()))
    results = [_redeemed(item, rows, fresh, held) for item in items]
    _touch(connection, held)
    return results


def _redeemed(
    redemption: ImportedRedemption,
    rows: Mapping[ImportedRedemption, Mapping[str, Any]],
    fresh: set[str],
    held: Mapping[str, Participant],
) -> ImportResult:
    if redemption not in rows:
        return RowRefusal("reward_not_found", f"Reward '{redemption.reward_code}' not found")
    claim_id = rows[redemption]["id"]
    if claim_id not in fresh:
        return "unchanged"
    fresh.discard(claim_id)  # the same row again in this request
    participant = held[redemption.participant_id]
    participant.rewards_claimed += 1
    participant.is_richer = participant.is_changed = True
    return "imported"


def _redemption_id(tenant: Tenant, redemption: ImportedRedemption) -> UUID:
    """An id with the row's instant, the same each time the row is read: that of an export, or one
    derived from the row's values."""
    text = f"{redemption.participant_id}\n{redemption.reward_code}\n{redemption.claimed_us}"
    if redemption.claim_id is not None:
        given = _uuid(redemption.claim_id)
        if given is not None and ids.issued_at_us(given) == redemption.claimed_us // 1_000 * 1_000:
            return given
        text = redemption.claim_id
    return ids.derived(redemption.claimed_us, tenant.tick_secret, text)


def _uuid(text: str) -> UUID | None:
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if found.version == 7 else None


# -- progress --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ImportedChallenge:
    """A participant's progress in a challenge elsewhere."""

    participant_id: str
    challenge_code: str
    progress: int
    completed_us: int | None = None


def raise_progress(
    connection: Connection, tenant: Tenant, items: Sequence[ImportedChallenge]
) -> list[ImportResult]:
    """Raise progress to the imported value, and store completions; without prizes."""
    known = {
        challenge.code: str(challenge.id)
        for challenge in challenges.definitions.all_of(connection, tenant.id)
    }
    good = [item for item in items if item.challenge_code in known]
    if not good:
        return [_no_challenge(item) for item in items]
    held = _held(connection, tenant, (item.participant_id for item in good))
    participant_keys = {(tenant.id, participant.id) for participant in held.values()}
    now = challenges.progress(
        connection, participant_keys, sorted({known[item.challenge_code] for item in good})
    )
    changed: dict[challenges.ProgressKey, ChallengeProgress] = {}
    results: list[ImportResult] = []
    for item in items:
        if item.challenge_code not in known:
            results.append(_no_challenge(item))
            continue
        key = (tenant.id, held[item.participant_id].id, known[item.challenge_code])
        mine = now.setdefault(key, ChallengeProgress())
        raised = _raised(mine, item)
        results.append("unchanged" if raised == mine else "imported")
        if raised != mine:
            now[key] = changed[key] = raised
    challenges.write(connection, changed, clock.now_us())
    return results


def _no_challenge(challenge: ImportedChallenge) -> RowRefusal:
    return RowRefusal("challenge_not_found", f"Challenge '{challenge.challenge_code}' not found")


def _raised(mine: ChallengeProgress, challenge: ImportedChallenge) -> ChallengeProgress:
    completed_us = challenge.completed_us if mine.completed_us is None else mine.completed_us
    return ChallengeProgress(max(mine.progress, challenge.progress), completed_us)
