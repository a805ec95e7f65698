"""Apply the ticks of states with forgiveness: recorded under their terms (contract §7.1)."""

from __future__ import annotations

from dataclasses import replace

from models.rules import forgiveness, streaks
from models.rules.periods import period_at
from models.rules.streaks import Recorded, contains
from models.rules.terms import Terms
from models.streaks.extras import Extras
from models.streaks.states import Streak, StreakState
from models.streaks.terms import explained, rewalk, settle, terms_of
from webhooks.facts import FreezesEarned, StreakRepair


def record(
    streak: Streak,
    state: StreakState,
    zone: str | None,
    period: int,
    accepted_us: int,
    *,
    is_plenty: bool = False,
) -> tuple[Recorded, Terms | None, bool]:
    """Record one period in a state, on the calendar of `zone`; return the terms, None if plain, and
    whether the period has begun to earn missed ones back."""
    if state.ranges and _is_stale(streak, state, zone):
        rewalk(streak, state, zone)
    before = state.totals
    earns = is_plenty and not contains((state.extras or Extras()).plenty, period)
    if earns:
        state.extras = (state.extras or Extras()).earning(period, is_plenty=True)
        rewalk(streak, state, zone)  # periods before the last one may be earned back
    terms = terms_of(streak, state.extras, zone)
    if terms is None:
        recorded = streaks.record(state.ranges, state.totals, streak.rules, period)
        state.ranges, state.totals = recorded.ranges, recorded.after
        return recorded, None, False
    recorded = forgiveness.record(state.ranges, state.totals, terms, period)
    state.ranges = recorded.ranges
    settle(state, recorded.after, terms, zone)
    _begin_publishing(state, period_at(streak.cadence, accepted_us, zone) - 1)
    if earns:
        recorded = replace(recorded, before=before)
    return recorded, terms, earns


def _is_stale(streak: Streak, state: StreakState, zone: str | None) -> bool:
    """Whether the totals are of another kind of walk, or of outages on another calendar."""
    if state.extras is None or state.totals.balance is None:
        return True
    return bool(streak.outages) and state.extras.zone != zone


def _begin_publishing(state: StreakState, ended: int) -> None:
    """What was forgiven until a period is never published: it ended before its first tick came."""
    if state.extras is not None and state.extras.published_until is None:
        state.extras = state.extras.publishing_after(ended)


def freezes_earned(state: StreakState) -> FreezesEarned | None:
    """The freezes earned that no fact has published yet; marked as published."""
    extras = state.extras
    if extras is None or extras.earned <= extras.published_earned:
        return None
    state.extras = extras.earnings_published()
    return FreezesEarned(extras.earned - extras.published_earned, extras.freezes)


def earned_back(streak: Streak, state: StreakState, recorded: Recorded) -> StreakRepair | None:
    """The change of a count by a tick whose period was recorded before it; None where the sweep
    publishes it, as the correction of a break that was published."""
    if recorded.after.count == recorded.before.count:
        return None
    if state.broken_at is not None and state.extras is not None:
        zone, last = state.extras.zone, state.ranges[-1][1]
        found = explained(streak, state, zone, state.broken_at - 1, last)
        if found is None or found.what != "missed":
            return None
    after = recorded.after
    return StreakRepair(after.count, recorded.before.count, after.longest, "earn_back")
