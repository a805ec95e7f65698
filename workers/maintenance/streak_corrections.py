"""What a sweep publishes of a streak's past: forgiven periods, and breaks that did not happen."""

from __future__ import annotations

from collections.abc import Iterator

from models.rules.periods import period_at
from models.rules.streaks import Explained
from models.streaks import terms
from models.streaks.states import Streak, StreakState
from webhooks.facts import RepairCause, StreakRepair

_CAUSES: dict[str, RepairCause] = {
    "pause": "pause",
    "repair": "repair",
    "outage": "outage",
    "rest_day": "rules",
    "holiday": "rules",
    "earn_back": "earn_back",
}


def forgiven(
    streak: Streak, state: StreakState, zone: str | None, horizon_us: int
) -> Iterator[Explained]:
    """The periods that grace or a freeze saved and no fact has told, as of an instant; the state
    then says that they are published."""
    if state.extras is None or not state.ranges:
        return
    ended = period_at(streak.cadence, horizon_us, zone) - 1
    told = state.extras.published_until
    if told is None or told < ended:
        state.extras = state.extras.publishing_after(ended)
    if told is None:
        return
    for explained in terms.explain(streak, state, zone, ended + 1, since=told + 1):
        if told < explained.period <= ended and explained.what in ("grace", "freeze"):
            yield explained


def correction(
    streak: Streak, state: StreakState, zone: str | None, broken_at: int | None, horizon_us: int
) -> StreakRepair | None:
    """What to publish about a break that was published and did not happen."""
    if broken_at is None:
        return None
    current = period_at(streak.cadence, horizon_us, zone)
    found = terms.explained(streak, state, zone, broken_at - 1, current)
    if found is not None and found.what == "missed":
        return None
    now = terms.live(streak, state, zone, current)
    previous = 0 if streak.rules.reset_on_miss else state.totals.count
    return StreakRepair(now.count, previous, state.totals.longest, _cause(found))


def _cause(found: Explained | None) -> RepairCause:
    """Why the period that broke the streak is not missed any more."""
    if found is None or found.what == "pending":
        return "timezone"
    if found.what == "recorded":
        return "late_tick"
    return "rules" if found.by is None else _CAUSES[found.by]
