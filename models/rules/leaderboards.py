"""Leaderboards: what counts in a rolling window, when time alone changes it, and ranks. Pure.

A window of N days ends today (UTC) and holds the periods that begin in it. A streak's score is the
highest count of its walk within the window alone: a run of years counts as N days at most, so that
a participant who began last month can rank above it (seed 004).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from models.rules import forgiveness
from models.rules.periods import Cadence, first_day, period_of_day
from models.rules.streaks import Ranges, Rules, walk
from models.rules.terms import Terms

SCORE_MAX = (1 << 40) - 1
LEVELS = 5  # of the counts: 8 bits each
_BITS = 8
_DAY_ONE = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Score:
    """A score, and the day on which it changes without further events."""

    score: int
    due_day: int  # days since 1970


def of_streak(
    ranges: Ranges, rules: Rules, cadence: Cadence, window: tuple[int, int]
) -> Score | None:
    """The score of a set of recorded periods in a window (days, today as days since 1970); None
    without a recorded period in it.

    Time alone mostly lowers it, and may raise it: without an early period the walk spends its grace
    on a later gap.
    """
    days, today = window
    kept = _clip(ranges, _first_period(cadence, today - days + 1))
    now = walk(kept, rules).longest
    if not now:
        return None
    leaves = _last_before_a_change(now, kept, rules)
    return Score(min(now, SCORE_MAX), _begins(cadence, leaves) + days)


def of_forgiving_streak(ranges: Ranges, terms: Terms, window: tuple[int, int]) -> Score | None:
    """As `of_streak`, of a streak with forgiveness: looked at again whenever a recorded period
    leaves the window, since a freeze earned in it may leave too."""
    days, today = window
    kept = _clip(ranges, _first_period(terms.cadence, today - days + 1))
    now = forgiveness.walk(kept, terms).longest
    if not now:
        return None
    return Score(min(now, SCORE_MAX), _begins(terms.cadence, kept[0][0]) + days)


def _last_before_a_change(now: int, kept: Ranges, rules: Rules) -> int:
    """The first period whose leaving the window changes the score.

    Within a run the score can only fall: whatever is left of the run, the walk reaches its end with
    all its grace. So one check at the end of each run is enough, then bisection in the run that
    changes the score.
    """
    for nth, (start, end) in enumerate(kept):
        rest = kept[nth + 1 :]

        def is_changed(first: int, end: int = end, rest: Ranges = rest) -> bool:
            return walk(((first, end), *rest), rules).longest != now

        if is_changed(end - 1):
            return start + bisect_left(range(start, end), True, key=is_changed) - 1
        if walk(rest, rules).longest != now:
            return end - 1
    raise AssertionError("nothing is left, and the score is what it was")


def _first_period(cadence: Cadence, day: int) -> int:
    """The first period that begins on or after a day."""
    period = period_of_day(cadence, day)
    return period if _begins(cadence, period) >= day else period + 1


def _begins(cadence: Cadence, period: int) -> int:
    """The day on which a period begins."""
    return (first_day(cadence, period) - _DAY_ONE) // timedelta(days=1)


def _clip(ranges: Ranges, first: int) -> Ranges:
    """The periods of a set from `first` on."""
    return tuple((max(start, first), end) for start, end in ranges if end > first)


def of_points(by_day: Mapping[int, int], window: tuple[int, int]) -> Score | None:
    """The score of points by the day on which they were earned; None without any in the window."""
    days, today = window
    within = {day: points for day, points in by_day.items() if day > today - days and points}
    if not within:
        return None
    return Score(min(sum(within.values()), SCORE_MAX), min(within) + days)


def prefixes(score: int) -> list[tuple[int, int]]:
    """The (level, prefix) pairs that count a score."""
    return [(level, score >> (_BITS * level)) for level in range(LEVELS)]


def above(score: int) -> list[tuple[int, int, int]]:
    """The ranges of prefixes (level, first, last) whose counts add up to those above a score."""
    found = []
    for level, prefix in prefixes(score):
        last = prefix | ((1 << _BITS) - 1)  # the last one under the same prefix of the next level
        if prefix < last:
            found.append((level, prefix + 1, last))
    return found
