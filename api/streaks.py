"""Streaks: definitions for admins, live states and histories of participants (seed 004)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, cast

from flask import Blueprint, Response
from pydantic import Field
from typing_extensions import TypedDict

from api.answers import answer
from api.auth import require_admin, tenant
from api.context import app_context
from api.definitions import changing, some_fields, unique_code
from api.errors import invalid_field, not_found
from api.operations import IS_ACTIVE, PAGE, Id, Message, Moment, Parameter, describe
from api.validation import (
    Body,
    Code,
    Fixed,
    Name,
    Text,
    body,
    page_window,
    participant_id_in_path,
    query_bool,
    query_day,
)
from models import clock, participants, streaks, ticks
from models.db import reading
from models.errors import NotFound
from models.rules.periods import Kind, key_of, period_at, period_of_day, starts_at
from models.rules.streaks import Explained, Status, explain, live
from models.streaks import Boundary, State, Streak

blueprint = Blueprint("streaks", __name__)

HISTORY_PERIODS_MAX = 1_000  # per request: nearly three years of days
GRACE_PERIODS_MAX = 366  # a year of days forgives everything
MILESTONES_MAX = 100
COUNT_MAX = 1_000_000
LEAD_HOURS_MAX = 8_784  # a leap year

# -- definitions -----------------------------------------------------------------------------

Grace = Annotated[int, Field(ge=0, le=GRACE_PERIODS_MAX)]
LeadHours = Annotated[int, Field(ge=1, le=LEAD_HOURS_MAX)]


class Milestone(Body):
    """A count to be reached, and the badge that it earns."""

    count: Annotated[int, Field(ge=1, le=COUNT_MAX)]
    badge_code: Code | None = None


Milestones = Annotated[list[Milestone], Field(max_length=MILESTONES_MAX)]


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
    milestones: Milestones = Field(default_factory=list)
    at_risk_lead_hours: LeadHours | None = None  # null: told when its last period begins


class StreakDefinition(TypedDict):
    """A definition as it is answered."""

    code: str
    name: str
    description: str | None
    period: Kind
    grace_periods: int
    reset_on_miss: bool
    is_active: bool
    boundary: Boundary
    milestones: list[MilestoneSet]
    at_risk_lead_hours: int | None
    created_at: Moment
    updated_at: Moment


class MilestoneSet(TypedDict):
    """A count to be reached, and the badge that it earns, if any."""

    count: int
    badge_code: str | None


class StreakPage(TypedDict):
    """A page of definitions, in the order of their codes."""

    items: list[StreakDefinition]
    total: int
    page: int
    page_size: int


class StreakChange(Body):
    """What may be changed of a definition; what is not given stays."""

    code: Fixed = None
    period: Fixed = None  # the recorded periods are numbered in units of the period
    name: Name = ""
    description: Text | None = None
    grace_periods: Grace = 0
    reset_on_miss: bool = True
    is_active: bool = True
    boundary: Literal["utc", "participant"] = "utc"
    milestones: Milestones = Field(default_factory=list)
    at_risk_lead_hours: LeadHours | None = None  # null: told when its last period begins


def _both(
    rule: str, **options: Any
) -> Callable[[Callable[..., Response]], Callable[..., Response]]:
    """Serve a view under both documented spellings."""

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
    page, size = page_window()
    with reading(app_context().engine) as session:
        found, total = streaks.page(
            session, tenant().id, query_bool("is_active"), (size, (page - 1) * size)
        )
    items = [_definition(streak) for streak in found]
    return answer({"items": items, "total": total, "page": page, "page_size": size})


@_both("", methods=["POST"])
@describe(
    "Create a streak",
    answers={201: StreakDefinition},
    body=NewStreak,
    example={
        "code": "daily_login",
        "name": "Daily Login",
        "grace_periods": 1,
        "milestones": [{"count": 7, "badge_code": "week_warrior"}],
    },
    problems=("streak_code_conflict",),
)
@require_admin
def create_streak() -> Response:
    """Create a definition."""
    new = body(NewStreak)
    with unique_code("streak", new.code), changing() as session:
        streak = streaks.create(session, tenant().id, new.model_dump())
    return answer(_definition(streak), 201)


@_both("/<code>", methods=["GET"])
@describe("Get a streak", answers={200: StreakDefinition}, problems=("streak_not_found",))
@require_admin
def get_streak(code: str) -> Response:
    """One definition."""
    return answer(_definition(_streak(code)))


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
    """Change what is given of a definition."""
    given = body(StreakChange)
    change = given.model_dump(include=given.model_fields_set)  # milestones with all their fields
    some_fields(change)
    return answer(_definition(_change(code, change)))


@_both("/<code>", methods=["DELETE"])
@describe("Deactivate a streak", answers={200: Message}, problems=("streak_not_found",))
@require_admin
def deactivate_streak(code: str) -> Response:
    """Pause a definition: states stay, new ticks are refused."""
    _change(code, {"is_active": False})
    return answer({"message": "Streak deactivated"})


def _change(code: str, values: dict[str, Any]) -> Streak:
    _streak(code)
    try:
        with changing() as session:
            return streaks.revise(session, tenant().id, code, values)
    except NotFound:
        raise not_found("streak", code) from None


def _streak(code: str) -> Streak:
    with reading(app_context().engine) as session:
        try:
            return streaks.by_code(session, tenant().id, code)
        except NotFound:
            raise not_found("streak", code) from None


def _definition(streak: Streak) -> StreakDefinition:
    return {
        "code": streak.code,
        "name": streak.name,
        "description": streak.description,
        "period": streak.period,
        "grace_periods": streak.rules.grace_periods,
        "reset_on_miss": streak.rules.reset_on_miss,
        "is_active": streak.is_active,
        "boundary": streak.boundary,
        "milestones": cast(list[MilestoneSet], streak.milestones),
        "at_risk_lead_hours": streak.at_risk_lead_hours,
        "created_at": clock.isoformat(streak.created_at),
        "updated_at": clock.isoformat(streak.updated_at),
    }


# -- one participant's -----------------------------------------------------------------------


class ParticipantStreak(TypedDict):
    """One streak of a participant, live."""

    code: str
    name: str
    current_count: int
    longest_count: int
    last_recorded_at: Moment
    is_at_risk: bool
    period: Kind
    status: Status
    expires_at: Moment | None
    grace_remaining: int


class ParticipantStreaks(TypedDict):
    """A participant's active streaks."""

    participant_id: str
    streaks: list[ParticipantStreak]


