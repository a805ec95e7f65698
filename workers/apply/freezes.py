"""Apply freezes granted, and freezes bought for points."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from models import ids
from models.ledgers.streak_changes import ChangeKind
from models.rules.periods import day_at, period_of_day
from models.streaks.states import Streak
from workers.apply.batch import Batch
from workers.apply.points import INSUFFICIENT, Movement, too_few
from workers.apply.streak_changes import CurrentState, Sets, StreakChanges, remember, streak_of
from workers.intake.messages import FreezeV1


def give(work: StreakChanges, batch: Batch, message: FreezeV1) -> None:
    """Add freezes to a streak, for points where they have a price.

    Before the first tick the ledger keeps them: a new state begins with them (streak_seeds.py).
    """
    streak = streak_of(batch, message.tenant_id, message.streak_id)
    cost = message.amount * (message.price_points or 0)
    balance = batch.participant(message).balance
    if cost > balance:
        batch.reject(message, INSUFFICIENT, too_few(balance, cost))
        return
    shown: dict[str, Any] = {"amount": message.amount, "points_deducted": cost}
    if cost:
        movement = Movement(message.id, "freeze", cost, source=streak.code, reason=message.reason)
        work.points.take(batch, message, movement)
    shown["new_balance"] = batch.participant(message).balance
    remember(batch.participant(message))
    subject = work.state_of(batch, message, streak)
    day = _day(batch, message, streak, subject)
    shown["freezes_remaining"] = None
    shown["streaks"] = []
    if subject is not None:
        sets = _with(message, subject, day)
        shown["streaks"] = [work.change(batch, message, subject, sets, "freeze")]
        shown["freezes_remaining"] = subject.live().freezes_remaining
    kind: ChangeKind = "freeze_granted" if message.price_points is None else "freeze_bought"
    details = {"amount": message.amount, "points": cost, "granted_day": day}
    work.applied(batch, message, kind, streak, details, shown)


def _day(batch: Batch, message: FreezeV1, streak: Streak, subject: CurrentState | None) -> int:
    """The local day on which they are given: kept, since the participant may move."""
    if message.granted_day is not None:
        return message.granted_day
    zone = subject.zone if subject else streak.zone(None, batch.participant(message).timezone)
    return day_at(ids.issued_at_us(UUID(message.id)), zone, streak.cadence.day_starts_us)


def _with(message: FreezeV1, subject: CurrentState, day: int) -> Sets:
    """The state's sets with one more grant."""
    ranges, extras = subject.sets
    return Sets(ranges, extras.granting(period_of_day(subject.streak.cadence, day), message.amount))
