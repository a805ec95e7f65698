"""The streak engine against the worked examples, the documentation and the oracle."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import clock
from models.rules import periods, streaks
from models.rules.periods import Cadence
from models.rules.streaks import Ranges, Rules, StreakTotals
from tests import oracle

pytestmark = pytest.mark.promise("P2")

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "streaks.json").read_text()
)
ANY_RULES = st.builds(Rules, st.integers(0, 4), st.booleans())
# Few periods, many ticks: so that repeats, gaps of every size and late ticks all occur.
ANY_PERIOD = st.integers(-12, 30)
ANY_TICKS = st.lists(ANY_PERIOD, max_size=40)
DAILY = Rules(grace_periods=0, reset_on_miss=True)
ONE_GRACE = Rules(grace_periods=1, reset_on_miss=True)


@dataclass(frozen=True)
class Answer:
    """A recorded tick as contract §3.3 answers it."""

    result: streaks.Recorded

    def fields(self) -> dict[str, Any]:
        """The fields that the vectors compare, but for the period's key."""
        after = self.result.after
        return {
            "new_count": after.count,
            "longest_count": after.longest,
            "is_new_record": self.result.is_new_record,
            "already_recorded": self.result.outcome == "repeated",
            "outcome": self.result.outcome,
            "previous_count": self.result.before.count,
            "grace_remaining": after.grace_remaining,
        }


def play(ticks: list[int], rules: Rules) -> list[streaks.Recorded]:
    """Record periods one after another, as a worker does with the ticks of one participant."""
    ranges: Ranges = ()
    totals, results = streaks.walk(ranges, rules), []
    for period in ticks:
        results.append(streaks.record(ranges, totals, rules, period))
        ranges, totals = results[-1].ranges, results[-1].after
    return results


def as_ranges(recorded: set[int]) -> Ranges:
    """A set as ranges, built the slow way."""
    pairs: list[tuple[int, int]] = []
    for period in sorted(recorded):
        if pairs and pairs[-1][1] == period:
            pairs[-1] = (pairs[-1][0], period + 1)
        else:
            pairs.append((period, period + 1))
    return tuple(pairs)


def as_set(ranges: Ranges) -> set[int]:
    """The periods that ranges stand for."""
    return {period for start, end in ranges for period in range(start, end)}


def gather(ticks: list[int]) -> Ranges:
    """The ranges of ticks, added one by one."""
    ranges: Ranges = ()
    for period in ticks:
        ranges = streaks.add(ranges, period)
    return ranges


def standing_of(replayed: oracle.Replayed) -> StreakTotals:
    """The oracle's word in the engine's terms."""
    return StreakTotals(replayed.last, replayed.count, replayed.longest, replayed.left)


# -- worked examples ---------------------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_it_answers_every_worked_example(vector: dict[str, Any]) -> None:
    definition = vector["definition"]
    kind, ticks = definition["period"], vector["ticks"]
    numbers = [
        periods.period_at(
            Cadence(kind),
            clock.to_us(datetime.fromisoformat(tick["timestamp"])),
            tick.get("timezone"),
        )
        for tick in ticks
    ]
    rules = Rules(definition["grace_periods"], definition["reset_on_miss"])
    answered = [
        {**Answer(result).fields(), "period_key": periods.key_of(Cadence(kind), number)}
        for result, number in zip(play(numbers, rules), numbers, strict=True)
    ]
    assert answered == vector["expect"]


def test_it_answers_the_three_ticks_of_the_documentation() -> None:
    """Seed 004, "Record a streak activity": first ever, same day again, next day."""
    documented = ("new_count", "longest_count", "is_new_record", "already_recorded")
    answered = [Answer(result).fields() for result in play([10, 10, 11], ONE_GRACE)]
    assert [tuple(fields[name] for name in documented) for fields in answered] == [
        (1, 1, True, False),
        (1, 1, False, True),
        (2, 2, True, False),
    ]


def test_it_answers_seven_of_twentyone_as_the_documentation_shows_it() -> None:
    """Seed 004, the response shape: new_count 7, longest_count 21, no new record."""
    result = play([*range(21), *range(40, 47)], ONE_GRACE)[-1]
    assert (result.after.count, result.after.longest, result.is_new_record) == (7, 21, False)


def test_a_backfill_bumps_six_directly_to_eight() -> None:
    """Seed 004, pattern 3: "a backfill bumps them from 6 directly to 8"."""
    joined = play([0, 2, 3, 4, 5, 6, 7, 1], DAILY)[-1]
    assert (joined.outcome, joined.before.count, joined.after.count) == ("backfilled", 6, 8)


def test_the_record_flag_falls_back_on_the_next_tick_at_the_same_level() -> None:
    """Seed 004: "it flips back to false on the next tick at the same level"."""
    assert [each.is_new_record for each in play([1, 2, 2, 4, 5, 6], DAILY)] == [
        True, True, False, False, False, True,
    ]  # fmt: skip


# -- the set decides ----------------------------------------------------------------------------


