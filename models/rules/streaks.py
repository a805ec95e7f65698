"""The streak engine: one fold over the set of recorded periods (contract §3.2–§3.4).

The set is the only state. It is held as ranges, so that two years of unbroken days are one pair
of integers; everything else (`Standing`) follows from the set and the definition's rules.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

# Half-open ranges of periods, ascending, never touching: ((1, 3), (5, 6)) is {1, 2, 5}.
Ranges = tuple[tuple[int, int], ...]
Outcome = Literal["started", "extended", "reset", "held", "repeated", "backfilled"]
Status = Literal["active", "at_risk", "broken", "paused"]


@dataclass(frozen=True, slots=True)
class Rules:
    """What a definition says about gaps."""

    grace_periods: int
    reset_on_miss: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a streak stands after its last recorded period."""

    last: int | None  # the last recorded period; None before the first tick
    count: int
    longest: int
    grace_remaining: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """What recording one period did."""

    outcome: Outcome
    ranges: Ranges
    before: Standing
    after: Standing

    @property
    def is_new_record(self) -> bool:
        """`new_count` beats the longest before this tick (contract §3.3)."""
        return self.after.count > self.before.longest


@dataclass(frozen=True, slots=True)
class Live:
    """How a standing reads at a given current period (contract §3.4)."""

    status: Status
    count: int
    breaks_at: int | None  # the period at whose start the streak breaks; None when not alive


def walk(ranges: Ranges, rules: Rules) -> Standing:
    """Walk the recorded periods in order (contract §3.2).

    A gap of m missed periods costs m credits and the count goes up by one; with fewer than m left
    none is spent, credits start afresh and the count goes to 1, or stays what it was when
    `reset_on_miss` is false.
    """
    standing = Standing(None, 0, 0, rules.grace_periods)
    for start, end in ranges:
        standing = run_on(step(standing, start, rules), end - 1 - start)
    return standing


def step(standing: Standing, period: int, rules: Rules) -> Standing:
    """Walk on to one later period."""
    if standing.last is None:
        return Standing(period, 1, 1, rules.grace_periods)
    missed = period - standing.last - 1
    if missed <= standing.grace_remaining:
        count, left = standing.count + 1, standing.grace_remaining - missed
    else:
        count, left = 1 if rules.reset_on_miss else standing.count, rules.grace_periods
    return Standing(period, count, max(count, standing.longest), left)


def run_on(standing: Standing, periods: int) -> Standing:
    """Walk on through periods without a gap."""
    if not periods or standing.last is None:
        return standing
    count = standing.count + periods
    return Standing(
        standing.last + periods, count, max(count, standing.longest), standing.grace_remaining
    )


def record(ranges: Ranges, standing: Standing, rules: Rules, period: int) -> Recorded:
    """Record one period, given the standing that `walk` yields for the ranges.

    An on-time tick costs one step however long the history is; only a late one walks it again.
    """
    if standing.last is None:
        return Recorded("started", ((period, period + 1),), standing, step(standing, period, rules))
    if period > standing.last:
        after = step(standing, period, rules)
        return Recorded(_forward(standing, rules, period), add(ranges, period), standing, after)
    if contains(ranges, period):
        return Recorded("repeated", ranges, standing, standing)
    ranges = add(ranges, period)
    return Recorded("backfilled", ranges, standing, walk(ranges, rules))


def _forward(standing: Standing, rules: Rules, period: int) -> Outcome:
    missed = period - (standing.last or 0) - 1
    if missed <= standing.grace_remaining:
        return "extended"
    return "reset" if rules.reset_on_miss else "held"


def contains(ranges: Ranges, period: int) -> bool:
    """Whether a period is in the set."""
    at = bisect_right(ranges, (period, _INFINITY)) - 1
    return at >= 0 and period < ranges[at][1]


def add(ranges: Ranges, period: int) -> Ranges:
    """The set with one period more; ranges that come to touch are joined."""
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


_INFINITY = 1 << 40


def live(standing: Standing, rules: Rules, current: int) -> Live:
    """How a standing reads in the current period (contract §3.4).

    `current` may lie before the last recorded period (a tick from a zone that is ahead).
    """
    if standing.last is None:
        return Live("broken" if rules.reset_on_miss else "paused", 0, None)
    missed = current - standing.last - 1
    if missed > standing.grace_remaining:
        if rules.reset_on_miss:
            return Live("broken", 0, None)
        return Live("paused", standing.count, None)
    breaks_at = standing.last + standing.grace_remaining + 2
    at_risk = missed == standing.grace_remaining  # so the current period is not recorded yet
    return Live("at_risk" if at_risk else "active", standing.count, breaks_at)


@dataclass(frozen=True, slots=True)
class Explained:
    """One period of a streak's history: what it was and the count after it."""

    period: int
    what: Literal["recorded", "grace", "missed", "pending"]
    count: int
    grace_remaining: int


def explain(ranges: Ranges, rules: Rules, current: int) -> Iterator[Explained]:
    """Every period from the first recorded one to the current one, in order (contract §3.5).

    A gap is `grace` when credits covered it and `missed` when it broke the chain. After the last
    recorded period the credits that are left cover what is past; the current period, not yet
    recorded, is `pending`.
    """
    standing = Standing(None, 0, 0, rules.grace_periods)
    for start, end in ranges:
        yield from _explain_gap(standing, rules, start)
        for period in range(start, end):
            standing = step(standing, period, rules)
            yield Explained(period, "recorded", standing.count, standing.grace_remaining)
    if standing.last is not None:
        yield from _explain_gap(standing, rules, current)
        if current > standing.last:
            now = live(standing, rules, current)
            yield Explained(current, "pending", now.count, _left_at(standing, rules, current))


def _explain_gap(standing: Standing, rules: Rules, until: int) -> Iterator[Explained]:
    if standing.last is None:
        return
    missed = until - standing.last - 1
    covered = missed <= standing.grace_remaining
    for nth, period in enumerate(range(standing.last + 1, until), start=1):
        if covered:
            yield Explained(period, "grace", standing.count, standing.grace_remaining - nth)
        else:
            count = 0 if rules.reset_on_miss else standing.count
            yield Explained(period, "missed", count, rules.grace_periods)


def _left_at(standing: Standing, rules: Rules, current: int) -> int:
    missed = current - (standing.last or 0) - 1
    return (
        standing.grace_remaining - missed
        if missed <= standing.grace_remaining
        else (rules.grace_periods)
    )
