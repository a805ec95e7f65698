"""iCalendar files: the dates of their all-day events.

Whatever a file says, reading it takes a bounded time: rules repeat by days or longer, within a
window around today, and the days of all events together are limited.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import recurring_ical_events
from icalendar import Calendar
from icalendar.parser import Contentline

from api.http.problems import Problem, invalid_field
from models import clock

YEARS_BACK = YEARS_AHEAD = 5  # around today
EVENTS_MAX = 2_000
DAYS_MAX = 50_000  # of all events together, repeats included
_DAY = timedelta(days=1)
SECONDS_MAX = 5.0  # for the rules of a file
FIRST_YEAR, FIRST_YEAR_OF_OTHERS = 1900, 2000  # of yearly rules, of others: from there each
# day is tried. Likewise the parts that a rule may have, by its FREQ.
_PARTS: dict[str, frozenset[str]] = {
    "DAILY": frozenset(),
    "WEEKLY": frozenset({"BYDAY"}),
    "MONTHLY": frozenset({"BYDAY", "BYMONTHDAY", "BYSETPOS"}),
    "YEARLY": frozenset({"BYDAY", "BYMONTH", "BYMONTHDAY", "BYSETPOS", "BYWEEKNO", "BYYEARDAY"}),
}
_NAMES = ("DTSTART", "DTEND", "DURATION", "RRULE", "RDATE", "EXDATE", "RECURRENCE-ID")
# What the libraries raise for values that are well-formed, but make no sense together.
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, IndexError)


@dataclass
class CalendarFile:
    """The contents of a file."""

    dates: set[date] = field(default_factory=set)
    ignored_events: int = 0  # with a time of day, or cancelled


@dataclass(frozen=True, slots=True)
class _FileLine:
    """An unfolded line, by the number of its first physical line."""

    number: int
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class _FileEvent:
    """An event and its lines."""

    component: Any
    lines: Sequence[_FileLine]

    def line(self, name: str) -> int:
        """The number of the line with a property; of the event's first line without it."""
        return next((line.number for line in self.lines if line.name == name), self.lines[0].number)


def read(content: bytes) -> CalendarFile:
    """The dates of a file's all-day events; 422 that names the line for an unreadable file."""
    text = _text(content)
    found, days, ends = CalendarFile(), 0, time.monotonic() + SECONDS_MAX
    for series in _series(_events(text), found):
        if time.monotonic() > ends:
            raise _wrong(series[0].line("RRULE"), "the rules up to here take too long to expand")
        for day in _days(series):
            days += 1
            if days > DAYS_MAX:
                raise _wrong(series[0].line("RRULE"), "the events up to here have too many days")
            found.dates.add(day)
    return found


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise _wrong(number, "is not UTF-8") from None


def _wrong(number: int, text: str) -> Problem:
    return invalid_field("body", "calendar_file", f"cannot be read: line {number:,}: {text}")


# -- lines -----------------------------------------------------------------------------------


