"""Which counts a set of periods has reached: whatever the order in which they came."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.rules import streaks
from models.rules.milestones import Run, best_run, newly_reached, run_through, runs
from models.rules.streaks import Ranges, Rules
from tests import oracle

pytestmark = pytest.mark.promise("P2")

ANY_RULES = st.builds(Rules, st.integers(0, 3), st.booleans())
ANY_PERIODS = st.lists(st.integers(1, 16), min_size=1, max_size=9, unique=True)
RESETS = Rules(grace_periods=0, reset_on_miss=True)


def set_of(periods: list[int]) -> Ranges:
    """Periods as the engine keeps them."""
    ranges: Ranges = ()
    for period in periods:
        ranges = streaks.add(ranges, period)
    return ranges


def longest_of_any_part(periods: list[int], rules: Rules) -> int:
    """The highest count that any order of arrival can have shown on its way to a set."""
    parts = (part for size in range(len(periods) + 1) for part in combinations(periods, size))
    grace, reset = rules.grace_periods, rules.reset_on_miss
    return max(oracle.replay(part, grace, reset).longest for part in parts)


@given(ANY_PERIODS, ANY_RULES)
def test_the_best_run_is_the_highest_count_that_any_order_of_arrival_can_show(
    periods: list[int], rules: Rules
) -> None:
    assert best_run(set_of(periods), rules) == longest_of_any_part(periods, rules)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=60), ANY_RULES)
def test_a_period_changes_only_the_runs_that_it_belongs_to(
    periods: list[int], rules: Rules
) -> None:
    ranges: Ranges = ()
    best = 0
    for period in periods:
        ranges = streaks.add(ranges, period)
        best = max(best, run_through(ranges, rules, period))
        assert best == best_run(ranges, rules)


def test_a_late_period_that_lowers_the_count_does_not_lower_the_best_run() -> None:
    rules = Rules(grace_periods=1, reset_on_miss=True)
    before, after = set_of([5, 7, 8, 9]), set_of([3, 5, 7, 8, 9])
    assert (streaks.walk(before, rules).longest, streaks.walk(after, rules).longest) == (4, 3)
    assert (best_run(before, rules), best_run(after, rules)) == (4, 4)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=60), st.integers(0, 3))
def test_the_runs_of_a_walk_end_where_its_count_starts_again(
    periods: list[int], grace: int
) -> None:
    rules = Rules(grace, reset_on_miss=True)
    found = runs(set_of(periods), rules)
    assert sum(run.length for run in found) == len(set(periods))
    assert max(run.length for run in found) == streaks.walk(set_of(periods), rules).longest
    for one, following in pairwise(found):
        assert not one.overlaps(following)


def test_a_run_that_two_grew_into_has_not_newly_reached_what_one_of_them_had() -> None:
    def reached(before: list[int], after: list[int], count: int) -> list[Run]:
        had, now = runs(set_of(before), RESETS), runs(set_of(after), RESETS)
        return list(newly_reached(had, now, count))

    assert reached([1, 2, 3, 5, 6], [1, 2, 3, 4, 5, 6], 3) == []
    assert reached([1, 2, 3, 5, 6], [1, 2, 3, 4, 5, 6], 5) == [Run(1, 6, 6)]
    assert reached([1, 2], [1, 2, 9], 1) == [Run(9, 9, 1)]
