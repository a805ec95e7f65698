"""What counts in a window, when time changes it, and ranks, against the plainest way to say it."""

from __future__ import annotations

from collections import Counter
from datetime import date

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.rules.leaderboards import above, of_points, of_streak, prefixes
from models.rules.periods import DAILY, KINDS, WEEKLY, Cadence, PeriodKind, first_day, period_of_day
from models.rules.streaks import Ranges, Rules, add
from tests.oracle import replay

TODAY = 20_784  # 2026-11-27
STRICT = Rules(0, True)
FORGIVING = Rules(1, True)


def ranges_of(periods: set[int]) -> Ranges:
    ranges: Ranges = ()
    for period in periods:
        ranges = add(ranges, period)
    return ranges


def naive(periods: set[int], rules: Rules, cadence: Cadence, days: int, today: int) -> int:
    """Keep the periods that begin in the window, and replay them."""
    epoch = first_day(DAILY, 0)
    kept = {one for one in periods if (first_day(cadence, one) - epoch).days > today - days}
    return replay(kept, rules.grace_periods, rules.reset_on_miss).longest if kept else 0


def test_a_run_of_years_counts_as_the_window_at_most() -> None:
    years = ranges_of(set(range(TODAY - 1_500, TODAY + 1)))
    month = ranges_of(set(range(TODAY - 29, TODAY + 1)))
    for ranges in (years, month):
        found = of_streak(ranges, STRICT, DAILY, (30, TODAY))
        assert found is not None
        assert found.score == 30


def test_a_score_falls_when_the_run_leaves_the_window_and_not_before() -> None:
    ranges = ranges_of({TODAY - 9, TODAY - 8, TODAY - 7})
    found = of_streak(ranges, STRICT, DAILY, (30, TODAY))
    assert found is not None
    assert (found.score, found.due_day) == (3, TODAY - 9 + 30)
    assert of_streak(ranges, STRICT, DAILY, (7, TODAY)) is None


@pytest.mark.parametrize("kind", KINDS)
def test_of_longer_periods_those_count_that_begin_in_the_window(kind: PeriodKind) -> None:
    current = period_of_day(Cadence(kind), TODAY)
    ranges = ranges_of(set(range(current - 100, current + 1)))
    found = of_streak(ranges, STRICT, Cadence(kind), (90, TODAY))
    assert found is not None
    assert found.score == {"daily": 90, "weekly": 13, "monthly": 3}[kind]


# The grace goes to the first gap in the window, and the walk reaches 2. Without the week before
# that gap it goes to the next one, and the walk reaches 3.
RISING = {first_day(WEEKLY, 2_961 + week).toordinal() - date(1970, 1, 1).toordinal()
          for week in (0, 2, 4, 6, 7)}  # fmt: skip


def test_a_score_may_rise_when_an_early_period_leaves() -> None:
    ranges = ranges_of({period_of_day(WEEKLY, day) for day in RISING})
    today, scores = TODAY, []
    while found := of_streak(ranges, FORGIVING, WEEKLY, (47, today)):
        scores.append(found.score)
        today = found.due_day
    assert scores == [2, 3, 2, 1]


@example(RISING, FORGIVING, WEEKLY, 47)
@given(
    st.sets(st.integers(TODAY - 60, TODAY + 1), max_size=30),
    st.sampled_from([STRICT, FORGIVING, Rules(2, False)]),
    st.sampled_from([*map(Cadence, KINDS), Cadence("weekly", 6), Cadence("weekly", 2)]),
    st.integers(1, 70),
)
def test_it_is_what_replaying_the_window_finds_and_holds_until_its_day(
    days_recorded: set[int], rules: Rules, cadence: Cadence, days: int
) -> None:
    periods = {period_of_day(cadence, day) for day in days_recorded}
    found = of_streak(ranges_of(periods), rules, cadence, (days, TODAY))
    now = naive(periods, rules, cadence, days, TODAY)
    assert (found.score if found else 0) == now
    if found:
        assert found.due_day > TODAY
        for day in range(TODAY, found.due_day):
            assert naive(periods, rules, cadence, days, day) == now
        assert naive(periods, rules, cadence, days, found.due_day) != now


@given(st.dictionaries(st.integers(TODAY - 40, TODAY), st.integers(0, 500)), st.integers(1, 30))
def test_points_are_those_of_the_windows_days(by_day: dict[int, int], days: int) -> None:
    found = of_points(by_day, (days, TODAY))
    within = {day: one for day, one in by_day.items() if TODAY - days < day and one}
    assert (found.score if found else 0) == sum(within.values())
    if found:
        assert found.due_day == min(within) + days


scores = st.one_of(st.integers(1, 400), st.integers(1, (1 << 40) - 1))


@given(st.lists(scores, max_size=60), scores)
def test_the_counts_above_a_score_add_up_to_those_who_are_better(
    everybody: list[int], mine: int
) -> None:
    counts: Counter[tuple[int, int]] = Counter()
    for score in everybody:
        counts.update(prefixes(score))
    better = sum(
        count
        for level, first, last in above(mine)
        for (at, prefix), count in counts.items()
        if at == level and first <= prefix <= last
    )
    assert better == sum(score > mine for score in everybody)
