"""The walk with forgiveness: grace that refills, freezes, protected periods, rules in versions.

Pure (contract §7). A state is a function of sets: the recorded periods, the protected ones, the
grants of freezes, and the versions of the rules. Nothing derived is stored as truth, so the order
of arrival changes nothing, and a late tick gives a freeze back.

A streak without any of this follows `models/rules/streaks.py`, which gives the same counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from models.rules.periods import PeriodKind, first_day
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


@dataclass(frozen=True, slots=True)
class _Step:
    """The walk after a period."""

    period: int
    count: int
    longest: int
    balance: Balance
    is_broken: bool = False


def walk(ranges: Ranges, terms: Terms) -> StreakTotals:
    """Walk the recorded periods in order; each range costs a few steps, each gap one a period."""
    step = None
    for start, end in ranges:
        step = _recorded(_until(step, start, terms), start, end, terms)
    return nothing(terms) if step is None else _totals(step, terms)


def nothing(terms: Terms) -> StreakTotals:
    """The totals before the first recorded period."""
    first = terms.versions[0][1]
    balance = Balance(0, _freezes(first).initial, 0, is_perfect=True)
    return StreakTotals(None, 0, 0, grace_at(first, 0), balance)


def record(ranges: Ranges, totals: StreakTotals, terms: Terms, period: int) -> Recorded:
    """Record one period, given the totals that `walk` yields for the ranges."""
    if totals.last is not None and period <= totals.last:
        if contains(ranges, period):
            return Recorded("repeated", ranges, totals, totals)
        after = add(ranges, period)
        return Recorded("backfilled", after, totals, walk(after, terms))
    before = _until(_step_of(totals), period, terms)
    step = _recorded(before, period, period + 1, terms)
    return Recorded(
        _forward(before, terms, period), add(ranges, period), totals, _totals(step, terms)
    )


def _forward(before: _Step | None, terms: Terms, period: int) -> RecordOutcome:
    if before is None:
        return "started"
    if not before.is_broken:
        return "extended"
    return "reset" if terms.rules(period).reset_on_miss else "held"


def live(totals: StreakTotals, terms: Terms, current: int) -> Live:
    """A streak's totals as of the current period.

    `current` may be before the last recorded period (a tick from a zone that is ahead).
    """
    last = _step_of(totals)
    resets = terms.rules(current).reset_on_miss
    if last is None:
        return Live("broken" if resets else "paused", 0, None)
    step = _walk_on(last, current, terms)
    is_open = current > last.period
    cause: Protection | None = None
    if is_open:
        cause, step = terms.protection(current), _arrive(step, current, terms)
    left = grace_left(step.balance, terms.rules(step.period), step.count)
    freezes = step.balance.freezes
    if step.is_broken:
        status: StreakStatus = "broken" if resets else "paused"
        return Live(status, 0 if resets else step.count, None, left, freezes, False, cause)
    is_at_risk = is_open and cause is None and not left and not freezes
    status = "at_risk" if is_at_risk else "active"
    ahead = breaks_at(totals, terms, current)
    return Live(status, step.count, ahead, left, freezes, step.balance.is_perfect, cause)


def breaks_at(totals: StreakTotals, terms: Terms, current: int) -> int | None:
    """The period at whose start the streak breaks without further ticks.

    It looks ahead over protections, refills, grants and versions. None before the first recorded
    period, and where the streak outlasts the next two years.
    """
    step = _step_of(totals)
    if step is None:
        return None
    after = _walk_on(step, horizon(terms, max(current, step.period)), terms)
    return after.period + 1 if after.is_broken else None


def horizon(terms: Terms, period: int) -> int:
    """How far the walk looks ahead of a period."""
    return period + _YEARS_AHEAD * _PER_YEAR[terms.kind]


def runs(ranges: Ranges, terms: Terms) -> Iterator[tuple[int, int, int]]:
    """The runs of the walk, from one break to the next: first and last period, and the count."""
    step, first = None, 0
    for start, end in ranges:
        before = _until(step, start, terms)
        is_new = before is None or (before.is_broken and terms.rules(start).reset_on_miss)
        if step is not None and is_new:
            yield first, step.period, step.count
        first = start if is_new else first
        step = _recorded(before, start, end, terms)
    if step is not None:
        yield first, step.period, step.count


def explain(
    ranges: Ranges, terms: Terms, current: int, since: int = BEGINNING
) -> Iterator[Explained]:
    """Every period from the first recorded one to the current one, in order; those before `since`
    may be left out."""
    step = None
    for start, end in ranges:
        if end <= since:
            step = _recorded(_until(step, start, terms), start, end, terms)
            continue
        yield from _explain_gap(step, start, terms)
        if start < since:
            step, start = _recorded(_until(step, start, terms), start, since, terms), since
        for period in range(start, end):
            before = _until(step, period, terms)
            step = _recorded(before, period, period + 1, terms)
            yield _explained(step, terms, "recorded")
    if step is None or current <= step.period:
        return
    yield from _explain_gap(step, current, terms)
    now = _arrive(_walk_on(step, current, terms), current, terms)
    cause = terms.protection(current)
    yield _explained(now, terms, "protected" if cause else "pending", cause)


def _explain_gap(step: _Step | None, until: int, terms: Terms) -> Iterator[Explained]:
    if step is None:
        return
    for period in range(step.period + 1, until):
        before = step
        step = _unrecorded(_arrive(step, period, terms), terms)
        yield _explain_unrecorded(before, step, terms)


def _explain_unrecorded(before: _Step, after: _Step, terms: Terms) -> Explained:
    cause = terms.protection(after.period)
    if cause is None and not after.is_broken:
        arrived = _arrive(before, after.period, terms)
        if after.balance.spent > arrived.balance.spent:
            return _explained(after, terms, "grace")
        if after.balance.freezes < arrived.balance.freezes:
            return _explained(after, terms, "freeze")
        cause = "earn_back"
    return _explained(after, terms, "protected" if cause else "missed", cause)


def _explained(
    step: _Step, terms: Terms, what: PeriodOutcome, cause: Protection | None = None
) -> Explained:
    rules = terms.rules(step.period)
    count = 0 if step.is_broken and rules.reset_on_miss else step.count
    left = grace_left(step.balance, rules, step.count)
    return Explained(step.period, what, count, left, step.balance.freezes, cause)


# -- steps -------------------------------------------------------------------------------------


def _walk_on(step: _Step, period: int, terms: Terms) -> _Step:
    """Walk the unrecorded periods before `period`, until the streak is broken."""
    while step.period < period - 1 and not step.is_broken:
        step = _unrecorded(_arrive(step, step.period + 1, terms), terms)
    return step


def _until(step: _Step | None, period: int, terms: Terms) -> _Step | None:
    return None if step is None else _walk_on(step, period, terms)


def _arrive(step: _Step, period: int, terms: Terms) -> _Step:
    """A period begins: its rules take over, grace refills, granted freezes are added."""
    balance = step.balance
    granted = terms.granted(step.period, period) if terms.grants else 0
    if granted:
        balance = replace(balance, freezes=balance.freezes + granted)
    if balance.spent and not step.is_broken and _refills(step.period, period, terms):
        balance = replace(balance, spent=0)
    return replace(step, period=period, balance=balance)


def _refills(before: int, period: int, terms: Terms) -> bool:
    forgiveness = terms.rules(period).forgiveness
    if forgiveness is None or forgiveness.refill is None:
        return False
    return _unit(terms.kind, forgiveness.refill, before) != _unit(
        terms.kind, forgiveness.refill, period
    )


def _unrecorded(step: _Step, terms: Terms) -> _Step:
    """A period ends without a tick: protected, forgiven, or missed."""
    cause = terms.protection(step.period)
    if cause is not None:
        if cause in _PLANNED or not step.balance.is_perfect:
            return step
        return replace(step, balance=replace(step.balance, is_perfect=False))
    if step.is_broken:
        return step
    rules, balance = terms.rules(step.period), step.balance
    if grace_left(balance, rules, step.count):
        spent = replace(balance, spent=balance.spent + 1, is_perfect=False)
    elif balance.freezes:
        spent = replace(balance, freezes=balance.freezes - 1, is_perfect=False)
    elif terms.is_earned_back(step.period):
        spent = replace(balance, is_perfect=False)
    else:
        return replace(step, is_broken=True)
    return replace(step, balance=spent)


def _recorded(before: _Step | None, start: int, end: int, terms: Terms) -> _Step:
    """Record the periods from `start` to before `end`, after the walk up to `start`."""
    step = _first(start, terms) if before is None else _next(before, start, terms)
    while step.period < end - 1:
        step = _run_on(step, _same_terms_until(step.period, end, terms), terms)
    return step


def _first(period: int, terms: Terms) -> _Step:
    rules = terms.rules(period)
    freezes = _freezes(rules).initial + terms.granted(BEGINNING, period)
    balance = _earn(Balance(0, freezes, 0, is_perfect=True), rules, 0, 1)
    return _Step(period, 1, 1, balance)


def _next(before: _Step, period: int, terms: Terms) -> _Step:
    """Record one period after what came before it."""
    step, rules = _arrive(before, period, terms), terms.rules(period)
    if not step.is_broken:
        return _count_up(step, 1, rules)
    balance = replace(step.balance, spent=0, is_perfect=True)
    if not rules.reset_on_miss:
        return _Step(period, step.count, step.longest, balance)
    return _Step(period, 1, max(1, step.longest), _earn(balance, rules, 0, 1))


def _run_on(step: _Step, last: int, terms: Terms) -> _Step:
    """Record every period after the step's up to `last`, all of them under one version."""
    arrived = _arrive(step, last, terms)
    return _count_up(arrived, last - step.period, terms.rules(last))


