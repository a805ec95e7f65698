"""Dates imported from iCalendar files: what is taken, and what is refused with its line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import pytest
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from api.http.problems import Problem
from api.input import calendar_file
from models import clock
from tests.calls import make_streak, problem
from tests.conftest import BASE

CALENDARS = f"{BASE}/admin/calendars"
YEAR = clock.now().year
FIRST_LINE = 3  # of the events in a file


def ics(*events: Sequence[str]) -> str:
    """A file of events; each one's own lines begin at its fourth."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Example//EN"]
    for nth, event in enumerate(events):
        lines += ["BEGIN:VEVENT", f"UID:{nth}", "DTSTAMP:20260101T000000Z", *event, "END:VEVENT"]
    return "\r\n".join([*lines, "END:VCALENDAR", ""])


def day(month: int, of_month: int, year: int = YEAR) -> str:
    return f"{year}{month:02d}{of_month:02d}"


def dates(*event: str) -> list[str]:
    """The dates of a file with one event."""
    return sorted(str(one) for one in calendar_file.read(ics(event).encode()).dates)


def send(client: FlaskClient, text: str | bytes, code: str = "holidays") -> TestResponse:
    url = f"{CALENDARS}/{code}/import"
    return client.post(url, data=text, content_type="text/calendar; charset=utf-8")


def make_calendar(client: FlaskClient, *given_dates: str) -> None:
    body = {"code": "holidays", "name": "Holidays", "dates": given_dates}
    assert client.post(CALENDARS, json=body).status_code == 201


# -- what is taken ---------------------------------------------------------------------------


def test_an_import_adds_dates_to_the_calendar_and_to_the_streaks_that_name_it(
    client: FlaskClient,
) -> None:
    make_calendar(client, f"{YEAR}-12-25", f"{YEAR}-01-01")
    make_streak(client, calendar_codes=["holidays"])
    text = ics(
        [f"DTSTART;VALUE=DATE:{day(12, 24)}", f"DTEND;VALUE=DATE:{day(12, 27)}"],
        [f"DTSTART:{day(3, 1)}T100000Z", f"DTEND:{day(3, 1)}T110000Z"],
    )
    response = send(client, text)
    assert response.status_code == 200, response.text
    assert response.get_json() == {"added": 2, "known": 1, "ignored_events": 1}
    expected = [f"{YEAR}-01-01", f"{YEAR}-12-24", f"{YEAR}-12-25", f"{YEAR}-12-26"]
    assert client.get(f"{CALENDARS}/holidays").get_json()["dates"] == expected
    assert send(client, text).get_json() == {"added": 0, "known": 3, "ignored_events": 1}
    log = client.get(f"{BASE}/admin/audit-log").get_json()["items"]
    assert [one["action"] for one in log][:2] == ["calendar.updated", "calendar.updated"]


def test_days_of_an_event_end_before_its_dtend() -> None:
    assert dates(f"DTSTART;VALUE=DATE:{day(5, 1)}") == [f"{YEAR}-05-01"]
    assert dates(f"DTSTART;VALUE=DATE:{day(5, 1)}", "DURATION:P2D") == [
        f"{YEAR}-05-01", f"{YEAR}-05-02",
    ]  # fmt: skip
    same = f"DTEND;VALUE=DATE:{day(5, 1)}"
    assert dates(f"DTSTART;VALUE=DATE:{day(5, 1)}", same) == [f"{YEAR}-05-01"]


def test_repeats_are_taken_from_five_years_back_to_five_years_ahead() -> None:
    found = dates("DTSTART;VALUE=DATE:19000401", "RRULE:FREQ=YEARLY")
    assert {one[5:] for one in found} == {"04-01"}
    assert len(found) == 10
    window = timedelta(days=366 * 5)
    today = clock.now().date()
    assert all(today - window <= date.fromisoformat(one) <= today + window for one in found)
    mothers = dates(
        f"DTSTART;VALUE=DATE:{day(5, 1)}", "RRULE:FREQ=YEARLY;BYMONTH=5;BYDAY=2SU;COUNT=3"
    )
    assert len(mothers) >= 3
    late = dates("DTSTART;VALUE=DATE:19990401")
    assert late == []


def test_exceptions_and_cancelled_repeats_are_left_out() -> None:
    weekly = [f"DTSTART;VALUE=DATE:{day(5, 1)}", "RRULE:FREQ=DAILY;COUNT=4"]
    assert dates(*weekly, f"EXDATE;VALUE=DATE:{day(5, 2)}") == [
        f"{YEAR}-05-01", f"{YEAR}-05-03", f"{YEAR}-05-04",
    ]  # fmt: skip
    cancelled = [
        f"RECURRENCE-ID;VALUE=DATE:{day(5, 3)}", f"DTSTART;VALUE=DATE:{day(5, 3)}",
        "STATUS:CANCELLED",
    ]  # fmt: skip
    text = ics(weekly, cancelled).replace("UID:1\r\n", "UID:0\r\n")
    found = calendar_file.read(text.encode())
    assert sorted(map(str, found.dates)) == [f"{YEAR}-05-01", f"{YEAR}-05-02", f"{YEAR}-05-04"]
    assert found.ignored_events == 1


# -- what is refused -------------------------------------------------------------------------

