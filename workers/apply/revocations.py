"""Take back the prizes of milestones that a retraction made untrue, where it says `revoke`.

A milestone that is no longer reached is forgotten: it can be reached, and rewarded, again.
"""

from __future__ import annotations

from typing import Any

from models import ids
from models.ledgers import milestones
from models.ledgers.milestones import GivenPrize
from models.rules.milestones import best_run, runs, runs_under
from models.streaks.states import Streak
from models.streaks.terms import terms_of
from webhooks import facts
from workers.apply.batch import Batch
from workers.apply.milestones import Milestone
from workers.apply.points import Movement
from workers.apply.streak_changes import CurrentState, Sets, StreakChanges
from workers.intake.messages import RetractionV1


def revoke(
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
    repeats = {one.count: one.repeat for one in map(Milestone.of, streak.milestones)}
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
