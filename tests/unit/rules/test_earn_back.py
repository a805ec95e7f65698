"""Missed periods earned back: what the ticks of a state add up to decides, not their order."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from models import clock
from models.rules import streaks
from models.rules.streaks import EarnBack, Forgiveness, Freezes, Ranges, Rules, add
from models.rules.targets import UNIT, PeriodTarget
from models.streaks.extras import Extras
from models.streaks.states import Streak, StreakState
from models.streaks.terms import rewalk
from workers.apply import forgiving

FIRST = 20_000


def streak_of(within: int, grace: int, freezes: int, *, resets: bool = True) -> Streak:
    """A daily definition that needs a tick a day, and three to earn back."""
    given_back = Forgiveness(freezes=Freezes(freezes, 3, 3), earn_back=EarnBack(3, within))
    return Streak(
        id=1, tenant_id=1, code="daily", name="Daily", description=None, period="daily",
        is_active=True, boundary="utc", milestones=[], at_risk_lead_hours=None, revision=1,
        rules=Rules(grace, resets, given_back), target=PeriodTarget("ticks", UNIT),
        is_plain=False, created_at=clock.now(), updated_at=clock.now(),
    )  # fmt: skip


def new_state(streak: Streak) -> StreakState:
    return StreakState((), streaks.walk((), streak.rules), 0, None)


def arrived(streak: Streak, days: list[int]) -> StreakState:
    """The state after one tick for each entry, in their order."""
    state, ticks = new_state(streak), Counter[int]()
    for day in days:
        ticks[day] += 1
        is_plenty = streak.is_plenty(ticks[day] * UNIT)
        forgiving.record(streak, state, None, FIRST + day, 0, is_plenty=is_plenty)
    return state


def walked(streak: Streak, days: list[int]) -> StreakState:
    """The state of the sets that the ticks add up to, walked once."""
    ticks, state = Counter(days), new_state(streak)
    state.ranges = ranges_of(FIRST + day for day in ticks)
    plenty = ranges_of(FIRST + day for day, count in ticks.items() if count >= 3)
    state.extras = Extras(plenty=plenty)
    rewalk(streak, state, None)
    return state


def ranges_of(periods: Any) -> Ranges:
    ranges: Ranges = ()
    for period in periods:
        ranges = add(ranges, period)
    return ranges


@settings(max_examples=500)
@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=40),
    st.integers(1, 5),
    st.integers(0, 1),
    st.integers(0, 1),
    st.booleans(),
)
@example([0, 1, 4, 3, 3, 3], 2, 0, 0, True)
def test_the_order_of_the_ticks_changes_nothing(
    days: list[int], within: int, grace: int, freezes: int, resets: bool
) -> None:
    streak = streak_of(within, grace, freezes, resets=resets)
    found, expected = arrived(streak, days), walked(streak, days)
    assert (found.ranges, found.totals) == (expected.ranges, expected.totals)
    assert found.extras and expected.extras
    assert (found.extras.plenty, found.extras.breaks_at) == (
        expected.extras.plenty, expected.extras.breaks_at,
    )  # fmt: skip


def test_a_day_earns_back_those_within_reach_once_it_has_all_of_its_ticks() -> None:
    streak = streak_of(2, 0, 0)
    counts = [arrived(streak, [0, 1, 3, 4, *[4] * more]).totals.count for more in range(4)]
    assert counts == [2, 2, 4, 4]
    assert arrived(streak, [0, 1, 5, 5, 5]).totals.count == 1  # days 2 to 4 are missed
    assert arrived(streak, [0, 1, 4, 4, 4]).totals.count == 3
