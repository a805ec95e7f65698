"""The streak engine: one fold over the set of recorded periods (contract §3.2–§3.4).

The set is the only state. It is held as ranges, so that two years of unbroken days are one pair of
integers; `StreakTotals` follows from the set and the definition's rules.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

# Half-open ranges of periods, ascending, never touching: ((1, 3), (5, 6)) is {1, 2, 5}.
Ranges = tuple[tuple[int, int], ...]
RecordOutcome = Literal[
    "started", "extended", "reset", "held", "repeated", "backfilled", "progressed"
]
StreakStatus = Literal["active", "at_risk", "broken", "paused"]
PeriodOutcome = Literal["recorded", "grace", "freeze", "protected", "missed", "pending"]
Protection = Literal["rest_day", "holiday", "pause", "outage", "repair", "earn_back"]
Refill = Literal["weekly", "monthly", "yearly"]


@dataclass(frozen=True, slots=True)
class Freezes:
    """How freezes are given: each protects one missed period once grace is spent."""

    initial: int = 0
    earn_every: int | None = None  # one at each multiple of this count; None: never
    max: int = 0  # how many may be held before one more is earned


@dataclass(frozen=True, slots=True)
class EarnBack:
    """How missed periods are earned back: by a period that reaches `times` its target, up to
    `within` periods after them."""

    times: int
    within: int


@dataclass(frozen=True, slots=True)
class Forgiveness:
    """A definition's rules about forgiveness (contract §7.2)."""

    refill: Refill | None = None  # when grace is full again
    freezes: Freezes = Freezes()
    grace_by_count: tuple[tuple[int, int], ...] = ()  # (from count, grace periods), ascending
    rest_days: frozenset[int] = frozenset()  # weekdays, 0 for Monday
    holidays: Ranges = ()  # periods
    earn_back: EarnBack | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """A definition's rules about gaps."""

    grace_periods: int
    reset_on_miss: bool
    forgiveness: Forgiveness | None = None


@dataclass(frozen=True, slots=True)
class Balance:
    """What a walk with forgiveness has used, and what it has left."""

    spent: int  # grace periods since the last refill or break
    freezes: int  # left
    earned: int  # freezes earned ever
    is_perfect: bool  # nothing was forgiven, protected or repaired in the current run


@dataclass(frozen=True, slots=True)
class StreakTotals:
    """A streak's totals after its last recorded period."""

    last: int | None  # the last recorded period; None before the first tick
    count: int
    longest: int
    grace_remaining: int
    balance: Balance | None = None  # None: of a walk without forgiveness


@dataclass(frozen=True, slots=True)
class Recorded:
    """The effect of recording one period."""

    outcome: RecordOutcome
    ranges: Ranges
    before: StreakTotals
    after: StreakTotals

    @property
    def is_new_record(self) -> bool:
        """`new_count` beats the longest before this tick (contract §3.3)."""
        return self.after.count > self.before.longest


@dataclass(frozen=True, slots=True)
class Live:
    """A streak's totals as of a current period (contract §3.4)."""

    status: StreakStatus
    count: int
    # The period at whose start the streak breaks. None when it is not alive, and where protection
    # reaches beyond the next two years.
    breaks_at: int | None
    grace_remaining: int = 0  # with forgiveness: as of the current period
    freezes_remaining: int = 0
    is_perfect: bool = False  # nothing was forgiven, protected or repaired in the current run
    protected_by: Protection | None = None  # the current period


def walk(ranges: Ranges, rules: Rules) -> StreakTotals:
    """Walk the recorded periods in order (contract §3.2).

    A gap of m missed periods costs m credits, and the count goes up by one. With fewer than m left
    none is spent, the credits are reset, and the count goes to 1, or stays when `reset_on_miss` is
    false.
    """
    totals = StreakTotals(None, 0, 0, rules.grace_periods)
    for start, end in ranges:
        totals = run_on(step(totals, start, rules), end - 1 - start)
    return totals


def step(totals: StreakTotals, period: int, rules: Rules) -> StreakTotals:
    """Continue the walk to one later period."""
    if totals.last is None:
        return StreakTotals(period, 1, 1, rules.grace_periods)
    missed = period - totals.last - 1
    if missed <= totals.grace_remaining:
        count, left = totals.count + 1, totals.grace_remaining - missed
    else:
        count, left = 1 if rules.reset_on_miss else totals.count, rules.grace_periods
    return StreakTotals(period, count, max(count, totals.longest), left)


def run_on(totals: StreakTotals, periods: int) -> StreakTotals:
    """Continue the walk through periods without a gap."""
    if not periods or totals.last is None:
        return totals
    count = totals.count + periods
    return StreakTotals(
        totals.last + periods, count, max(count, totals.longest), totals.grace_remaining
    )


def record(ranges: Ranges, totals: StreakTotals, rules: Rules, period: int) -> Recorded:
    """Record one period, given the totals that `walk` yields for the ranges.

    An on-time tick costs one step, however long the history; only a late one repeats the walk.
    """
    if totals.last is None:
        return Recorded("started", ((period, period + 1),), totals, step(totals, period, rules))
    if period > totals.last:
        after = step(totals, period, rules)
        return Recorded(_forward(totals, rules, period), add(ranges, period), totals, after)
    if contains(ranges, period):
        return Recorded("repeated", ranges, totals, totals)
    ranges = add(ranges, period)
    return Recorded("backfilled", ranges, totals, walk(ranges, rules))


