"""Streaks: definitions for admins (seed 004)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, NotRequired

from flask import Blueprint, Response
from pydantic import Field
from typing_extensions import TypedDict

from api.http.auth import require_admin, tenant
from api.http.describe import IS_ACTIVE, PAGE, MessageAnswer, Moment, describe, shown
from api.http.responses import answer
from api.input.validation import Body, Code, Fixed, Name, Text, body
from api.resources.definitions import streak_forgiveness, streak_reminders
from api.resources.definitions.crud import Managed, active_badges
from api.resources.definitions.streak_forgiveness import (
    CalendarCodes,
    DayStart,
    EarnBackBody,
    EarnBackSet,
    FreezesBody,
    FreezesSet,
    Grace,
    GraceRefill,
    GraceSteps,
    GraceStepSet,
    Refill,
    RestDays,
    TargetBody,
    TargetSet,
    Weekday,
    WeekStart,
)
from api.resources.definitions.streak_reminders import ReminderBody, ReminderSet
from models.db import Connection
from models.rules.periods import PeriodKind
from models.streaks import outages, states
from models.streaks.states import Boundary, Streak

blueprint = Blueprint("streaks", __name__)

MILESTONES_MAX = 100
COUNT_MAX = 1_000_000
POINTS_MAX = 1_000_000  # as for an award
LEAD_HOURS_MAX = 8_784  # a leap year

MilestoneRepeat = Literal["once", "each_run"]
LeadHours = Annotated[int, Field(ge=1, le=LEAD_HOURS_MAX)]


class MilestoneBody(Body):
    """A count, and the badge and points for it: once per participant, or once in each run of the
    streak."""

    count: Annotated[int, Field(ge=1, le=COUNT_MAX)]
    badge_code: Code | None = None
    points: Annotated[int, Field(ge=1, le=POINTS_MAX)] | None = None
    repeat: MilestoneRepeat = "once"


MilestoneBodies = Annotated[list[MilestoneBody], Field(max_length=MILESTONES_MAX)]


class NewStreak(Body):
    """A definition to create."""

    code: Code
    name: Name
    description: Text | None = None
    period: Literal["daily", "weekly", "monthly"] = "daily"
    grace_periods: Grace = 0
    reset_on_miss: bool = True
    is_active: bool = True
    boundary: Literal["utc", "participant"] = "utc"
    milestones: MilestoneBodies = Field(default_factory=list)
    at_risk_lead_hours: LeadHours | None = None  # null: published when its last period begins
    grace_refill: Refill = None
    freezes: FreezesBody | None = None
    grace_by_count: GraceSteps = Field(default_factory=list)
    rest_days: RestDays = Field(default_factory=list)
    calendar_codes: CalendarCodes = Field(default_factory=list)
    target: TargetBody | None = None  # null: one tick
    earn_back: EarnBackBody | None = None
    reminder: ReminderBody | None = None
    week_starts_on: WeekStart = "monday"
    day_starts_at: DayStart = "00:00"


class StreakDefinition(TypedDict):
    """A definition."""

    code: str
    name: str
    description: str | None
    period: PeriodKind
    grace_periods: int
    reset_on_miss: bool
    is_active: bool
    boundary: Boundary
    milestones: list[MilestoneSet]
    at_risk_lead_hours: int | None
    grace_refill: GraceRefill | None
    freezes: FreezesSet | None
    grace_by_count: list[GraceStepSet]
    rest_days: list[Weekday]
    calendar_codes: list[str]
    target: TargetSet | None
    earn_back: EarnBackSet | None
    reminder: ReminderSet | None
    week_starts_on: Weekday
    day_starts_at: str
    created_at: Moment
    updated_at: Moment


class MilestoneSet(TypedDict):
    """A count, and the badge and points for it."""

    count: int
    badge_code: str | None
    points: NotRequired[int]
    repeat: MilestoneRepeat


class StreakPage(TypedDict):
    """A page of definitions, in the order of their codes."""

    items: list[StreakDefinition]
    total: int
    page: int
    page_size: int


class StreakChange(NewStreak):
    """The changeable fields of a definition; fields that are not given keep their values."""

    code: Fixed = None
    target: Fixed = None  # progress is counted in it
    earn_back: Fixed = None  # states hold which periods reach it
    period: Fixed = None  # the recorded periods are numbered in units of the period
    week_starts_on: Fixed = None  # as for the period
    day_starts_at: Fixed = None
    name: Name = ""


STREAKS = Managed("streak", states.definitions, path_by="code")


def _both(
    rule: str, **options: Any
) -> Callable[[Callable[..., Response]], Callable[..., Response]]:
    """Serve a view under both documented paths."""

    def add(view: Callable[..., Response]) -> Callable[..., Response]:
        blueprint.add_url_rule(f"/streaks{rule}", view_func=view, **options)
        blueprint.add_url_rule(f"/admin/streaks{rule}", view_func=view, **options)
        return view

    return add


@_both("", methods=["GET"])
@describe(
    "List streaks",
    answers={200: StreakPage},
    parameters=(*PAGE, IS_ACTIVE),
)
@require_admin
def list_streaks() -> Response:
    """A page of the tenant's definitions."""
    page = STREAKS.page()
    return page.answer([_definition(streak) for streak in page.found])


