"""Badges: definitions for admins, and the badges of a participant (seed 001)."""

from __future__ import annotations

import re
from typing import Annotated

from flask import Blueprint, Response, request
from pydantic import Field, StringConstraints, TypeAdapter
from typing_extensions import TypedDict

from api.http.auth import require_admin, tenant
from api.http.describe import (
    IS_ACTIVE,
    PAGE,
    MessageAnswer,
    Moment,
    Parameter,
    describe,
    shown,
)
from api.http.problems import invalid_field
from api.http.responses import answer
from api.http.tenant_session import reading
from api.input.field_messages import COLOR, checked
from api.input.field_types import web_url
from api.input.validation import (
    Body,
    Code,
    Fixed,
    Name,
    Text,
    body,
    participant_id_in_path,
    query_bool,
)
from api.resources.definitions.crud import DefinitionAnswer, Managed, tenant_shown
from models.definitions import badges
from models.definitions.badges import Badge, EarnedBadge, Rarity

blueprint = Blueprint("badges", __name__)

ICON_URL_CHARS_MAX = 2_048  # accepted by all browsers and content networks
CODES_MAX = 100  # per request: a page of badges
_CODE = re.compile(r"[A-Za-z0-9_.:-]{1,50}", re.ASCII)

# -- definitions -----------------------------------------------------------------------------

IconUrl = Annotated[str, web_url(ICON_URL_CHARS_MAX)]
Color = Annotated[
    str,
    StringConstraints(
        strict=True,
        max_length=20,
        pattern=COLOR,
    ),
]
Category = Annotated[Name, StringConstraints(max_length=50)]
_CATEGORY: TypeAdapter[str] = TypeAdapter(Category)
BadgeOrder = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]  # Postgres' integer


class NewBadge(Body):
    """A definition to create."""

    code: Code
    name: Name
    description: Text | None = None
    icon_url: IconUrl | None = None
    badge_color: Color | None = None
    rarity: Rarity = "common"
    category: Category | None = None
    is_active: bool = True
    is_hidden: bool = False
    display_order: BadgeOrder = 0


class BadgeChange(NewBadge):
    """The changeable fields of a definition; fields that are not given keep their values."""

    code: Fixed = None  # awards refer to it
    name: Name = ""


class BadgeDefinition(DefinitionAnswer):
    """A definition as admins see it."""

    icon_url: str | None
    badge_color: str | None
    rarity: Rarity
    category: str | None
    is_active: bool
    is_hidden: bool
    display_order: int
    created_at: Moment
    updated_at: Moment


class BadgePage(TypedDict):
    """A page of definitions."""

    items: list[BadgeDefinition]
    total: int
    page: int
    page_size: int


_BADGES = Managed("badge", badges.definitions)


@blueprint.get("/admin/badges")
@describe(
    "List badge definitions",
    answers={200: BadgePage},
    parameters=(
        *PAGE,
        IS_ACTIVE,
        Parameter("category", _CATEGORY.json_schema(), "Only badges of this category."),
    ),
)
@require_admin
def list_badges() -> Response:
    """A page of the tenant's definitions in display order."""
    page = _BADGES.page(category=_category())
    return page.answer([_definition(badge) for badge in page.found])


@blueprint.post("/admin/badges")
@describe(
    "Create a badge definition",
    answers={201: BadgeDefinition},
    body=NewBadge,
    example={
        "code": "power_user",
        "name": "Power User",
        "description": "Log in 10 times.",
        "icon_url": "https://cdn.example.com/badges/power.png",
        "badge_color": "#7C3AED",
        "rarity": "rare",
        "category": "engagement",
        "display_order": 10,
    },
    problems=("badge_code_conflict",),
)
@require_admin
def create_badge() -> Response:
    """Create a definition."""
    new = body(NewBadge)
    with _BADGES.creating(new.code) as connection:
        badge = _BADGES.create(connection, new.model_dump(), new)
    return answer(_definition(badge), 201)


@blueprint.get("/admin/badges/<badge_id>")
@describe("Get a badge definition", answers={200: BadgeDefinition}, problems=("badge_not_found",))
@require_admin
def get_badge(badge_id: str) -> Response:
    """One definition."""
    return answer(_definition(_BADGES.find(badge_id)))


@blueprint.patch("/admin/badges/<badge_id>")
@describe(
    "Change a badge definition",
    answers={200: BadgeDefinition},
    body=BadgeChange,
    example={"is_hidden": True, "display_order": 20},
    problems=("badge_not_found", "no_fields_to_update"),
)
@require_admin
def change_badge(badge_id: str) -> Response:
    """Change the given fields of a definition."""
    before = _BADGES.find(badge_id)
    values = body(BadgeChange).model_dump(exclude_unset=True)
    with _BADGES.revising(before, values) as connection:
        return answer(_definition(badges.definitions.revise(connection, before, values)))


@blueprint.delete("/admin/badges/<badge_id>")
@describe(
    "Deactivate a badge definition",
    answers={200: MessageAnswer},
    problems=("badge_not_found",),
)
@require_admin
def deactivate_badge(badge_id: str) -> Response:
    """Stop new awards; earned badges stay."""
    _BADGES.change(badge_id, {"is_active": False})
    return answer(MessageAnswer(message="Badge deactivated"))


def _category() -> str | None:
    text = request.args.get("category")
    return None if text is None else checked("category", _CATEGORY, text)


def _definition(badge: Badge) -> BadgeDefinition:
    return shown(BadgeDefinition, badge, tenant_id=tenant_shown())


# -- badges of a participant -----------------------------------------------------------------


class ParticipantBadge(TypedDict):
    """A badge as one participant sees it."""

    code: str
    name: str
    description: str | None
    icon: str | None
    rarity: Rarity
    category: str | None
    earned: bool
    earned_at: Moment | None


class ParticipantBadges(TypedDict):
    """The badges of a participant."""

    participant_id: str
    badges: list[ParticipantBadge]
    total: int
    earned_count: int


@blueprint.get("/participants/<participant:participant_id>/badges")
@describe(
    "List the badges of a participant",
    answers={200: ParticipantBadges},
    parameters=(
        Parameter("earned_only", {"type": "boolean", "default": False}, "Only earned badges."),
        Parameter(
            "badge_codes",
            {"type": "string"},
            f"Only the badges with these codes, separated by commas; at most {CODES_MAX}.",
        ),
    ),
)
def participant_badges(participant_id: str) -> Response:
    """Every badge, and whether the participant has earned it (contract §2)."""
    participant_id = participant_id_in_path(participant_id)
    codes, earned_only = _codes(), query_bool("earned_only") or False
    with reading() as connection:
        key = (tenant().id, participant_id)
        found = badges.of_participant(connection, key, codes, earned_only=earned_only)
    entries = [_entry(badge) for badge in found]
    return answer(
        ParticipantBadges(
            participant_id=participant_id,
            badges=entries,
            total=len(entries),
            earned_count=sum(entry["earned"] for entry in entries),
        )
    )


def _codes() -> list[str] | None:
    """The requested codes that are valid badge codes; None if none were given."""
    given = [code.strip() for code in request.args.get("badge_codes", "").split(",")]
    named = [code for code in given if code]
    if len(named) > CODES_MAX:
        raise invalid_field("badge_codes", "too_long", f"must name at most {CODES_MAX} codes")
    return [code for code in named if _CODE.fullmatch(code)] if named else None


def _entry(badge: EarnedBadge) -> ParticipantBadge:
    earned = badge.earned_at is not None
    return shown(ParticipantBadge, badge, icon=badge.icon_url, earned=earned)
