"""Leaderboards: what counts within a rolling window, when time alone changes it, and ranks. Pure.

A window of N days ends today (UTC) and holds the periods that begin in it. A streak's score is the
highest count that its walk reaches within the window alone: a run of years counts as N days at
most, so that who began last month can stand above it (seed 004).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from models.rules.periods import Kind, first_day, period_of_day
from models.rules.streaks import Ranges, Rules, walk

SCORE_MAX = (1 << 40) - 1
LEVELS = 5  # of the counts: 8 bits each
_BITS = 8
_DAY_ONE = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Score:
    """A score, and the day on which it changes unless something is recorded."""

    score: int
    due_day: int  # days since 1970


def of_streak(ranges: Ranges, rules: Rules, kind: Kind, window: tuple[int, int]) -> Score | None:
    """The score of a set of recorded periods in a window (days, today as days since 1970); None
    when nothing in it is recorded.

    It never rises by time alone, so the day on which it falls is found by halving.
    """
    days, today = window

    def score_on(day: int) -> int:
        return walk(_clip(ranges, _first_period(kind, day - days + 1)), rules).longest

    now = score_on(today)
    return Score(min(now, SCORE_MAX), _first_below(now, today, days, score_on)) if now else None


def _first_below(now: int, today: int, days: int, score_on: Callable[[int], int]) -> int:
    """The first day after today on which a score is lower. After a window and the longest period
    nothing of today is left."""
    low, high = today, today + days + 31
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if score_on(middle) >= now else (low, middle)
    return high


def _first_period(kind: Kind, day: int) -> int:
    """The first period that begins on a day or later."""
    period = period_of_day(kind, day)
    begins = (first_day(kind, period) - _DAY_ONE) // timedelta(days=1)
    return period if begins >= day else period + 1


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
    """Under which (level, prefix) a score is counted."""
    return [(level, score >> (_BITS * level)) for level in range(LEVELS)]


def above(score: int) -> list[tuple[int, int, int]]:
    """The ranges of prefixes (level, first, last) whose counts add up to those above a score."""
    found = []
    for level, prefix in prefixes(score):
        last = prefix | ((1 << _BITS) - 1)  # the last one under the same prefix a level higher
        if prefix < last:
            found.append((level, prefix + 1, last))
    return found