@given(ANY_TICKS, ANY_RULES)
def test_every_answer_is_the_oracles(ticks: list[int], rules: Rules) -> None:
    expected = oracle.answers(ticks, rules.grace_periods, rules.reset_on_miss)
    for result, answered in zip(play(ticks, rules), expected, strict=True):
        fields = Answer(result).fields()
        del fields["already_recorded"]
        assert fields == vars(answered)


@given(st.sets(ANY_PERIOD), ANY_RULES)
def test_walking_a_set_ends_where_replaying_it_does(recorded: set[int], rules: Rules) -> None:
    replayed = oracle.replay(recorded, rules.grace_periods, rules.reset_on_miss)
    assert streaks.walk(as_ranges(recorded), rules) == standing_of(replayed)


@given(ANY_TICKS, ANY_RULES)
def test_recording_step_by_step_stands_where_walking_the_set_does(
    ticks: list[int], rules: Rules
) -> None:
    for result in play(ticks, rules):
        assert result.after == streaks.walk(result.ranges, rules)


@given(ANY_TICKS, ANY_RULES, st.randoms(use_true_random=False))
def test_order_and_repeats_do_not_change_where_it_ends(
    ticks: list[int], rules: Rules, chance: random.Random
) -> None:
    shuffled = ticks + chance.choices(ticks, k=5) if ticks else []
    chance.shuffle(shuffled)
    ended = [(each.ranges, each.after) for each in play(ticks, rules)[-1:]]
    assert [(each.ranges, each.after) for each in play(shuffled, rules)[-1:]] == ended


@given(ANY_TICKS, ANY_RULES, st.lists(st.integers(0, 40), max_size=4))
def test_where_batches_are_cut_does_not_change_anything(
    ticks: list[int], rules: Rules, cuts: list[int]
) -> None:
    """A batch begins from what is stored: the ranges and their walk, nothing else."""
    bounds = sorted({0, len(ticks), *(min(cut, len(ticks)) for cut in cuts)})
    ranges: Ranges = ()
    answered: list[dict[str, Any]] = []
    for low, high in pairwise(bounds):
        totals = streaks.walk(ranges, rules)
        for period in ticks[low:high]:
            result = streaks.record(ranges, totals, rules, period)
            ranges, totals = result.ranges, result.after
            answered.append(Answer(result).fields())
    assert answered == [Answer(result).fields() for result in play(ticks, rules)]


def test_the_set_decides_even_when_a_late_tick_lowers_the_longest_count() -> None:
    """docs/decisions/0002: a late tick may spend the credit that a later gap had used."""
    without, with_it = play([5, 7, 8, 9], ONE_GRACE)[-1], play([5, 7, 8, 9, 3], ONE_GRACE)[-1]
    assert (without.after.count, without.after.longest) == (4, 4)
    assert (with_it.outcome, with_it.after.count, with_it.after.longest) == ("backfilled", 3, 3)
    assert not with_it.is_new_record
    in_order = play([3, 5, 7, 8, 9], ONE_GRACE)[-1]
    assert (in_order.ranges, in_order.after) == (with_it.ranges, with_it.after)


@given(ANY_TICKS, st.booleans())
def test_the_longest_count_never_falls_without_grace(ticks: list[int], reset: bool) -> None:
    longest = [each.after.longest for each in play(ticks, Rules(0, reset))]
    assert longest == sorted(longest)


@given(st.sets(ANY_PERIOD, min_size=1), ANY_RULES)
def test_the_longest_count_never_falls_from_tick_to_tick_on_time(
    recorded: set[int], rules: Rules
) -> None:
    longest = [each.after.longest for each in play(sorted(recorded), rules)]
    assert longest == sorted(longest)


def test_a_chain_that_holds_goes_on_where_it_was() -> None:
    """Contract §3.2: "held, the next on-time tick extends it"."""
    results = play([1, 2, 3, 9, 10], Rules(0, reset_on_miss=False))
    assert [(each.outcome, each.after.count) for each in results[-2:]] == [
        ("held", 3),
        ("extended", 4),
    ]


# -- ranges -------------------------------------------------------------------------------------


@given(ANY_TICKS)
def test_adding_builds_the_ranges_of_the_set(ticks: list[int]) -> None:
    built = gather(ticks)
    assert built == as_ranges(set(ticks))
    assert as_set(built) == set(ticks)


@given(st.sets(ANY_PERIOD), ANY_PERIOD)
def test_a_period_is_contained_exactly_when_it_is_in_the_set(
    recorded: set[int], period: int
) -> None:
    ranges = as_ranges(recorded)
    assert streaks.contains(ranges, period) == (period in recorded)
    assert streaks.add(streaks.add(ranges, period), period) == as_ranges({*recorded, period})


def test_two_years_of_days_are_one_range_however_they_arrive() -> None:
    days = list(range(20_000, 20_730))
    random.Random(4).shuffle(days)
    assert gather(days) == ((20_000, 20_730),)


# -- reading ------------------------------------------------------------------------------------


