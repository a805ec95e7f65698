"""Periods: which day, ISO week or month an instant falls in, wherever clocks do what they do."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import clock
from models.rules import periods
from models.rules.periods import DAILY, MONTHLY, Cadence, PeriodKind

ANY_KIND: st.SearchStrategy[PeriodKind] = st.sampled_from(periods.KINDS)
ANY_ZONE = st.sampled_from(sorted(periods.zone_names()))
ANY_DAY = st.dates(date(1905, 1, 1), date(2105, 12, 31))
# Days that a zone left out when it changed sides of the date line.
LEFT_OUT = {
    ("Pacific/Apia", date(2011, 12, 30)),
    ("Pacific/Fakaofo", date(2011, 12, 30)),
    ("Pacific/Enderbury", date(1994, 12, 31)),
    ("Pacific/Kanton", date(1994, 12, 31)),
    ("Pacific/Kiritimati", date(1994, 12, 31)),
    ("Kwajalein", date(1993, 8, 21)),
    ("Pacific/Kwajalein", date(1993, 8, 21)),
}


def us(text: str) -> int:
    """The microseconds of an RFC 3339 instant."""
    return clock.to_us(datetime.fromisoformat(text))


def period(calendar: PeriodKind | Cadence, day: date) -> int:
    """The period of a calendar day."""
    cadence = calendar if isinstance(calendar, Cadence) else Cadence(calendar)
    return periods.period_of_day(cadence, (day - date(1970, 1, 1)).days)


def assert_begins(kind: PeriodKind, number: int, zone: str | None) -> None:
    """The start of a period is in it and the microsecond before is in the one before."""
    start_us = clock.to_us(periods.starts_at(Cadence(kind), number, zone))
    assert periods.period_at(Cadence(kind), start_us, zone) == number, (kind, number, zone)
    assert periods.period_at(Cadence(kind), start_us - 1, zone) == number - 1, (kind, number, zone)


def is_whole(cadence: Cadence, number: int, zone: str) -> bool:
    """Whether neither the first day of a period nor the one before it was left out."""
    first = periods.first_day(cadence, number)
    return not {(zone, first), (zone, first - timedelta(days=1))} & LEFT_OUT


# -- keys ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "instant", "key"),
    [
        ("daily", "2026-05-23T08:15:00Z", "2026-05-23"),
        ("daily", "2028-02-29T23:59:59.999999Z", "2028-02-29"),
        ("daily", "1969-12-31T23:59:59.999999Z", "1969-12-31"),
        ("weekly", "2026-12-31T12:00:00Z", "2026-W53"),
        ("weekly", "2027-01-01T00:00:00Z", "2026-W53"),
        ("weekly", "2027-01-03T23:59:59Z", "2026-W53"),
        ("weekly", "2027-01-04T00:00:00Z", "2027-W01"),
        ("weekly", "2024-12-30T00:00:00Z", "2025-W01"),
        ("weekly", "2021-01-03T12:00:00Z", "2020-W53"),
        ("weekly", "1970-01-01T00:00:00Z", "1970-W01"),
        ("weekly", "1969-12-28T23:59:59Z", "1969-W52"),
        ("monthly", "2026-05-31T23:59:59Z", "2026-05"),
        ("monthly", "2026-12-31T23:59:59Z", "2026-12"),
        ("monthly", "1969-12-31T23:59:59Z", "1969-12"),
        ("monthly", "1968-02-29T00:00:00Z", "1968-02"),
    ],
)
def test_it_names_the_period_of_an_instant(kind: PeriodKind, instant: str, key: str) -> None:
    assert periods.key_of(Cadence(kind), periods.period_at(Cadence(kind), us(instant), None)) == key


@given(ANY_KIND, ANY_DAY)
def test_a_key_leads_back_to_its_period(kind: PeriodKind, day: date) -> None:
    number = period(kind, day)
    key = periods.key_of(Cadence(kind), number)
    read = {
        "daily": lambda: date.fromisoformat(key),
        "weekly": lambda: date.fromisocalendar(int(key[:4]), int(key[6:]), 4),
        "monthly": lambda: date(int(key[:4]), int(key[5:]), 15),
    }[kind]()
    assert period(kind, read) == number


@given(ANY_KIND, ANY_DAY)
def test_periods_count_up_by_one_and_leave_no_day_out(kind: PeriodKind, day: date) -> None:
    number = period(kind, day)
    first, following = (
        periods.first_day(Cadence(kind), number),
        periods.first_day(Cadence(kind), number + 1),
    )
    assert first <= day < following
    assert period(kind, following - timedelta(days=1)) == number
    lengths = {"daily": {1}, "weekly": {7}, "monthly": {28, 29, 30, 31}}[kind]
    assert (following - first).days in lengths


def test_months_before_1970_are_counted_down() -> None:
    assert [period("monthly", date(1970, 1, 1)), period("monthly", date(1969, 12, 1))] == [0, -1]
    assert period("monthly", date(1968, 2, 29)) == -23
    assert periods.first_day(MONTHLY, -24) == date(1968, 1, 1)
    assert periods.first_day(MONTHLY, -25) == date(1967, 12, 1)


def test_the_leap_day_stands_between_its_neighbours() -> None:
    days = [period("daily", date(2028, 2, 28)), period("daily", date(2028, 3, 1))]
    assert days[1] - days[0] == 2
    assert period("daily", date(2027, 3, 1)) - period("daily", date(2027, 2, 28)) == 1


# -- weeks and days that start at another time ----------------------------------------------------

ANY_CADENCE = st.builds(
    Cadence,
    ANY_KIND,
    st.integers(0, 6),
    st.sampled_from([0, 1, 30, 90, 105, 150, 240, 720, 1_439]).map(
        lambda minutes: minutes * 60 * 10**6
    ),
).map(lambda one: one if one.kind == "weekly" else one._replace(first_weekday=0))
# Of these some have changed their clocks by half an hour, by two or three hours, or by a day.
CHANGING_ZONES = [
    "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Antarctica/Troll", "Asia/Beirut",
    "Antarctica/Casey", "America/Sao_Paulo", "Africa/Cairo", "America/Havana", "Pacific/Apia",
    "Africa/Monrovia", "Asia/Kathmandu", "Europe/Moscow", "Africa/Casablanca",
]  # fmt: skip


def naive_day(instant_us: int, zone: str, day_starts_us: int) -> int:
    """Watch the clock for 60 hours, minute by minute: a day that has begun does not end early."""
    starts = timedelta(microseconds=day_starts_us)
    instant = datetime.fromtimestamp(instant_us // 1_000_000, UTC)
    watched = [instant - timedelta(minutes=minutes) for minutes in range(60 * 60)]
    local = [at.astimezone(ZoneInfo(zone)).replace(tzinfo=None) - starts for at in watched]
    return (max(local).date() - date(1970, 1, 1)).days


def changes_of(zone: str) -> list[datetime]:
    """The hours from 1970 to 2030 in which a zone changes its clocks."""
    hours = [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=nth) for nth in range(60 * 365)]
    offsets = [hour.astimezone(ZoneInfo(zone)).utcoffset() for hour in hours]
    return [
        hour for hour, before, after in zip(hours, offsets, offsets[1:], strict=False)
        if before != after
    ]  # fmt: skip


CHANGES = {zone: changes_of(zone) for zone in CHANGING_ZONES}


@given(
    st.sampled_from([(zone, day) for zone in CHANGING_ZONES for day in CHANGES[zone]]),
    st.integers(-6 * 3_600, 40 * 3_600),
    st.sampled_from([1, 30, 60, 90, 105, 120, 150, 180, 240, 720, 1_410]),
)
def test_what_happens_before_the_start_of_a_day_belongs_to_the_day_before(
    change: tuple[str, datetime], seconds: int, starts_minutes: int
) -> None:
    zone, near = change
    instant_us = clock.to_us(near) + seconds * 1_000_000
    cadence = Cadence("daily", day_starts_us=starts_minutes * 60_000_000)
    expected = naive_day(instant_us, zone, cadence.day_starts_us)
    assert periods.period_at(cadence, instant_us, zone) == expected
    assert clock.to_us(periods.starts_at(cadence, expected, zone)) <= instant_us
    assert instant_us < clock.to_us(periods.starts_at(cadence, expected + 1, zone))


@pytest.mark.parametrize(
    ("zone", "starts_minutes", "instant", "key"),
    [
        # From 03:00 back to 02:00: the day starts at the first 02:30, and does not start again.
        ("Europe/Berlin", 150, "2026-10-25T00:29:59Z", "2026-10-24"),
        ("Europe/Berlin", 150, "2026-10-25T00:30:00Z", "2026-10-25"),
        ("Europe/Berlin", 150, "2026-10-25T01:10:00Z", "2026-10-25"),
        ("Europe/Berlin", 150, "2026-10-25T01:30:00Z", "2026-10-25"),
        ("Europe/Berlin", 190, "2026-10-25T01:10:00Z", "2026-10-24"),
        ("Australia/Lord_Howe", 105, "2026-04-04T14:44:59Z", "2026-04-04"),
        ("Australia/Lord_Howe", 105, "2026-04-04T15:05:00Z", "2026-04-05"),
        # From 02:00 to 03:00: the day starts at 03:00.
        ("America/New_York", 150, "2027-03-14T06:59:59Z", "2027-03-13"),
        ("America/New_York", 150, "2027-03-14T07:00:00Z", "2027-03-14"),
    ],
)
def test_a_day_starts_once_where_clocks_change_at_its_start(
    zone: str, starts_minutes: int, instant: str, key: str
) -> None:
    cadence = Cadence("daily", day_starts_us=starts_minutes * 60_000_000)
    assert periods.key_of(cadence, periods.period_at(cadence, us(instant), zone)) == key


@given(ANY_DAY, st.integers(0, 6))
def test_a_week_begins_on_its_weekday_and_is_named_by_that_date(day: date, weekday: int) -> None:
    first = day
    while first.weekday() != weekday:
        first -= timedelta(days=1)
    cadence = Cadence("weekly", weekday)
    number = period(cadence, day)
    assert periods.first_day(cadence, number) == first
    assert period(cadence, first + timedelta(days=7)) == number + 1
    assert period(cadence, first - timedelta(days=1)) == number - 1
    year, week, _ = first.isocalendar()
    key = first.isoformat() if weekday else f"{year}-W{week:02d}"
    assert periods.key_of(cadence, number) == key
    assert periods.period_of_key(cadence, key) == number


@given(ANY_CADENCE, ANY_DAY, st.one_of(st.none(), ANY_ZONE))
def test_a_shifted_period_starts_at_its_first_instant(
    cadence: Cadence, day: date, zone: str | None
) -> None:
    number = period(cadence, day)
    if zone is None or is_whole(cadence, number, zone):
        start_us = clock.to_us(periods.starts_at(cadence, number, zone))
        assert periods.period_at(cadence, start_us, zone) == number
        assert periods.period_at(cadence, start_us - 1, zone) == number - 1


@pytest.mark.parametrize(
    ("key", "weekday"),
    [("2026-05-23", 6), ("2026-W21", 6), ("2026-05-24", 0), ("2026-05", 6), ("x", 6), ("", 2)],
)
def test_a_key_of_another_week_is_refused(key: str, weekday: int) -> None:
    with pytest.raises(ValueError, match=r"key|isoformat"):
        periods.period_of_key(Cadence("weekly", weekday), key)


@pytest.mark.parametrize(
    ("fields", "cadence"),
    [
        (None, Cadence("weekly")),
        ({"target": None}, Cadence("weekly")),
        ({"week_starts_on": "sunday"}, Cadence("weekly", 6)),
        ({"day_starts_at": "04:30"}, Cadence("weekly", 0, 16_200_000_000)),
    ],
)
def test_a_cadence_is_that_of_the_definition(fields: Any, cadence: Cadence) -> None:
    assert periods.cadence_of("weekly", fields) == cadence


# -- zones --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("instant", "zone", "key"),
    [
        ("2026-05-23T13:59:59Z", "Australia/Sydney", "2026-05-23"),
        ("2026-05-23T14:00:00Z", "Australia/Sydney", "2026-05-24"),
        ("2026-05-24T06:59:59Z", "America/Los_Angeles", "2026-05-23"),
        ("2026-05-24T07:00:00Z", "America/Los_Angeles", "2026-05-24"),
        ("2026-05-23T10:00:00Z", "Pacific/Kiritimati", "2026-05-24"),
        ("2026-05-23T18:14:59Z", "Asia/Kathmandu", "2026-05-23"),
        ("2026-05-23T18:15:00Z", "Asia/Kathmandu", "2026-05-24"),
        ("2026-05-23T23:59:59Z", "UTC", "2026-05-23"),
        ("2026-05-23T23:59:59Z", "Etc/UTC", "2026-05-23"),
    ],
)
def test_the_zones_calendar_decides_the_day(instant: str, zone: str, key: str) -> None:
    assert periods.key_of(DAILY, periods.period_at(DAILY, us(instant), zone)) == key


@pytest.mark.parametrize(
    ("zone", "day", "starts", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 29), "2026-03-28T23:00:00Z", 23),
        ("Europe/Berlin", date(2026, 10, 25), "2026-10-24T22:00:00Z", 25),
        ("America/New_York", date(2026, 3, 8), "2026-03-08T05:00:00Z", 23),
        ("Australia/Lord_Howe", date(2026, 10, 4), "2026-10-03T13:30:00Z", 23.5),
        # Midnight does not exist: the clocks go from 23:59:59 to 01:00.
        ("America/Sao_Paulo", date(2018, 11, 4), "2018-11-04T03:00:00Z", 23),
        ("Africa/Cairo", date(2026, 4, 24), "2026-04-23T22:00:00Z", 23),
        ("Asia/Beirut", date(2026, 3, 29), "2026-03-28T22:00:00Z", 23),
        ("America/Santiago", date(2026, 9, 6), "2026-09-06T04:00:00Z", 23),
        # They went from 23:30 to 00:30: half an hour of each day was left out.
        ("America/Toronto", date(1919, 3, 31), "1919-03-31T04:30:00Z", 23.5),
        # Midnight comes twice: from 01:00 back to 00:00.
        ("America/Havana", date(2026, 11, 1), "2026-11-01T04:00:00Z", 25),
        # The day before has 25 hours: from midnight back to 23:00.
        ("Asia/Beirut", date(2026, 10, 25), "2026-10-24T22:00:00Z", 24),
    ],
)
def test_a_day_of_any_length_is_one_day(zone: str, day: date, starts: str, hours: float) -> None:
    number = period("daily", day)
    start, end = (periods.starts_at(DAILY, each, zone) for each in (number, number + 1))
    assert start == datetime.fromisoformat(starts)
    assert end - start == timedelta(hours=hours)
    assert_begins("daily", number, zone)


def test_a_day_that_a_zone_left_out_begins_when_the_next_one_does() -> None:
    left_out = period("daily", date(2011, 12, 30))
    starts = {periods.starts_at(DAILY, left_out + more, "Pacific/Apia") for more in (0, 1)}
    assert starts == {datetime(2011, 12, 30, 10, tzinfo=UTC)}
    assert periods.day_at(clock.to_us(starts.pop()) - 1, "Pacific/Apia") == left_out - 1


@given(ANY_KIND, ANY_DAY, st.one_of(st.none(), ANY_ZONE))
def test_a_period_starts_at_its_first_instant(
    kind: PeriodKind, day: date, zone: str | None
) -> None:
    number = period(kind, day)
    if zone is None or is_whole(Cadence(kind), number, zone):
        assert_begins(kind, number, zone)


def test_every_day_of_a_year_starts_at_its_first_instant_in_every_zone() -> None:
    for zone in periods.zone_names():
        for number in range(period("daily", date(2026, 1, 1)), period("daily", date(2027, 1, 1))):
            assert_begins("daily", number, zone)


@given(st.integers(-(10**15), 4 * 10**15), st.one_of(st.none(), ANY_ZONE))
def test_an_instant_lies_in_the_day_that_starts_before_it(
    instant_us: int, zone: str | None
) -> None:
    day = periods.day_at(instant_us, zone)
    assert clock.to_us(periods.starts_at(DAILY, day, zone)) <= instant_us


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "/etc/passwd", "a\0b"])
def test_a_zone_that_does_not_exist_is_refused(zone: str) -> None:
    assert zone not in periods.zone_names()
    with pytest.raises((ZoneInfoNotFoundError, ValueError)):
        periods.zone_info(zone)


def test_the_names_of_zones_are_those_of_places() -> None:
    assert {"UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"} <= periods.zone_names()
    assert not {"localtime", "posixrules", "Factory"} & periods.zone_names()
