"""Replays: send the facts of a range to a destination again, or only the missing ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated
from uuid import UUID

from flask import Blueprint, Response
from pydantic import Field
from typing_extensions import TypedDict

from api.http.auth import require_admin, tenant
from api.http.describe import PAGE, Id, Moment, describe, shown
from api.http.problems import Problem, invalid_field, not_found
from api.http.responses import answer
from api.http.tenant_session import reading, transaction
from api.input.field_types import uuid_in_path
from api.input.validation import Body, Instant, body, page_window
from api.resources.shared import audit
from api.resources.webhooks.deliveries import destination, enabled_destination
from api.resources.webhooks.schemas import EventTypes
from models import clock, ids
from models.delivery import replays
from models.delivery.replays import RUNNING_MAX, Replay, ReplayRequest, ReplayStatus
from models.errors import NotFound, TooMany

blueprint = Blueprint("replays", __name__)

OnlyMissing = Annotated[
    bool,
    Field(description="Only facts that were never queued for this destination, or are exhausted."),
]


class NewReplay(Body):
    """The facts to send again."""

    since: Instant
    until: Instant | None = None
    event_types: EventTypes | None = None
    only_missing: OnlyMissing = True


class ReplayEntry(TypedDict):
    """A replay: how many facts it has read and queued, and its position."""

    id: Id
    webhook_id: Id
    status: ReplayStatus
    since: Moment
    until: Moment
    event_types: list[str] | None
    only_missing: bool
    seen: int
    queued: int
    position_at: Moment | None
    created_at: Moment
    finished_at: Moment | None


class ReplayPage(TypedDict):
    """A page of replays, newest first."""

    items: list[ReplayEntry]
    total: int
    page: int
    page_size: int


@blueprint.post("/admin/webhooks/<webhook_id>/replays")
@describe(
    "Replay a range of facts",
    answers={202: ReplayEntry},
    body=NewReplay,
    example={"since": "2026-05-23T00:00:00Z", "event_types": ["behavior.*"]},
    problems=("webhook_not_found", "webhook_disabled", "replay_limit_reached"),
)
@require_admin
def create_replay(webhook_id: str) -> Response:
    """Queue the facts from `since` until `until` (default: now) that match the destination's
    current types. Pending facts are not changed, and neither are delivered ones unless
    `only_missing` is false. The replay runs in portions beside new facts."""
    with reading() as connection:
        destination(connection, webhook_id)
    asked = body(NewReplay)
    now = clock.now()
    until_us = min(clock.to_us(now), asked.until or clock.to_us(now))
    if asked.since >= until_us:
        raise invalid_field("since", "range", "must lie before until, and in the past")
    try:
        with transaction() as connection:
            webhook = enabled_destination(connection, webhook_id)
            since, until = clock.from_us(asked.since), clock.from_us(until_us)
            wanted = ReplayRequest(webhook.id, since, until, asked.event_types, asked.only_missing)
            made = replays.create(connection, tenant().id, wanted, now)
            audit.record(connection, "replay.started", str(made.id), webhook_id=str(webhook.id))
    except TooMany:
        detail = f"A tenant has at most {RUNNING_MAX} replays running: wait for one, or delete it"
        raise Problem(409, "replay_limit_reached", detail) from None
    return answer(_entry(made), 202)


@blueprint.get("/admin/webhooks/<webhook_id>/replays")
@describe(
    "List a destination's replays",
    answers={200: ReplayPage},
    problems=("webhook_not_found",),
    parameters=PAGE,
)
@require_admin
def list_replays(webhook_id: str) -> Response:
    """A page of a destination's replays, newest first."""
    window = page_window()
    with reading() as connection:
        webhook = destination(connection, webhook_id)
        found, total = replays.page(connection, tenant().id, webhook.id, window.slice)
    return window.answer([_entry(replay) for replay in found], total)


@blueprint.get("/admin/webhooks/<webhook_id>/replays/<replay_id>")
@describe(
    "Get the progress of a replay",
    answers={200: ReplayEntry},
    problems=("webhook_not_found", "replay_not_found"),
)
@require_admin
def get_replay(webhook_id: str, replay_id: str) -> Response:
    """One replay."""
    with reading() as connection:
        webhook = destination(connection, webhook_id)
        with _known(replay_id) as its_id:
            found = replays.by_id(connection, tenant().id, webhook.id, its_id)
    return answer(_entry(found))


@blueprint.delete("/admin/webhooks/<webhook_id>/replays/<replay_id>")
@describe(
    "Cancel a replay",
    answers={200: ReplayEntry},
    problems=("webhook_not_found", "replay_not_found"),
)
@require_admin
def cancel_replay(webhook_id: str, replay_id: str) -> Response:
    """Stop queueing facts. Queued facts are sent; a finished replay stays finished."""
    with transaction() as connection:
        webhook = destination(connection, webhook_id)
        with _known(replay_id) as its_id:
            found = replays.cancel(connection, tenant().id, webhook.id, its_id, clock.now())
            audit.record(connection, "replay.cancelled", str(its_id), webhook_id=str(webhook.id))
    return answer(_entry(found))


@contextmanager
def _known(replay_id: str) -> Iterator[UUID]:
    """The id in a path; 404 if the destination has no such replay."""
    try:
        yield uuid_in_path("replay", replay_id)
    except NotFound:
        raise not_found("replay", replay_id) from None


def _entry(replay: Replay) -> ReplayEntry:
    """`position_at` is the instant of the last fact read, to the millisecond."""
    position_us = None if replay.position is None else ids.issued_at_us(replay.position)
    return shown(ReplayEntry, replay, position_at=clock.to_text_or_none(position_us))
