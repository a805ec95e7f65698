"""Restores of many: a job restores the streaks of a list, or of all who lost them in a span."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any
from uuid import UUID

from flask import Blueprint, Response
from pydantic import Field, StringConstraints
from typing_extensions import TypedDict

from api.http.auth import require_admin, tenant
from api.http.describe import PAGE, Id, Moment, describe, shown
from api.http.idempotency import IDEMPOTENCY_KEY, idempotency
from api.http.problems import Problem, invalid_field, not_found
from api.http.request_context import BASE_PATH
from api.http.responses import answer
from api.http.tenant_session import reading, transaction
from api.input.field_messages import NO_NUL
from api.input.field_types import uuid_in_path
from api.input.validation import REASON_CHARS_MAX, Body, ParticipantId, body, page_window
from api.resources.repair.days import DayOrInstant
from api.resources.shared import audit
from api.resources.shared.streak_in_path import streak_in_path
from models import clock
from models.errors import AlreadyRunning, NotFound, TooMany
from models.rules.periods import DAILY, DAY_US, key_of
from models.rules.spans import Span
from models.streaks import restores
from models.streaks.restores import RUNNING_MAX, Restore, RestoreRequest, RestoreStatus
from models.streaks.states import Streak

blueprint = Blueprint("restores", __name__)

PARTICIPANTS_MAX = 50_000  # of one list, which must fit into a body of 1 MB
DAYS_MAX = 366  # of one span
_PATH = "/streaks/<code>/restores"

_Reason = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=REASON_CHARS_MAX, pattern=NO_NUL),
]
_ParticipantIds = Annotated[list[ParticipantId], Field(min_length=1, max_length=PARTICIPANTS_MAX)]


class LostBetween(Body):
    """When the streaks broke: local days of each participant, both included, or two instants."""

    start: Annotated[DayOrInstant, Field(alias="from")]
    end: Annotated[DayOrInstant, Field(alias="to")]


class BulkRestore(Body):
    """Whose streak to restore: of listed participants, or of all who lost it in a span."""

    participant_ids: _ParticipantIds | None = None
    lost_between: LostBetween | None = None
    reason: _Reason | None = None  # required unless it is a preview
    is_preview: Annotated[
        bool, Field(description="Count only: nothing is restored, and no reason is needed.")
    ] = False


LostBetweenShown = TypedDict("LostBetweenShown", {"from": str, "to": str})
LostBetweenShown.__doc__ = "Local days, both included, or two instants."


class RestoreEntry(TypedDict):
    """A restore of many and its progress."""

    id: Id
    streak_code: str
    status: RestoreStatus
    is_preview: bool
    lost_between: LostBetweenShown | None  # null: of listed participants
    reason: str | None
    total: int  # participants to look at
    scanned: int  # looked at
    found: int  # with a break to restore
    restored: int
    nothing_to_restore: int  # listed without a break, or mended by a tick meanwhile
    refused: int  # of suspended, closed or erased participants
    created_at: Moment
    finished_at: Moment | None
    status_url: str


class RestorePage(TypedDict):
    """A page of restores, newest first."""

    items: list[RestoreEntry]
    total: int
    page: int
    page_size: int


@blueprint.post("/streaks/<code>/restore")
@describe(
    "Restore the broken streaks of many participants",
    answers={202: RestoreEntry},
    body=BulkRestore,
    example={
        "lost_between": {"from": "2026-05-23", "to": "2026-05-24"},
        "reason": "The login service was down",
    },
    problems=(
        "streak_not_found",
        "restore_running",
        "restore_limit_reached",
        "idempotency_conflict",
    ),
    parameters=(IDEMPOTENCY_KEY,),
)
@require_admin
def create_restore(code: str) -> Response:
    """Restore, as a job, the streak of up to 50,000 listed participants (their last break), or of
    all who lost it in a span (the last break within it). A streak breaks when its missed period
    ends: with a daily streak, at the midnight after the missed day. `is_preview` counts them,
    and changes nothing. The restore begins once every tick accepted before it is
    applied, and runs in portions beside new ticks."""
    streak = streak_in_path(code)
    asked = body(BulkRestore)
    _check(asked)
    wanted = _request(streak, asked)
    try:
        with transaction() as connection:
            made, is_known = restores.create(connection, tenant().id, wanted, clock.now())
            if not is_known and not made.is_preview:
                audit.record(connection, "restore.started", str(made.id), **_audited(streak, asked))
    except AlreadyRunning:
        detail = f"A restore of streak '{code}' is running: wait for it, or cancel it"
        raise Problem(409, "restore_running", detail) from None
    except TooMany:
        detail = f"A tenant has at most {RUNNING_MAX} restores running: wait for one, or cancel it"
        raise Problem(409, "restore_limit_reached", detail) from None
    if is_known and made.fingerprint != wanted.fingerprint:
        detail = "This Idempotency-Key was first used with another body"
        raise Problem(409, "idempotency_conflict", detail)
    return answer(_entry(made, streak), 202)


@blueprint.get(_PATH)
@describe(
    "List a streak's restores of many",
    answers={200: RestorePage},
    problems=("streak_not_found",),
    parameters=PAGE,
)
@require_admin
def list_restores(code: str) -> Response:
    """A page of a streak's restores of many, newest first, previews included."""
    streak, window = streak_in_path(code), page_window()
    with reading() as connection:
        found, total = restores.page(connection, tenant().id, streak.id, window.slice)
    return window.answer([_entry(restore, streak) for restore in found], total)


