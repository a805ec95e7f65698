"""Dead letters (accepted writes that could not be applied): list, read, replay, discard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast
from uuid import UUID

from flask import Blueprint, Response
from typing_extensions import TypedDict
from werkzeug.exceptions import MethodNotAllowed

from api.http.auth import require_admin, tenant
from api.http.describe import Parameter, describe
from api.http.problems import Problem, not_found
from api.http.request_context import app_context
from api.http.responses import answer
from api.http.tenant_session import reading, transaction
from api.input import cursors
from api.input.field_types import uuid_in_path
from api.input.validation import PAGE_SIZE_MAX, Body, ParticipantId, body, query_int
from api.resources.operator import dead_letter_actions
from api.resources.operator.dead_letter_actions import REPLAYED_MAX, RESTING, DeadLetterClosed
from api.resources.shared.audit import record
from api.resources.shared.dead_letter_view import (
    DeadLetterDetail,
    DeadLetterEntry,
    as_detail,
    as_entry,
)
from models.db import Connection
from models.errors import NotFound
from models.ledgers import dead_letters
from models.ledgers.base import WRITE_KINDS, WriteKind
from models.ledgers.dead_letters import STATUSES, DeadLetter, DeadLetterQuery, DeadLetterStatus
from workers.intake.client import Unreadable

blueprint = Blueprint("dead_letters", __name__)

_UUID_BYTES = 16


class DeadLetterPage(TypedDict):
    """The next dead letters, newest write first."""

    items: list[DeadLetterEntry]
    next_cursor: str | None


class ReplayFilter(Body):
    """Which dead letters to replay; without fields, all."""

    kind: WriteKind | None = None
    participant_id: ParticipantId | None = None


class Replayed(TypedDict):
    """How many were replayed now, and how many are left."""

    replayed: int
    left: int


# -- reading ---------------------------------------------------------------------------------


@blueprint.get("/admin/dead-letters")
@describe(
    "List dead letters",
    answers={200: DeadLetterPage},
    parameters=(
        Parameter(
            "status",
            {"type": "string", "enum": list(STATUSES)},
            "Only dead, replayed or discarded ones.",
        ),
        Parameter(
            "kind", {"type": "string", "enum": list(WRITE_KINDS)}, "Only this type of write."
        ),
        cursors.PARTICIPANT,
        cursors.after_parameter(_UUID_BYTES),
        cursors.limit_parameter(PAGE_SIZE_MAX, 50),
    ),
)
@require_admin
def list_dead_letters() -> Response:
    """The tenant's accepted writes that failed every try, newest first."""
    position = cursors.decode("after", _UUID_BYTES)
    limit = query_int("limit", 50, 1, PAGE_SIZE_MAX)
    wanted = DeadLetterQuery(
        limit=limit + 1,
        tenant_ids=[tenant().id],
        after=None if position is None else UUID(bytes=position),
        status=cast(DeadLetterStatus | None, cursors.query_choice("status", *STATUSES)),
        kind=cursors.query_choice("kind", *WRITE_KINDS),
        participant_id=cursors.query_participant(),
    )
    with reading() as connection:
        found = dead_letters.page(connection, wanted)
    shown = found[:limit]
    cursor = cursors.encode(shown[-1].id.bytes) if len(found) > limit else None
    return answer(
        {"items": [as_entry(dead_letter) for dead_letter in shown], "next_cursor": cursor}
    )


@blueprint.get("/admin/dead-letters/<dead_letter_id>")
@describe(
    "Get a dead letter",
    answers={200: DeadLetterDetail},
    problems=("dead_letter_not_found",),
)
@require_admin
def get_dead_letter(dead_letter_id: str) -> Response:
    """One dead letter with its write and its error."""
    if dead_letter_id == "replay":  # the path that replays all of them, not an id
        raise MethodNotAllowed(["OPTIONS", "POST"])
    number = uuid_in_path("dead_letter", dead_letter_id)
    with reading() as connection:
        dead_letter = dead_letters.find(connection, tenant().id, number)
    if dead_letter is None:
        raise not_found("dead_letter", dead_letter_id)
    return answer(as_detail(dead_letter))


# -- replaying and discarding ----------------------------------------------------------------


@blueprint.post("/admin/dead-letters/<dead_letter_id>/replay")
@describe(
    "Replay a dead letter",
    answers={202: DeadLetterEntry},
    problems=("dead_letter_not_found", "dead_letter_discarded", "dead_letter_unreadable"),
)
@require_admin
def replay_dead_letter(dead_letter_id: str) -> Response:
    """Replay a dead letter after its cause is fixed. It is applied once, however often this is
    called; if every try fails, it is dead again. `GET /ticks/{id}` shows the status."""
    with _held(dead_letter_id) as (connection, dead_letter):
        replayed = dead_letter_actions.replay(connection, app_context().intake, dead_letter)
        record(connection, "dead_letter.replayed", str(dead_letter.id))
    return answer(as_entry(replayed), 202)


@blueprint.post("/admin/dead-letters/replay")
@describe(
    "Replay all dead letters",
    answers={202: Replayed},
    body=ReplayFilter,
    example={"kind": "tick"},
)
@require_admin
def replay_dead_letters() -> Response:
    """Replay dead letters, the oldest first, at most 100 per call; call again while `left` is
    above 0."""
    given = body(ReplayFilter)
    wanted = DeadLetterQuery(
        limit=REPLAYED_MAX,
        tenant_ids=[tenant().id],
        status="dead",
        kind=given.kind,
        participant_id=given.participant_id,
    )
    with transaction() as connection:
        done = dead_letter_actions.replay_some(connection, app_context().intake, wanted)
        for dead_letter in done:
            record(connection, "dead_letter.replayed", str(dead_letter.id))
        left = dead_letters.count(connection, wanted)
    return answer({"replayed": len(done), "left": left}, 202)


@blueprint.post("/admin/dead-letters/<dead_letter_id>/discard")
@describe(
    "Discard a dead letter",
    answers={200: DeadLetterEntry},
    problems=("dead_letter_not_found", "dead_letter_replayed"),
)
@require_admin
def discard_dead_letter(dead_letter_id: str) -> Response:
    """Discard a dead letter: it is stored, but never applied."""
    with _held(dead_letter_id) as (connection, dead_letter):
        discarded = dead_letter_actions.discard(connection, dead_letter)
        if dead_letter.status != "discarded":
            record(connection, "dead_letter.discarded", str(dead_letter.id))
    return answer(as_entry(discarded))


@contextmanager
def _held(dead_letter_id: str) -> Iterator[tuple[Connection, DeadLetter]]:
    """The dead letter in a path, locked in a transaction; its errors become problems."""
    number = uuid_in_path("dead_letter", dead_letter_id)
    try:
        with transaction() as connection:
            yield connection, dead_letters.lock(connection, tenant().id, number)
    except NotFound:
        raise not_found("dead_letter", dead_letter_id) from None
    except DeadLetterClosed as error:
        raise Problem(409, f"dead_letter_{error.status}", RESTING[error.status]) from None
    except Unreadable:
        detail = "This release cannot read the dead letter: discard it, or replay it with another"
        raise Problem(409, "dead_letter_unreadable", detail) from None
