"""Deadlines: at risk and broken at each participant's own boundary, told once each."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import clock
from models.rules import periods
from models.rules.deadlines import Calendar, Deadlines, Look, Notified, deadlines, look
from models.rules.periods import DAILY, WEEKLY, Cadence, PeriodKind, period_at
from models.rules.streaks import Rules, StreakTotals, live

HOUR_US = 3_600_000_000
ANY_CADENCE = st.sampled_from(
    [
        *map(Cadence, periods.KINDS), Cadence("weekly", 6), Cadence("weekly", 2, 4 * HOUR_US),
        Cadence("daily", 0, 4 * HOUR_US), Cadence("daily", 0, HOUR_US // 2 * 3),
        Cadence("monthly", 0, 23 * HOUR_US),
    ]
)  # fmt: skip
ANY_ZONE = st.sampled_from([None, *sorted(periods.zone_names())])
ANY_DAY = st.integers(16_500, 27_000).map(lambda day: day * 24 * HOUR_US)


def us(text: str) -> int:
    """The microseconds of an RFC 3339 instant."""
    return clock.to_us(datetime.fromisoformat(text))


def after(kind: PeriodKind, day: str, calendar_zone: str | None, grace: int = 0) -> StreakTotals:
    """The standing after one tick at noon of a day, with so many credits left."""
    period = period_at(Cadence(kind), us(f"{day}T12:00:00Z"), calendar_zone)
    return StreakTotals(period, 1, 1, grace)


@pytest.mark.parametrize(
    ("kind", "zone", "lead", "day", "at_risk", "breaks"),
    [
        ("daily", None, None, "2027-03-13", "2027-03-14 00:00", "2027-03-15 00:00"),
        ("daily", None, 6, "2027-03-13", "2027-03-14 18:00", "2027-03-15 00:00"),
        ("daily", None, 30, "2027-03-13", "2027-03-14 00:00", "2027-03-15 00:00"),
        # a day of 23 hours, one of 25, one that begins at 01:00
        ("daily", "America/New_York", None, "2027-03-13", "2027-03-14 05:00", "2027-03-15 04:00"),
        ("daily", "America/New_York", 4, "2027-11-06", "2027-11-08 01:00", "2027-11-08 05:00"),
        ("daily", "America/Santiago", None, "2027-09-04", "2027-09-05 04:00", "2027-09-06 03:00"),
        ("daily", "Asia/Kathmandu", 1, "2027-01-30", "2027-01-31 17:15", "2027-01-31 18:15"),
        ("weekly", "Europe/Berlin", None, "2027-03-24", "2027-03-28 22:00", "2027-04-04 22:00"),
        ("monthly", "Pacific/Auckland", None, "2027-03-10", "2027-03-31 11:00", "2027-04-30 12:00"),
        ("monthly", "Pacific/Auckland", 48, "2027-03-10", "2027-04-28 12:00", "2027-04-30 12:00"),
    ],
)  # fmt: skip
def test_it_is_at_risk_in_its_last_period_and_broken_after_it(
    kind: PeriodKind, zone: str | None, lead: int | None, day: str, at_risk: str, breaks: str
) -> None:
    found = deadlines(after(kind, day, zone), Calendar(Cadence(kind), zone, lead))
    assert (found.at_risk_us, found.breaks_us) == (us(f"{at_risk}Z"), us(f"{breaks}Z"))


def test_credits_that_are_left_put_both_off() -> None:
    found = deadlines(after("daily", "2027-03-13", None, grace=2), Calendar(DAILY, None))
    assert clock.to_text(found.at_risk_us) == "2027-03-16T00:00:00Z"
    assert clock.to_text(found.breaks_us) == "2027-03-17T00:00:00Z"


@given(ANY_CADENCE, ANY_ZONE, ANY_DAY, st.integers(0, 23), st.integers(0, 120 * 24))
def test_it_says_what_a_reading_at_that_instant_says(
    cadence: Cadence, zone: str | None, day_us: int, hour: int, later: int
) -> None:
    ticked_us, grace = day_us + hour * HOUR_US, hour % 4
    totals = StreakTotals(period_at(cadence, ticked_us, zone), 1, 1, grace)
    found, now_us = deadlines(totals, Calendar(cadence, zone)), ticked_us + later * HOUR_US
    reads = live(totals, Rules(grace, True), period_at(cadence, now_us, zone))
    assert (reads.status == "broken") == (now_us >= found.breaks_us)
    assert (reads.status == "at_risk") == (found.at_risk_us <= now_us < found.breaks_us)


FOUND = Deadlines(breaks_at=7, at_risk_us=1_000, breaks_us=2_000)


@pytest.mark.parametrize(
    ("now_us", "notified", "expected"),
    [
        (999, Notified(), Look(None, 1_000)),
        (1_000, Notified(), Look("at_risk", 2_000)),
        (1_000, Notified(at_risk=6, broken=6), Look("at_risk", 2_000)),
        (1_999, Notified(at_risk=7), Look(None, 2_000)),
        (2_000, Notified(at_risk=7), Look("broken", None)),
        (2_000, Notified(at_risk=7, broken=6), Look("broken", None)),
        (9_999, Notified(), Look("broken", None)),
        (9_999, Notified(broken=7), Look(None, None)),
    ],
)
def test_it_tells_each_once_and_late_only_what_still_holds(
    now_us: int, notified: Notified, expected: Look
) -> None:
    assert look(FOUND, notified, now_us, can_be_saved=True) == expected


def test_it_does_not_tell_of_a_risk_that_nobody_can_avert() -> None:
    assert look(FOUND, Notified(), 1_500, can_be_saved=False) == Look(None, 2_000)
    assert look(FOUND, Notified(), 2_000, can_be_saved=False) == Look("broken", None)


def test_a_lead_longer_than_the_period_is_that_of_the_period() -> None:
    totals = after("weekly", "2027-03-24", None)
    plain = deadlines(totals, Calendar(WEEKLY, None))
    for days in (7, 8, 366):
        assert deadlines(totals, Calendar(WEEKLY, None, days * 24)) == plain
    shorter = deadlines(totals, Calendar(WEEKLY, None, 7 * 24 - 1))
    assert shorter.at_risk_us - plain.at_risk_us == timedelta(hours=1) // timedelta(microseconds=1)
