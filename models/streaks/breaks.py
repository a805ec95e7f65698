"""The breaks of a state: when it broke, and which periods were missed."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace

from models.rules import forgiveness
from models.rules.spans import Span
from models.rules.streaks import Ranges, add_range
from models.rules.terms import BEGINNING, Terms
from models.streaks import terms
from models.streaks.extras import Extras
from models.streaks.states import Streak, StreakState


@dataclass(frozen=True, slots=True)
class SeenStreak:
    """A state as of the current period, on the calendar of `zone`."""

    streak: Streak
    state: StreakState
    zone: str | None
    current: int  # the period

    @property
    def terms(self) -> Terms:
        """What decides on it beside the recorded periods; plain rules are terms without more."""
        found = terms.terms_of(self.streak, self.state.extras, self.zone)
        return found or Terms(self.streak.cadence, ((BEGINNING, self.streak.rules),))


def last(seen: SeenStreak, span: Span | None = None) -> int | None:
    """The first missed period of the last break, of those within a span; None without one.

    A streak breaks when the first missed period ends.
    """
    found, cadence = None, seen.streak.cadence
    for period in forgiveness.breaks(seen.state.ranges, seen.terms, seen.current):
        if span is None or span.holds(cadence, period + 1, seen.zone):
            found = period
    return found


def missed(seen: SeenStreak, broken: int) -> Ranges:
    """The missed periods of a break, as its history shows them.

    Once they are protected the streak goes on with what it had spent before them: what would then
    be missed that was not before is protected too.
    """
    start, until = _gap(seen, broken)
    before = _missed_from(seen, seen.state, start)
    found: Ranges = ()
    new = {period for period in before if period < until}
    while new:
        for period in new:
            found = add_range(found, period, period + 1)
        extras = (seen.state.extras or Extras()).repairing(found)
        new = _missed_from(seen, replace(seen.state, extras=extras), start) - before
    return found


def _gap(seen: SeenStreak, period: int) -> tuple[int, int]:
    """The unrecorded periods around one: the first, and the next recorded or current period."""
    ranges = seen.state.ranges
    at = bisect_left(ranges, (period, period))
    until = ranges[at][0] if at < len(ranges) else seen.current
    return ranges[at - 1][1], until


def _missed_from(seen: SeenStreak, state: StreakState, since: int) -> set[int]:
    history = terms.explain(seen.streak, state, seen.zone, seen.current, since=since)
    return {entry.period for entry in history if entry.what == "missed" and entry.period >= since}
