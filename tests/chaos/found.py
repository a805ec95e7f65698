"""What is found when everything is over: the rows of one side, as the checker compares them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from models import clock
from models.db import Engine, reading
from models.rules.milestones import best_run
from models.rules.periods import Cadence, period_at
from models.rules.streaks import Ranges, Rules, add
from tests.chaos.scene import DEFINITIONS, Side


@dataclass(frozen=True, slots=True)
class TickRow:
    """A tick of the ledger."""

    id: str
    participant: str
    code: str
    occurred_at: datetime
    timezone: str | None
    token: str | None
    outcome: str
    new_count: int
    previous_count: int

    @property
    def occurred_us(self) -> int:
        """Its instant in microseconds."""
        return clock.to_us(self.occurred_at)


@dataclass(frozen=True, slots=True)
class AwardRow:
    """An award of the ledger."""

    id: str
    participant: str
    code: str


@dataclass(frozen=True, slots=True)
class FactRow:
    """A fact."""

    id: str
    participant: str | None
    sequence: int | None
    kind: str
    body: str


@dataclass(frozen=True, slots=True)
class Found:
    """Everything of one side."""

    ticks: list[TickRow]
    awards: list[AwardRow]
    rejections: dict[str, str]  # write id → code
    badges: set[tuple[str, str]]  # participant, badge
    facts: list[FactRow]  # in the order of their sequences
    sequences: dict[str, int]  # the last one given to each participant
    deliveries: dict[tuple[str, str], str]  # (destination, fact) → status
    dead_letters: int
    changes: int  # of streaks, as the audit log has them
    aliases: dict[str, str]  # the id of a merged participant → of the one that it has become


_WHO = "JOIN participants p ON p.tenant_id = t.tenant_id AND p.id = t.participant_id"
_TICKS = f"""
SELECT t.id::text, p.external_id, s.code, t.occurred_at, t.timezone,
  t.metadata::json ->> 'chaos', t.outcome, t.new_count, t.previous_count
FROM ticks t {_WHO} JOIN streaks s ON s.tenant_id = t.tenant_id AND s.id = t.streak_id
WHERE t.tenant_id = :id
"""
_AWARDS = f"""
SELECT t.id::text, p.external_id, b.code
FROM awards t {_WHO} JOIN badges b ON b.tenant_id = t.tenant_id AND b.id = t.badge_id
WHERE t.tenant_id = :id
"""
_BADGES = f"""
SELECT p.external_id, b.code
FROM participant_badges t {_WHO} JOIN badges b ON b.tenant_id = t.tenant_id AND b.id = t.badge_id
WHERE t.tenant_id = :id
"""
# By the id that they were told with: a merge moves the row, and not what was sent.
_FACTS = """
SELECT 'evt_' || replace(t.id::text, '-', ''), t.body::json ->> 'participant_id', t.sequence,
  t.type, t.body
FROM facts t WHERE t.tenant_id = :id ORDER BY t.sequence
"""
_DELIVERIES = """
SELECT webhook_id::text, 'evt_' || replace(fact_id::text, '-', ''), status FROM deliveries
WHERE tenant_id = :id
"""
_ALIASES = """
SELECT p.external_id, s.external_id FROM participants p
JOIN participants s ON s.tenant_id = p.tenant_id AND s.id = p.merged_into
WHERE p.tenant_id = :id
"""
_CHANGES = """
SELECT count(*) FROM audit_log
WHERE tenant_id = :id AND action LIKE 'streak.%' AND action <> 'streak.created'
"""


def read(engine: Engine, side: Side) -> Found:
    """Read it all."""

    def rows(statement: str) -> Sequence[Any]:
        with reading(engine) as session:
            return [tuple(row) for row in session.execute(sa.text(statement), {"id": side.id})]

    return Found(
        [TickRow(*row) for row in rows(_TICKS)],
        [AwardRow(*row) for row in rows(_AWARDS)],
        dict(rows("SELECT id::text, code FROM rejections WHERE tenant_id = :id")),
        set(rows(_BADGES)),
        [FactRow(*row) for row in rows(_FACTS)],
        dict(rows("SELECT external_id, fact_sequence FROM participants WHERE tenant_id = :id")),
        {(hook, fact): status for hook, fact, status in rows(_DELIVERIES)},
        rows("SELECT count(*) FROM dead_letters WHERE tenant_id IN (0, :id)")[0][0],
        rows(_CHANGES)[0][0],
        dict(rows(_ALIASES)),
    )


def milestones_reached(found: Found) -> set[tuple[str, str, int]]:
    """Which (participant, streak, count) the recorded periods have reached: each once."""
    recorded: dict[tuple[str, str], Ranges] = {}
    for row in found.ticks:
        kind = DEFINITIONS.get(row.code, {}).get("period")
        if kind:
            period = period_at(Cadence(kind), row.occurred_us, row.timezone)
            key = (row.participant, row.code)
            recorded[key] = add(recorded.get(key, ()), period)
    return {
        (who, code, one["count"])
        for (who, code), ranges in recorded.items()
        for one in DEFINITIONS[code].get("milestones", ())
        if one["count"] <= best_run(ranges, _rules(DEFINITIONS[code]))
    }


def _rules(definition: dict[str, Any]) -> Rules:
    return Rules(definition["grace_periods"], definition.get("reset_on_miss", True))
