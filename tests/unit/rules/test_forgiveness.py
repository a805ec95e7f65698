"""The walk with forgiveness: the worked examples, and a naive oracle (contract §7.1)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.rules import forgiveness, streaks
from models.rules.periods import DAILY, KINDS, Cadence, PeriodKind, first_day
from models.rules.streaks import (
    EarnBack,
    Explained,
    Forgiveness,
    Freezes,
    Protection,
    Ranges,
    Refill,
    Rules,
    StreakTotals,
    add,
    add_range,
    remove,
)
from models.rules.terms import BEGINNING, Terms

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "forgiveness.json").read_text()
)
_EPOCH = date(1970, 1, 1).toordinal()


def _day(text: str) -> int:
    return date.fromisoformat(text).toordinal() - _EPOCH


def _text(day: int | None) -> str | None:
    return None if day is None else date.fromordinal(day + _EPOCH).isoformat()


def _rules(version: dict[str, Any]) -> Rules:
    freezes = Freezes(version["freezes_initial"], version["freezes_every"], version["freezes_max"])
    return Rules(version["grace"], version["reset"], Forgiveness(version["refill"], freezes))


def _sets(vector: dict[str, Any]) -> tuple[Ranges, Terms, int]:
    first = _day(vector["first_day"])
    recorded: Ranges = ()
    protected: Ranges = ()
    for index, what in enumerate(vector["days"] + vector["ahead"]):
        recorded = add(recorded, first + index) if what == "x" else recorded
        protected = add(protected, first + index) if what == "p" else protected
    versions = tuple(
        (BEGINNING if version["from"] is None else _day(version["from"]), _rules(version))
        for version in vector["versions"]
    )
    grants = tuple((_day(grant["day"]), grant["amount"]) for grant in vector["grants"])
    terms = Terms(DAILY, versions, (("pause", protected),), grants)
    return recorded, terms, first + len(vector["days"]) - 1


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_a_worked_example_is_walked_day_by_day(vector: dict[str, Any]) -> None:
    recorded, terms, current = _sets(vector)
    history = [
        [_text(day.period), day.what, day.count, day.grace_remaining, day.freezes_remaining]
        for day in forgiveness.explain(recorded, terms, current)
    ]
    assert history == vector["history"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_a_worked_example_reads_as_its_live_view(vector: dict[str, Any]) -> None:
    recorded, terms, current = _sets(vector)
    totals = forgiveness.walk(recorded, terms)
    now = forgiveness.live(totals, terms, current)
    assert {
        "current_count": now.count,
        "longest_count": totals.longest,
        "grace_remaining": now.grace_remaining,
        "freezes": now.freezes_remaining,
        "status": now.status,
        "breaks_at": _text(now.breaks_at),
    } == vector["live"]


# -- the oracle: one period after the other, nothing clever ------------------------------------


@dataclass
class Oracle:
    """The rules of the contract, period by period, with plain variables."""

    terms: Terms
    count: int = 0
    longest: int = 0
    spent: int = 0
    freezes: int = 0
    earned: int = 0
    broken: bool = False
    perfect: bool = True
    days: list[tuple[int, str, int, int, int]] = field(default_factory=list)

    def grace(self, period: int) -> int:
        rules = self.terms.rules(period)
        grace = rules.grace_periods
        for from_count, periods in rules.forgiveness.grace_by_count if rules.forgiveness else ():
            if self.count >= from_count:
                grace = periods
        return max(0, grace - self.spent)

    def arrive(self, period: int, *, is_first: bool) -> None:
        given = rules.forgiveness if (rules := self.terms.rules(period)) else None
        if is_first and given:
            self.freezes = given.freezes.initial
        if not is_first and given and given.refill and not self.broken:
            before, after = (
                _unit(self.terms.cadence.kind, given.refill, at) for at in (period - 1, period)
            )
            self.spent = 0 if before != after else self.spent
        for at, amount in self.terms.grants:
            if at == period or (is_first and at < period):
                self.freezes += amount

    def record(self, period: int, *, is_first: bool) -> None:
        rules = self.terms.rules(period)
        went_up = True
        if is_first:
            self.count = 1
        elif self.broken:
            self.spent, self.broken, self.perfect = 0, False, True
            went_up = rules.reset_on_miss
            self.count = 1 if rules.reset_on_miss else self.count
        else:
            self.count += 1
        self.longest = max(self.longest, self.count)
        freezes = rules.forgiveness.freezes if rules.forgiveness else Freezes()
        is_multiple = freezes.earn_every and self.count % freezes.earn_every == 0
        if went_up and is_multiple and self.freezes < freezes.max:
            self.freezes += 1
            self.earned += 1

    def miss(self, period: int) -> str:
        cause = self.terms.protection(period)
        if cause:
            self.perfect = self.perfect and cause in ("rest_day", "holiday")
            return "protected"
        if self.broken:
            return "missed"
        if self.grace(period):
            self.spent += 1
            what = "grace"
        elif self.freezes:
            self.freezes -= 1
            what = "freeze"
        elif self.is_earned_back(period):
            what = "protected"
        else:
            self.broken = True
            return "missed"
        self.perfect = False
        return what

    def is_earned_back(self, period: int) -> bool:
        given = self.terms.rules(period).forgiveness
        back = given.earn_back if given else None
        return back is not None and any(
            period < later <= period + back.within
            for first, end in self.terms.plenty
            for later in range(first, end)
        )

    def walk(self, recorded: set[int], current: int) -> None:
        if not recorded:
            return
        for period in range(min(recorded), max(*recorded, current) + 1):
            is_first = period == min(recorded)
            self.arrive(period, is_first=is_first)
            if period in recorded:
                self.record(period, is_first=is_first)
                what = "recorded"
            elif period < current:
                what = self.miss(period)
            else:
                what = "protected" if self.terms.protection(period) else "pending"
            shown = 0 if self.broken and self.terms.rules(period).reset_on_miss else self.count
            self.days.append((period, what, shown, self.grace(period), self.freezes))


def _unit(kind: PeriodKind, refill: Refill, period: int) -> tuple[int, ...]:
    day = first_day(Cadence(kind), period)
    if refill == "weekly":
        return (day.toordinal() - 1) // 7, 0
    return (day.year, day.month if refill == "monthly" else 0)


# -- sets of everything ------------------------------------------------------------------------

SPAN = 90
OWN: tuple[Protection, ...] = ("pause", "outage", "repair")
PERIODS = st.integers(20_000, 20_000 + SPAN)


def ranges_of(periods: set[int]) -> Ranges:
    ranges: Ranges = ()
    for period in periods:
        ranges = add(ranges, period)
    return ranges


FREEZES = st.builds(
    Freezes,
    initial=st.integers(0, 2),
    earn_every=st.none() | st.integers(1, 6),
    max=st.integers(0, 4),
)
FORGIVENESS = st.builds(
    Forgiveness,
    refill=st.none() | st.sampled_from(["weekly", "monthly", "yearly"]),
    freezes=FREEZES,
    grace_by_count=st.just(())
    | st.tuples(st.just((0, 2)), st.tuples(st.integers(1, 20), st.integers(0, 3))),
    rest_days=st.frozensets(st.integers(0, 6), max_size=2),
    holidays=st.sets(PERIODS, max_size=3).map(ranges_of),
    earn_back=st.none() | st.builds(EarnBack, st.integers(2, 4), st.integers(1, 5)),
)
RULES = st.builds(Rules, st.integers(0, 3), st.booleans(), st.none() | FORGIVENESS)


@st.composite
def terms_and_set(draw: st.DrawFn) -> tuple[Terms, set[int]]:
    """Terms, and some recorded periods among the ones that they are about."""
    recorded = draw(st.sets(PERIODS, max_size=SPAN))
    starts = sorted(draw(st.sets(PERIODS, max_size=2)))
    versions = [(start, draw(RULES)) for start in [BEGINNING, *starts]]
    protections = tuple((cause, draw(st.sets(PERIODS, max_size=8).map(ranges_of))) for cause in OWN)
    grants = draw(st.dictionaries(PERIODS, st.integers(1, 2), max_size=3))
    kind = draw(st.sampled_from(KINDS))
    plenty = ranges_of({period for period in recorded if draw(st.integers(0, 3)) == 0})
    grants_of = tuple(sorted(grants.items()))
    return Terms(Cadence(kind), tuple(versions), protections, grants_of, plenty), recorded


@settings(max_examples=400)
@given(terms_and_set(), st.integers(0, 30))
def test_the_walk_is_that_of_an_oracle_that_takes_one_period_after_the_other(
    sets: tuple[Terms, set[int]], ahead: int
) -> None:
    terms, recorded = sets
    current = max(recorded, default=20_000) + ahead
    oracle = Oracle(terms)
    oracle.walk(recorded, current)
    found = list(forgiveness.explain(ranges_of(recorded), terms, current))
    assert [_as_day(day) for day in found] == oracle.days
    totals = forgiveness.walk(ranges_of(recorded), terms)
    assert totals.longest == oracle.longest
    assert totals.balance is not None
    assert totals.balance.earned == oracle.earned
    now = forgiveness.live(totals, terms, current)
    assert now.count == (oracle.days[-1][2] if oracle.days else 0)
    if recorded:
        assert (now.grace_remaining, now.freezes_remaining) == oracle.days[-1][3:]
        assert now.is_perfect == (oracle.perfect and not oracle.broken)


def _as_day(day: Explained) -> tuple[int, str, int, int, int]:
    return day.period, day.what, day.count, day.grace_remaining, day.freezes_remaining


@settings(max_examples=300)
@given(terms_and_set(), st.randoms(use_true_random=False))
def test_the_order_of_arrival_changes_nothing_and_a_repetition_neither(
    sets: tuple[Terms, set[int]], random: Any
) -> None:
    terms, recorded = sets
    arrivals = [*recorded, *recorded]
    random.shuffle(arrivals)
    ranges: Ranges = ()
    totals = forgiveness.nothing(terms)
    for period in arrivals:
        after = forgiveness.record(ranges, totals, terms, period)
        ranges, totals = after.ranges, after.after
    assert totals == forgiveness.walk(ranges_of(recorded), terms)


@settings(max_examples=300)
@given(
    st.sets(PERIODS, min_size=1, max_size=SPAN),
    st.builds(Rules, st.integers(0, 5), st.booleans()),
    st.integers(0, 20),
)
def test_plain_rules_give_the_counts_of_the_plain_walk(
    recorded: set[int], rules: Rules, ahead: int
) -> None:
    ranges, current = ranges_of(recorded), max(recorded) + ahead
    terms = Terms(DAILY, ((BEGINNING, rules),))
    totals, plain = forgiveness.walk(ranges, terms), streaks.walk(ranges, rules)
    assert StreakTotals(totals.last, totals.count, totals.longest, totals.grace_remaining) == plain
    now, before = forgiveness.live(totals, terms, current), streaks.live(plain, rules, current)
    assert (now.status, now.count, now.breaks_at) == (before.status, before.count, before.breaks_at)


@settings(max_examples=200)
@given(terms_and_set(), st.integers(0, 40))
def test_a_streak_breaks_at_the_period_that_it_was_to_break_at(
    sets: tuple[Terms, set[int]], ahead: int
) -> None:
    terms, recorded = sets
    if not recorded:
        return
    ranges, last = ranges_of(recorded), max(recorded)
    totals = forgiveness.walk(ranges, terms)
    breaks_at = forgiveness.breaks_at(totals, terms, last)
    now = forgiveness.live(totals, terms, last + ahead)
    is_broken = breaks_at is not None and last + ahead >= breaks_at
    assert (now.status in ("broken", "paused")) is is_broken
    assert (now.status == "at_risk") is (
        breaks_at is not None and ahead > 0 and last + ahead == breaks_at - 1
    )


@settings(max_examples=200)
@given(terms_and_set(), st.integers(0, 20))
def test_a_break_is_the_first_missed_period_after_a_recorded_one(
    sets: tuple[Terms, set[int]], ahead: int
) -> None:
    terms, recorded = sets
    current = max(recorded, default=20_000) + ahead
    oracle = Oracle(terms)
    oracle.walk(recorded, current)
    expected, is_whole = [], True
    for period, what, *_ in oracle.days:
        if what == "missed" and is_whole:
            expected.append(period)
        is_whole = what == "recorded" or (is_whole and what != "missed")
    assert list(forgiveness.breaks(ranges_of(recorded), terms, current)) == expected


@settings(max_examples=200)
@given(terms_and_set(), PERIODS, st.integers(0, 20))
def test_what_is_left_out_before_a_period_changes_nothing_after_it(
    sets: tuple[Terms, set[int]], since: int, ahead: int
) -> None:
    terms, recorded = sets
    ranges, current = ranges_of(recorded), max(recorded, default=20_000) + ahead
    every = list(_from(forgiveness.explain(ranges, terms, current), since))
    assert list(_from(forgiveness.explain(ranges, terms, current, since), since)) == every
    rules = terms.versions[0][1]
    plain = list(_from(streaks.explain(ranges, rules, current), since))
    assert list(_from(streaks.explain(ranges, rules, current, since), since)) == plain


def _from(days: Iterator[Explained], since: int) -> Iterator[Explained]:
    return (day for day in days if day.period >= since)


@given(st.sets(PERIODS, max_size=20), PERIODS, st.integers(1, 20), PERIODS)
def test_ranges_are_added_and_periods_removed_as_in_a_set(
    periods: set[int], start: int, length: int, gone: int
) -> None:
    ranges = ranges_of(periods)
    more = periods | set(range(start, start + length))
    assert add_range(ranges, start, start + length) == ranges_of(more)
    assert remove(ranges, gone) == ranges_of(periods - {gone})
