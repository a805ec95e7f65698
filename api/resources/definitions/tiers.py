"""Tiers: definitions for admins (contract §6)."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from flask import Blueprint, Response
from pydantic import Field
from typing_extensions import TypedDict

from api.http.auth import require_admin
from api.http.describe import IS_ACTIVE, PAGE, MessageAnswer, Moment, describe, shown
from api.http.problems import FieldError, Problem, invalid
from api.http.responses import answer
from api.input.validation import Body, Code, Fixed, Name, Text, body
from api.resources.definitions.badges import Color
from api.resources.definitions.crud import DefinitionAnswer, Managed, tenant_shown
from models.errors import LevelTaken
from models.ledgers import tier_changes
from models.ledgers.tier_changes import AwardType, Tier

blueprint = Blueprint("tiers", __name__)

POINTS_MAX = 10**12  # no participant earns more at a million per award

Level = Annotated[int, Field(ge=0, le=1_000_000)]


class Criteria(Body):
    """The condition of an automatic tier."""

    min_points: Annotated[int, Field(ge=0, le=POINTS_MAX)] | None = None


class NewTier(Body):
    """A definition to create."""

    code: Code
    name: Name
    description: Text | None = None
    level: Level
    color: Color | None = None
    criteria_config: Criteria | None = None
    award_type: AwardType = "automatic"
    is_active: bool = True


class TierChange(NewTier):
    """The changeable fields of a definition; fields that are not given keep their values."""

    code: Fixed = None  # assignments refer to it
    name: Name = ""
    level: Level = 0


class CriteriaConfig(TypedDict):
    """The condition of a tier; without `min_points`, assignment only."""

    min_points: NotRequired[int]


class TierDefinition(DefinitionAnswer):
    """A definition as admins see it."""

    level: int
    color: str | None
    criteria_config: CriteriaConfig
    award_type: AwardType
    is_active: bool
    created_at: Moment
    updated_at: Moment


class TierPage(TypedDict):
    """A page of definitions."""

    items: list[TierDefinition]
    total: int
    page: int
    page_size: int


_TIERS = Managed("tier", tier_changes.definitions)


@blueprint.get("/admin/tiers")
@describe("List tiers", answers={200: TierPage}, parameters=(*PAGE, IS_ACTIVE))
@require_admin
def list_tiers() -> Response:
    """A page of the tenant's tiers, lowest level first."""
    page = _TIERS.page()
    return page.answer([_definition(tier) for tier in page.found])


@blueprint.post("/admin/tiers")
@describe(
    "Create a tier",
    answers={201: TierDefinition},
    body=NewTier,
    example={
        "code": "platinum",
        "name": "Platinum",
        "level": 4,
        "color": "#E5E4E2",
        "criteria_config": {"min_points": 10000},
        "award_type": "automatic",
    },
    problems=("tier_code_conflict", "tier_level_conflict"),
)
@require_admin
def create_tier() -> Response:
    """Create a tier. A participant has the tier with the highest level that their points reach."""
    new = body(NewTier)
    values = _values(new.model_dump())
    _check(values["award_type"], values["min_points"])
    try:
        with _TIERS.creating(new.code) as connection:
            tier = _TIERS.create(connection, values, new)
    except LevelTaken:
        raise _level_taken(new.level) from None
    return answer(_definition(tier), 201)


@blueprint.get("/admin/tiers/<tier_id>")
@describe("Get a tier", answers={200: TierDefinition}, problems=("tier_not_found",))
@require_admin
def get_tier(tier_id: str) -> Response:
    """One definition."""
    return answer(_definition(_TIERS.find(tier_id)))


@blueprint.patch("/admin/tiers/<tier_id>")
@describe(
    "Change a tier",
    answers={200: TierDefinition},
    body=TierChange,
    example={"name": "Platinum Club", "color": "#8A8D8F"},
    problems=("tier_not_found", "tier_level_conflict", "no_fields_to_update"),
)
@require_admin
def change_tier(tier_id: str) -> Response:
    """Change the given fields. No participant is moved down; participants with enough points move
    up with their next points."""
    before = _TIERS.find(tier_id)
    values = _values(body(TierChange).model_dump(exclude_unset=True))
    _check(values.get("award_type", before.award_type), values.get("min_points", before.min_points))
    return answer(_definition(_change(tier_id, before, values)))


@blueprint.delete("/admin/tiers/<tier_id>")
@describe("Deactivate a tier", answers={200: MessageAnswer}, problems=("tier_not_found",))
@require_admin
def deactivate_tier(tier_id: str) -> Response:
    """Stop new participants from reaching the tier; current ones stay."""
    _TIERS.change(tier_id, {"is_active": False})
    return answer(MessageAnswer(message="Tier deactivated"))


def _change(tier_id: str, before: Tier, values: dict[str, Any]) -> Tier:
    try:
        return _TIERS.change(tier_id, values)
    except LevelTaken:
        raise _level_taken(values.get("level", before.level)) from None


def _values(given: dict[str, Any]) -> dict[str, Any]:
    """The given fields by column."""
    if "criteria_config" in given:
        given["min_points"] = (given.pop("criteria_config") or {}).get("min_points")
    return given


def _check(award_type: AwardType, min_points: int | None) -> None:
    if award_type == "automatic" and min_points is None:
        text = "must be given for an automatic tier"
        raise invalid(FieldError("criteria_config.min_points", "missing", text))


def _level_taken(level: int) -> Problem:
    return Problem(
        400,
        "tier_level_conflict",
        f"Another active tier has the level {level}: give this one another",
    )


def _definition(tier: Tier) -> TierDefinition:
    criteria = CriteriaConfig() if tier.min_points is None else {"min_points": tier.min_points}
    return shown(TierDefinition, tier, tenant_id=tenant_shown(), criteria_config=criteria)
