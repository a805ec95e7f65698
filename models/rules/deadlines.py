"""Deadlines: when a streak becomes at risk, and when it breaks without a tick. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal

from models.rules import forgiveness
from models.rules.periods import HOUR_US, Cadence, starts_at
from models.rules.streaks import StreakTotals
from models.rules.terms import Terms

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Calendar:
    """When the periods of a streak begin, and how early it counts as at risk."""

    cadence: Cadence
    zone: str | None  # None: UTC
    lead_hours: int | None = None  # before it breaks; None: when its last period begins


@dataclass(frozen=True, slots=True)
class Deadlines:
    """The deadlines of a streak without further ticks; instants in microseconds."""

    # The period at whose start it breaks: identifies the break. None: not in the next two years.
    breaks_at: int | None
    at_risk_us: int
    breaks_us: int
    forgiven_us: int | None = None  # when a period ends that grace or a freeze may have to save
    reminder_us: int | None = None  # from when on a reminder may be due

    @property
    def check_us(self) -> int:
        """When the streak is to be looked at: the earliest of its deadlines."""
        others = (self.forgiven_us, self.reminder_us)
        return min([self.at_risk_us, *(at_us for at_us in others if at_us is not None)])


@dataclass(frozen=True, slots=True)
class Reminded:
    """The last reminder that was published: of which period, and when it was due."""

    period: int | None = None
    due_us: int | None = None


@dataclass(frozen=True, slots=True)
class Notified:
    """The break for which each fact was last published, None: never; and the last reminder."""

    at_risk: int | None = None
    broken: int | None = None
    reminded: Reminded = Reminded()


@dataclass(frozen=True, slots=True)
class Look:
    """The facts to publish for a streak, and when to look again."""

    publish: Literal["at_risk", "broken"] | None
    again_us: int | None  # None: it is broken; only a tick or new rules can change that


def deadlines(totals: StreakTotals, calendar: Calendar) -> Deadlines:
    """The deadlines of a plain streak with at least one recorded period."""
    return of_break((totals.last or 0) + totals.grace_remaining + 2, calendar)


def of_break(breaks_at: int, calendar: Calendar) -> Deadlines:
    """The deadlines of a streak that breaks at the start of a period.

    It is at risk when the last period begins that can save it, or `lead_hours` before it breaks,
    but never before that period begins (contract §3.4).
    """
    at_risk_us = starts_us(calendar.cadence, breaks_at - 1, calendar.zone)
    breaks_us = starts_us(calendar.cadence, breaks_at, calendar.zone)
    if calendar.lead_hours is not None:
        at_risk_us = max(at_risk_us, breaks_us - calendar.lead_hours * HOUR_US)
    return Deadlines(breaks_at, at_risk_us, breaks_us)


def of_walk(
    totals: StreakTotals, terms: Terms, calendar: Calendar, since: int, known: int | None = None
) -> Deadlines:
    """The deadlines of a streak with forgiveness, seen from a period not before its last tick.

    `known` is when it breaks, where a walk has found it. Beyond two years it is only looked at
    again.
    """
    breaks_at = forgiveness.breaks_at(totals, terms, since) if known is None else known
    if breaks_at is None:
        far = forgiveness.horizon(terms, since)
        return Deadlines(None, *[starts_us(calendar.cadence, far, calendar.zone)] * 2)
    found = of_break(breaks_at, calendar)
    for period in range(since, breaks_at - 1):
        if period > (totals.last or 0) and terms.protection(period) is None:
            ends_us = starts_us(calendar.cadence, period + 1, calendar.zone)
            return replace(found, forgiven_us=ends_us)
    return found


def look(found: Deadlines, notified: Notified, now_us: int, *, can_be_saved: bool) -> Look:
    """The facts to publish at an instant: each at most once for each break.

    A late look publishes only what still holds: a streak that has broken meanwhile is not published
    as at risk. Nor is a streak of an inactive participant, which cannot save it.
    """
    if found.breaks_at is None:
        return Look(None, found.at_risk_us)
    if now_us >= found.breaks_us:
        return Look("broken" if notified.broken != found.breaks_at else None, None)
    if now_us < found.at_risk_us:
        return Look(None, found.at_risk_us)
    is_news = can_be_saved and notified.at_risk != found.breaks_at
    return Look("at_risk" if is_news else None, found.breaks_us)


@lru_cache(maxsize=8_192)  # a few periods in each of 400 zones
def starts_us(cadence: Cadence, period: int, zone: str | None) -> int:
    """The instant (microseconds) at which a period begins in `zone`."""
    return (starts_at(cadence, period, zone) - _EPOCH) // _MICROSECOND
