"""The tick ledger: the effect of each tick, kept by the day; it explains, the states decide."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa

from models import clock
from models.db import Connection, array, copy, copy_text, run
from models.ledgers.base import Ledger
from models.rules.periods import Cadence, cadence_of, key_of
from models.rules.streaks import RecordOutcome
from models.rules.targets import UNIT, PeriodTarget, shown, target_of


@dataclass(frozen=True, slots=True)
class Tick:
    """One applied tick, as a row of the ledger."""

    tenant_id: int
    id: str
    participant_id: int
    streak_id: int
    period: int
    occurred_us: int
    outcome: RecordOutcome
    new_count: int
    previous_count: int
    longest_count: int
    is_new_record: bool
    grace_remaining: int
    timezone: str | None
    metadata: str | None  # JSON as sent
    value: int | None = None  # in thousandths
    progress: int | None = None  # of its period, in thousandths; None: without a target


class TargetedStreak(Protocol):
    """The fields of a definition that an answer holds."""

    @property
    def code(self) -> str:
        """Its code."""

    @property
    def cadence(self) -> Cadence:
        """When its periods begin."""

    @property
    def target(self) -> PeriodTarget | None:
        """What a period needs."""


COLUMNS = (
    "tenant_id", "id", "participant_id", "streak_id", "period", "occurred_at", "outcome",
    "new_count", "previous_count", "longest_count", "is_new_record", "grace_remaining",
    "timezone", "metadata", "value", "progress",
)  # fmt: skip


def append(connection: Connection, ticks: Iterable[Tick]) -> None:
    """Write ticks to the ledger; raise UniqueViolation when one of them is already there."""
    copy(connection, "ticks", COLUMNS, map(_line, ticks))


def _line(tick: Tick) -> str:
    return (
        f"{tick.tenant_id}\t{tick.id}\t{tick.participant_id}\t{tick.streak_id}\t{tick.period}\t"
        f"{clock.to_text(tick.occurred_us)}\t{tick.outcome}\t{tick.new_count}\t"
        f"{tick.previous_count}\t{tick.longest_count}\t{tick.is_new_record}\t"
        f"{tick.grace_remaining}\t{copy_text(tick.timezone)}\t{copy_text(tick.metadata)}\t"
        f"{_number(tick.value)}\t{_number(tick.progress)}\n"
    )


def _number(value: int | None) -> str:
    return "\\N" if value is None else str(value)


_SELECT = """
    SELECT w.tenant_id, w.id, w.participant_id, w.streak_id, w.period, w.occurred_at, w.outcome,
      w.new_count, w.previous_count, w.longest_count, w.is_new_record, w.grace_remaining,
      w.timezone, w.metadata, w.value, w.progress, p.external_id, s.code AS streak_code,
      s.period AS kind, s.forgiveness
    FROM ticks w
    JOIN participants p ON p.tenant_id = w.tenant_id AND p.id = w.participant_id
    JOIN streaks s ON s.tenant_id = w.tenant_id AND s.id = w.streak_id
