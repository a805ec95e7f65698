"""Apply repairs: named periods, or those of the last break, become protected or recorded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from models.rules import forgiveness
from models.rules.periods import FIRST_ZONE, key_of, period_at
from models.rules.streaks import Explained, Ranges, add_range
from models.streaks.states import Streak
from models.streaks.terms import explain, terms_of
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
    periods = missed(subject) if message.is_restore else _named(message)
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
    details = {"periods": [list(span) for span in periods], "as": how}
    return details, {"periods": keys, "as": how}


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


def missed(subject: CurrentState) -> Ranges:
    """The missed periods of the last break, as its history shows them.

    Once they are protected the streak goes on with what it had spent before them: what would then
    be missed after them is protected too.
    """
    streak, state = subject.streak, subject.state
    found = _last_break(explain(streak, state, subject.zone, subject.current))
    while found:
        after = _after(subject, found)
        if not after:
            break
        for period in after:
            found = add_range(found, period, period + 1)
    return found


def _last_break(history: Iterable[Explained]) -> Ranges:
    found: Ranges = ()
    is_over = False
    for explained in history:
        if explained.what == "recorded":
            is_over = bool(found)
        elif explained.what == "missed":
            found = add_range(() if is_over else found, explained.period, explained.period + 1)
            is_over = False
    return found


def _after(subject: CurrentState, periods: Ranges) -> list[int]:
    """The periods missed after some are protected, from the first of these on."""
    extras = subject.sets.extras.repairing(periods)
    terms = terms_of(subject.streak, extras, subject.zone)
    if terms is None:
        return []
    history = forgiveness.explain(subject.state.ranges, terms, subject.current)
    return [
        explained.period
        for explained in history
        if explained.what == "missed" and explained.period >= periods[0][0]
    ]
