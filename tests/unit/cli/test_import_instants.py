"""Instants of a file: the day that is written is the day that is read, whatever clocks do."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.cli.importing.errors import BadRow
from api.cli.importing.instants import instant
from models.rules.periods import day_at, zone_names

ZONES = st.sampled_from(sorted(zone_names()))
LOCAL = st.datetimes(datetime(1972, 1, 1), datetime(2037, 12, 31)).map(  # noqa: DTZ001 - naive
    lambda local: local.replace(microsecond=0)
)


def written_day(text: str, zone: str) -> date:
    return datetime.fromisoformat(text).astimezone(ZoneInfo(zone)).date()


@given(LOCAL, ZONES)
@example(datetime(2026, 3, 29, 2, 30), "Europe/Berlin")  # noqa: DTZ001 - skipped
@example(datetime(2026, 10, 25, 2, 30), "Europe/Berlin")  # noqa: DTZ001 - twice
@example(datetime(2026, 4, 24, 0, 30), "Africa/Cairo")  # noqa: DTZ001 - midnight is skipped
@example(datetime(2026, 10, 29, 23, 30), "Africa/Cairo")  # noqa: DTZ001 - before it, twice
def test_an_instant_without_a_zone_counts_for_the_day_that_is_written(
    local: datetime, zone: str
) -> None:
    try:
        text, is_day = instant(local.isoformat(sep=" "), zone)
    except BadRow:
        assert is_left_out(local.date(), zone)
        return
    assert not is_day
    assert written_day(text, zone) == local.date()


@given(st.dates(date(1972, 1, 1), date(2037, 12, 31)), ZONES)
def test_a_day_is_that_day_in_its_zone(day: date, zone: str) -> None:
    for spelling in (day.isoformat(), day.strftime("%Y%m%d")):
        try:
            text, is_day = instant(spelling, zone)
        except BadRow:
            assert is_left_out(day, zone)
            continue
        assert is_day
        assert written_day(text, zone) == day


def is_left_out(day: date, zone: str) -> bool:
    """Whether no instant has that day on the calendar of the zone."""
    start_us = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1e6)
    hours = range(-24, 48)
    days = {day_at(start_us + hour * 3_600_000_000, zone) for hour in hours}
    return (day - date(1970, 1, 1)).days not in days


def test_a_day_that_a_zone_left_out_is_refused() -> None:
    with pytest.raises(BadRow, match="left out"):
        instant("2011-12-30", "Pacific/Apia")
    with pytest.raises(BadRow, match="left out"):
        instant("2011-12-30 08:00", "Pacific/Apia")


def test_of_a_time_that_comes_twice_it_is_the_first_and_a_skipped_one_is_later() -> None:
    assert instant("2026-10-25 02:30", "Europe/Berlin")[0] == "2026-10-25T02:30:00+02:00"
    assert instant("2026-03-29 02:30", "Europe/Berlin")[0] == "2026-03-29T03:30:00+02:00"