@blueprint.get(f"{_PATH}/<restore_id>")
@describe(
    "Get the progress of a restore of many",
    answers={200: RestoreEntry},
    problems=("streak_not_found", "restore_not_found"),
)
@require_admin
def get_restore(code: str, restore_id: str) -> Response:
    """One restore of many: how many participants it has looked at, found and restored."""
    streak = streak_in_path(code)
    with reading() as connection, _known(restore_id) as its_id:
        found = restores.by_id(connection, tenant().id, streak.id, its_id)
    return answer(_entry(found, streak))


@blueprint.delete(f"{_PATH}/<restore_id>")
@describe(
    "Cancel a restore of many",
    answers={200: RestoreEntry},
    problems=("streak_not_found", "restore_not_found"),
)
@require_admin
def cancel_restore(code: str, restore_id: str) -> Response:
    """Restore no further streaks. Restored ones stay restored; a finished restore stays
    finished."""
    streak = streak_in_path(code)
    with transaction() as connection, _known(restore_id) as its_id:
        found = restores.cancel(connection, tenant().id, streak.id, its_id, clock.now())
        audit.record(connection, "restore.cancelled", str(its_id), streak_code=code)
    return answer(_entry(found, streak))


@contextmanager
def _known(restore_id: str) -> Iterator[UUID]:
    """The id in a path; 404 if the streak has no such restore."""
    try:
        yield uuid_in_path("restore", restore_id)
    except NotFound:
        raise not_found("restore", restore_id) from None


# -- the body --------------------------------------------------------------------------------


def _check(asked: BulkRestore) -> None:
    """422 unless the body says in one way whose streak, and why."""
    if asked.participant_ids is not None and asked.lost_between is not None:
        raise invalid_field("lost_between", "unexpected", "must not be given with participant_ids")
    if asked.participant_ids is None and asked.lost_between is None:
        raise invalid_field("lost_between", "missing", "must be given, or participant_ids")
    if asked.reason is None and not asked.is_preview:
        raise invalid_field("reason", "missing", "must be given unless is_preview is true")
    if asked.lost_between is not None:
        _check_span(asked.lost_between)


def _check_span(lost: LostBetween) -> None:
    """422 for a span of two units, one that is backwards or too long, or one in the future."""
    (unit, start), (other, end) = lost.start, lost.end
    if unit != other:
        raise invalid_field("lost_between.to", "unit", "must be a date where from is one")
    if end < start or (unit == "instant" and end == start):
        raise invalid_field("lost_between.to", "range", "must not be before from")
    days = (end - start) / (DAY_US if unit == "instant" else 1)
    if days > DAYS_MAX:
        raise invalid_field(
            "lost_between.to", "range", f"must be at most {DAYS_MAX} days from from"
        )
    now_us = clock.now_us()
    if start > (now_us if unit == "instant" else now_us // DAY_US + 1):
        raise invalid_field("lost_between.from", "range", "must not be in the future")


def _request(streak: Streak, asked: BulkRestore) -> RestoreRequest:
    key = idempotency("restore_many", None, code=streak.code)
    return RestoreRequest(
        streak.id,
        asked.is_preview,
        asked.reason,
        _span(asked.lost_between),
        sorted(set(asked.participant_ids or ())),
        key.key if key else None,
        key.fingerprint if key else None,
    )


def _span(lost: LostBetween | None) -> Span | None:
    if lost is None:
        return None
    (unit, start), (_, end) = lost.start, lost.end
    return Span(unit, start, end + 1 if unit == "day" else end)


# -- the answer ------------------------------------------------------------------------------


def _audited(streak: Streak, asked: BulkRestore) -> dict[str, Any]:
    """The audit log names no participant."""
    lost = _shown(_span(asked.lost_between))
    whom = {"participants": len(set(asked.participant_ids or ()))} if lost is None else {}
    return {"streak_code": streak.code, "reason": asked.reason, "lost_between": lost, **whom}


def _shown(span: Span | None) -> LostBetweenShown | None:
    if span is None:
        return None
    if span.unit == "day":
        return {"from": key_of(DAILY, span.start), "to": key_of(DAILY, span.end - 1)}
    return {"from": clock.to_text(span.start), "to": clock.to_text(span.end)}


def _entry(restore: Restore, streak: Streak) -> RestoreEntry:
    return shown(
        RestoreEntry,
        restore,
        streak_code=streak.code,
        lost_between=_shown(restore.lost),
        status_url=f"{BASE_PATH}/streaks/{streak.code}/restores/{restore.id}",
    )