def _forward(totals: StreakTotals, rules: Rules, period: int) -> RecordOutcome:
    missed = period - (totals.last or 0) - 1
    if missed <= totals.grace_remaining:
        return "extended"
    return "reset" if rules.reset_on_miss else "held"


def contains(ranges: Ranges, period: int) -> bool:
    """Whether a period is in the set."""
    at = bisect_right(ranges, (period, _INFINITY)) - 1
    return at >= 0 and period < ranges[at][1]


def end_of(ranges: Ranges, period: int) -> int:
    """The end of the range that a period is in; the period itself where there is none."""
    at = bisect_right(ranges, (period, _INFINITY)) - 1
    return max(ranges[at][1], period) if at >= 0 else period


def add(ranges: Ranges, period: int) -> Ranges:
    """The set with one more period; touching ranges are joined."""
    if contains(ranges, period):
        return ranges
    at = bisect_right(ranges, (period, _INFINITY))
    start, end = period, period + 1
    before, after = ranges[:at], ranges[at:]
    if before and before[-1][1] == start:
        start, before = before[-1][0], before[:-1]
    if after and after[0][0] == end:
        end, after = after[0][1], after[1:]
    return (*before, (start, end), *after)


def add_range(ranges: Ranges, start: int, end: int) -> Ranges:
    """The set with the periods from `start` to before `end`; touching ranges are joined."""
    apart = [span for span in ranges if span[1] < start or end < span[0]]
    joined = [span for span in ranges if start <= span[1] and span[0] <= end]
    first = min([start, *(span[0] for span in joined)])
    last = max([end, *(span[1] for span in joined)])
    return tuple(sorted([*apart, (first, last)]))


def remove(ranges: Ranges, period: int) -> Ranges:
    """The set without a period."""
    kept: list[tuple[int, int]] = []
    for start, end in ranges:
        kept += [(start, min(end, period)), (max(start, period + 1), end)]
    return tuple((start, end) for start, end in kept if start < end)


_INFINITY = 1 << 40


def live(totals: StreakTotals, rules: Rules, current: int) -> Live:
    """A streak's totals as of the current period (contract §3.4).

    `current` may be before the last recorded period (a tick from a zone that is ahead).
    """
    if totals.last is None:
        return Live("broken" if rules.reset_on_miss else "paused", 0, None)
    missed = current - totals.last - 1
    if missed > totals.grace_remaining:
        if rules.reset_on_miss:
            return Live("broken", 0, None, totals.grace_remaining)
        return Live("paused", totals.count, None, totals.grace_remaining)
    breaks_at = totals.last + totals.grace_remaining + 2
    at_risk = missed == totals.grace_remaining  # so the current period is not recorded yet
    is_perfect = missed <= 0 and totals.grace_remaining == rules.grace_periods
    status: StreakStatus = "at_risk" if at_risk else "active"
    return Live(status, totals.count, breaks_at, totals.grace_remaining, is_perfect=is_perfect)


@dataclass(frozen=True, slots=True)
class Explained:
    """One period of a streak's history: its kind and the count after it."""

    period: int
    what: PeriodOutcome
    count: int
    grace_remaining: int
    freezes_remaining: int = 0
    by: Protection | None = None  # of a protected period


def explain(
    ranges: Ranges, rules: Rules, current: int, since: int = -_INFINITY
) -> Iterator[Explained]:
    """Every period from the first recorded one to the current one, in order (contract §3.5); those
    before `since` may be left out.

    A gap is `grace` when credits covered it and `missed` when it broke the chain. After the last
    recorded period the remaining credits cover past periods; the current period, not yet recorded,
    is `pending`.
    """
    totals = StreakTotals(None, 0, 0, rules.grace_periods)
    for start, end in ranges:
        if start > since:
            yield from _explain_gap(totals, rules, start)
        skipped = min(max(start, since), end)
        if start < skipped:
            totals = run_on(step(totals, start, rules), skipped - 1 - start)
        for period in range(skipped, end):
            totals = step(totals, period, rules)
            yield Explained(period, "recorded", totals.count, totals.grace_remaining)
    if totals.last is not None:
        yield from _explain_gap(totals, rules, current)
        if current > totals.last:
            now = live(totals, rules, current)
            yield Explained(current, "pending", now.count, _left_at(totals, rules, current))


def _explain_gap(totals: StreakTotals, rules: Rules, until: int) -> Iterator[Explained]:
    if totals.last is None:
        return
    missed = until - totals.last - 1
    covered = missed <= totals.grace_remaining
    for nth, period in enumerate(range(totals.last + 1, until), start=1):
        if covered:
            yield Explained(period, "grace", totals.count, totals.grace_remaining - nth)
        else:
            count = 0 if rules.reset_on_miss else totals.count
            yield Explained(period, "missed", count, rules.grace_periods)


def _left_at(totals: StreakTotals, rules: Rules, current: int) -> int:
    missed = current - (totals.last or 0) - 1
    return (
        totals.grace_remaining - missed
        if missed <= totals.grace_remaining
        else (rules.grace_periods)
    )
