"""Milestones: the counts that a set of recorded periods has reached (contract §4, ADR 18). Pure.

A late tick may lower the counts of the walk (ADR 2), so they do not show what was ever reached. The
best run does: the most recorded periods in a row with no more missed among them than there are
grace periods. It only grows with the set, and is never below the longest count.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from models.rules import forgiveness
from models.rules.streaks import Ranges, Rules, run_on, step, walk
from models.rules.terms import Terms

_INFINITY = 1 << 40


class Run(NamedTuple):
    """Consecutive periods of a walk, from one break to the next."""

    first: int
    last: int
    length: int  # without missed periods

    def overlaps(self, other: Run) -> bool:
        """Whether the two share a span of time."""
        return self.first <= other.last and other.first <= self.last


def best_run(ranges: Ranges, rules: Rules) -> int:
    """The most recorded periods in a row with at most `grace_periods` missed among them."""
    if not rules.reset_on_miss:  # the count is never lost: it only grows with the set
        return walk(ranges, rules).longest
    best = count = missed = oldest = 0
    for index, (start, end) in enumerate(ranges):
        count += end - start
        missed += start - ranges[index - 1][1] if index else 0
        while missed > rules.grace_periods:
            count -= ranges[oldest][1] - ranges[oldest][0]
            missed -= ranges[oldest + 1][0] - ranges[oldest][1]
            oldest += 1
        best = max(best, count)
    return best


def run_through(ranges: Ranges, rules: Rules, period: int) -> int:
    """The best of the runs that a recorded period belongs to: only these change when it is added.

    1. Take the range of the period, and the ranges before it within reach of grace.
    2. Add one later range after the other, dropping the earliest ones to make room.
    """
    if not rules.reset_on_miss:
        return walk(ranges, rules).longest
    here = bisect_right(ranges, (period, _INFINITY)) - 1
    first, missed, count = here, 0, ranges[here][1] - ranges[here][0]
    while first and missed + _gap(ranges, first) <= rules.grace_periods:
        missed += _gap(ranges, first)
        first -= 1
        count += ranges[first][1] - ranges[first][0]
    best = count
    for index in range(here + 1, len(ranges)):
        missed += _gap(ranges, index)
        count += ranges[index][1] - ranges[index][0]
        while missed > rules.grace_periods and first < here:
            count -= ranges[first][1] - ranges[first][0]
            first += 1
            missed -= _gap(ranges, first)
        if missed > rules.grace_periods:
            break
        best = max(best, count)
    return best


def _gap(ranges: Ranges, index: int) -> int:
    """How many periods are missed just before a range."""
    return ranges[index][0] - ranges[index - 1][1]


def runs(ranges: Ranges, rules: Rules) -> list[Run]:
    """The runs of the walk, in order."""
    found: list[Run] = []
    totals = walk((), rules)
    for start, end in ranges:
        totals = run_on(step(totals, start, rules), end - 1 - start)
        is_new = not found or totals.count == end - start
        first = start if is_new else found.pop().first
        found.append(Run(first, end - 1, totals.count))
    return found


def runs_under(ranges: Ranges, terms: Terms) -> list[Run]:
    """The runs of a walk with forgiveness, in order."""
    return [Run(*run) for run in forgiveness.runs(ranges, terms)]


def newly_reached(before: Sequence[Run], after: Sequence[Run], count: int) -> Iterator[Run]:
    """The runs that reach a count now and of which no part reached it before."""
    had = [run for run in before if run.length >= count]
    for run in after:
        if run.length >= count and not any(run.overlaps(earlier) for earlier in had):
            yield run
