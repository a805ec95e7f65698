"""Outages: spans in which no participant loses a streak (contract §7.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

from flask import Blueprint, Response
from pydantic import Field, StringConstraints
from typing_extensions import TypedDict

from api.http.auth import require_admin, tenant
from api.http.describe import PAGE, Id, MessageAnswer, Moment, describe
from api.http.problems import FieldError, Problem, invalid, invalid_field, not_found
from api.http.responses import answer
from api.http.tenant_session import reading
from api.input.field_messages import NO_NUL
from api.input.field_types import uuid_in_path
from api.input.validation import REASON_CHARS_MAX, Body, Code, Instant, body, page_window
from api.resources.definitions.crud import changing
from api.resources.shared import audit
from models import clock
from models.db import Connection
from models.errors import NotFound
from models.streaks import outages, states
from models.streaks.outages import Outage

blueprint = Blueprint("outages", __name__)

OUTAGES_MAX = 1_000  # of a tenant: each definition carries the spans that concern it
STREAKS_MAX = 100
DAYS_MAX = 31  # of one outage
DAYS_BACK_MAX = 400  # as old as a tick may be
DAYS_AHEAD_MAX = 366

_Reason = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=REASON_CHARS_MAX, pattern=NO_NUL),
]


class NewOutage(Body):
    """A span to protect."""

    starts_at: Instant
    ends_at: Instant  # the outage ends before it
    streak_codes: Annotated[list[Code], Field(min_length=1, max_length=STREAKS_MAX)] | None = None
    reason: _Reason


class OutageItem(TypedDict):
    """An outage; `streak_codes` null: it concerns every streak."""

    id: Id
    starts_at: Moment
    ends_at: Moment
    streak_codes: list[str] | None
    reason: str
    created_at: Moment


class OutagePage(TypedDict):
    """A page of outages, newest first."""

    items: list[OutageItem]
    total: int
    page: int
    page_size: int


@blueprint.get("/admin/outages")
@describe("List outages", answers={200: OutagePage}, parameters=PAGE)
@require_admin
def list_outages() -> Response:
    """A page of the tenant's outages, newest first."""
    window = page_window()
    with reading() as connection:
        found, total = outages.page(connection, tenant().id, window.slice)
        codes = _codes(connection)
    return window.answer([_item(outage, codes) for outage in found], total)


@blueprint.post("/admin/outages")
@describe(
    "Protect every participant for the span of an outage",
    answers={201: OutageItem},
    body=NewOutage,
    example={
        "starts_at": "2026-05-23T08:00:00Z",
        "ends_at": "2026-05-23T11:30:00Z",
        "reason": "The login service was down",
    },
    problems=("outage_limit_reached",),
)
@require_admin
def create_outage() -> Response:
    """Protect each period that overlaps the span in the participant's own time zone, in every
    streak or in those named. No participant's row is written; counts read right at once, and facts
    that are no longer true are corrected by `behavior.streak_repaired`."""
    new = body(NewOutage)
    _check_span(new)
    with changing() as connection:
        if outages.count(connection, tenant().id) >= OUTAGES_MAX:
            detail = f"A tenant has at most {OUTAGES_MAX} outages: remove one that is long past"
            raise Problem(400, "outage_limit_reached", detail)
        numbers = _numbers(connection, new.streak_codes)
        values = {
            "starts_at": clock.from_us(new.starts_at),
            "ends_at": clock.from_us(new.ends_at),
            "streak_ids": numbers,
            "reason": new.reason,
        }
        made = outages.add(connection, tenant().id, values)
        audit.record(connection, "outage.created", str(made.id), **_audited(made))
        codes = _codes(connection)
    return answer(_item(made, codes), 201)


@blueprint.delete("/admin/outages/<outage_id>")
@describe("Remove an outage", answers={200: MessageAnswer}, problems=("outage_not_found",))
@require_admin
def delete_outage(outage_id: str) -> Response:
    """Protect its periods no longer: streaks that only it has saved are broken again."""
    with reading() as connection:
        found = _find(connection, outage_id)
    with changing() as connection:
        outages.remove(connection, tenant().id, found)
        audit.record(connection, "outage.deleted", str(found.id), **_audited(found))
    return answer({"message": "Outage removed"})


def _find(connection: Connection, text: str) -> Outage:
    try:
        return outages.find(connection, tenant().id, uuid_in_path("outage", text))
    except NotFound:
        raise not_found("outage", text) from None


def _check_span(new: NewOutage) -> None:
    """422 unless the span ends after it starts, is short enough, and is near enough."""
    span = timedelta(microseconds=new.ends_at - new.starts_at)
    if span <= timedelta(0):
        raise invalid_field("ends_at", "range", "must be after starts_at")
    if span > timedelta(days=DAYS_MAX):
        raise invalid_field("ends_at", "range", f"must be at most {DAYS_MAX} days after starts_at")
    now = datetime.now(UTC)
    if clock.from_us(new.starts_at) < now - timedelta(days=DAYS_BACK_MAX):
        raise invalid_field("starts_at", "range", f"must be at most {DAYS_BACK_MAX} days ago")
    if clock.from_us(new.ends_at) > now + timedelta(days=DAYS_AHEAD_MAX):
        raise invalid_field("ends_at", "range", f"must be at most {DAYS_AHEAD_MAX} days ahead")


def _codes(connection: Connection) -> dict[int, str]:
    return {streak.id: streak.code for streak in states.definitions.all_of(connection, tenant().id)}


def _numbers(connection: Connection, codes: Sequence[str] | None) -> list[int] | None:
    """The ids of streaks by their codes; 422 for an unknown one."""
    if codes is None:
        return None
    known = {code: number for number, code in _codes(connection).items()}
    wrong = [
        FieldError(f"streak_codes.{index}", "unknown_streak", "must be the code of a streak")
        for index, code in enumerate(codes)
        if code not in known
    ]
    if wrong:
        raise invalid(*wrong)
    return sorted({known[code] for code in codes})


def _audited(outage: Outage) -> Mapping[str, str]:
    return {
        "starts_at": clock.isoformat(outage.starts_at),
        "ends_at": clock.isoformat(outage.ends_at),
        "reason": outage.reason,
    }


def _item(outage: Outage, codes: Mapping[int, str]) -> OutageItem:
    named = None
    if outage.streak_ids is not None:
        named = sorted(codes[number] for number in outage.streak_ids)
    return {
        "id": str(outage.id),
        "starts_at": clock.isoformat(outage.starts_at),
        "ends_at": clock.isoformat(outage.ends_at),
        "streak_codes": named,
        "reason": outage.reason,
        "created_at": clock.isoformat(outage.created_at),
    }
