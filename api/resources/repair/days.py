"""Days and periods in bodies and paths of repairs."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any

from pydantic import AfterValidator, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from api.http.problems import Problem, invalid_field
from api.input.validation import parse_instant
from models import clock
from models.rules.periods import FIRST_ZONE, Cadence, day_at, key_of, period_of_day, period_of_key
from models.rules.spans import SpanUnit

_EPOCH = date(1970, 1, 1)
_FIRST, _LAST = 0, (date(2200, 1, 1) - _EPOCH).days - 1
_EXAMPLE = (date(2026, 5, 23) - _EPOCH).days


def _day(value: Any) -> int:
    try:
        if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII):
            raise ValueError  # noqa: TRY301 - fromisoformat also reads week dates
        day = (date.fromisoformat(value) - _EPOCH).days
    except ValueError:
        raise PydanticCustomError("date", "must be a date such as 2026-05-23") from None
    if not _FIRST <= day <= _LAST:
        raise PydanticCustomError("date", "must lie between 1970 and 2200")
    return day


# A local day, in days since 1970.
Day = Annotated[int, PlainValidator(_day), WithJsonSchema({"type": "string", "format": "date"})]


def _past(day: int) -> int:
    if day > day_at(clock.now_us(), FIRST_ZONE):
        raise PydanticCustomError("past", "must not be in the future")
    return day


PastDay = Annotated[Day, AfterValidator(_past)]


def _day_or_instant(value: Any) -> tuple[SpanUnit, int]:
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII):
        return "day", _day(value)
    try:
        return "instant", parse_instant(value)
    except PydanticCustomError:
        message = "must be a date, or a timestamp with a zone such as 2026-05-23T08:15:00Z"
        raise PydanticCustomError("timestamp", message) from None


# A local day, or an instant, with its unit.
DayOrInstant = Annotated[
    tuple[SpanUnit, int],
    PlainValidator(_day_or_instant),
    WithJsonSchema(
        {"type": "string", "anyOf": [{"format": "date"}, {"format": "date-time"}]},
    ),
]


def check_span(first: int, last: int, days_max: int) -> None:
    """422 for a range that is backwards or too long."""
    if last < first:
        raise invalid_field("to", "range", "must not be before from")
    if last - first >= days_max:
        raise invalid_field("to", "range", f"must be at most {days_max} days from from")


def period_named(field: str, cadence: Cadence, key: str) -> int:
    """The period of a key; 422 unless it is one of the streak's calendar."""
    try:
        period = period_of_key(cadence, key)
    except ValueError:
        raise _no_key(field, cadence) from None
    if not period_of_day(cadence, _FIRST) <= period <= period_of_day(cadence, _LAST):
        raise invalid_field(field, "period_key", "must lie between 1970 and 2200")
    return period


def _no_key(field: str, cadence: Cadence) -> Problem:
    example = key_of(cadence, period_of_day(cadence, _EXAMPLE))
    message = f"must be a period of a {cadence.kind} streak such as {example}"
    return invalid_field(field, "period_key", message)
