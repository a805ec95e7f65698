"""Reminders: the optional field of a streak's definition that says when one is due."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, model_serializer
from typing_extensions import TypedDict

from api.http.problems import FieldError, invalid
from api.input.field_messages import TIME_OF_DAY
from api.input.validation import Body
from models.rules.periods import PeriodKind

# The hours that every period of the kind has, but for a day on which the clocks go forward.
_PERIOD_HOURS: dict[PeriodKind, int] = {"daily": 24, "weekly": 7 * 24, "monthly": 28 * 24}
_AFTER_PERIODS = 2  # a tick at the start of a period is that long before the end of the next one
MIN_COUNT_MAX = 1_000_000
HOURS_MIN = 0.25  # less would come as the period ends
HOURS_MAX = 8_784  # a leap year
KINDS = ("at", "hours_before", "hours_after_last_tick")
_ONE_KIND = f"must have exactly one of {', '.join(KINDS)}"

Time = Annotated[
    str,
    Field(
        pattern=TIME_OF_DAY,
        examples=["20:00"],
        description="A local time of day: `20:00`.",
    ),
]
Hours = Annotated[float, Field(ge=HOURS_MIN, le=HOURS_MAX, allow_inf_nan=False)]


class QuietHoursBody(Body):
    """Local times of day between which nothing is sent; may span midnight."""

    from_time: Annotated[Time, Field(alias="from")]
    to_time: Annotated[Time, Field(alias="to")]

    @model_serializer
    def _by_public_names(self) -> dict[str, str]:
        return {"from": self.from_time, "to": self.to_time}


class ReminderBody(Body):
    """When `behavior.streak_reminder_due` is sent, by exactly one of `at`, `hours_before` and
    `hours_after_last_tick`."""

    at: Annotated[
        Time | None, Field(description="On the last day of the period, in the participant's zone.")
    ] = None
    hours_before: Annotated[
        Hours | None, Field(description="Before the period ends; at most its length.")
    ] = None
    hours_after_last_tick: Annotated[
        Hours | None,
        Field(description="After the latest tick; at most twice the length of the period."),
    ] = None
    min_count: Annotated[
        int, Field(ge=1, le=MIN_COUNT_MAX, description="None is sent at a lower count.")
    ] = 1
    quiet_hours: Annotated[
        QuietHoursBody | None,
        Field(description="A reminder due in them is moved within its period."),
    ] = None
    at_most_every_hours: Annotated[
        Hours | None,
        Field(description="Left out when the last one was due a shorter time ago."),
    ] = None


QuietHoursSet = TypedDict("QuietHoursSet", {"from": str, "to": str})


class ReminderSet(TypedDict):
    """When a reminder is sent."""

    at: str | None
    hours_before: int | float | None
    hours_after_last_tick: int | float | None
    min_count: int
    quiet_hours: QuietHoursSet | None
    at_most_every_hours: int | float | None


def shown(stored: Mapping[str, Any] | None) -> ReminderSet | None:
    """The field as a definition answers it, in the documented order."""
    if stored is None:
        return None
    quiet = stored["quiet_hours"]
    return {
        "at": stored["at"],
        "hours_before": _hours(stored["hours_before"]),
        "hours_after_last_tick": _hours(stored["hours_after_last_tick"]),
        "min_count": stored["min_count"],
        "quiet_hours": None if quiet is None else {"from": quiet["from"], "to": quiet["to"]},
        "at_most_every_hours": _hours(stored["at_most_every_hours"]),
    }


def _hours(stored: float | None) -> int | float | None:
    """As it was sent: whole where it is."""
    return None if stored is None else int(stored) if stored == int(stored) else stored


def check(period: PeriodKind, values: Mapping[str, Any]) -> None:
    """422 for a reminder that fits neither itself nor the period."""
    reminder = values.get("reminder")
    if reminder is not None and (wrong := [*_wrong(period, reminder)]):
        raise invalid(*wrong)


def _wrong(period: PeriodKind, reminder: Mapping[str, Any]) -> Iterator[FieldError]:
    given = [kind for kind in KINDS if reminder[kind] is not None]
    if len(given) != 1:
        for name in given[1:] or ["reminder"]:
            field = name if name == "reminder" else f"reminder.{name}"
            yield FieldError(field, "range", _ONE_KIND)
    hours = _PERIOD_HOURS[period]
    bounds = {"hours_before": hours, "hours_after_last_tick": _AFTER_PERIODS * hours}
    for name, most in bounds.items():
        if (reminder[name] or 0) > most:
            text = f"must be at most {most}: the streak is {period}"
            yield FieldError(f"reminder.{name}", "range", text)
    quiet = reminder["quiet_hours"]
    if quiet is not None and quiet["from"] == quiet["to"]:
        yield FieldError("reminder.quiet_hours.to", "range", "must differ from from")
