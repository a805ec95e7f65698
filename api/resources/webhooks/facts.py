"""Facts: the pull feed of all facts that are also sent to destinations (contract §4)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Blueprint, Response, request
from pydantic_core import to_json
from typing_extensions import TypedDict

from api.http.auth import tenant
from api.http.describe import Moment, describe
from api.http.problems import invalid_field
from api.http.responses import Answer
from api.http.tenant_session import reading
from api.input import cursors
from api.input.validation import query_int
from models.delivery import facts
from models.delivery.facts import FactPage, FactQuery, FeedCursor
from models.errors import NotFound

blueprint = Blueprint("facts", __name__)

LIMIT_MAX = 500  # bodies of at most about 17 KB each
LATEST = "latest"
_XID_BYTES, _CURSOR_BYTES = 8, 24
_XID_MAX = (1 << 63) - 1  # Postgres can count higher in theory


class FactEnvelope(TypedDict):
    """A fact as it is sent. `sequence` increases by one per participant, without gaps; it and
    `participant_id` are null in facts about a destination."""

    id: str
    type: str
    occurred_at: Moment
    tenant: str
    mode: str
    participant_id: str | None
    sequence: int | None
    payload: dict[str, Any]


class FactFeed(TypedDict):
    """The next facts; `next_cursor` is the cursor to continue from, even if there were none."""

    items: list[FactEnvelope]
    next_cursor: str


@blueprint.get("/facts")
@describe(
    "Read the feed of facts",
    answers={200: FactFeed},
    parameters=(
        cursors.after_parameter(
            _CURSOR_BYTES, " `latest`: only new facts. Omitted: all stored facts."
        ),
        cursors.limit_parameter(LIMIT_MAX, 100),
        cursors.TYPES,
        cursors.PARTICIPANT,
        cursors.STREAK_CODE,
    ),
)
def read_facts() -> Response:
    """The tenant's facts in a stable order, each with the bytes that are signed and sent to
    destinations.

    Continue with `next_cursor`: no fact is skipped or repeated. A page may be short although more
    facts follow; if it is empty, ask again after 1 s. A fact is listed once every transaction that
    started before its own has ended, so a long transaction delays the feed; those of Unbroken end
    within a minute. Facts of one participant are usually in the order of their `sequence`; if two
    transactions overlapped, use `sequence`.
    """
    wanted = FactQuery(
        limit=query_int("limit", 100, 1, LIMIT_MAX),
        types=cursors.query_types("types"),
        participant_id=cursors.query_participant(),
        streak_code=cursors.query_code("streak_code"),
    )
    if request.args.get("after") == LATEST:
        with reading() as connection:
            return _answer(FactPage([], facts.latest(connection, tenant().id)))
    after = _after()
    try:
        with reading() as connection:
            return _answer(facts.page(connection, tenant().id, after, wanted))
    except NotFound:
        message = "is of another database, or of one older than this: begin again without it"
        raise invalid_field("after", "cursor", message) from None


def _answer(page: FactPage) -> Response:
    """The response with the stored bodies, byte for byte."""
    position = page.cursor.xid.to_bytes(_XID_BYTES) + page.cursor.id.bytes
    cursor = to_json(cursors.encode(position)).decode()
    text = f'{{"items":[{",".join(page.bodies)}],"next_cursor":{cursor}}}\n'
    return Answer(text.encode(), content_type="application/json")


def _after() -> FeedCursor:
    position = cursors.decode("after", _CURSOR_BYTES)
    if position is None:
        return facts.START
    xid = min(int.from_bytes(position[:_XID_BYTES]), _XID_MAX)
    return FeedCursor(xid, UUID(bytes=position[_XID_BYTES:]))
