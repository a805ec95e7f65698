"""Instants: exact to the microsecond, written as RFC 3339 with `Z`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import clock

ANY_INSTANT = st.datetimes(timezones=st.just(UTC))


@given(ANY_INSTANT)
def test_microseconds_lead_back_to_their_instant(instant: datetime) -> None:
    assert clock.from_us(clock.to_us(instant)) == instant


@given(ANY_INSTANT)
def test_the_text_leads_back_to_its_instant(instant: datetime) -> None:
    text = clock.to_text(clock.to_us(instant))
    assert text.endswith("Z")
    assert datetime.fromisoformat(text) == instant


@pytest.mark.parametrize(
    ("instant_us", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (1_779_524_100_000_000, "2026-05-23T08:15:00Z"),
        (1_779_524_100_000_001, "2026-05-23T08:15:00.000001Z"),
        (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_an_instant_is_written_with_a_fraction_only_when_it_has_one(
    instant_us: int, text: str
) -> None:
    assert clock.to_text(instant_us) == text


def test_an_instant_of_another_zone_is_written_in_utc() -> None:
    sydney = datetime(2026, 5, 23, 18, 15, tzinfo=timezone(timedelta(hours=10)))
    assert clock.isoformat(sydney) == "2026-05-23T08:15:00Z"
    assert clock.to_us(sydney) == 1_779_524_100_000_000


def test_now_is_one_clock_in_utc() -> None:
    before, between, after = clock.now_us(), clock.now(), clock.now_us()
    assert between.tzinfo is UTC
    assert before <= clock.to_us(between) <= after
