"""Periods: which local day, week or month an instant falls in (contract §3.1, §7.2).

A period is an integer that grows by one per period, so that a gap is a subtraction: days since
1970-01-01, ISO weeks since that of 1969-12-29, months since 1970-01. A week that starts on another
weekday has the number of the ISO week that its first day is in.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

PeriodKind = Literal["daily", "weekly", "monthly"]
KINDS: tuple[PeriodKind, ...] = ("daily", "weekly", "monthly")

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_THURSDAY = 3  # 1970-01-01 was one
# Where a day begins first, and where last.
FIRST_ZONE, LAST_ZONE = "Etc/GMT-14", "Etc/GMT+12"
HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000
_MINUTE_US = 60_000_000
_SECOND = timedelta(seconds=1)  # no zone changes its clock within one


class Cadence(NamedTuple):
    """The calendar of a streak: the length of its periods, and when they begin."""

    kind: PeriodKind
    first_weekday: int = 0  # of its weeks; 0 for Monday
    day_starts_us: int = 0  # when its days begin on local clocks, in microseconds after midnight


WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
# When weeks and days begin unless a definition says otherwise.
STARTS: Mapping[str, str] = {"week_starts_on": WEEKDAYS[0], "day_starts_at": "00:00"}
DAILY, WEEKLY, MONTHLY = Cadence("daily"), Cadence("weekly"), Cadence("monthly")


def cadence_of(kind: PeriodKind, fields: Mapping[str, Any] | None) -> Cadence:
    """The calendar in a definition's period and optional fields."""
    if fields is None:
        return _cadence(kind)
    return _cadence(kind, **{name: fields.get(name, start) for name, start in STARTS.items()})


@lru_cache(maxsize=4_096)
def _cadence(
    kind: PeriodKind,
    week_starts_on: str = STARTS["week_starts_on"],
    day_starts_at: str = STARTS["day_starts_at"],
) -> Cadence:
    hours, _, minutes = day_starts_at.partition(":")
    day_starts_us = (int(hours) * 60 + int(minutes)) * _MINUTE_US
    return Cadence(kind, WEEKDAYS.index(week_starts_on), day_starts_us)


def period_at(cadence: Cadence, instant_us: int, zone: str | None) -> int:
    """The period of an instant (microseconds since 1970, UTC) by the calendar of `zone`."""
    return period_of_day(cadence, day_at(instant_us, zone, cadence.day_starts_us))


def day_at(instant_us: int, zone: str | None, day_starts_us: int = 0) -> int:
    """Days since 1970-01-01 on the calendar of `zone` (None: UTC) at an instant.

    Only the local clock counts, so a day of 23 or 25 hours is one day.
    """
    if zone is None or zone == "UTC":
        return (instant_us - day_starts_us) // DAY_US
    local = datetime.fromtimestamp(instant_us // 1_000_000, zone_info(zone))
    if day_starts_us:
        return _late_day(local, day_starts_us)
    return local.toordinal() - _EPOCH_ORDINAL


def _late_day(local: datetime, day_starts_us: int) -> int:
    """The day at a local time where days do not begin at midnight.

    Where the clocks go back over the start of a day, that day has begun already.
    """
    day = (local - timedelta(microseconds=day_starts_us)).toordinal() - _EPOCH_ORDINAL
    if local.fold and _clocks_show(day + 1, day_starts_us, local.tzinfo) <= local.astimezone(UTC):
        return day + 1
    return day


def period_of_day(cadence: Cadence, day: int) -> int:
    """The period that a day (since 1970-01-01) belongs to."""
    kind, first_weekday, _ = cadence
    if kind == "daily":
        return day
    if kind == "weekly":
        return (day + _THURSDAY - first_weekday) // 7
    at = date.fromordinal(day + _EPOCH_ORDINAL)
    return (at.year - 1970) * 12 + at.month - 1


@lru_cache(maxsize=4096)
def key_of(cadence: Cadence, period: int) -> str:
    """The text form of a period: `2026-05-23`, `2026-W53`, `2026-05`; of a week that does not start
    on Monday the date of its first day."""
    first = first_day(cadence, period)
    if cadence.kind == "daily" or cadence.first_weekday:
        return first.isoformat()
    if cadence.kind == "weekly":
        year, week, _ = first.isocalendar()
        return f"{year}-W{week:02d}"
    return f"{first.year}-{first.month:02d}"


def period_of_key(cadence: Cadence, key: str) -> int:
    """The period of its text form; raise ValueError where it is none of that calendar."""
    suffix = {"daily": "", "weekly": "-1", "monthly": "-01"}[cadence.kind]
    first = key if cadence.first_weekday else key + suffix
    period = period_of_day(cadence, date.fromisoformat(first).toordinal() - _EPOCH_ORDINAL)
    if key_of(cadence, period) != key:
        raise ValueError(f"no key of a {cadence.kind} period")
    return period


def first_day(cadence: Cadence, period: int) -> date:
    """The first calendar day of a period."""
    kind, first_weekday, _ = cadence
    if kind == "daily":
        return date.fromordinal(period + _EPOCH_ORDINAL)
    if kind == "weekly":
        return date.fromordinal(period * 7 - _THURSDAY + first_weekday + _EPOCH_ORDINAL)
    return date(1970 + period // 12, period % 12 + 1, 1)


def days_before(cadence: Cadence, period: int) -> int:
    """The days from 1970-01-01 to the first day of a period."""
    return first_day(cadence, period).toordinal() - _EPOCH_ORDINAL


def starts_at(cadence: Cadence, period: int, zone: str | None) -> datetime:
    """The instant (UTC) at which a period begins in `zone`.

    Where clocks skip the start of its first day, it begins at the first instant that exists; where
    they show it twice, at the first of them. A day that a zone left out (Samoa: 2011-12-30) begins
    with the next one.
    """
    return _clocks_show(
        days_before(cadence, period), cadence.day_starts_us, zone_info(zone or "UTC")
    )


def _clocks_show(day: int, time_us: int, info: tzinfo | None) -> datetime:
    """The first instant (UTC) at which local clocks show a time of a day, or a later one."""
    wanted = datetime.fromordinal(day + _EPOCH_ORDINAL) + timedelta(microseconds=time_us)
    late = wanted.replace(tzinfo=info).astimezone(UTC)
    early = wanted.replace(tzinfo=info, fold=1).astimezone(UTC)
    return _first_on(wanted, info, early, late) if early < late else late  # early < late: skipped


def _first_on(wanted: datetime, info: tzinfo | None, early: datetime, late: datetime) -> datetime:
    """Bisect a skipped local time to the second at which the clocks skip it."""
    while late - early > _SECOND:
        middle = early + (late - early) // _SECOND // 2 * _SECOND
        is_shown = middle.astimezone(info).replace(tzinfo=None) >= wanted
        early, late = (early, middle) if is_shown else (middle, late)
    return late


@lru_cache(maxsize=1024)
def zone_info(zone: str) -> ZoneInfo:
    """The rules of an IANA zone; raises ZoneInfoNotFoundError or ValueError for an unknown name."""
    return ZoneInfo(zone)


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Every IANA name that is accepted as a time zone."""
    return frozenset(available_timezones() - {"localtime", "posixrules", "Factory"})