def _unfolded(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their continuations, which begin with a space or a tab."""
    number, line = 1, ""
    for index, physical in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        if physical[:1] in (" ", "\t"):
            line += physical[1:]
            continue
        if line.strip():
            yield number, line
        number, line = index, physical
    if line.strip():
        yield number, line


def _contents(line: str) -> tuple[str, Any, str]:
    """The name, parameters and value of a line; raises ValueError."""
    make: Any = Contentline  # its constructor has no types
    parts: tuple[str, Any, str] = make(line).parts()
    return parts


def _lines(text: str) -> Iterator[_FileLine]:
    for number, line in _unfolded(text):
        try:
            name, _, value = _contents(line)
        except ValueError:
            raise _wrong(number, "is not a line of iCalendar: NAME:value is expected") from None
        yield _FileLine(number, name.upper(), value)


def _events(text: str) -> list[_FileEvent]:
    """The events in the order of the file; the nesting of its parts is checked."""
    events: list[list[_FileLine]] = []
    open_parts: list[str] = []
    last = 1
    for line in _lines(text):
        last = line.number
        if line.name == "BEGIN":
            open_parts.append(line.value.upper())
            if open_parts[-1] == "VEVENT":
                events.append([])
        _check_nesting(line, open_parts)
        if "VEVENT" in open_parts:
            events[-1].append(line)
        if line.name == "END":
            open_parts.pop()
    if open_parts or not last:
        raise _wrong(last, f"END:{open_parts[-1]} is missing")
    return _parsed(text, events)


def _check_nesting(line: _FileLine, open_parts: Sequence[str]) -> None:
    if not open_parts or open_parts[0] != "VCALENDAR":
        raise _wrong(line.number, "a calendar begins with BEGIN:VCALENDAR")
    if line.name == "END" and line.value.upper() != open_parts[-1]:
        raise _wrong(line.number, f"END:{open_parts[-1]} is expected")
    if line.name == "BEGIN" and open_parts[-1] == "VEVENT" and "VEVENT" in open_parts[:-1]:
        raise _wrong(line.number, "an event cannot be within another")


def _parsed(text: str, lines: Sequence[Sequence[_FileLine]]) -> list[_FileEvent]:
    if not text.strip():
        raise _wrong(1, "the file is empty")
    if len(lines) > EVENTS_MAX:
        raise _wrong(lines[EVENTS_MAX][0].number, f"a file may have {EVENTS_MAX:,} events")
    try:
        calendars = Calendar.from_ical(text, multiple=True)
    except _UNREADABLE as error:
        raise _wrong(1, f"{error}") from None
    components = [event for calendar in calendars for event in calendar.walk("VEVENT")]
    events = [_FileEvent(*pair) for pair in zip(components, lines, strict=True)]
    for event in events:
        _check(event)
    return events


# -- events ----------------------------------------------------------------------------------


def _check(event: _FileEvent) -> None:
    """422 for an event whose dates cannot be read."""
    for name, _ in event.component.errors:
        if name in _NAMES:
            raise _wrong(event.line(name), f"{name} cannot be read")
    for name in ("DTSTART", "DTEND", "DURATION", "RRULE"):
        if isinstance(event.component.get(name), list):
            raise _wrong(event.line(name), f"an event has one {name}")
    if "DTSTART" not in event.component:
        raise _wrong(event.line("DTSTART"), "an event needs DTSTART")
    start, rule = event.component["DTSTART"].dt, event.component.get("RRULE")
    end = event.component["DTEND"].dt if "DTEND" in event.component else start
    if not _is_day(start):
        return
    if _is_day(end) and end < start:
        raise _wrong(event.line("DTEND"), "DTEND must not be before DTSTART")
    if rule is not None:
        _check_rule(event, start, rule)


def _is_day(value: Any) -> bool:
    return isinstance(value, date) and not isinstance(value, datetime)


def _check_rule(event: _FileEvent, start: date, rule: Mapping[str, Any]) -> None:
    """422 for a rule that would take long: one that never fits is tried until the year 9999."""
    line, step = event.line("RRULE"), str(rule.get("FREQ", [""])[0])
    if step not in _PARTS:
        raise _wrong(line, "an all-day event repeats by days, weeks, months or years")
    unknown = [name for name in rule if name.startswith("BY") and name not in _PARTS[step]]
    if unknown:
        parts = " and ".join(sorted(_PARTS[step])) or "no part that begins with BY"
        raise _wrong(line, f"a {step} rule may have {parts}, not {unknown[0]}")
    if rule.get("INTERVAL", [1])[0] < 1 or rule.get("COUNT", [1])[0] < 1:
        raise _wrong(line, "INTERVAL and COUNT must be at least 1")
    year = FIRST_YEAR if step == "YEARLY" else FIRST_YEAR_OF_OTHERS
    if start.year < year:
        text = f"the DTSTART of a {step} rule must be from {year} on"
        raise _wrong(event.line("DTSTART"), text)


def _series(events: Sequence[_FileEvent], found: CalendarFile) -> Iterator[list[_FileEvent]]:
    """The all-day events with their exceptions, which have the same UID."""
    by_uid: dict[str, list[_FileEvent]] = {}
    for index, event in enumerate(events):
        is_day = _is_day(event.component["DTSTART"].dt)
        found.ignored_events += not is_day or _is_cancelled(event.component)
        if is_day:  # a cancelled one takes a day from the series that it is an exception of
            by_uid.setdefault(str(event.component.get("UID", f"\0{index}")), []).append(event)
    yield from by_uid.values()


def _is_cancelled(component: Any) -> bool:
    return str(component.get("STATUS", "")).upper() == "CANCELLED"


def _days(series: Sequence[_FileEvent]) -> Iterator[date]:
    """The days of a series within the window around today."""
    today = clock.now().date()
    first = today - timedelta(days=366 * YEARS_BACK)
    last = today + timedelta(days=366 * YEARS_AHEAD)
    try:
        for component in _repeats(series, first, last):
            start, end = component["DTSTART"].dt, component["DTEND"].dt
            begins = max(start, first)
            for nth in range((min(max(end, start + _DAY), last + _DAY) - begins).days):
                yield begins + timedelta(days=nth)
    except _UNREADABLE as error:
        raise _wrong(series[0].line("DTSTART"), f"the event: {error}") from None


def _repeats(series: Sequence[_FileEvent], first: date, last: date) -> list[Any]:
    """The repeats of a series that are not cancelled."""
    calendar = Calendar()
    for event in series:
        calendar.add_component(event.component)
    found = recurring_ical_events.of(calendar).between(first, last + _DAY)
    return [component for component in found if not _is_cancelled(component)]
