"""Apply retractions: a tick, or a period with all its ticks, leaves a streak."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models import ids
from models.ledgers import milestones, streak_changes, ticks
from models.ledgers.milestones import GivenPrize
from models.ledgers.streak_changes import ChangeKind, StreakChangeRow
from models.rules.milestones import best_run, runs, runs_under
from models.rules.periods import key_of
from models.rules.streaks import contains, remove
from models.streaks.states import StateKey, Streak
from models.streaks.terms import terms_of
from webhooks import facts
from workers.apply import progress
from workers.apply.batch import Batch
from workers.apply.milestones import Milestone
from workers.apply.points import Movement
from workers.apply.repairs import NOT_STARTED
from workers.apply.streak_changes import CurrentState, Sets, StreakChanges, remember, streak_of
from workers.intake.messages import RetractionV1

ALREADY = "already_retracted"
NOT_RECORDED = "period_not_recorded"
_KINDS: tuple[ChangeKind, ...] = ("repair", "tick_retracted", "period_retracted")


def retract(work: StreakChanges, batch: Batch, message: RetractionV1) -> None:
    """Take a tick, or a period, out of a streak.

    A tick's period stays recorded while another tick, or a repair, holds it.
    """
    streak = streak_of(batch, message.tenant_id, message.streak_id)
    key = (message.tenant_id, batch.participant(message).id, streak.id)
    subject, past = work.state_of(batch, message, streak), _past(work, key)
    refusal = _refusal(message, streak, subject, past)
    if refusal is not None:
        batch.reject(message, *refusal)
    else:
        _apply(work, batch, message, streak, past)


def _refusal(
    message: RetractionV1,
    streak: Streak,
    subject: CurrentState | None,
    past: Sequence[StreakChangeRow],
) -> tuple[str, str] | None:
    """The code and detail of a refusal."""
    if message.tick_id is not None:
        if message.tick_id in _retracted(past):
            return ALREADY, f"Tick '{message.tick_id}' is retracted already"
        return None
    if subject is None:
        return NOT_STARTED, f"Streak '{streak.code}' has no recorded period"
    if not contains(subject.state.ranges, message.period):
        return NOT_RECORDED, f"Period {key_of(streak.cadence, message.period)} is not recorded"
    return None


def _apply(
    work: StreakChanges,
    batch: Batch,
    message: RetractionV1,
    streak: Streak,
    past: Sequence[StreakChangeRow],
) -> None:
    subject = work.state_of(batch, message, streak)
    key = (message.tenant_id, batch.participant(message).id, streak.id)
    others = ticks.ids_of(work.connection, key, message.period) - _retracted(past)
    taken, others = _divide(message, others)
    is_reached, is_plenty = _reached(work, batch, message, streak, others)
    is_held = is_reached or (message.tick_id is not None and _is_repaired(message.period, past))
    effects: list[dict[str, Any]] = []
    revoked: list[dict[str, Any]] = []
    if subject is not None:
        before = subject.sets
        sets = _sets_left(subject, message.period, is_held=is_held, is_plenty=is_plenty)
        effects.append(_without(work, batch, message, subject, _retracted(past) | taken, sets))
        if message.revoke:
            revoked = _revoke(work, batch, message, subject, before)
    kind: ChangeKind = "period_retracted" if message.tick_id is None else "tick_retracted"
    shown = {
        "tick_id": message.tick_id,
        "period_key": key_of(streak.cadence, message.period),
        "is_period_removed": not is_held,
        "revoked": revoked,
        "streaks": effects,
    }
    details = {"tick_ids": sorted(taken), "period": message.period}
    work.applied(batch, message, kind, streak, details, shown)


def _reached(
    work: StreakChanges, batch: Batch, message: RetractionV1, streak: Streak, left: set[str]
) -> tuple[bool, bool]:
    """Whether the ticks that are left record the period, and earn missed periods back."""
    if streak.target is None:
        return bool(left), False
    participant = batch.participant(message)
    key = (message.tenant_id, participant.id, streak.id, message.period)
    after = progress.added_up(work.connection, key, streak, participant.timezone, left)
    work.progress[key] = after
    value = 0 if after is None else after.value
    return value >= streak.target.amount, streak.is_plenty(value)


def _divide(message: RetractionV1, tick_ids: set[str]) -> tuple[set[str], set[str]]:
    """The ticks of the period that are retracted, and those that are left."""
    taken = tick_ids if message.tick_id is None else {message.tick_id}
    return taken, tick_ids - taken


def _without(
    work: StreakChanges,
    batch: Batch,
    message: RetractionV1,
    subject: CurrentState,
    gone: set[str],
    sets: Sets,
) -> dict[str, Any]:
    """Give the state the sets that are left, and the instant of the last tick that is."""
    latest = ticks.latest(work.connection, subject.key, gone)
    if latest is not None:
        subject.state.last_recorded_us, subject.state.last_zone = latest
    if not sets.ranges:
        remember(batch.participant(message))  # a new state begins with what this one had
    return work.change(batch, message, subject, sets, "retraction")


def _sets_left(subject: CurrentState, period: int, *, is_held: bool, is_plenty: bool) -> Sets:
    """The sets of a state without a period that is not held, nor earns missed ones back."""
    ranges, extras = subject.sets
    if not is_held:
        ranges = remove(ranges, period)
    if not is_plenty and extras.plenty:
        extras = extras.earning(period, is_plenty=False)
    return Sets(ranges, extras)


# -- what was done before ----------------------------------------------------------------------


def _past(work: StreakChanges, key: StateKey) -> list[StreakChangeRow]:
    """The repairs and retractions of a streak so far, in the order in which they were applied."""
    if key not in work.past:
        stored = streak_changes.of_participants(work.connection, [key[:2]], _KINDS)
        work.past[key] = [
            change for change in stored.get(key[:2], []) if change.streak_id == key[2]
        ]
    own = [
        change for change in work.ledger
        if change.kind in _KINDS
        and (change.tenant_id, change.participant_id, change.streak_id) == key
    ]  # fmt: skip
    return work.past[key] + own


def _retracted(past: Sequence[StreakChangeRow]) -> set[str]:
    """The ids of the ticks that are retracted."""
    return {tick_id for change in past for tick_id in change.details.get("tick_ids", ())}


def _is_repaired(period: int, past: Sequence[StreakChangeRow]) -> bool:
    """Whether a repair recorded a period that was not retracted since."""
    found = False
    for change in past:
        if change.kind == "period_retracted" and change.details["period"] == period:
            found = False
        elif change.kind == "repair" and change.details["as"] == "recorded":
            found |= any(first <= period < end for first, end in change.details["periods"])
    return found


# -- prizes ------------------------------------------------------------------------------------


def _revoke(
    work: StreakChanges, batch: Batch, message: RetractionV1, subject: CurrentState, before: Sets
) -> list[dict[str, Any]]:
    """Take back what the milestones gave that `before` reached and the state's sets do not."""
    reached = milestones.given(work.connection, subject.key)
    after = subject.sets
    lost = [
        prize
        for prize in reached
        if prize.key not in work.revoked
        and _holds(subject, before, prize)
        and not (after.ranges and _holds(subject, after, prize))
    ]
    return [_take_back(work, batch, message, subject.streak, prize) for prize in lost]