@blueprint.get("/participants/<participant:participant_id>/streaks")
@describe("Get a participant's streaks", answers={200: ParticipantStreaks})
def participant_streaks(participant_id: str) -> Response:
    """Every active streak of a participant, live; empty for one never seen (contract §2)."""
    participant_id = participant_id_in_path(participant_id)
    with reading(app_context().engine) as session:
        person = participants.find(session, tenant().id, participant_id)
        found: list[tuple[Streak, State]] = []
        if person:
            active = [one for one in streaks.all_of(session, tenant().id) if one.is_active]
            found = streaks.states_of(session, tenant().id, person.id, active)
    zone = person.timezone if person else None
    entries = [_entry(streak, state, zone, clock.now_us()) for streak, state in found]
    return answer({"participant_id": participant_id, "streaks": entries})


def _entry(
    streak: Streak, state: State, participant_zone: str | None, now_us: int
) -> ParticipantStreak:
    """The documented seven fields, then the live ones (contract §3.4)."""
    zone = streak.zone(state.last_zone, participant_zone)
    now = live(state.standing, streak.rules, period_at(streak.period, now_us, zone))
    expires = None
    if now.breaks_at is not None:
        expires = clock.isoformat(starts_at(streak.period, now.breaks_at, zone))
    return {
        "code": streak.code,
        "name": streak.name,
        "current_count": now.count,
        "longest_count": state.standing.longest,
        "last_recorded_at": clock.to_text(state.last_recorded_us),
        "is_at_risk": now.status == "at_risk",
        "period": streak.period,
        "status": now.status,
        "expires_at": expires,
        "grace_remaining": state.standing.grace_remaining,
    }


class HistoryPeriod(TypedDict):
    """What became of one period."""

    period_key: str
    status: Literal["recorded", "grace", "missed", "pending"]
    count: int
    grace_remaining: int
    tick_id: Id | None
    recorded_at: Moment | None


class StreakHistory(TypedDict):
    """A streak, period by period."""

    participant_id: str
    streak_code: str
    period: Kind
    timezone: str
    periods: list[HistoryPeriod]


_DAY = {"type": "string", "format": "date"}


@blueprint.get("/participants/<participant:participant_id>/streaks/<code>/history")
@describe(
    "Explain a participant's streak",
    answers={200: StreakHistory},
    problems=("streak_not_found",),
    parameters=(
        Parameter("from", _DAY, "The first day; at most 1,000 periods before `to`."),
        Parameter("to", _DAY, "The last day; by default the current period."),
    ),
)
def streak_history(participant_id: str, code: str) -> Response:
    """A streak period by period: recorded (with the tick that did it), grace, missed."""
    participant_id = participant_id_in_path(participant_id)
    streak = _streak(code)
    with reading(app_context().engine) as session:
        person = participants.find(session, tenant().id, participant_id)
        found = streaks.states_of(session, tenant().id, person.id, [streak]) if person else []
        state = found[0][1] if found else None
        zone = streak.zone(state.last_zone if state else None, person.timezone if person else None)
        current = period_at(streak.period, clock.now_us(), zone)
        first, last = _window(streak, current)
        recorded = {}
        if person and state:
            key = (tenant().id, person.id, streak.id)
            recorded = ticks.recorded_by(session, key, (first, last))
    explained = explain(state.ranges, streak.rules, current) if state else ()
    return answer(
        {
            "participant_id": participant_id,
            "streak_code": streak.code,
            "period": streak.period,
            "timezone": zone or "UTC",
            "periods": [
                _explained(streak, one, recorded.get(one.period))
                for one in explained
                if first <= one.period <= last
            ],
        }
    )


def _window(streak: Streak, current: int) -> tuple[int, int]:
    """The periods of `from` and `to` (dates, both included); by default the last ones."""
    last = _period_of("to", streak, current)
    first = _period_of("from", streak, last - HISTORY_PERIODS_MAX + 1)
    if first > last:
        raise invalid_field("from", "range", "must not be after to")
    if last - first >= HISTORY_PERIODS_MAX:
        message = f"must be at most {HISTORY_PERIODS_MAX} periods before to"
        raise invalid_field("from", "range", message)
    return first, last


def _period_of(name: str, streak: Streak, default: int) -> int:
    day = query_day(name)
    return default if day is None else period_of_day(streak.period, day)


def _explained(streak: Streak, one: Explained, tick: ticks.Tick | None) -> HistoryPeriod:
    return {
        "period_key": key_of(streak.period, one.period),
        "status": one.what,
        "count": one.count,
        "grace_remaining": one.grace_remaining,
        "tick_id": tick.id if tick else None,
        "recorded_at": clock.to_text(tick.occurred_us) if tick else None,
    }
