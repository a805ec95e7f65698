"""Calendars: dates that cost a streak nothing when they are missed (contract §7.2)."""

from __future__ import annotations

from typing import Annotated, Any

from flask import Blueprint, Response
from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from api.http.auth import require_admin
from api.http.describe import IS_ACTIVE, PAGE, MessageAnswer, Moment, describe
from api.http.problems import invalid_field
from api.http.responses import answer
from api.input import calendar_file
from api.input.field_types import Day
from api.input.validation import Body, Code, Fixed, Name, Text, body, read_body, require_type
from api.resources.definitions.crud import Managed
from models import clock
from models.streaks import calendars
from models.streaks.calendars import DATES_MAX, HolidayCalendar

blueprint = Blueprint("calendars", __name__)

EXAMPLE_FILE = """\
BEGIN:VCALENDAR\r
VERSION:2.0\r
PRODID:-//Example//Holidays//EN\r
BEGIN:VEVENT\r
UID:christmas@example.com\r
DTSTAMP:20260101T000000Z\r
DTSTART;VALUE=DATE:20261225\r
RRULE:FREQ=YEARLY\r
SUMMARY:Christmas Day\r
END:VEVENT\r
END:VCALENDAR\r
"""
# Each date once, ascending, whatever the order in which they were given.
Dates = Annotated[
    list[Day],
    Field(max_length=DATES_MAX, description="Answered in order, each once."),
    AfterValidator(lambda dates: sorted(set(dates))),
]


class NewCalendar(Body):
    """A calendar to create."""

    code: Code
    name: Name
    description: Text | None = None
    dates: Dates = Field(default_factory=list)
    is_active: bool = True


class CalendarChange(Body):
    """The changeable fields of a calendar; fields that are not given keep their values."""

    code: Fixed = None
    name: Name = ""
    description: Text | None = None
    dates: Dates = Field(default_factory=list)
    is_active: bool = True


class CalendarDefinition(TypedDict):
    """A calendar."""

    code: str
    name: str
    description: str | None
    dates: list[str]
    is_active: bool
    created_at: Moment
    updated_at: Moment


class CalendarPage(TypedDict):
    """A page of calendars, in the order of their codes."""

    items: list[CalendarDefinition]
    total: int
    page: int
    page_size: int


_CALENDARS = Managed("calendar", calendars.definitions, path_by="code")


@blueprint.get("/admin/calendars")
@describe("List calendars", answers={200: CalendarPage}, parameters=(*PAGE, IS_ACTIVE))
@require_admin
def list_calendars() -> Response:
    """A page of the tenant's calendars."""
    page = _CALENDARS.page()
    return page.answer([_definition(calendar) for calendar in page.found])


@blueprint.post("/admin/calendars")
@describe(
    "Create a calendar",
    answers={201: CalendarDefinition},
    body=NewCalendar,
    example={
        "code": "bank_holidays",
        "name": "Bank holidays",
        "dates": ["2026-12-25", "2027-01-01"],
    },
    problems=("calendar_code_conflict",),
)
@require_admin
def create_calendar() -> Response:
    """Create a calendar. A streak names it in `calendar_codes`; its dates then cost nothing when
    they are missed."""
    new = body(NewCalendar)
    with _CALENDARS.creating(new.code) as connection:
        calendar = _CALENDARS.create(connection, new.model_dump(), new)
    return answer(_definition(calendar), 201)


@blueprint.get("/admin/calendars/<calendar_code>")
@describe("Get a calendar", answers={200: CalendarDefinition}, problems=("calendar_not_found",))
@require_admin
def get_calendar(calendar_code: str) -> Response:
    """One definition."""
    return answer(_definition(_CALENDARS.find(calendar_code)))


@blueprint.patch("/admin/calendars/<calendar_code>")
@describe(
    "Change a calendar",
    answers={200: CalendarDefinition},
    body=CalendarChange,
    example={"dates": ["2026-12-25", "2026-12-26", "2027-01-01"]},
    problems=("calendar_not_found", "no_fields_to_update"),
)
@require_admin
def change_calendar(calendar_code: str) -> Response:
    """Change the given fields; `dates` replaces all dates. The streaks that name the calendar are
    counted anew with it, past periods included."""
    before = _CALENDARS.find(calendar_code)
    values: dict[str, Any] = body(CalendarChange).model_dump(exclude_unset=True)
    with _CALENDARS.revising(before, values) as connection:
        return answer(_definition(calendars.definitions.revise(connection, before, values)))


@blueprint.delete("/admin/calendars/<calendar_code>")
@describe("Deactivate a calendar", answers={200: MessageAnswer}, problems=("calendar_not_found",))
@require_admin
def deactivate_calendar(calendar_code: str) -> Response:
    """No further streak can name the calendar. Streaks that name it keep its dates, so no count
    changes."""
    _CALENDARS.change(calendar_code, {"is_active": False})
    return answer({"message": "Calendar deactivated"})


class CalendarImport(TypedDict):
    """The result of an import."""

    added: int
    known: int
    ignored_events: int


@blueprint.post("/admin/calendars/<calendar_code>/import")
@describe(
    "Import dates into a calendar",
    answers={200: CalendarImport},
    text_body=("text/calendar", EXAMPLE_FILE),
    problems=("calendar_not_found",),
)
@require_admin
def import_calendar(calendar_code: str) -> Response:
    """Add the dates of an iCalendar file's all-day events, from five years back to five years
    ahead, repeats included. Events with a time of day and cancelled ones are ignored. `added` are
    the dates that the calendar lacked. An unreadable file adds nothing: the error names the line.
    """
    before = _CALENDARS.find(calendar_code)
    require_type("text/calendar")
    found = calendar_file.read(read_body())
    with _CALENDARS.revising(before, {"dates": found.dates}) as connection:
        now = calendars.hold_one(connection, before)
        dates = sorted(found.dates.union(now.dates))
        if len(dates) > DATES_MAX:
            text = f"would give the calendar {len(dates):,} dates; it may have {DATES_MAX:,}"
            raise invalid_field("body", "too_long", text)
        added = len(dates) - len(now.dates)
        if added:
            calendars.definitions.revise(connection, now, {"dates": dates})
    result = CalendarImport(
        added=added, known=len(found.dates) - added, ignored_events=found.ignored_events
    )
    return answer(result)


def _definition(calendar: HolidayCalendar) -> CalendarDefinition:
    return {
        "code": calendar.code,
        "name": calendar.name,
        "description": calendar.description,
        "dates": [day.isoformat() for day in calendar.dates],
        "is_active": calendar.is_active,
        "created_at": clock.isoformat(calendar.created_at),
        "updated_at": clock.isoformat(calendar.updated_at),
    }
