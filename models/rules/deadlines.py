"""Deadlines: when a streak becomes at risk, and when it breaks without a tick. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal

from models.rules.periods import HOUR_US, PeriodKind, starts_at
from models.rules.streaks import StreakTotals

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Calendar:
    """When the periods of a streak begin, and how early it counts as at risk."""

    kind: PeriodKind
    zone: str | None  # None: UTC
    lead_hours: int | None = None  # before it breaks; None: when its last period begins


@dataclass(frozen=True, slots=True)
class Deadlines:
    """The deadlines of a streak without further ticks; instants in microseconds."""

    breaks_at: int  # the period at whose start it breaks: identifies the break
    at_risk_us: int
    breaks_us: int


@dataclass(frozen=True, slots=True)
class Notified:
    """The break for which each fact was last published; None: never."""

    at_risk: int | None = None
    broken: int | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """The facts to publish for a streak, and when to look again."""

    publish: Literal["at_risk", "broken"] | None
    again_us: int | None  # None: it is broken; only a tick or new rules can change that


def deadlines(totals: StreakTotals, calendar: Calendar) -> Deadlines:
    """The deadlines of a streak with at least one recorded period.

    It is at risk when the last period begins that can save it, or `lead_hours` before it breaks,
    but never before that period begins (contract §3.4).
    """
    breaks_at = (totals.last or 0) + totals.grace_remaining + 2
    at_risk_us = _starts_us(calendar.kind, breaks_at - 1, calendar.zone)
    breaks_us = _starts_us(calendar.kind, breaks_at, calendar.zone)
    if calendar.lead_hours is not None:
        at_risk_us = max(at_risk_us, breaks_us - calendar.lead_hours * HOUR_US)
    return Deadlines(breaks_at, at_risk_us, breaks_us)


def look(found: Deadlines, notified: Notified, now_us: int, *, can_be_saved: bool) -> Look:
    """The facts to publish at an instant: each at most once for each break.

    A late look publishes only what still holds: a streak that has broken meanwhile is not published
    as at risk. Nor is a streak of an inactive participant, which cannot save it.
    """
    if now_us >= found.breaks_us:
        return Look("broken" if notified.broken != found.breaks_at else None, None)
    if now_us < found.at_risk_us:
        return Look(None, found.at_risk_us)
    is_news = can_be_saved and notified.at_risk != found.breaks_at
    return Look("at_risk" if is_news else None, found.breaks_us)


@lru_cache(maxsize=8_192)  # a few periods in each of 400 zones
def _starts_us(kind: PeriodKind, period: int, zone: str | None) -> int:
    return (starts_at(kind, period, zone) - _EPOCH) // _MICROSECOND
