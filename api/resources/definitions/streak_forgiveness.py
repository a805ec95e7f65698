"""Forgiveness: the optional fields of a streak's definition (contract §7.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints
from typing_extensions import TypedDict

from api.http.auth import tenant
from api.http.problems import FieldError, invalid
from api.input.field_messages import TIME_OF_DAY
from api.input.validation import Body, Code
from models.db import Connection
from models.rules.periods import STARTS, PeriodKind
from models.rules.targets import TargetKind
from models.streaks import calendars, states
from models.streaks.forgiveness import FIELDS, stored
from models.streaks.states import Streak

GRACE_PERIODS_MAX = 366  # a year of days: more would forgive everything
FREEZES_MAX = 100
EARN_EVERY_MAX = 366
PRICE_MAX = 1_000_000  # as points for an award
STEPS_MAX = 50
COUNT_MAX = 1_000_000
REST_DAYS_MAX = 6  # with seven no day would be left to record
CALENDARS_MAX = 10
AMOUNT_MAX = 1_000_000_000
TIMES_MAX = 100
WITHIN_MAX = 31
# Distinct days that every period of the kind has.
_DAYS_MAX: dict[PeriodKind, int] = {"daily": 1, "weekly": 7, "monthly": 28}

Grace = Annotated[int, Field(ge=0, le=GRACE_PERIODS_MAX)]
GraceRefill = Literal["weekly", "monthly", "yearly"]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]

# What a refill has to be longer than.
_REFILLS: dict[PeriodKind, tuple[GraceRefill, ...]] = {
    "daily": ("weekly", "monthly", "yearly"),
    "weekly": ("monthly", "yearly"),
    "monthly": ("yearly",),
}


class FreezesBody(Body):
    """How freezes are given. Each protects one missed period once grace is spent."""

    initial: Annotated[
        int, Field(ge=0, le=FREEZES_MAX, description="Held at the first recorded period.")
    ] = 0
    earn_every: Annotated[
        int | None,
        Field(ge=1, le=EARN_EVERY_MAX, description="One is earned at each multiple of this count."),
    ] = None
    max: Annotated[
        int,
        Field(
            ge=0,
            le=FREEZES_MAX,
            description="None is earned while this many are held.",
        ),
    ] = 0
    price_points: Annotated[
        int | None, Field(ge=1, le=PRICE_MAX, description="What one costs; null: not for sale.")
    ] = None


class GraceStepBody(Body):
    """From a count on, the number of grace periods."""

    from_count: Annotated[int, Field(ge=0, le=COUNT_MAX)]
    grace_periods: Grace


GraceSteps = Annotated[
    list[GraceStepBody],
    Field(
        max_length=STEPS_MAX,
        description="Grace by count, in place of `grace_periods`; ascending, the first from 0.",
    ),
]
RestDays = Annotated[
    list[Weekday],
    Field(
        max_length=REST_DAYS_MAX,
        description="Weekdays that cost nothing when they are missed; daily streaks only.",
    ),
]
CalendarCodes = Annotated[
    list[Code],
    Field(
        max_length=CALENDARS_MAX,
        description="Calendars whose dates cost nothing when they are missed.",
    ),
]
Refill = Annotated[
    GraceRefill | None,
    Field(description="When grace is full again; longer than the period. Null: after a break."),
]


WeekStart = Annotated[
    Weekday,
    Field(
        description="The weekday on which weeks begin; weekly streaks only. Unless it is Monday,"
        " the key of a week is the date of its first day."
    ),
]
DayStart = Annotated[
    str,
    StringConstraints(strict=True, max_length=5, pattern=TIME_OF_DAY),
    Field(
        description="The local time, as `HH:MM`, at which days begin; what happens before belongs"
        " to the day before."
    ),
]


class TargetBody(Body):
    """What a period needs to count: ticks, distinct local days, or a sum of values."""

    kind: TargetKind
    amount: Annotated[int, Field(ge=1, le=AMOUNT_MAX)]


class EarnBackBody(Body):
    """A period that reaches a multiple of its target protects the missed ones before it."""

    times: Annotated[int, Field(ge=2, le=TIMES_MAX, description="How many times its target.")]
    within: Annotated[
        int, Field(ge=1, le=WITHIN_MAX, description="Up to how many periods after the missed one.")
    ]


class EarnBackSet(TypedDict):
    """How missed periods are earned back."""

    times: int
    within: int


class TargetSet(TypedDict):
    """What a period needs to count."""

    kind: TargetKind
    amount: int


class FreezesSet(TypedDict):
    """How freezes are given."""

    initial: int
    earn_every: int | None
    max: int
    price_points: int | None


class GraceStepSet(TypedDict):
    """From a count on, the number of grace periods."""

    from_count: int
    grace_periods: int


class ForgivenessAnswer(TypedDict):
    """The optional fields."""

    grace_refill: GraceRefill | None
    freezes: FreezesSet | None
    grace_by_count: list[GraceStepSet]
    rest_days: list[Weekday]
    calendar_codes: list[str]
    target: TargetSet | None
    earn_back: EarnBackSet | None
    week_starts_on: Weekday
    day_starts_at: str


def shown(stored: Mapping[str, Any] | None) -> ForgivenessAnswer:
    """The fields as a definition answers them."""
    kept = stored or {}
    return {
        "grace_refill": kept.get("grace_refill"),
        "freezes": _freezes_shown(kept.get("freezes")),
        "grace_by_count": kept.get("grace_by_count", []),
        "rest_days": kept.get("rest_days", []),
        "calendar_codes": kept.get("calendar_codes", []),
        "target": kept.get("target"),
        "earn_back": _earn_back_shown(kept.get("earn_back")),
        "week_starts_on": kept.get("week_starts_on", STARTS["week_starts_on"]),
        "day_starts_at": kept.get("day_starts_at", STARTS["day_starts_at"]),
    }


def _earn_back_shown(kept: Mapping[str, Any] | None) -> EarnBackSet | None:
    """In the documented order."""
    return None if kept is None else {"times": kept["times"], "within": kept["within"]}


def _freezes_shown(kept: Mapping[str, Any] | None) -> FreezesSet | None:
    """In the documented order: a column of JSON keeps none."""
    if kept is None:
        return None
    return {
        "initial": kept["initial"],
        "earn_every": kept["earn_every"],
        "max": kept["max"],
        "price_points": kept["price_points"],
    }


def check(period: PeriodKind, given: Mapping[str, Any]) -> None:
    """422 for given fields that fit neither each other nor the period."""
    wrong = [
        *_check_refill(period, given.get("grace_refill")),
        *_check_freezes(given.get("freezes")),
        *_check_steps(given.get("grace_by_count", ())),
        *_check_rest_days(period, given.get("rest_days", ())),
        *_check_target(period, given.get("target")),
        *_check_earn_back(period, given.get("target"), given.get("earn_back")),
        *_check_week(period, given.get("week_starts_on", STARTS["week_starts_on"])),
        *_check_distinct("calendar_codes", given.get("calendar_codes", ())),
    ]
    if wrong:
        raise invalid(*wrong)


def _check_refill(period: PeriodKind, refill: GraceRefill | None) -> Iterator[FieldError]:
    fitting = _REFILLS[period]
    if refill is not None and refill not in fitting:
        text = f"must be longer than the period: {' or '.join(fitting)}"
        yield FieldError("grace_refill", "range", text)


def _check_freezes(freezes: Mapping[str, Any] | None) -> Iterator[FieldError]:
    if freezes is None:
        return
    if freezes["initial"] > freezes["max"]:
        text = f"must be at most max, which is {freezes['max']}"
        yield FieldError("freezes.initial", "range", text)
    if freezes["earn_every"] is not None and not freezes["max"]:
        text = "must be at least 1: with 0 none is ever earned"
        yield FieldError("freezes.max", "range", text)


def _check_steps(steps: Sequence[Mapping[str, Any]]) -> Iterator[FieldError]:
    for index, step in enumerate(steps):
        field = f"grace_by_count.{index}.from_count"
        if index == 0 and step["from_count"] != 0:
            yield FieldError(field, "range", "must be 0: the first step holds from the start")
        elif index and step["from_count"] <= steps[index - 1]["from_count"]:
            yield FieldError(field, "range", "must be greater than that of the step before")


def _check_rest_days(period: PeriodKind, days: Sequence[Weekday]) -> Iterator[FieldError]:
    if days and period != "daily":
        yield FieldError("rest_days", "range", f"must be empty: the streak is {period}, not daily")
    yield from _check_distinct("rest_days", days)


def _check_target(period: PeriodKind, target: Mapping[str, Any] | None) -> Iterator[FieldError]:
    if target is None or target["kind"] != "days":
        return
    if period == "daily":
        text = "must be ticks or value: a daily streak has one day in each period"
        yield FieldError("target.kind", "range", text)
    elif target["amount"] > _DAYS_MAX[period]:
        text = f"must be at most {_DAYS_MAX[period]}, so that every period has as many days"
        yield FieldError("target.amount", "range", text)


def _check_earn_back(
    period: PeriodKind, target: Mapping[str, Any] | None, earn_back: Mapping[str, Any] | None
) -> Iterator[FieldError]:
    if earn_back is None:
        return
    if target is None:
        text = 'needs a target to be counted in, such as {"kind": "ticks", "amount": 1}'
        yield FieldError("earn_back", "range", f"must be left out: it {text}")
    elif target["kind"] == "days" and earn_back["times"] * target["amount"] > _DAYS_MAX[period]:
        text = f"must be lower: times the target, it is more than {_DAYS_MAX[period]} days"
        yield FieldError("earn_back.times", "range", text)


def _check_week(period: PeriodKind, weekday: Weekday) -> Iterator[FieldError]:
    if period != "weekly" and weekday != STARTS["week_starts_on"]:
        text = f"must be {STARTS['week_starts_on']}: the streak is {period}, not weekly"
        yield FieldError("week_starts_on", "range", text)


def _check_distinct(field: str, values: Sequence[str]) -> Iterator[FieldError]:
    for index, value in enumerate(values):
        if value in values[:index]:
            yield FieldError(f"{field}.{index}", "repeated", "must not repeat an entry before it")


def columns(
    connection: Connection, before: Streak | None, values: Mapping[str, Any]
) -> dict[str, Any]:
    """The values of a definition, with its fields about forgiveness as their columns.

    The calendars are locked first, then the definition: a change of a calendar does likewise.
    """
    given = {name: values[name] for name in FIELDS if name in values}
    found = {name: value for name, value in values.items() if name not in given}
    if not given:
        return found
    if "calendar_codes" in given:
        found["holidays"] = _holidays(connection, before, given["calendar_codes"])
    now = None if before is None else states.hold(connection, before).forgiveness
    return found | {"forgiveness": stored(now, given)}


def _holidays(
    connection: Connection, before: Streak | None, codes: Sequence[str]
) -> list[tuple[int, int]] | None:
    """The days of calendars; 422 for an unknown one, and for a deactivated one that the definition
    does not name yet."""
    known = (before.forgiveness or {}).get("calendar_codes", ()) if before else ()
    found = calendars.hold(connection, tenant().id, codes)
    wrong = [
        FieldError(f"calendar_codes.{index}", "unknown_calendar", _UNKNOWN_CALENDAR)
        for index, code in enumerate(codes)
        if code not in found or not (found[code].is_active or code in known)
    ]
    if wrong:
        raise invalid(*wrong)
    return list(calendars.days_of(found.values())) or None


_UNKNOWN_CALENDAR = "must be the code of an active calendar: create or activate it first"