@_both("", methods=["POST"])
@describe(
    "Create a streak",
    answers={201: StreakDefinition},
    body=NewStreak,
    example={
        "code": "daily_login",
        "name": "Daily Login",
        "grace_periods": 1,
        "milestones": [{"count": 7, "points": 50}],
    },
    problems=("streak_code_conflict",),
)
@require_admin
def create_streak() -> Response:
    """Create a definition."""
    new = body(NewStreak)
    values = new.model_dump()
    streak_forgiveness.check(new.period, values)
    streak_reminders.check(new.period, values)
    _mark_recorded(values["milestones"], ())
    with STREAKS.creating(new.code) as connection:
        _check_badges(connection, values["milestones"])
        values = streak_forgiveness.columns(connection, None, values)
        values["outages"] = outages.of_every_streak(connection, tenant().id)
        streak = STREAKS.create(connection, values, new)
    return answer(_definition(streak), 201)


@_both("/<code>", methods=["GET"])
@describe("Get a streak", answers={200: StreakDefinition}, problems=("streak_not_found",))
@require_admin
def get_streak(code: str) -> Response:
    """One definition."""
    return answer(_definition(STREAKS.find(code)))


@_both("/<code>", methods=["PATCH"])
@describe(
    "Change a streak",
    answers={200: StreakDefinition},
    body=StreakChange,
    example={"name": "Daily Visit", "grace_periods": 2},
    problems=("no_fields_to_update", "streak_not_found"),
)
@require_admin
def change_streak(code: str) -> Response:
    """Change the given fields of a definition."""
    before = STREAKS.find(code)
    new = body(StreakChange)
    given = new.model_dump(include=new.model_fields_set)  # milestones with all their fields
    values = copy.deepcopy(given)
    streak_forgiveness.check(before.period, values)
    streak_reminders.check(before.period, values)
    _mark_recorded(values.get("milestones", ()), before.milestones)
    with STREAKS.revising(before, given) as connection:
        _check_badges(connection, values.get("milestones", ()))
        values = streak_forgiveness.columns(connection, before, values)
        return answer(_definition(states.definitions.revise(connection, before, values)))


@_both("/<code>", methods=["DELETE"])
@describe("Deactivate a streak", answers={200: MessageAnswer}, problems=("streak_not_found",))
@require_admin
def deactivate_streak(code: str) -> Response:
    """Pause a definition: states stay, new ticks are refused."""
    STREAKS.change(code, {"is_active": False})
    return answer({"message": "Streak deactivated"})


def _check_badges(connection: Connection, milestones: Iterable[dict[str, Any]]) -> None:
    """422 for an unknown or deactivated badge: reaching the count would award nothing."""
    active_badges(
        connection,
        {
            f"milestones.{index}.badge_code": milestone["badge_code"]
            for index, milestone in enumerate(milestones)
        },
    )


def _mark_recorded(given: Iterable[dict[str, Any]], before: Iterable[dict[str, Any]]) -> None:
    """Mark milestones with a complete record: all but those defined by an earlier release."""
    unrecorded = {milestone["count"] for milestone in before if not milestone.get("is_recorded")}
    for milestone in given:
        milestone["is_recorded"] = milestone["count"] not in unrecorded


def _definition(streak: Streak) -> StreakDefinition:
    return shown(
        StreakDefinition,
        streak,
        grace_periods=streak.rules.grace_periods,
        reset_on_miss=streak.rules.reset_on_miss,
        milestones=[_milestone(milestone) for milestone in streak.milestones],
        reminder=streak_reminders.shown(streak.reminder_fields),
        **streak_forgiveness.shown(streak.forgiveness),
    )


def _milestone(stored: dict[str, Any]) -> MilestoneSet:
    count, badge_code = stored["count"], stored.get("badge_code")
    repeat: MilestoneRepeat = stored.get("repeat") or "once"
    if not stored.get("points"):
        return {"count": count, "badge_code": badge_code, "repeat": repeat}
    points = stored["points"]
    return {"count": count, "badge_code": badge_code, "points": points, "repeat": repeat}
