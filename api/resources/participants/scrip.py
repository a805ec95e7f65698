"""Participants in the format of Scrip's API (seed 003)."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from flask import Blueprint, Response
from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import from_json
from typing_extensions import TypedDict

from api.http.auth import current_tenant
from api.http.describe import Id, Moment, describe, shown
from api.http.problems import Problem, not_found, outcome_unknown
from api.http.request_context import app_context
from api.http.responses import answer
from api.http.tenant_session import reading, transaction
from api.input.field_messages import PRINTABLE, UUID_TEXT
from api.input.validation import Body, FreeForm, ParticipantId, ReasonText, body
from api.resources.shared import audit
from api.resources.shared.tier_progress import placement
from api.writes.submit import rejected
from models import ids
from models.db import Connection
from models.definitions import programs
from models.errors import NotFound
from models.identity.tenants import Tenant
from models.people import profile as profiles
from models.people.profile import ParticipantStatus, Profile
from workers.intake.client import Unavailable

blueprint = Blueprint("scrip", __name__)

POINTS_ASSET = 1  # the only asset, under an id of the tenant's own
TIER_TYPE = "loyalty"  # the only type of tiers, named as in the documentation
TAGS_MAX = 100
TAG_CHARS_MAX = 64
_ACTIONS: dict[ParticipantStatus, str] = {
    "ACTIVE": "participant.activated",
    "SUSPENDED": "participant.suspended",
    "CLOSED": "participant.closed",
}
MARK_ROUNDS_MAX = 10  # each round follows a concurrent change of the same participant's status

Tag = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=TAG_CHARS_MAX, pattern=PRINTABLE),
]


def _once_each(tags: list[str]) -> list[str]:
    return list(dict.fromkeys(tags))


Tags = Annotated[list[Tag], Field(max_length=TAGS_MAX), AfterValidator(_once_each)]
ProgramId = Annotated[
    str,
    StringConstraints(
        strict=True,
        pattern=UUID_TEXT,
    ),
    Field(json_schema_extra={"format": "uuid"}),
]


class ScripBody(Body):
    """A participant to create or change; null means not given."""

    external_id: ParticipantId
    attributes: FreeForm | None = None
    program_id: ProgramId | None = None
    status: ParticipantStatus | None = None
    tags: Tags | None = None
    reason: ReasonText | None = None  # of the status, for the audit log


class AssetBalance(TypedDict):
    """A participant's balance of one asset, as decimal strings."""

    asset_id: Id
    available: str
    deferred: str
    held: str


class TierLevel(TypedDict):
    """The level reached in one type of tier."""

    level: str
    rank: int


class ScripParticipant(TypedDict):
    """A participant as Scrip's API shows it."""

    attributes: dict[str, Any]
    balances: list[AssetBalance]
    counters: dict[str, str]
    created_at: Moment
    external_id: str
    id: Id
    program_ids: list[Id]
    status: ParticipantStatus
    tags: list[str]
    tiers: dict[str, TierLevel]
    updated_at: Moment


@blueprint.post("/participants")
@describe(
    "Create a participant, or change an existing one",
    answers={200: ScripParticipant, 201: ScripParticipant},
    body=ScripBody,
    example={
        "external_id": "user_abc123",
        "attributes": {"plan": "premium", "region": "us-east"},
        "status": "ACTIVE",
        "tags": ["vip"],
    },
    problems=("program_not_found", "participant_inactive"),
)
def put_participant() -> Response:
    """Create (201) or change (200) a participant, and enrol it in a program."""
    posted, mine = body(ScripBody), current_tenant()
    with transaction() as connection:
        profile, is_new = _write(connection, mine, posted)
        enrolled = programs.of_participant(connection, mine.id, profile.id)
    if posted.status is not None:
        mark(mine, posted.external_id, is_active=posted.status == "ACTIVE")
    return answer(_as_json(mine, profile, enrolled), 201 if is_new else 200)


def _write(connection: Connection, mine: Tenant, posted: ScripBody) -> tuple[Profile, bool]:
    """Change only the given fields; an inactive participant needs a status among them."""
    if posted.program_id is not None:
        _check_program(connection, mine, posted.program_id)
    values = posted.model_dump(exclude_none=True, include={"attributes", "status", "tags"})
    was = profiles.status_held(connection, mine.id, posted.external_id) if posted.status else None
    written = profiles.upsert(connection, mine, posted.external_id, values)
    if written is None:
        raise rejected("participant_inactive", posted.external_id)
    if posted.status and posted.status != (was or (written[1] and "ACTIVE")):
        # Without the participant's id.
        audit.record(connection, _ACTIONS[posted.status], **audit.because(posted.reason))
    if posted.program_id is not None:
        programs.enrol(connection, mine.id, written[0].id, UUID(posted.program_id))
    return written


def _check_program(connection: Connection, mine: Tenant, program_id: str) -> None:
    try:
        is_open = programs.definitions.by_id(connection, mine.id, UUID(program_id)).is_active
    except NotFound:
        is_open = False
    if not is_open:
        raise not_found("program", program_id)


def mark(mine: Tenant, external_id: str, *, is_active: bool) -> None:
    """Update Redis, after the commit, on whether this participant's writes are accepted.

    Two concurrent changes may arrive here in another order than they committed in. So each reads
    the status again after its update and repeats the update if the status has changed.
    """
    context = app_context()
    for _ in range(MARK_ROUNDS_MAX):
        try:
            context.intake.mark(mine.id, external_id, is_active=is_active)
        except Unavailable:
            raise _half_done() from None
        with reading() as connection:
            now_active = profiles.status(connection, mine.id, external_id) in ("ACTIVE", None)
        if now_active is is_active:
            return
        is_active = now_active
    raise _half_done()


def _half_done() -> Problem:
    detail = "The participant was changed, but writes may not heed its status yet. Send this again."
    return outcome_unknown(detail)


def _as_json(mine: Tenant, profile: Profile, enrolled: list[UUID]) -> ScripParticipant:
    """The documented fields, in alphabetical order."""
    return shown(
        ScripParticipant,
        profile,
        attributes=from_json(profile.attributes) if profile.attributes else {},
        balances=_balances(mine, profile),
        counters=_counters(profile),
        id=str(ids.opaque(mine.tick_secret, "participant", profile.id)),
        program_ids=[str(program_id) for program_id in enrolled],
        tiers=_tiers(profile),
    )


def _balances(mine: Tenant, profile: Profile) -> list[AssetBalance]:
    """Points as an asset, if the participant ever had any. Nothing is deferred or held: every
    deduction is immediate."""
    if not profile.points.earned:
        return []
    return [
        {
            "asset_id": str(ids.opaque(mine.tick_secret, "asset", POINTS_ASSET)),
            "available": _decimal(profile.points.balance),
            "deferred": _decimal(0),
            "held": _decimal(0),
        }
    ]


def _decimal(points: int) -> str:
    return f"{points}.00"


def _counters(profile: Profile) -> dict[str, str]:
    """The counts of a profile that are known."""
    counted = {
        "points_earned": profile.points.earned,
        "points_spent": profile.points.spent,
        "events": profile.total_events,
        "badges_earned": len(profile.badges),
        "rewards_claimed": profile.rewards_claimed,
    }
    return {name: str(count) for name, count in counted.items() if count}


def _tiers(profile: Profile) -> dict[str, TierLevel]:
    found = placement(profile.placed)
    return {TIER_TYPE: {"level": found.tier.code, "rank": found.tier.level}} if found else {}