@given(st.sets(ANY_PERIOD, min_size=1), ANY_RULES, st.integers(0, 12))
def test_it_reads_alive_while_a_tick_would_carry_it_on(
    recorded: set[int], rules: Rules, ahead: int
) -> None:
    grace, reset = rules.grace_periods, rules.reset_on_miss
    current = max(recorded) + ahead
    totals = streaks.walk(as_ranges(recorded), rules)
    read = streaks.live(totals, rules, current)
    alive = oracle.is_alive(recorded, grace, reset, current)
    saved_by_the_next = oracle.is_alive(recorded, grace, reset, current + 1)
    if not alive:
        kept = (0, "broken") if reset else (totals.count, "paused")
        assert (read.count, read.status, read.breaks_at) == (*kept, None)
        return
    last_chance = current > max(recorded) and not saved_by_the_next
    assert (read.count, read.status) == (totals.count, "at_risk" if last_chance else "active")


@given(st.sets(ANY_PERIOD, min_size=1), ANY_RULES)
def test_it_breaks_at_the_first_period_in_which_a_tick_comes_too_late(
    recorded: set[int], rules: Rules
) -> None:
    read = streaks.live(streaks.walk(as_ranges(recorded), rules), rules, max(recorded))
    assert read.breaks_at is not None
    alive = [
        oracle.is_alive(recorded, rules.grace_periods, rules.reset_on_miss, period)
        for period in (read.breaks_at - 1, read.breaks_at)
    ]
    assert alive == [True, False]


@pytest.mark.parametrize(
    ("current", "status", "count", "breaks_at"),
    [
        (10, "active", 3, 13),  # recorded today: nothing to fear
        (11, "active", 3, 13),  # a credit is left for today
        (12, "at_risk", 3, 13),  # yesterday took it: today is the last that can save it
        (13, "broken", 0, None),
    ],
)
def test_a_streak_with_one_credit_is_at_risk_on_the_second_day(
    current: int, status: str, count: int, breaks_at: int | None
) -> None:
    read = streaks.live(StreakTotals(10, 3, 5, 1), ONE_GRACE, current)
    assert (read.status, read.count, read.breaks_at) == (status, count, breaks_at)


def test_without_grace_a_streak_is_at_risk_the_day_after() -> None:
    totals = streaks.walk(((8, 11),), DAILY)
    statuses = [streaks.live(totals, DAILY, current).status for current in (10, 11, 12)]
    assert statuses == ["active", "at_risk", "broken"]


def test_a_streak_that_does_not_reset_is_paused_with_its_count() -> None:
    rules = Rules(1, reset_on_miss=False)
    read = streaks.live(streaks.walk(((1, 6),), rules), rules, 40)
    assert (read.status, read.count, read.breaks_at) == ("paused", 5, None)


def test_a_tick_from_a_zone_that_is_ahead_reads_active() -> None:
    """The server's own day may lie before the last recorded one."""
    read = streaks.live(streaks.walk(((1, 6),), DAILY), DAILY, 4)
    assert (read.status, read.count, read.breaks_at) == ("active", 5, 7)


def test_nothing_recorded_reads_as_nothing() -> None:
    nothing = streaks.walk((), ONE_GRACE)
    assert nothing == StreakTotals(None, 0, 0, 1)
    assert streaks.live(nothing, ONE_GRACE, 10) == streaks.Live("broken", 0, None)


# -- explaining ---------------------------------------------------------------------------------


@given(st.sets(ANY_PERIOD, min_size=1), ANY_RULES, st.integers(0, 8))
def test_the_explanation_has_every_period_once_and_agrees_with_the_walk(
    recorded: set[int], rules: Rules, ahead: int
) -> None:
    current = max(recorded) + ahead
    explained = list(streaks.explain(as_ranges(recorded), rules, current))
    assert [each.period for each in explained] == list(range(min(recorded), current + 1))
    for each in explained:
        assert (each.what == "recorded") == (each.period in recorded)
        if each.what == "recorded":
            upto = {period for period in recorded if period <= each.period}
            walked = streaks.walk(as_ranges(upto), rules)
            assert (each.count, each.grace_remaining) == (walked.count, walked.grace_remaining)


@given(st.sets(ANY_PERIOD, min_size=1), ANY_RULES, st.integers(1, 8))
def test_the_explanation_ends_as_the_streak_reads(
    recorded: set[int], rules: Rules, ahead: int
) -> None:
    current = max(recorded) + ahead
    last = list(streaks.explain(as_ranges(recorded), rules, current))[-1]
    read = streaks.live(streaks.walk(as_ranges(recorded), rules), rules, current)
    assert (last.what, last.count) == ("pending", read.count)


def test_a_gap_is_explained_as_grace_or_as_missed_never_half_and_half() -> None:
    told = [
        (each.period, each.what, each.count, each.grace_remaining)
        for each in streaks.explain(((1, 2), (3, 4), (6, 7)), ONE_GRACE, 7)
    ]
    assert told == [
        (1, "recorded", 1, 1),
        (2, "grace", 1, 0),
        (3, "recorded", 2, 0),
        (4, "missed", 0, 1),
        (5, "missed", 0, 1),
        (6, "recorded", 1, 1),
        (7, "pending", 1, 1),
    ]
