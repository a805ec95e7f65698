"""When a reminder is due, against a naive walk through the minutes of a period."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import clock
from models.rules.deadlines import Calendar, Reminded, starts_us
from models.rules.periods import DAILY, HOUR_US, Cadence, PeriodKind, period_at, zone_info
from models.rules.reminders import (
    LATE_US,
    LastTick,
    Reminder,
    instant_us,
    look,
    next_us,
    reminder_of,
)

MINUTE_US = HOUR_US // 60
# By half an hour, over midnight, at midnight, southern, without a change of clocks, none.
ZONES = (
    "Europe/Berlin", "Australia/Lord_Howe", "America/Santiago", "Africa/Cairo", "Asia/Kathmandu",
    "Pacific/Auckland", None,
)  # fmt: skip
NIGHT = {"from": "22:00", "to": "08:00"}


def us(text: str) -> int:
    """The microseconds of an instant that is spelled without its zone: UTC."""
    return clock.to_us(datetime.fromisoformat(f"{text}Z"))


def said(instant: int | None, zone: str | None = None) -> str | None:
    """An instant on the clocks of a zone."""
    if instant is None:
        return None
    at = datetime.fromtimestamp(instant / 1_000_000, zone_info(zone or "UTC"))
    return at.strftime("%Y-%m-%d %H:%M")


def due(
    fields: dict[str, Any],
    day: str = "2027-03-11",
    zone: str | None = None,
    kind: PeriodKind = "daily",
    last: str = "2027-03-10T12:00",
) -> str | None:
    """When the reminder of the period that a day belongs to is due."""
    period = period_at(Cadence(kind), us(f"{day}T12:00"), None)
    return said(
        instant_us(reminder_of(fields), Calendar(Cadence(kind), zone), period, us(last)), zone
    )


# -- examples ----------------------------------------------------------------------------------


def test_a_time_of_day_is_the_participants_own_on_the_last_day_of_the_period() -> None:
    assert due({"at": "20:00"}, zone="Asia/Kathmandu") == "2027-03-11 20:00"
    assert due({"at": "20:00"}, kind="weekly") == "2027-03-14 20:00"
    assert due({"at": "20:00"}, kind="monthly") == "2027-03-31 20:00"


def test_a_time_that_the_clocks_skip_is_an_hour_later() -> None:
    assert due({"at": "02:30"}, "2027-03-28", "Europe/Berlin") == "2027-03-28 03:30"


def test_a_time_that_comes_twice_is_the_first() -> None:
    period = period_at(DAILY, us("2027-10-31T12:00"), None)
    calendar = Calendar(DAILY, "Europe/Berlin")
    assert said(instant_us(reminder_of({"at": "02:30"}), calendar, period, 0)) == "2027-10-31 00:30"


def test_hours_before_are_counted_from_the_end_of_the_period_but_not_past_its_beginning() -> None:
    assert due({"hours_before": 6}) == "2027-03-11 18:00"
    assert due({"hours_before": 24}, "2027-03-28", "Europe/Berlin") == "2027-03-28 00:00"


def test_hours_after_the_latest_tick_come_at_the_same_time_on_the_first_day_of_later_periods() -> (
    None
):
    after: dict[str, Any] = {"hours_after_last_tick": 23.5}
    assert due(after) == "2027-03-11 11:30"
    assert due(after, "2027-03-12") == "2027-03-12 11:30"
    assert due(after, "2027-03-18", kind="weekly") == "2027-03-15 11:30"
    assert due({"hours_after_last_tick": 40}) is None
    assert due({"hours_after_last_tick": 40}, "2027-03-12") == "2027-03-12 04:00"


@pytest.mark.parametrize(
    ("fields", "moved"),
    [
        ({"at": "21:59"}, "21:59"),
        ({"at": "22:00"}, "22:00"),
        ({"at": "23:00"}, "22:00"),
        ({"hours_before": 1}, "22:00"),
        ({"at": "03:00"}, "22:00"),
        ({"at": "08:00"}, "08:00"),
        ({"at": "03:00", "quiet_hours": {"from": "01:00", "to": "07:00"}}, "07:00"),
        ({"at": "03:00", "quiet_hours": {"from": "00:00", "to": "23:59"}}, "23:59"),
    ],
)
def test_a_reminder_in_quiet_hours_is_moved_to_the_last_instant_at_which_they_begin_or_end(
    fields: dict[str, Any], moved: str
) -> None:
    assert due({"quiet_hours": NIGHT} | fields) == f"2027-03-11 {moved}"


def test_a_day_that_the_zone_left_out_has_no_reminder() -> None:
    assert due({"at": "20:00"}, "2011-12-30", "Pacific/Apia", last="2011-12-29T12:00") is None


# -- looks -------------------------------------------------------------------------------------

CALENDAR = Calendar(DAILY, None)
LAST = LastTick(period_at(DAILY, us("2027-03-10T12:00"), None), us("2027-03-10T12:00"))


def looked(fields: dict[str, Any], now: str, reminded: Reminded | None = None) -> tuple[Any, Any]:
    """Whether a look publishes, and when the next one is."""
    found = look(reminder_of(fields), CALENDAR, LAST, reminded or Reminded(), us(now))
    return said(None if found.due is None else found.due.due_us), said(found.again_us)


def test_it_is_published_from_its_instant_on_and_once_for_its_period() -> None:
    evening = {"at": "20:00"}
    assert looked(evening, "2027-03-10T21:00") == (None, "2027-03-11 20:00")
    assert looked(evening, "2027-03-11T19:59") == (None, "2027-03-11 20:00")
    at = ("2027-03-11 20:00", "2027-03-12 20:00")
    assert looked(evening, "2027-03-11T20:00") == at
    assert looked(evening, "2027-03-11T23:59") == at
    again = Reminded(LAST.period + 1, us("2027-03-11T20:00"))
    assert looked(evening, "2027-03-11T23:59", again) == (None, "2027-03-12 20:00")
    assert looked(evening, "2027-03-12T00:00") == (None, "2027-03-12 20:00")


def test_a_late_look_in_quiet_hours_leaves_it_out_unless_they_end_in_the_period() -> None:
    night: dict[str, Any] = {"at": "20:00", "quiet_hours": NIGHT}
    assert looked(night, "2027-03-11T22:01") == (None, "2027-03-12 20:00")
    evening_edge: dict[str, Any] = {"at": "22:00", "quiet_hours": NIGHT}
    assert looked(evening_edge, "2027-03-11T22:01")[0] == "2027-03-11 22:00"
    morning: dict[str, Any] = {"at": "00:30", "quiet_hours": {"from": "01:00", "to": "07:00"}}
    assert looked(morning, "2027-03-11T02:00") == (None, "2027-03-11 07:00")
    assert looked(morning, "2027-03-11T07:00")[0] == "2027-03-11 00:30"


# -- whatever the definition, the zone and the day ---------------------------------------------


def naive(fields: dict[str, Any], calendar: Calendar, period: int, last_us: int) -> int | None:
    """The same, by a walk through the minutes that the clocks show."""
    clocks = Clocks(calendar, period)
    at, quiet_hours = clocks.due(fields, last_us), fields.get("quiet_hours")
    if at is None or quiet_hours is None or not is_in(quiet_hours, clocks.shown(at)):
        return at
    edges = [clocks.instant(edge) for edge in quiet_hours.values()]
    return max(
        (edge for edge in edges if edge is not None and not is_in(quiet_hours, clocks.shown(edge))),
        default=None,
    )


def is_in(quiet_hours: dict[str, str], time: str) -> bool:
    """Whether a time of day is within quiet hours, whose ends are not."""
    first, end = quiet_hours["from"], quiet_hours["to"]
    return first < time < end if first < end else time > first or time < end


class Clocks:
    """The minutes of a day as the clocks of a zone show them."""

    def __init__(self, calendar: Calendar, period: int) -> None:
        self.zone = zone_info(calendar.zone or "UTC")
        self.starts = starts_us(calendar.cadence, period, calendar.zone)
        self.ends = starts_us(calendar.cadence, period + 1, calendar.zone)
        self.minutes = [(at, self.shown(at)) for at in range(self.starts, self.ends, MINUTE_US)]

    def shown(self, at: int) -> str:
        """The time of day at an instant."""
        return datetime.fromtimestamp(at // 1_000_000, self.zone).strftime("%H:%M")

    def instant(self, time: str) -> int | None:
        """The first instant that shows a time of day; where the clocks skip it, as much later."""
        earlier = (self.starts, "00:00")
        for at, text in self.minutes:
            if text == time:
                return at
            if text < time:
                earlier = (at, text)
            else:
                break
        later = earlier[0] + (minutes_of(time) - minutes_of(earlier[1])) * MINUTE_US
        return later if later < self.ends else None

    def due(self, fields: dict[str, Any], last_us: int) -> int | None:
        """When the reminder is due, quiet hours aside."""
        if "at" in fields:
            return self.instant(fields["at"])
        if "hours_before" in fields:
            return max(self.starts, self.ends - int(fields["hours_before"] * HOUR_US))
        after = last_us + int(fields["hours_after_last_tick"] * HOUR_US)
        if after < self.starts:
            return self.instant(self.shown(after))
        return after if after < self.ends else None


def minutes_of(time: str) -> int:
    """The minutes from midnight to a time of day."""
    return int(time[:2]) * 60 + int(time[3:])


times = st.builds("{:02d}:{:02d}".format, st.integers(0, 23), st.sampled_from((0, 15, 30, 59)))
kinds = st.one_of(
    st.builds(lambda at: {"at": at}, times),
    st.builds(lambda hours: {"hours_before": hours}, st.sampled_from((0.25, 1, 2.5, 6, 23.5, 24))),
    st.builds(
        lambda hours: {"hours_after_last_tick": hours}, st.sampled_from((1, 12, 23.5, 24, 30, 47))
    ),
)
quiet = st.one_of(
    st.just({}),
    st.builds(
        lambda first, end: {"quiet_hours": {"from": first, "to": end}} if first != end else {},
        times,
        times,
    ),
)
# The days around changes of the clocks, and others.
CHANGES = ("2027-03-14", "2027-03-28", "2027-04-03", "2027-04-29", "2027-09-04", "2027-10-31")
days = st.one_of(
    st.integers(-380, 380).map(lambda more: us("2027-06-01T12:00") + more * 24 * HOUR_US),
    st.builds(
        lambda day, more: us(f"{day}T12:00") + more * 24 * HOUR_US,
        st.sampled_from(CHANGES), st.integers(-1, 1),
    ),
)  # fmt: skip


@given(kinds, quiet, st.sampled_from(ZONES), days, st.integers(1, 60 * 60))
def test_it_is_due_when_a_walk_through_the_minutes_finds_it(
    kind: dict[str, Any], hours: dict[str, Any], zone: str | None, noon: int, ago: int
) -> None:
    calendar = Calendar(DAILY, zone)
    period = period_at(DAILY, noon, zone)
    last_us = starts_us(DAILY, period, zone) - ago * MINUTE_US
    fields = kind | hours
    expected = naive(fields, calendar, period, last_us)
    assert said(instant_us(reminder_of(fields), calendar, period, last_us)) == said(expected)


@given(kinds, quiet, st.sampled_from(ZONES), days, st.integers(1, 72), st.data())
def test_looks_at_any_instants_publish_each_period_once_and_never_in_quiet_hours(
    kind: dict[str, Any],
    hours: dict[str, Any],
    zone: str | None,
    noon: int,
    ago: int,
    data: st.DataObject,
) -> None:
    fields, calendar = kind | hours, Calendar(DAILY, zone)
    rule: Reminder = reminder_of(fields)
    period, reminded, sent = period_at(DAILY, noon, zone), Reminded(), []
    last = LastTick(period, noon)
    now = next_us(rule, calendar, last, 0)
    for _ in range(6):
        found = look(rule, calendar, last, reminded, now)
        if found.due is not None:
            sent.append(found.due.period)
            assert found.due.period == period_at(DAILY, now, zone) > period
            reminded = Reminded(found.due.period, found.due.due_us)
            is_late = now - found.due.due_us > LATE_US
            assert not (
                is_late and rule.quiet_hours is not None and rule.quiet_hours.cover(now, zone)
            )
        assert found.again_us > now
        now = found.again_us + data.draw(st.sampled_from((0, 1, 60)), "late") * MINUTE_US
    assert sent == sorted(set(sent))
