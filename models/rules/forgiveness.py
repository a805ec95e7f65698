"""The walk with forgiveness: grace that refills, freezes, protected periods, rules in versions.

Pure (contract §7). A state is a function of sets: the recorded periods, the protected ones, the
grants of freezes, and the versions of the rules. Nothing derived is stored as truth, so the order
of arrival changes nothing, and a late tick gives a freeze back.

A streak without any of this follows `models/rules/streaks.py`, which gives the same counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from models.rules.periods import Cadence, PeriodKind, first_day
from models.rules.streaks import (
    Balance,
    Explained,
    Freezes,
    Live,
    PeriodOutcome,
    Protection,
    Ranges,
    Recorded,
    RecordOutcome,
    Refill,
    Rules,
    StreakStatus,
    StreakTotals,
    add,
    contains,
)
from models.rules.terms import BEGINNING, Terms

_YEARS_AHEAD = 2  # how far `breaks_at` looks
_PER_YEAR: dict[PeriodKind, int] = {"daily": 366, "weekly": 53, "monthly": 12}
_PLANNED = frozenset({"rest_day", "holiday"})  # a run stays perfect over these


@dataclass(slots=True)
class _Walk:
    """The walk after a period. It goes on in place: a tick takes it some microseconds."""

    terms: Terms
    period: int
    count: int
    longest: int
    spent: int
    freezes: int
    earned: int
    is_perfect: bool
    is_broken: bool = False

    @property
    def balance(self) -> Balance:
        """What was used, and what is left."""
        return Balance(self.spent, self.freezes, self.earned, self.is_perfect)

    @property
    def totals(self) -> StreakTotals:
        """The totals after the period."""
        return StreakTotals(self.period, self.count, self.longest, self.grace_left, self.balance)

    @property
    def grace_left(self) -> int:
        """The grace periods left under the rules of the period."""
        return max(0, grace_at(self.terms.rules(self.period), self.count) - self.spent)

    def until(self, period: int) -> None:
        """Walk the unrecorded periods before `period`, until the streak is broken."""
        while self.period < period - 1 and not self.is_broken:
            self.arrive(self.period + 1)
            self.unrecorded()
            if self.terms.protections and not (self.is_broken or self.is_perfect):
                self._pass_protected(period)

    def _pass_protected(self, period: int) -> None:
        """Go to the end of a protected span at once, however long it is."""
        last = min(self.terms.protected_until(self.period + 1), period) - 1
        if last > self.period + 1 and len(self.terms.versions) == 1:
            self.arrive(last)

    def arrive(self, period: int) -> None:
        """A period begins: its rules take over, grace refills, granted freezes are added."""
        if self.terms.grants:
            self.freezes += self.terms.granted(self.period, period)
        if self.spent and not self.is_broken and _refills(self.period, period, self.terms):
            self.spent = 0
        self.period = period

    def unrecorded(self) -> tuple[PeriodOutcome, Protection | None]:
        """The period ends without a tick: protected, forgiven, or missed."""
        cause = self.terms.protection(self.period)
        if cause is not None:
            self.is_perfect = self.is_perfect and cause in _PLANNED
            return "protected", cause
        if self.is_broken:
            return "missed", None
        if self.grace_left:
            self.spent, self.is_perfect = self.spent + 1, False
            return "grace", None
        if self.freezes:
            self.freezes, self.is_perfect = self.freezes - 1, False
            return "freeze", None
        if self.terms.is_earned_back(self.period):
            self.is_perfect = False
            return "protected", "earn_back"
        self.is_broken = True
        return "missed", None

    def recorded(self, start: int, end: int) -> None:
        """Record the periods from `start` to before `end`, after the walk up to `start`."""
        self.arrive(start)
        rules = self.terms.rules(start)
        if not self.is_broken:
            self._count_up(1, rules)
        else:
            self.is_broken, self.is_perfect, self.spent = False, True, 0
            if rules.reset_on_miss:
                self.count = 0
                self._count_up(1, rules)
        while self.period < end - 1:
            last = _same_terms_until(self.period, end, self.terms)
            periods = last - self.period
            self.arrive(last)
            self._count_up(periods, self.terms.rules(last))

    def _count_up(self, periods: int, rules: Rules) -> None:
        before, self.count = self.count, self.count + periods
        self.longest = max(self.count, self.longest)
        freezes = _freezes(rules)
        if freezes.earn_every is not None and self.freezes < freezes.max:
            passed = self.count // freezes.earn_every - before // freezes.earn_every
            earned = min(passed, freezes.max - self.freezes)
            self.freezes, self.earned = self.freezes + earned, self.earned + earned


def _begun(terms: Terms, start: int, end: int) -> _Walk:
    """The walk whose first recorded periods are those from `start` to before `end`."""
    freezes = _freezes(terms.rules(start)).initial + terms.granted(BEGINNING, start - 1)
    begun = _Walk(terms, start - 1, 0, 0, 0, freezes, 0, is_perfect=True)
    begun.recorded(start, end)
    return begun


def _resumed(totals: StreakTotals, terms: Terms) -> _Walk | None:
    """The walk after the last recorded period; None before the first."""
    if totals.last is None:
        return None
    balance = totals.balance
    if balance is None:
        raise ValueError("totals of a walk without forgiveness: walk the recorded periods again")
    return _Walk(
        terms,
        totals.last,
        totals.count,
        totals.longest,
        balance.spent,
        balance.freezes,
        balance.earned,
        balance.is_perfect,
    )


def walk(ranges: Ranges, terms: Terms) -> StreakTotals:
    """Walk the recorded periods in order; each range costs a few steps, each gap one a period."""
    if not ranges:
        return nothing(terms)
    step = _begun(terms, *ranges[0])
    for start, end in ranges[1:]:
        step.until(start)
        step.recorded(start, end)
    return step.totals


def nothing(terms: Terms) -> StreakTotals:
    """The totals before the first recorded period."""
    first = terms.versions[0][1]
    balance = Balance(0, _freezes(first).initial, 0, is_perfect=True)
    return StreakTotals(None, 0, 0, grace_at(first, 0), balance)


def record(ranges: Ranges, totals: StreakTotals, terms: Terms, period: int) -> Recorded:
    """Record one period, given the totals that `walk` yields for the ranges."""
    step = _resumed(totals, terms)
    if step is None:
        after = _begun(terms, period, period + 1).totals
        return Recorded("started", ((period, period + 1),), totals, after)
    if period <= step.period:
        if contains(ranges, period):
            return Recorded("repeated", ranges, totals, totals)
        more = add(ranges, period)
        return Recorded("backfilled", more, totals, walk(more, terms))
    step.until(period)
    outcome: RecordOutcome = "extended"
    if step.is_broken:
        outcome = "reset" if terms.rules(period).reset_on_miss else "held"
    step.recorded(period, period + 1)
    return Recorded(outcome, add(ranges, period), totals, step.totals)


def live(totals: StreakTotals, terms: Terms, current: int) -> Live:
    """A streak's totals as of the current period.

    `current` may be before the last recorded period (a tick from a zone that is ahead).
    """
    step = _resumed(totals, terms)
    resets = terms.rules(current).reset_on_miss
    if step is None:
        return Live("broken" if resets else "paused", 0, None)
    is_open = current > step.period
    cause: Protection | None = None
    if is_open:
        step.until(current)
        cause = terms.protection(current)
        step.arrive(current)
    left, freezes = step.grace_left, step.freezes
    if step.is_broken:
        status: StreakStatus = "broken" if resets else "paused"
        return Live(status, 0 if resets else step.count, None, left, freezes, False, cause)
    is_at_risk = is_open and cause is None and not left and not freezes
    status = "at_risk" if is_at_risk else "active"
    ahead = breaks_at(totals, terms, current)
    return Live(status, step.count, ahead, left, freezes, step.is_perfect, cause)


def breaks_at(totals: StreakTotals, terms: Terms, current: int) -> int | None:
    """The period at whose start the streak breaks without further ticks.

    It looks ahead over protections, refills, grants and versions. None before the first recorded
    period, and where the streak outlasts the next two years.
    """
    step = _resumed(totals, terms)
    if step is None:
        return None
    step.until(horizon(terms, max(current, step.period)))
    return step.period + 1 if step.is_broken else None


def horizon(terms: Terms, period: int) -> int:
    """How far the walk looks ahead of a period."""
    return period + _YEARS_AHEAD * _PER_YEAR[terms.cadence.kind]


def runs(ranges: Ranges, terms: Terms) -> Iterator[tuple[int, int, int]]:
    """The runs of the walk, from one break to the next: first and last period, and the count."""
    if not ranges:
        return
    step, first = _begun(terms, *ranges[0]), ranges[0][0]
    for start, end in ranges[1:]:
        last, count = step.period, step.count
        step.until(start)
        if step.is_broken and terms.rules(start).reset_on_miss:
            yield first, last, count
            first = start
        step.recorded(start, end)
    yield first, step.period, step.count


def breaks(ranges: Ranges, terms: Terms, current: int) -> Iterator[int]:
    """The first missed period of every break before the current period, in order."""
    if not ranges:
        return
    step = _begun(terms, *ranges[0])
    for start, end in (*ranges[1:], (current, current)):
        step.until(start)
        if step.is_broken:
            yield step.period
        if start < end:
            step.recorded(start, end)


def explain(
    ranges: Ranges, terms: Terms, current: int, since: int = BEGINNING
) -> Iterator[Explained]:
    """Every period from the first recorded one to the current one, in order; those before `since`
    may be left out."""
    if not ranges:
        return
    start, end = ranges[0]
    step = _begun(terms, start, max(start + 1, min(end, since)))
    if start >= since:
        yield _explained(step, "recorded")
    yield from _explain_run(step, end)
    for start, end in ranges[1:]:
        yield from _explain_gap(step, start, since)
        step.recorded(start, max(start + 1, min(end, since)))
        yield _explained(step, "recorded")
        yield from _explain_run(step, end)
    if current > step.period:
        yield from _explain_gap(step, current, since)
        step.arrive(current)
        cause = terms.protection(current)
        yield _explained(step, "protected" if cause else "pending", cause)


def _explain_run(step: _Walk, end: int) -> Iterator[Explained]:
    while step.period < end - 1:
        step.recorded(step.period + 1, step.period + 2)
        yield _explained(step, "recorded")


def _explain_gap(step: _Walk, until: int, since: int) -> Iterator[Explained]:
    if until <= since:
        step.until(until)
    else:
        while step.period < until - 1:
            step.arrive(step.period + 1)
            yield _explained(step, *step.unrecorded())


def _explained(step: _Walk, what: PeriodOutcome, cause: Protection | None = None) -> Explained:
    rules = step.terms.rules(step.period)
    count = 0 if step.is_broken and rules.reset_on_miss else step.count
    return Explained(step.period, what, count, step.grace_left, step.freezes, cause)


# -- figures -----------------------------------------------------------------------------------


def _same_terms_until(period: int, end: int, terms: Terms) -> int:
    """The last period before `end` up to which no version begins and no grant arrives, at least
    the next one."""
    if len(terms.versions) == 1 and not terms.grants:
        return end - 1
    starts = [first for first, _ in terms.versions] + [at for at, _ in terms.grants]
    nearest = min((at for at in starts if period + 1 < at < end), default=end)
    return nearest - 1


def _refills(before: int, period: int, terms: Terms) -> bool:
    """Whether grace is full again between two periods."""
    forgiveness = terms.rules(period).forgiveness
    if forgiveness is None or forgiveness.refill is None:
        return False
    cadence, refill = terms.cadence, forgiveness.refill
    return _unit(cadence, refill, before) != _unit(cadence, refill, period)


def grace_at(rules: Rules, count: int) -> int:
    """The grace periods that the rules give at a count."""
    grace = rules.grace_periods
    if rules.forgiveness is not None:
        for from_count, periods in rules.forgiveness.grace_by_count:
            if count >= from_count:
                grace = periods
    return grace


def _freezes(rules: Rules) -> Freezes:
    return _NO_FREEZES if rules.forgiveness is None else rules.forgiveness.freezes


_NO_FREEZES = Freezes()


@lru_cache(maxsize=8_192)
def _unit(cadence: Cadence, refill: Refill, period: int) -> tuple[int, ...]:
    """The week, month or year that a period's first day is in."""
    day = first_day(cadence, period)
    if refill == "weekly":
        return day.isocalendar()[:2]
    return (day.year, day.month) if refill == "monthly" else (day.year,)