def _holds(subject: CurrentState, sets: Sets, prize: GivenPrize) -> bool:
    """Whether a set of recorded periods reaches a milestone: in its run, or ever."""
    streak = subject.streak
    terms = terms_of(streak, sets.extras, subject.zone)
    found = runs(sets.ranges, streak.rules) if terms is None else runs_under(sets.ranges, terms)
    if _is_of_run(streak, prize.count):
        return any(
            run.first <= prize.period <= run.last and run.length >= prize.count for run in found
        )
    if terms is None:
        return best_run(sets.ranges, streak.rules) >= prize.count
    return any(run.length >= prize.count for run in found)


def _is_of_run(streak: Streak, count: int) -> bool:
    repeats = {
        milestone.count: milestone.repeat for milestone in map(Milestone.of, streak.milestones)
    }
    return streak.rules.reset_on_miss and repeats.get(count) == "each_run"


def _take_back(
    work: StreakChanges, batch: Batch, message: RetractionV1, streak: Streak, prize: GivenPrize
) -> dict[str, Any]:
    """Forget a milestone, take its badge, and of its points as many as are left."""
    work.revoked[prize.key] = prize
    participant = batch.participant(message)
    points = min(prize.points, participant.balance)
    if points:
        movement = Movement(
            str(ids.uuid7(batch.now_us)), "revocation", points, streak.code, message.reason
        )
        work.points.take(batch, message, movement)
    if prize.badge is not None:
        participant.is_changed = True
        stamp = batch.stamp_of(message)
        lost = facts.Revoked(streak.code, prize.count, message.reason)
        batch.publish(message, facts.badge_revoked(stamp, prize.badge, lost))
    code = prize.badge.code if prize.badge else None
    return {"count": prize.count, "badge_code": code, "points_deducted": points}
