"""Participant search for admins: search, filter, sort (contract §5)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import cast
from uuid import UUID

from flask import Blueprint, Response, request
from pydantic import TypeAdapter
from pydantic import ValidationError as ModelError
from typing_extensions import TypedDict

from api.http.auth import require_admin, tenant
from api.http.describe import IS_ACTIVE, PAGE, Moment, Parameter, describe, shown
from api.http.problems import Problem, invalid_field
from api.http.tenant_session import reading
from api.input.validation import Instant, page_window, query_bool, query_day
from models import clock
from models.people import search
from models.people.profile import ParticipantStatus
from models.people.search import (
    SORT_KEYS,
    ParticipantFilter,
    ParticipantOrder,
    ParticipantSummary,
    SortKey,
    TimeFilter,
)

blueprint = Blueprint("people", __name__)

STATUSES: tuple[ParticipantStatus, ...] = ("ACTIVE", "SUSPENDED", "CLOSED")
SORTS = (*SORT_KEYS, *(f"-{key}" for key in SORT_KEYS))
SEARCH_CHARS_MAX = 255  # as long as the searched fields
TAG_CHARS_MAX = 64  # as long as a tag
_DAY = timedelta(days=1)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_INSTANT: TypeAdapter[int] = TypeAdapter(Instant)


class Listed(TypedDict):
    """A participant in a list."""

    participant_id: str
    display_name: str | None
    avatar_url: str | None
    timezone: str | None
    status: ParticipantStatus
    is_active: bool
    tags: list[str]
    total_events: int
    first_seen_at: Moment | None
    last_seen_at: Moment | None
    created_at: Moment
    updated_at: Moment


class ParticipantPage(TypedDict):
    """A page of participants."""

    items: list[Listed]
    total: int
    page: int
    page_size: int


def _bound(name: str, text: str) -> Parameter:
    schema = {"type": "string", "anyOf": [{"format": "date"}, {"format": "date-time"}]}
    return Parameter(name, schema, f"{text} A day (UTC) or an RFC 3339 timestamp.")


def _text(chars_max: int) -> dict[str, object]:
    return {"type": "string", "maxLength": chars_max, "pattern": r"^[^\x00]*$"}


PARAMETERS = (
    *PAGE,
    Parameter(
        "search", _text(SEARCH_CHARS_MAX), "Part of the id or the display name, in any case."
    ),
    Parameter("status", {"type": "string", "enum": list(STATUSES)}, "Only those with this status."),
    IS_ACTIVE,
    Parameter("tag", _text(TAG_CHARS_MAX), "Only those with this tag."),
    Parameter(
        "program_id", {"type": "string", "format": "uuid"}, "Only those enrolled in this program."
    ),
    _bound("created_from", "Created then or later."),
    _bound("created_to", "Created before then, or by the end of that day."),
    _bound("last_seen_from", "Last seen then or later."),
    _bound("last_seen_to", "Last seen before then, or by the end of that day."),
    Parameter(
        "sort",
        {"type": "string", "enum": list(SORTS), "default": "-created_at"},
        "The field to sort by; `-` for descending order. Participants without a value come last.",
    ),
)


@blueprint.get("/admin/participants")
@describe("Search participants", answers={200: ParticipantPage}, parameters=PARAMETERS)
@require_admin
def list_participants() -> Response:
    """A page of the tenant's participants."""
    wanted, order = _filter(), _order()
    window = page_window()
    with reading() as connection:
        found, total = search.page(connection, tenant().id, wanted, order, window.slice)
    return window.answer([_listed(summary) for summary in found], total)


def _listed(summary: ParticipantSummary) -> Listed:
    is_active = summary.status == "ACTIVE"
    return shown(Listed, summary, participant_id=summary.external_id, is_active=is_active)


def _filter() -> ParticipantFilter:
    return ParticipantFilter(
        search=_query_text("search", SEARCH_CHARS_MAX) or "",
        status=cast(ParticipantStatus | None, _query_choice("status", STATUSES)),
        is_active=query_bool("is_active"),
        tag=_query_text("tag", TAG_CHARS_MAX),
        program_id=_query_uuid("program_id"),
        created=_query_span("created"),
        last_seen=_query_span("last_seen"),
    )


def _order() -> ParticipantOrder:
    wish = _query_choice("sort", SORTS) or "-created_at"
    return ParticipantOrder(cast(SortKey, wish.removeprefix("-")), wish.startswith("-"))


def _query_text(name: str, chars_max: int) -> str | None:
    text = request.args.get(name)
    if text is not None and (len(text) > chars_max or "\x00" in text):
        raise invalid_field(name, "text", f"must be at most {chars_max} characters, without U+0000")
    return text


def _query_choice(name: str, choices: Sequence[str]) -> str | None:
    text = request.args.get(name)
    if text is not None and text not in choices:
        raise invalid_field(name, "choice", f"must be one of {', '.join(choices)}")
    return text


def _query_uuid(name: str) -> UUID | None:
    text = request.args.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text):
        raise invalid_field(name, "uuid", "must be a UUID")
    return UUID(text)


def _query_span(name: str) -> TimeFilter:
    return TimeFilter(_query_bound(f"{name}_from", timedelta(0)), _query_bound(f"{name}_to", _DAY))


def _query_bound(name: str, after_day: timedelta) -> datetime | None:
    """An instant, or a day: its start, or the start of the next day for the end of a span."""
    text = request.args.get(name)
    if text is None:
        return None
    try:
        return _instant(text) or clock.from_us(0) + timedelta(days=_day(name)) + after_day
    except OverflowError:  # an hour of the year 0, or the day after the last day of the year 9999
        return _LAST if text > "5" else _FIRST


def _instant(text: str) -> datetime | None:
    try:
        return clock.from_us(_INSTANT.validate_python(text))
    except ModelError:
        return None


def _day(name: str) -> int:
    try:
        day = query_day(name)
    except Problem:
        message = "must be a date such as 2026-05-23 or an RFC 3339 timestamp"
        raise invalid_field(name, "date", message) from None
    return day or 0
