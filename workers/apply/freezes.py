"""Apply freezes granted, and freezes bought for points."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from models import ids
from models.ledgers.streak_changes import ChangeKind
from models.rules.periods import period_at
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
    shown["freezes_remaining"] = None
    shown["streaks"] = []
    if subject is not None:
        shown["streaks"] = [work.change(batch, message, subject, _with(message, subject), "freeze")]
        shown["freezes_remaining"] = subject.live().freezes_remaining
    kind: ChangeKind = "freeze_granted" if message.price_points is None else "freeze_bought"
    details = {"amount": message.amount, "points": cost}
    work.applied(batch, message, kind, streak, details, shown)


def _with(message: FreezeV1, subject: CurrentState) -> Sets:
    """The state's sets with one more grant, for the period in which it was accepted."""
    ranges, extras = subject.sets
    accepted_us = ids.issued_at_us(UUID(message.id))
    period = period_at(subject.streak.period, accepted_us, subject.zone)
    return Sets(ranges, extras.granting(period, message.amount))
