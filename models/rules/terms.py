"""Everything beside the recorded periods that decides on a state with forgiveness. Pure."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from functools import lru_cache

from models.rules.periods import Cadence, first_day
from models.rules.streaks import Protection, Ranges, Rules, contains, end_of, remove

BEGINNING = -(1 << 31)  # before every period: where the first version of the rules begins


@dataclass(frozen=True, slots=True)
class Terms:
    """Everything beside the recorded periods that decides on one state."""

    cadence: Cadence
    versions: tuple[tuple[int, Rules], ...]  # by first period, ascending; the first: BEGINNING
    # Protected periods by cause. A period in several is explained by the first of them.
    protections: tuple[tuple[Protection, Ranges], ...] = ()
    grants: tuple[tuple[int, int], ...] = ()  # (period, freezes), ascending
    plenty: Ranges = ()  # the recorded periods whose progress earns missed ones back

    def rules(self, period: int) -> Rules:
        """The rules in force for a period."""
        if len(self.versions) == 1:
            return self.versions[0][1]
        at = bisect_right(self.versions, period, key=lambda version: version[0]) - 1
        return self.versions[at][1]

    def granted(self, after: int, until: int) -> int:
        """The freezes granted for the periods in (after, until]."""
        return sum(amount for period, amount in self.grants if after < period <= until)

    def protection(self, period: int) -> Protection | None:
        """Why a period is protected; None when it is not."""
        forgiveness = self.rules(period).forgiveness
        if forgiveness is not None:
            if forgiveness.rest_days and _weekday(self.cadence, period) in forgiveness.rest_days:
                return "rest_day"
            if contains(forgiveness.holidays, period):
                return "holiday"
        for cause, ranges in self.protections:
            if contains(ranges, period):
                return cause
        return None

    def is_earned_back(self, period: int) -> bool:
        """Whether one of the periods after a missed one earns it back."""
        forgiveness = self.rules(period).forgiveness
        if not self.plenty or forgiveness is None or forgiveness.earn_back is None:
            return False
        last = period + forgiveness.earn_back.within
        return any(contains(self.plenty, later) for later in range(period + 1, last + 1))

    def without_plenty(self, period: int) -> Terms:
        """The same where a period earns nothing back."""
        return replace(self, plenty=remove(self.plenty, period))

    def protected_until(self, period: int) -> int:
        """The end of the longest protected span that a period is in; the period itself if none."""
        return max((end_of(ranges, period) for _, ranges in self.protections), default=period)


@lru_cache(maxsize=8_192)
def _weekday(cadence: Cadence, period: int) -> int:
    """The weekday of a period's first day, 0 for Monday."""
    return first_day(cadence, period).weekday()
