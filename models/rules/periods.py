"""Periods: which local day, ISO week or month an instant falls in (contract §3.1).

A period is an integer that grows by one per period, so that a gap is a subtraction: days since
1970-01-01, ISO weeks since that of 1969-12-29, months since 1970-01.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo, available_timezones

PeriodKind = Literal["daily", "weekly", "monthly"]
KINDS: tuple[PeriodKind, ...] = ("daily", "weekly", "monthly")

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_THURSDAY = 3  # 1970-01-01 was one; ISO weeks begin on Monday
# Where a day begins first, and where last.
FIRST_ZONE, LAST_ZONE = "Etc/GMT-14", "Etc/GMT+12"
HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000
_SECOND = timedelta(seconds=1)  # no zone changes its clock within one


def period_at(kind: PeriodKind, instant_us: int, zone: str | None) -> int:
    """The period of an instant (microseconds since 1970, UTC) by the calendar of `zone`."""
    return period_of_day(kind, day_at(instant_us, zone))


def day_at(instant_us: int, zone: str | None) -> int:
    """Days since 1970-01-01 on the calendar of `zone` (None: UTC) at an instant.

    Only the local date counts, so a day of 23 or 25 hours is one day.
    """
    if zone is None or zone == "UTC":
        return instant_us // DAY_US
    local = datetime.fromtimestamp(instant_us // 1_000_000, zone_info(zone))
    return local.toordinal() - _EPOCH_ORDINAL


def period_of_day(kind: PeriodKind, day: int) -> int:
    """The period that a day (since 1970-01-01) belongs to."""
    if kind == "daily":
        return day
    if kind == "weekly":
        return (day + _THURSDAY) // 7
    at = date.fromordinal(day + _EPOCH_ORDINAL)
    return (at.year - 1970) * 12 + at.month - 1


@lru_cache(maxsize=4096)
def key_of(kind: PeriodKind, period: int) -> str:
    """The text form of a period: `2026-05-23`, `2026-W53`, `2026-05`."""
    first = first_day(kind, period)
    if kind == "daily":
        return first.isoformat()
    if kind == "weekly":
        year, week, _ = first.isocalendar()
        return f"{year}-W{week:02d}"
    return f"{first.year}-{first.month:02d}"


def period_of_key(kind: PeriodKind, key: str) -> int:
    """The period of its text form; raise ValueError where it is none of that kind."""
    first = {"daily": key, "weekly": f"{key}-1", "monthly": f"{key}-01"}[kind]
    day = date.fromisoformat(first).toordinal() - _EPOCH_ORDINAL
    period = period_of_day(kind, day)
    if key_of(kind, period) != key:
        raise ValueError(f"no key of a {kind} period")
    return period


def first_day(kind: PeriodKind, period: int) -> date:
    """The first calendar day of a period."""
    if kind == "daily":
        return date.fromordinal(period + _EPOCH_ORDINAL)
    if kind == "weekly":
        return date.fromordinal(period * 7 - _THURSDAY + _EPOCH_ORDINAL)
    return date(1970 + period // 12, period % 12 + 1, 1)


def days_before(kind: PeriodKind, period: int) -> int:
    """The days from 1970-01-01 to the first day of a period."""
    return first_day(kind, period).toordinal() - _EPOCH_ORDINAL


def starts_at(kind: PeriodKind, period: int, zone: str | None) -> datetime:
    """The instant (UTC) at which a period begins in `zone`.

    Where clocks skip midnight, the day begins at the first instant that exists; where midnight
    comes twice, at the first of them. A day that a zone left out (Samoa: 2011-12-30) begins with
    the next one.
    """
    day, info = first_day(kind, period), zone_info(zone or "UTC")
    midnight = datetime(day.year, day.month, day.day, tzinfo=info)
    late = midnight.astimezone(UTC)
    early = midnight.replace(fold=1).astimezone(UTC)
    return _first_on(day, info, early, late) if early < late else late  # early < late: skipped


def _first_on(day: date, info: ZoneInfo, early: datetime, late: datetime) -> datetime:
    """Bisect the skipped midnight to the second at which the clocks skip it."""
    while late - early > _SECOND:
        middle = early + (late - early) // _SECOND // 2 * _SECOND
        early, late = (early, middle) if middle.astimezone(info).date() >= day else (middle, late)
    return late


@lru_cache(maxsize=1024)
def zone_info(zone: str) -> ZoneInfo:
    """The rules of an IANA zone; raises ZoneInfoNotFoundError or ValueError for an unknown name."""
    return ZoneInfo(zone)


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Every IANA name that is accepted as a time zone."""
    return frozenset(available_timezones() - {"localtime", "posixrules", "Factory"})