"""


@dataclass(frozen=True, slots=True)
class TickRow:
    """A tick of the ledger with names in place of its numbers."""

    tick: Tick
    external_id: str
    code: str
    cadence: Cadence
    target: PeriodTarget | None

    def answer(self) -> dict[str, Any]:
        """The documented answer to this tick (contract §3.3)."""
        return answer(self.tick, self.external_id, self)


def answer(tick: Tick, external_id: str, streak: TargetedStreak) -> dict[str, Any]:
    """The answer to `record`: the five documented fields, then the others (contract §3.3)."""
    progress = {}
    if tick.progress is not None and streak.target is not None:
        progress = {"progress": progress_of(tick.progress, streak.target)}
    return {
        "streak_code": streak.code,
        "new_count": tick.new_count,
        "longest_count": tick.longest_count,
        "is_new_record": tick.is_new_record,
        "already_recorded": tick.outcome == "repeated",
        "participant_id": external_id,
        "tick_id": tick.id,
        "outcome": tick.outcome,
        "previous_count": tick.previous_count,
        "grace_remaining": tick.grace_remaining,
        "period_key": key_of(streak.cadence, tick.period),
        **progress,
    }


def progress_of(progress: int, target: PeriodTarget) -> dict[str, int | float]:
    """Progress towards a target, as answers and facts hold it."""
    return {"value": shown(progress), "target": target.amount // UNIT}


# Of the ledger `w`.
NOT_RETRACTED = """NOT EXISTS (SELECT FROM streak_changes c WHERE c.tenant_id = w.tenant_id
    AND c.participant_id = w.participant_id AND c.streak_id = w.streak_id
    AND jsonb_exists(c.details -> 'tick_ids', w.id::text))"""


def recorded_by(
    connection: Connection, state_key: tuple[int, int, int], window: tuple[int, int]
) -> dict[int, Tick]:
    """The tick that recorded each period of a window [from, to], unless it was retracted, as far as
    the ledger reaches."""
    rows = connection.execute(
        sa.text(
            f"{_SELECT} WHERE w.tenant_id = :tenant_id AND w.participant_id = :participant_id"
            " AND w.streak_id = :streak_id AND w.period BETWEEN :first AND :last"
            f" AND w.outcome NOT IN ('repeated', 'progressed') AND {NOT_RETRACTED}"
        ),
        {
            "tenant_id": state_key[0],
            "participant_id": state_key[1],
            "streak_id": state_key[2],
            "first": window[0],
            "last": window[1],
        },
    )
    return {row.period: _found(row).tick for row in rows}


def ids_of(connection: Connection, state_key: tuple[int, int, int], period: int) -> set[str]:
    """The ids of the ticks of a period, as far as the ledger reaches."""
    rows = run(
        connection,
        "SELECT w.id::text FROM ticks w WHERE w.tenant_id = %(tenant_id)s"
        " AND w.participant_id = %(participant_id)s AND w.streak_id = %(streak_id)s"
        " AND w.period = %(period)s",
        _state(state_key) | {"period": period},
    )
    return {row[0] for row in rows}


def values_of(
    connection: Connection, tenant_id: int, tick_ids: Iterable[str]
) -> list[tuple[int, str | None, int | None]]:
    """The instant, the zone and the value (in thousandths) of some ticks."""
    rows = run(
        connection,
        "SELECT w.occurred_at, w.timezone, w.value FROM ticks w WHERE w.tenant_id = %(tenant_id)s"
        " AND w.id = ANY(CAST(%(ids)s AS uuid[]))",
        {"tenant_id": tenant_id, "ids": array(sorted(tick_ids))},
    )
    return [(clock.to_us(row[0]), row[1], row[2]) for row in rows]


def latest(
    connection: Connection, state_key: tuple[int, int, int], without: Iterable[str]
) -> tuple[int, str | None] | None:
    """The instant and the zone of the greatest tick of a state but for some; None: none is left, as
    far as the ledger reaches."""
    rows = run(
        connection,
        "SELECT w.occurred_at, w.timezone FROM ticks w WHERE w.tenant_id = %(tenant_id)s"
        " AND w.participant_id = %(participant_id)s AND w.streak_id = %(streak_id)s"
        " AND w.id <> ALL(CAST(%(without)s AS uuid[]))"
        " ORDER BY w.occurred_at DESC, COALESCE(w.timezone, '') DESC LIMIT 1",
        _state(state_key) | {"without": array(without)},
    )
    return (clock.to_us(rows[0][0]), rows[0][1]) if rows else None


def _state(state_key: tuple[int, int, int]) -> dict[str, int]:
    return dict(zip(("tenant_id", "participant_id", "streak_id"), state_key, strict=True))


def _found(row: Any) -> TickRow:
    tick = Tick(
        row.tenant_id, str(row.id), row.participant_id, row.streak_id, row.period,
        clock.to_us(row.occurred_at), row.outcome, row.new_count, row.previous_count,
        row.longest_count, row.is_new_record, row.grace_remaining, row.timezone, row.metadata,
        row.value, row.progress,
    )  # fmt: skip
    target = target_of(row.forgiveness or {})
    cadence = cadence_of(row.kind, row.forgiveness)
    return TickRow(tick, row.external_id, row.streak_code, cadence, target)


ledger = Ledger(_SELECT, _found)
find, some = ledger.find, ledger.some