_GOOD = f"DTSTART;VALUE=DATE:{day(5, 1)}"
BAD: dict[str, tuple[str | bytes, int]] = {
    "nothing": ("", 1),
    "no calendar": ("hello", 1),
    "a web page": ("<!DOCTYPE html>\n<html>", 1),
    "no end": ("BEGIN:VCALENDAR\r\nVERSION:2.0\r\n", 2),
    "an event without an end": ("BEGIN:VCALENDAR\nBEGIN:VEVENT\nEND:VCALENDAR\n", 3),
    "an end without a beginning": ("END:VCALENDAR", 1),
    "what comes before the calendar": ("X:1\nBEGIN:VCALENDAR\nEND:VCALENDAR", 1),
    "an event in an event": ("BEGIN:VCALENDAR\nBEGIN:VEVENT\nBEGIN:VEVENT\n", 3),
    "not UTF-8": (b"BEGIN:VCALENDAR\nX:\xff\nEND:VCALENDAR", 2),
    "a line without a name": (ics([_GOOD, "just text"]), 8),
    "after a folded line": (ics([_GOOD, "SUMMARY:long\r\n er", "just text"]), 10),
    "a day that is none": (ics(["DTSTART;VALUE=DATE:20260230"]), 7),
    "no start": (ics(["SUMMARY:x"]), 4),
    "two starts": (ics([_GOOD, _GOOD]), 7),
    "an end before the start": (ics([_GOOD, f"DTEND;VALUE=DATE:{day(4, 1)}"]), 8),
    "the second event": (ics([_GOOD], ["DTSTART;VALUE=DATE:x"]), 12),
    "a rule that is none": (ics([_GOOD, "RRULE:FREQ=NEVER"]), 8),
    "a rule without FREQ": (ics([_GOOD, "RRULE:nonsense"]), 8),
    "a rule by seconds": (ics([_GOOD, "RRULE:FREQ=SECONDLY"]), 8),
    "a rule by hours of the day": (ics([_GOOD, "RRULE:FREQ=YEARLY;BYHOUR=1"]), 8),
    "a rule that never fits": (ics([_GOOD, "RRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30"]), 8),
    "an interval of 0": (ics([_GOOD, "RRULE:FREQ=DAILY;INTERVAL=0"]), 8),
    "a daily rule from long ago": (ics(["DTSTART;VALUE=DATE:19000101", "RRULE:FREQ=DAILY"]), 7),
    "too many days": (ics(*[[_GOOD, "RRULE:FREQ=DAILY"]] * 40), 0),
    "too many events": (ics(*[[_GOOD]] * 2_001), 4 + 2_000 * 5),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_an_unreadable_file_is_refused_with_the_line_and_adds_nothing(
    client: FlaskClient, what: str
) -> None:
    make_calendar(client, f"{YEAR}-12-25")
    text, line = BAD[what]
    document = problem(send(client, text), 422, "validation_error", "body")
    (error,) = document["errors"]
    assert error["code"] == "calendar_file"
    assert error["message"].startswith(f"cannot be read: line {line:,}: " if line else "cannot")
    assert client.get(f"{CALENDARS}/holidays").get_json()["dates"] == [f"{YEAR}-12-25"]


def test_more_dates_than_a_calendar_may_have_are_refused(client: FlaskClient) -> None:
    make_calendar(client, f"{YEAR}-12-25")
    response = send(client, ics([f"DTSTART;VALUE=DATE:{day(1, 1, YEAR - 4)}", "RRULE:FREQ=DAILY"]))
    document = problem(response, 422, "validation_error", "body")
    assert "it may have 2,000" in document["errors"][0]["message"]
    assert client.get(f"{CALENDARS}/holidays").get_json()["dates"] == [f"{YEAR}-12-25"]


def test_other_types_and_unknown_calendars_are_refused(client: FlaskClient) -> None:
    make_calendar(client)
    json_body = client.post(f"{CALENDARS}/holidays/import", json={"dates": []})
    problem(json_body, 415, "unsupported_media_type")
    problem(send(client, ics([_GOOD]), "nope"), 404, "calendar_not_found")
    problem(send(client, "x" * 1_000_001), 413, "body_too_large")


PARTS = st.sampled_from(
    [
        "BEGIN:VCALENDAR", "END:VCALENDAR", "BEGIN:VEVENT", "END:VEVENT", "BEGIN:VTIMEZONE",
        "UID:1", "UID:2", _GOOD, "DTSTART:20260101T000000Z",
        "DTSTART;TZID=No/Where:20260101T000000",
        "DTEND;VALUE=DATE:20260101", "DTEND:20260101T000000Z", "DURATION:-P1D", "DURATION:PT1H",
        "RRULE:FREQ=YEARLY", "RRULE:FREQ=WEEKLY;UNTIL=x", "RRULE:FREQ=MONTHLY;BYMONTHDAY=99",
        "RDATE;VALUE=DATE:20260102", "RDATE:x", "EXDATE:", "EXDATE;VALUE=DATE:20260101",
        "RECURRENCE-ID:1", "RECURRENCE-ID;VALUE=DATE:20260101", "STATUS:CANCELLED",
        "X-WR-TIMEZONE:x",
        "CALSCALE:MAYAN", " folded", "", "X", ":", "X;Y=:",
    ]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(PARTS | st.text(max_size=20), max_size=25))
def test_any_file_is_read_or_refused(lines: list[str]) -> None:
    for text in ("\r\n".join(lines), ics(lines)):
        try:
            calendar_file.read(text.encode(errors="replace"))
        except Problem as refused:
            assert refused.errors[0].message.startswith("cannot be read: line ")
