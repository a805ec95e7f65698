"""Dead letters: accepted writes that could not be applied; looked at, replayed, discarded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast
from uuid import UUID

from flask import Blueprint, Response
from typing_extensions import TypedDict
from werkzeug.exceptions import MethodNotAllowed

from api.http.auth import principal, require_admin, tenant
from api.http.describe import Id, Moment, Parameter, describe
from api.http.problems import Problem, not_found
from api.http.request_context import app_context
from api.http.responses import answer
from api.http.tenant_session import reading, transaction
from api.input import cursors
from api.input.field_types import uuid_in_path
from api.input.validation import PAGE_SIZE_MAX, Body, ParticipantId, body, query_int
from api.resources.operator import dead_letter_actions
from api.resources.operator.audit_log import record
from api.resources.operator.dead_letter_actions import REPLAYED_MAX, RESTING, DeadLetterClosed
from models import clock, ids
from models.db import Connection
from models.errors import NotFound
from models.ledgers import dead_letters
from models.ledgers.base import WRITE_KINDS, WriteKind
from models.ledgers.dead_letters import STATUSES, DeadLetter, DeadLetterQuery, DeadLetterStatus
from workers.intake.client import (
    AssignmentV1,
    AwardV1,
    Message,
    PointsV1,
    RedemptionV1,
    TickV1,
    Unreadable,
)

blueprint = Blueprint("dead_letters", __name__)

_UUID_BYTES = 16


class DeadLetterEntry(TypedDict):
    """A write that failed every try. Its id is that of the tick, the award and so on."""

    id: Id
    kind: WriteKind
    participant_id: str | None
    status: DeadLetterStatus
    error: str
    tries: int
    accepted_at: Moment | None
    dead_since: Moment
    settled_at: Moment | None


class DeadLetterPage(TypedDict):
    """The next ones, newest write first."""

    items: list[DeadLetterEntry]
    next_cursor: str | None


class DeadWrite(TypedDict):
    """What was to be applied; a code is null when its definition is not there."""

    participant_id: str
    streak_code: str | None
    badge_code: str | None
    tier_code: str | None
    reward_code: str | None
    amount: int | None  # of points; below zero: a deduction
    reason: str | None
    timestamp: Moment | None
    timezone: str | None
    metadata: dict[str, Any] | None


class DeadLetterDetail(DeadLetterEntry):
    """A dead letter with its write; `write` is null when this release cannot read it."""

    write: DeadWrite | None


class ReplayFilter(Body):
    """Which of the dead ones are to be tried again; without fields, all."""

    kind: WriteKind | None = None
    participant_id: ParticipantId | None = None


class Replayed(TypedDict):
    """How many were appended again now, and how many are dead still."""

    replayed: int
    left: int


# -- looking ---------------------------------------------------------------------------------


@blueprint.get("/admin/dead-letters")
@describe(
    "List dead letters",
    answers={200: DeadLetterPage},
    parameters=(
        Parameter(
            "status",
            {"type": "string", "enum": list(STATUSES)},
            "Only those that wait for somebody, were tried once more, or were given up.",
        ),
        Parameter("kind", {"type": "string", "enum": list(WRITE_KINDS)}, "Only this kind."),
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
    return answer({"items": [_entry(one) for one in shown], "next_cursor": cursor})


@blueprint.get("/admin/dead-letters/<dead_letter_id>")
@describe(
    "Get a dead letter",
    answers={200: DeadLetterDetail},
    problems=("dead_letter_not_found",),
)
@require_admin
def get_dead_letter(dead_letter_id: str) -> Response:
    """One dead letter, with what was to be applied and why it was not."""
    if dead_letter_id == "replay":  # the path of replaying them all, not the name of one
        raise MethodNotAllowed(["OPTIONS", "POST"])
    number = uuid_in_path("dead_letter", dead_letter_id)
    with reading() as connection:
        dead_letter = dead_letters.find(connection, tenant().id, number)
    if dead_letter is None:
        raise not_found("dead_letter", dead_letter_id)
    return answer(_detail(dead_letter))


def of_participant(connection: Connection, participant_id: str) -> Iterator[DeadLetterDetail]:
    """Every dead letter of one participant, newest first, a page at a time."""
    after = None
    while True:
        wanted = DeadLetterQuery(PAGE_SIZE_MAX, [tenant().id], after, participant_id=participant_id)
        found = dead_letters.page(connection, wanted)
        yield from map(_detail, found)
        if len(found) < PAGE_SIZE_MAX:
            return
        after = found[-1].id


# -- settling --------------------------------------------------------------------------------


@blueprint.post("/admin/dead-letters/<dead_letter_id>/replay")
@describe(
    "Replay a dead letter",
    answers={202: DeadLetterEntry},
    problems=("dead_letter_not_found", "dead_letter_discarded", "dead_letter_unreadable"),
)
@require_admin
def replay_dead_letter(dead_letter_id: str) -> Response:
    """Have a write tried once more, when its cause is mended. It is applied once, however often
    this is called; when every try fails, it is dead again. `GET /ticks/{id}` tells."""
    with _held(dead_letter_id) as (connection, dead_letter):
        replayed = dead_letter_actions.replay(connection, app_context().intake, dead_letter)
        record(connection, "dead_letter.replayed", str(dead_letter.id))
    return answer(_entry(replayed), 202)


@blueprint.post("/admin/dead-letters/replay")
@describe(
    "Replay all dead letters",
    answers={202: Replayed},
    body=ReplayFilter,
    example={"kind": "tick"},
)
@require_admin
def replay_dead_letters() -> Response:
    """Have those that are dead tried once more, the oldest first, at most 100 a call: call again
    while `left` says that there are more."""
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
    """Give a write up: it is kept to be looked at, and never tried again."""
    with _held(dead_letter_id) as (connection, dead_letter):
        discarded = dead_letter_actions.discard(connection, dead_letter)
        if dead_letter.status != "discarded":
            record(connection, "dead_letter.discarded", str(dead_letter.id))
    return answer(_entry(discarded))


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


# -- showing ---------------------------------------------------------------------------------


def _entry(dead_letter: DeadLetter) -> DeadLetterEntry:
    return {
        "id": str(dead_letter.id),
        "kind": cast(WriteKind, dead_letter.kind),
        "participant_id": dead_letter.participant_id,
        "status": dead_letter.status,
        "error": dead_letter.error,
        "tries": dead_letter.tries,
        "accepted_at": _moment(ids.issued_at_us(dead_letter.id)),
        "dead_since": clock.isoformat(dead_letter.dead_since),
        "settled_at": cursors.instant(dead_letter.settled_at),
    }


def _detail(dead_letter: DeadLetter) -> DeadLetterDetail:
    return {**_entry(dead_letter), "write": _write(dead_letter)}


_NOTHING: DeadWrite = {
    "participant_id": "",
    "streak_code": None,
    "badge_code": None,
    "tier_code": None,
    "reward_code": None,
    "amount": None,
    "reason": None,
    "timestamp": None,
    "timezone": None,
    "metadata": None,
}


def _write(dead_letter: DeadLetter) -> DeadWrite | None:
    message = dead_letter_actions.message_of(dead_letter)
    if message is None:
        return None
    fields = _fields(message)
    fields["participant_id"] = message.participant_id
    fields["metadata"] = _object(message.metadata)
    return fields


def _fields(message: Message) -> DeadWrite:
    """What a message of its kind says."""
    fields, caller = _NOTHING.copy(), principal()
    match message:
        case TickV1():
            fields["streak_code"] = _code(caller.streaks, message.streak_id)
            fields["timestamp"], fields["timezone"] = _moment(message.occurred_us), message.timezone
        case AwardV1():
            fields["badge_code"] = _code(caller.badges, message.badge_id)
            fields["timestamp"] = _moment(message.earned_us)
        case PointsV1():
            fields["amount"], fields["reason"] = message.amount, message.reason
        case AssignmentV1():
            fields["tier_code"] = _code(caller.tiers, message.tier_id)
            fields["reason"] = message.reason
        case RedemptionV1():
            fields["reward_code"] = _code(caller.rewards, message.reward_id)
    return fields


def _code(definitions: Mapping[str, Any], number: int | str) -> str | None:
    """The code of a definition; None when it is not there."""
    found = (one.code for one in definitions.values() if str(one.id) == str(number))
    return next(found, None)


def _moment(instant_us: int) -> str | None:
    """An instant that no rule has checked: it may be past all years."""
    try:
        return clock.to_text(instant_us)
    except OverflowError:
        return None


def _object(text: str | None) -> dict[str, Any] | None:
    """Free-form JSON of a message that no rule has checked."""
    try:
        found = json.loads(text or "null")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
