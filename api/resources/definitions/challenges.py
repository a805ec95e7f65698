"""Challenges: definitions for admins (contract §6)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Blueprint, Response
from pydantic import Field
from typing_extensions import TypedDict

from api.http.auth import require_admin
from api.http.describe import IS_ACTIVE, PAGE, MessageAnswer, Moment, describe, shown
from api.http.responses import answer
from api.input.field_types import Bound
from api.input.validation import Body, Code, Fixed, Name, Text, body
from api.resources.definitions.crud import (
    DefinitionAnswer,
    Managed,
    active_badges,
    active_streak,
    check_window,
    check_window_change,
    tenant_shown,
)
from models.db import Connection
from models.definitions import challenges
from models.definitions.challenges import Challenge

blueprint = Blueprint("challenges", __name__)

CODES_MAX = 100  # per objective
TARGET_MAX = 1_000_000_000
POINTS_MAX = 1_000_000  # as for an award


class OfStreak(Body):
    """Ticks of a streak that recorded a new period, or the count that a tick reaches."""

    type: Literal["ticks", "count"]
    streak_code: Code


class OfBadges(Body):
    """Badges earned for the first time, with these codes or any."""

    type: Literal["badges"]
    badge_codes: Annotated[list[Code], Field(min_length=1, max_length=CODES_MAX)] | None = None


class OfPoints(Body):
    """Points earned, even if spent later."""

    type: Literal["points"]


ObjectiveBody = Annotated[OfStreak | OfBadges | OfPoints, Field(discriminator="type")]
TargetCount = Annotated[int, Field(ge=1, le=TARGET_MAX)]
ChallengePoints = Annotated[int, Field(ge=1, le=POINTS_MAX)]


class NewChallenge(Body):
    """A definition to create."""

    code: Code
    name: Name
    description: Text | None = None
    objective: ObjectiveBody
    target: TargetCount
    points: ChallengePoints | None = None
    badge_code: Code | None = None
    starts_at: Bound | None = None
    ends_at: Bound | None = None
    is_active: bool = True


class ChallengeChange(NewChallenge):
    """The changeable fields of a definition; fields that are not given keep their values."""

    code: Fixed = None
    name: Name = ""
    objective: Fixed = None  # progress refers to it
    target: TargetCount = 1


class ChallengeDefinition(DefinitionAnswer):
    """A definition as admins see it."""

    objective: dict[str, Any]
    target: int
    points: int | None
    badge_code: str | None
    starts_at: Moment | None
    ends_at: Moment | None
    is_active: bool
    created_at: Moment
    updated_at: Moment


class ChallengePage(TypedDict):
    """A page of definitions."""

    items: list[ChallengeDefinition]
    total: int
    page: int
    page_size: int


_CHALLENGES = Managed("challenge", challenges.definitions)


@blueprint.get("/admin/challenges")
@describe("List challenges", answers={200: ChallengePage}, parameters=(*PAGE, IS_ACTIVE))
@require_admin
def list_challenges() -> Response:
    """A page of the tenant's challenges by code."""
    page = _CHALLENGES.page()
    return page.answer([_definition(challenge) for challenge in page.found])


@blueprint.post("/admin/challenges")
@describe(
    "Create a challenge",
    answers={201: ChallengeDefinition},
    body=NewChallenge,
    example={
        "code": "big_spender",
        "name": "Earn 5,000 points",
        "objective": {"type": "points"},
        "target": 5000,
        "points": 500,
        "starts_at": "2026-01-01T00:00:00Z",
        "ends_at": "2100-01-01T00:00:00Z",
    },
    problems=("challenge_code_conflict",),
)
@require_admin
def create_challenge() -> Response:
    """Create a challenge. Writes that were applied before do not count."""
    new = body(NewChallenge)
    check_window(new)
    values = new.model_dump()
    values["objective"] = new.objective.model_dump(exclude_none=True)
    with _CHALLENGES.creating(new.code) as connection:
        _check_codes(connection, values)
        challenge = _CHALLENGES.create(connection, values, new)
    return answer(_definition(challenge), 201)


@blueprint.get("/admin/challenges/<challenge_id>")
@describe("Get a challenge", answers={200: ChallengeDefinition}, problems=("challenge_not_found",))
@require_admin
def get_challenge(challenge_id: str) -> Response:
    """One definition."""
    return answer(_definition(_CHALLENGES.find(challenge_id)))


@blueprint.patch("/admin/challenges/<challenge_id>")
@describe(
    "Change a challenge",
    answers={200: ChallengeDefinition},
    body=ChallengeChange,
    example={"name": "Earn 4,000 points", "target": 4000},
    problems=("challenge_not_found", "no_fields_to_update"),
)
@require_admin
def change_challenge(challenge_id: str) -> Response:
    """Change the given fields. Completed challenges stay completed; a lower target takes effect
    with the next progress."""
    before = _CHALLENGES.find(challenge_id)
    values = body(ChallengeChange).model_dump(exclude_unset=True)
    check_window_change(before, values)
    with _CHALLENGES.revising(before, values) as connection:
        _check_codes(connection, values)
        revised = challenges.definitions.revise(connection, before, values)
    return answer(_definition(revised))


@blueprint.delete("/admin/challenges/<challenge_id>")
@describe("Deactivate a challenge", answers={200: MessageAnswer}, problems=("challenge_not_found",))
@require_admin
def deactivate_challenge(challenge_id: str) -> Response:
    """Stop counting; completed challenges stay completed."""
    _CHALLENGES.change(challenge_id, {"is_active": False})
    return answer(MessageAnswer(message="Challenge deactivated"))


def _check_codes(connection: Connection, values: dict[str, Any]) -> None:
    """422 for the code of nothing active: it would never count, or its badge never be awarded."""
    objective = values.get("objective") or {}
    if "streak_code" in objective:
        active_streak(connection, "objective.streak_code", objective["streak_code"])
    indexes = enumerate(objective.get("badge_codes") or ())
    counted = {f"objective.badge_codes.{index}": code for index, code in indexes}
    active_badges(connection, counted | {"badge_code": values.get("badge_code")})


def _definition(challenge: Challenge) -> ChallengeDefinition:
    objective = challenge.objective.as_json()
    return shown(ChallengeDefinition, challenge, tenant_id=tenant_shown(), objective=objective)
