"""The books: points, claims, tiers and challenges of one side, as they are found at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from models.db import Engine, reading
from tests.chaos.scene import Side


@dataclass(frozen=True, slots=True)
class Movement:
    """A movement of points."""

    id: str
    participant: str
    kind: str
    signed: int  # below zero when the participant has less afterwards
    balance: int  # afterwards
    source: str | None
    token: str | None


@dataclass(frozen=True, slots=True)
class Redemption:
    """A claim."""

    id: str
    participant: str
    code: str
    cost: int
    balance: int  # afterwards
    token: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """How somebody came into a tier."""

    id: str
    participant: str
    code: str
    previous: str | None
    source: str
    token: str | None


@dataclass(frozen=True, slots=True)
class Sums:
    """What stands beside a participant."""

    earned: int
    spent: int
    claimed: int
    tier: str | None


@dataclass(frozen=True, slots=True)
class Books:
    """Everything of one side."""

    movements: list[Movement]
    claims: list[Redemption]
    changes: list[Change]
    sums: dict[str, Sums]  # by participant
    stocks: dict[str, tuple[int | None, int]]  # by reward: how many in all, how many gone
    progress: dict[tuple[str, str], tuple[int, bool]]  # participant, challenge → is it completed
    rejected: Counter[tuple[str, str]]  # (write id, code): how often

    def settled(self) -> Counter[str]:
        """How often which write was decided on, whatever was decided."""
        found = Counter(write_id for write_id, _ in self.rejected.elements())
        found.update(one.id for one in self.movements if one.kind in ("award", "deduct"))
        found.update(one.id for one in self.claims)
        found.update(one.id for one in self.changes if one.source == "assigned")
        return found


_WHO = "JOIN participants p ON p.tenant_id = t.tenant_id AND p.id = t.participant_id"
_MOVEMENTS = f"""
SELECT t.id::text, p.external_id, t.kind,
  CASE t.credit WHEN 'available' THEN t.amount ELSE -t.amount END, t.balance_after, t.source,
  CASE WHEN t.kind IN ('award', 'deduct') THEN t.metadata::json ->> 'chaos' END
FROM point_transactions t {_WHO} WHERE t.tenant_id = :id
"""
_CLAIMS = f"""
SELECT t.id::text, p.external_id, r.code, t.points_deducted, t.balance_after,
  t.metadata::json ->> 'chaos'
FROM reward_claims t {_WHO} JOIN rewards r ON r.tenant_id = t.tenant_id AND r.id = t.reward_id
WHERE t.tenant_id = :id
"""
_CHANGES = f"""
SELECT t.id::text, p.external_id, n.code, o.code, t.source, t.metadata::json ->> 'chaos'
FROM tier_changes t {_WHO} JOIN tiers n ON n.tenant_id = t.tenant_id AND n.id = t.tier_id
LEFT JOIN tiers o ON o.tenant_id = t.tenant_id AND o.id = t.previous_tier_id
WHERE t.tenant_id = :id
"""
_SUMS = """
SELECT p.external_id, p.points_earned, p.points_spent, p.rewards_claimed, n.code
FROM participants p LEFT JOIN tiers n ON n.tenant_id = p.tenant_id AND n.id = p.tier_id
WHERE p.tenant_id = :id
"""
_STOCKS = """
SELECT r.code, s.stock, s.claimed
FROM reward_stock s JOIN rewards r ON r.tenant_id = s.tenant_id AND r.id = s.reward_id
WHERE s.tenant_id = :id
"""
_PROGRESS = f"""
SELECT p.external_id, c.code, t.progress, t.completed_at IS NOT NULL
FROM challenge_progress t {_WHO}
JOIN challenges c ON c.tenant_id = t.tenant_id AND c.id = t.challenge_id
WHERE t.tenant_id = :id
"""


def read(engine: Engine, side: Side) -> Books:
    """Read it all."""

    def rows(statement: str) -> Sequence[Any]:
        with reading(engine) as session:
            return [tuple(row) for row in session.execute(sa.text(statement), {"id": side.id})]

    return Books(
        [Movement(*row) for row in rows(_MOVEMENTS)],
        [Redemption(*row) for row in rows(_CLAIMS)],
        [Change(*row) for row in rows(_CHANGES)],
        {who: Sums(*more) for who, *more in rows(_SUMS)},
        {code: (stock, claimed) for code, stock, claimed in rows(_STOCKS)},
        {(who, code): (number, is_done) for who, code, number, is_done in rows(_PROGRESS)},
        Counter(rows("SELECT id::text, code FROM rejections WHERE tenant_id = :id")),
    )