def _same_terms_until(period: int, end: int, terms: Terms) -> int:
    """The last period before `end` up to which no version begins and no grant arrives, at least
    the next one."""
    if len(terms.versions) == 1 and not terms.grants:
        return end - 1
    starts = [first for first, _ in terms.versions] + [at for at, _ in terms.grants]
    nearest = min((at for at in starts if period + 1 < at < end), default=end)
    return nearest - 1


def _count_up(step: _Step, periods: int, rules: Rules) -> _Step:
    count = step.count + periods
    balance = _earn(step.balance, rules, step.count, count)
    return replace(step, count=count, longest=max(count, step.longest), balance=balance)


def _earn(balance: Balance, rules: Rules, before: int, count: int) -> Balance:
    """Add a freeze for each multiple of `earn_every` in (before, count], up to `max` held."""
    freezes = _freezes(rules)
    if freezes.earn_every is None or balance.freezes >= freezes.max:
        return balance
    passed = count // freezes.earn_every - before // freezes.earn_every
    earned = min(passed, freezes.max - balance.freezes)
    return replace(balance, freezes=balance.freezes + earned, earned=balance.earned + earned)


# -- figures -----------------------------------------------------------------------------------


def grace_at(rules: Rules, count: int) -> int:
    """The grace periods that the rules give at a count."""
    grace = rules.grace_periods
    if rules.forgiveness is not None:
        for from_count, periods in rules.forgiveness.grace_by_count:
            if count >= from_count:
                grace = periods
    return grace


def grace_left(balance: Balance, rules: Rules, count: int) -> int:
    """The grace periods left: those spent stay spent when the rules change."""
    return max(0, grace_at(rules, count) - balance.spent)


def _freezes(rules: Rules) -> Freezes:
    return _NO_FREEZES if rules.forgiveness is None else rules.forgiveness.freezes


_NO_FREEZES = Freezes()


def _totals(step: _Step, terms: Terms) -> StreakTotals:
    left = grace_left(step.balance, terms.rules(step.period), step.count)
    return StreakTotals(step.period, step.count, step.longest, left, step.balance)


def _step_of(totals: StreakTotals) -> _Step | None:
    if totals.last is None:
        return None
    if totals.balance is None:
        raise ValueError("totals of a walk without forgiveness: walk the recorded periods again")
    return _Step(totals.last, totals.count, totals.longest, totals.balance)


@lru_cache(maxsize=8_192)
def _unit(kind: PeriodKind, refill: Refill, period: int) -> tuple[int, ...]:
    """The week, month or year that a period's first day is in."""
    day = first_day(kind, period)
    if refill == "weekly":
        return day.isocalendar()[:2]
    return (day.year, day.month) if refill == "monthly" else (day.year,)
