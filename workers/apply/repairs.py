"""Apply repairs: named periods, or those of the last break, become protected or recorded."""

from __future__ import annotations

from typing import Any, Literal

from models.rules.periods import FIRST_ZONE, key_of, period_at
from models.rules.spans import Span
from models.rules.streaks import Ranges, add_range
from models.streaks import breaks
from models.streaks.breaks import SeenStreak
from models.streaks.states import Streak
from workers.apply.batch import Batch
from workers.apply.streak_changes import CurrentState, Sets, StreakChanges, remember, streak_of
from workers.intake.messages import RepairV1

NOT_STARTED = "streak_not_started"
IN_FUTURE = "period_in_future"
NOTHING = "nothing_to_restore"


def repair(work: StreakChanges, batch: Batch, message: RepairV1) -> None:
    """Repair periods of a streak."""
    streak = streak_of(batch, message.tenant_id, message.streak_id)
    subject = work.state_of(batch, message, streak)
    if subject is None and message.is_silent and not (message.is_restore or message.is_recorded):
        _keep(work, batch, message, streak)
        return
    if subject is None:
        detail = f"'{message.participant_id}' has no tick of streak '{streak.code}' yet"
        batch.reject(message, NOT_STARTED, detail)
        return
    is_named = not message.is_restore
    periods = _named(message) if is_named else missed(subject, message.lost_between)
    if not periods:
        batch.reject(message, NOTHING, f"No period of streak '{streak.code}' was missed")
        return
    last = periods[-1][1] - 1
    if last > _latest(batch, message, subject):
        batch.reject(message, IN_FUTURE, f"Period {key_of(streak.cadence, last)} has not begun")
        return
    _repair(work, batch, message, subject, periods)


def _repair(
    work: StreakChanges, batch: Batch, message: RepairV1, subject: CurrentState, periods: Ranges
) -> None:
    kind: Literal["restore", "repair"] = "restore" if message.is_restore else "repair"
    effect = work.change(batch, message, subject, _with(message, subject, periods), kind)
    details, shown = _told(message, subject.streak, periods)
    work.applied(batch, message, kind, subject.streak, details, shown | {"streaks": [effect]})


def _keep(work: StreakChanges, batch: Batch, message: RepairV1, streak: Streak) -> None:
    """Keep an imported repair for the first tick: a new state begins with it (streak_seeds.py)."""
    remember(batch.participant(message))
    details, shown = _told(message, streak, _named(message))
    work.applied(batch, message, "repair", streak, details, shown | {"streaks": []})


def _told(
    message: RepairV1, streak: Streak, periods: Ranges
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the ledger keeps of a repair, and what the caller is answered."""
    how = "recorded" if message.is_recorded else "protected"
    keys = [
        key_of(streak.cadence, period) for start, end in periods for period in range(start, end)
    ]
    details: dict[str, Any] = {"periods": [list(span) for span in periods], "as": how}
    job = {} if message.restore_id is None else {"restore_id": message.restore_id}
    return details | job, {"periods": keys, "as": how} | job


def _latest(batch: Batch, message: RepairV1, subject: CurrentState) -> int:
    """The last period that may be repaired. That of an import may have begun where the participant
    was."""
    if message.is_silent:
        return period_at(subject.streak.cadence, batch.now_us, FIRST_ZONE)
    return subject.current


def _named(message: RepairV1) -> Ranges:
    ranges: Ranges = ()
    for first, last in message.periods:
        ranges = add_range(ranges, first, last + 1)
    return ranges


def _with(message: RepairV1, subject: CurrentState, periods: Ranges) -> Sets:
    ranges, extras = subject.sets
    if message.is_recorded:
        for start, end in periods:
            ranges = add_range(ranges, start, end)
        return Sets(ranges, extras)
    return Sets(ranges, extras.repairing(periods))


def missed(subject: CurrentState, span: Span | None = None) -> Ranges:
    """The missed periods of the last break, of those within a span."""
    seen = SeenStreak(subject.streak, subject.state, subject.zone, subject.current)
    broken = breaks.last(seen, span)
    return () if broken is None else breaks.missed(seen, broken)
