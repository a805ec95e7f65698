"""Participants: create, read the profile, change, read the whole state (seeds 000 and 002)."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import parse_qsl

from flask import Blueprint, Response, request
from pydantic import StringConstraints

from api.http.auth import current_tenant, tenant
from api.http.describe import Parameter, describe
from api.http.problems import FieldError, Problem, invalid_field, not_found
from api.http.request_context import app_context
from api.http.responses import answer
from api.http.tenant_session import transaction
from api.input.field_messages import PRINTABLE
from api.input.field_types import web_url
from api.input.unknown_fields import unknown_in
from api.input.validation import (
    Body,
    FreeForm,
    ParticipantId,
    Zone,
    body,
    has_no_body,
    json_body,
    no_fields,
    participant_id_in_path,
    some_fields,
    validated,
)
from api.resources.participants.view import (
    SECTIONS,
    ParticipantProfile,
    ParticipantState,
    as_profile,
    as_state,
)
from api.writes.submit import rejected
from models.people import profile

blueprint = Blueprint("participants", __name__)

AVATAR_URL_CHARS_MAX = 500  # seed 000

# -- bodies ----------------------------------------------------------------------------------

DisplayName = Annotated[str, StringConstraints(strict=True, max_length=255, pattern=PRINTABLE)]
AvatarUrl = Annotated[str, web_url(AVATAR_URL_CHARS_MAX)]


class ParticipantChange(Body):
    """The changeable fields of a participant; fields that are not given keep their values, null
    clears."""

    display_name: DisplayName | None = None
    avatar_url: AvatarUrl | None = None
    attributes: FreeForm | None = None
    timezone: Zone | None = None


class ParticipantBody(Body):
    """A participant to create or change."""

    participant_id: ParticipantId
    display_name: DisplayName | None = None
    avatar_url: AvatarUrl | None = None
    attributes: FreeForm | None = None
    timezone: Zone | None = None


# -- routes ----------------------------------------------------------------------------------


@blueprint.post("/participants")
@describe(
    "Create a participant, or change an existing one",
    answers={201: ParticipantProfile},
    body=ParticipantBody,
    example={
        "participant_id": "user_123",
        "display_name": "Jane Doe",
        "avatar_url": "https://example.com/avatar.png",
        "attributes": {"plan": "premium", "signup_source": "referral"},
    },
    problems=("participant_inactive",),
)
def create_participant() -> Response:
    """Create a participant, or change the given fields of an existing one; always 201."""
    given = body(ParticipantBody).model_dump(exclude_unset=True)
    participant_id, mine = given.pop("participant_id"), current_tenant()
    with transaction() as connection:
        written = profile.upsert(connection, mine, participant_id, given)
    if written is None:
        raise rejected("participant_inactive", participant_id)
    return answer(as_profile(written[0]), 201)


@blueprint.get("/participants/<participant:participant_id>")
@describe(
    "Get a participant's profile",
    answers={200: ParticipantProfile},
    problems=("participant_not_found",),
)
def get_participant(participant_id: str) -> Response:
    """The full profile of one participant."""
    return _read(participant_id_in_path(participant_id))


@blueprint.get("/participants")
@describe(
    "Get a participant's profile by any id",
    answers={200: ParticipantProfile},
    problems=("participant_not_found",),
    parameters=(
        Parameter(
            "participant_id",
            {"type": "string", "minLength": 1, "maxLength": 255},
            "Any id. In a path, percent-encode the slash of an id: `x%2Fstreaks`.",
            is_required=True,
        ),
    ),
)
def find_participant() -> Response:
    """Like get_participant, for callers whose proxy decodes paths."""
    return _read(participant_id_in_path(_participant_id_in_query()))


@blueprint.patch("/participants/<participant:participant_id>")
@describe(
    "Change a participant's profile",
    answers={200: ParticipantProfile},
    body=ParticipantChange,
    example={
        "display_name": "Jane Smith",
        "attributes": {"plan": "enterprise", "team_id": "team_42"},
    },
    problems=("no_fields_to_update", "participant_not_found", "participant_inactive"),
)
def change_participant(participant_id: str) -> Response:
    """Change the given fields; `attributes` is replaced as a whole."""
    participant_id = participant_id_in_path(participant_id)
    change = {} if has_no_body() else _change()
    some_fields(change)
    mine = current_tenant()
    with transaction() as connection:
        found = profile.change(connection, mine.id, participant_id, change)
        is_known = found or profile.status(connection, mine.id, participant_id)
    if found:
        return answer(as_profile(found))
    if is_known:
        raise rejected("participant_inactive", participant_id)
    raise _not_found(participant_id)


@blueprint.get("/participants/<participant:participant_id>/state")
@describe(
    "Get sections of a participant's state",
    answers={200: ParticipantState},
    problems=("invalid_include",),
    parameters=(
        Parameter(
            "include",
            {"type": "string"},
            f"Sections separated by commas: {', '.join(SECTIONS)}. All by default.",
            may_repeat=True,
        ),
    ),
)
def participant_state(participant_id: str) -> Response:
    """The requested sections; empty for an unknown participant (contract §2)."""
    participant_id = participant_id_in_path(participant_id)
    wanted = _sections()
    known_id, found = profile.state(app_context().rows, tenant().id, participant_id, wanted)
    return answer(as_state(known_id, found, wanted))


# -- parsing ---------------------------------------------------------------------------------


def _participant_id_in_query() -> str:
    """The parameter. Bytes that are not UTF-8 are refused: lenient decoding could merge two ids."""
    try:
        pairs = dict(parse_qsl(request.query_string.decode(), True, errors="strict"))
    except UnicodeError:
        raise invalid_field("participant_id", "text", "must be UTF-8") from None
    if "participant_id" not in pairs:
        raise invalid_field("participant_id", "missing", "must be given")
    return pairs["participant_id"]


def _change() -> dict[str, Any]:
    """The fields to change. The documents answer 400 to a body without any known field."""
    value = json_body()
    if isinstance(value, dict) and not value.keys() & ParticipantChange.model_fields.keys():
        raise no_fields(unknown_in(ParticipantChange.model_fields, value))
    return validated(ParticipantChange, value).model_dump(exclude_unset=True)


def _sections() -> tuple[str, ...]:
    """The sections in `include`, in the documented order; all of them if it is empty."""
    given = {name.strip() for text in request.args.getlist("include") for name in text.split(",")}
    given.discard("")
    if given - set(SECTIONS):
        detail = f"include must name sections of: {', '.join(SECTIONS)}"
        raise Problem(
            400, "invalid_include", detail, [FieldError("include", "unknown_section", detail)]
        )
    return tuple(section for section in SECTIONS if section in given) or SECTIONS


# -- answering -------------------------------------------------------------------------------


def _not_found(participant_id: str) -> Problem:
    return not_found("participant", participant_id)


def _read(participant_id: str) -> Response:
    found = profile.read(app_context().rows, tenant().id, participant_id)
    if found is None:
        raise _not_found(participant_id)
    return answer(as_profile(found))
