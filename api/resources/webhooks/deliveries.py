"""Deliveries: the status of each fact for a destination, its attempts, and sending it again."""

from __future__ import annotations

from typing import cast
from uuid import UUID

from flask import Blueprint, Response
from typing_extensions import TypedDict

from api.http.auth import require_admin, tenant
from api.http.describe import Id, Moment, Parameter, describe, shown
from api.http.problems import Problem, not_found
from api.http.responses import answer
from api.http.tenant_session import retried, transaction
from api.input import cursors
from api.input.field_types import uuid_in_path
from api.input.validation import PAGE_SIZE_MAX, query_int
from api.resources.shared import audit
from models import clock, ids
from models.db import Connection
from models.delivery import delivery_log, destinations, requeue
from models.delivery.deliveries import DeliveryStatus
from models.delivery.delivery_log import (
    Delivery,
    DestinationRef,
    LogCursor,
    Logged,
    OutcomeKind,
    TimeSpan,
    WantedAttempts,
    WantedDeliveries,
)
from models.delivery.destinations import Webhook
from models.delivery.requeue import Target
from models.errors import NotFound
from webhooks import facts, http_client

blueprint = Blueprint("deliveries", __name__)

_UUID_BYTES, _CURSOR_BYTES = 16, 32
LIMIT = cursors.limit_parameter(PAGE_SIZE_MAX, 50)
TRIES_MAX = 5  # against a dispatcher that finishes the same row: the next try finds it finished


class LastAttempt(TypedDict):
    """The result of the last attempt; `error` instead of a status if there was no answer."""

    status_code: int | None
    error: str | None
    duration_ms: int
    at: Moment


class DeliveryEntry(TypedDict):
    """A delivery of a fact to a destination. `type` and `participant_id` are null once the fact is
    past its retention, `next_attempt_at` unless it is pending."""

    fact_id: str
    type: str | None
    participant_id: str | None
    status: DeliveryStatus
    attempts: int
    next_attempt_at: Moment | None
    created_at: Moment
    last: LastAttempt | None


class DeliveryPage(TypedDict):
    """The next items. A page may be short although more follow; only a null `next_cursor` marks
    the end."""

    items: list[DeliveryEntry]
    next_cursor: str | None


class AttemptEntry(TypedDict):
    """One attempt: its start, duration, and the first 2 KB of the answer."""

    id: Id
    fact_id: str
    number: int
    outcome: OutcomeKind
    status_code: int | None
    error: str | None
    error_detail: str | None
    duration_ms: int
    remote_address: str | None
    response: str | None
    at: Moment


class AttemptPage(TypedDict):
    """The next items. A page may be short although more follow; only a null `next_cursor` marks
    the end."""

    items: list[AttemptEntry]
    next_cursor: str | None


class DeliveryDetail(DeliveryEntry):
    """A delivery, the body that is signed and sent, and its newest attempts, oldest first."""

    body: str | None
    log: list[AttemptEntry]


# -- lists -----------------------------------------------------------------------------------


@blueprint.get("/admin/webhooks/<webhook_id>/deliveries")
@describe(
    "List a destination's deliveries",
    answers={200: DeliveryPage},
    problems=("webhook_not_found",),
    parameters=(
        Parameter(
            "status",
            {"type": "string", "enum": ["pending", "delivered", "dead"]},
            "Only pending, delivered or exhausted (`dead`) deliveries.",
        ),
        cursors.TYPES,
        cursors.PARTICIPANT,
        cursors.SINCE,
        cursors.UNTIL,
        cursors.after_parameter(_CURSOR_BYTES),
        LIMIT,
    ),
)
@require_admin
def list_deliveries(webhook_id: str) -> Response:
    """A destination's deliveries, newest fact first; `since` and `until` are instants of facts."""
    wanted = WantedDeliveries(
        limit=query_int("limit", 50, 1, PAGE_SIZE_MAX),
        after=_after_pair(),
        span=_span(),
        status=cast(
            DeliveryStatus | None, cursors.query_choice("status", "pending", "delivered", "dead")
        ),
        types=cursors.query_types("types"),
        participant_id=cursors.query_participant(),
    )
    with transaction() as connection:
        destination_ref = _destination(destination(connection, webhook_id))
        found, position = delivery_log.deliveries(connection, destination_ref, wanted)
    cursor = (
        None if position is None else cursors.encode(position.id.bytes + position.webhook_id.bytes)
    )
    return answer({"items": [_entry(delivery) for delivery in found], "next_cursor": cursor})


@blueprint.get("/admin/webhooks/<webhook_id>/attempts")
@describe(
    "List the attempts at a destination",
    answers={200: AttemptPage},
    problems=("webhook_not_found",),
    parameters=(
        Parameter(
            "outcome",
            {"type": "string", "enum": ["ok", "failed"]},
            "Only successful (2xx) or only failed attempts.",
        ),
        cursors.SINCE,
        cursors.UNTIL,
        cursors.after_parameter(_UUID_BYTES),
        LIMIT,
    ),
)
@require_admin
def list_attempts(webhook_id: str) -> Response:
    """All stored attempts, newest first."""
    wanted = WantedAttempts(
        limit=query_int("limit", 50, 1, PAGE_SIZE_MAX),
        after=_after_one(),
        span=_span(),
        outcome=cast(OutcomeKind | None, cursors.query_choice("outcome", "ok", "failed")),
    )
    with transaction() as connection:
        destination_ref = _destination(destination(connection, webhook_id))
        found, position = delivery_log.attempts(connection, destination_ref, wanted)
    cursor = None if position is None else cursors.encode(position.id.bytes)
    return answer({"items": [_attempt(attempt) for attempt in found], "next_cursor": cursor})


def _span() -> TimeSpan:
    return TimeSpan(cursors.query_instant("since"), cursors.query_instant("until"))


def _after_pair() -> LogCursor:
    position = cursors.decode("after", _CURSOR_BYTES)
    if position is None:
        return delivery_log.START
    return LogCursor(UUID(bytes=position[:_UUID_BYTES]), UUID(bytes=position[_UUID_BYTES:]))


def _after_one() -> LogCursor:
    position = cursors.decode("after", _UUID_BYTES)
    return (
        delivery_log.START
        if position is None
        else LogCursor(UUID(bytes=position), UUID(bytes=position))
    )


# -- one delivery ----------------------------------------------------------------------------


@blueprint.get("/admin/webhooks/<webhook_id>/deliveries/<fact_id>")
@describe(
    "Get a delivery",
    answers={200: DeliveryDetail},
    problems=("webhook_not_found", "delivery_not_found"),
)
@require_admin
def get_delivery(webhook_id: str, fact_id: str) -> Response:
    """One delivery with its body and its attempts."""
    with transaction() as connection:
        destination_ref = _destination(destination(connection, webhook_id))
        try:
            found, body, log = delivery_log.delivery(
                connection, destination_ref, cursors.fact_id_in_path(fact_id)
            )
        except NotFound:
            raise not_found("delivery", fact_id) from None
    detail: DeliveryDetail = {
        **_entry(found),
        "body": body,
        "log": [_attempt(attempt) for attempt in log],
    }
    return answer(detail)


@blueprint.post("/admin/webhooks/<webhook_id>/deliveries/<fact_id>/resend")
@describe(
    "Send a fact again",
    answers={202: DeliveryEntry},
    problems=("webhook_not_found", "delivery_not_found", "webhook_disabled"),
)
@require_admin
def resend_delivery(webhook_id: str, fact_id: str) -> Response:
    """Send a fact now, on a new schedule, whether it was delivered, exhausted, or never queued for
    this destination. It keeps its id, so a receiver recognizes it."""
    return answer(_entry(retried(lambda: _resent(webhook_id, fact_id), TRIES_MAX)), 202)


def _resent(webhook_id: str, fact_id: str) -> Delivery:
    with transaction() as connection:
        webhook = enabled_destination(connection, webhook_id)
        its_id = cursors.fact_id_in_path(fact_id)
        target = Target(webhook.tenant_id, webhook.id, webhook.is_ordered)
        try:
            requeue.resend(connection, target, its_id, clock.now())
            found, _, _ = delivery_log.delivery(connection, _destination(webhook), its_id)
            audit.record(connection, "delivery.resent", fact_id, webhook_id=str(webhook.id))
        except NotFound:
            raise not_found("delivery", fact_id) from None
    return found


# -- shared ----------------------------------------------------------------------------------


def destination(connection: Connection, webhook_id: str) -> Webhook:
    """The destination in a path; 404."""
    try:
        return destinations.by_id(connection, tenant().id, uuid_in_path("webhook", webhook_id))
    except NotFound:
        raise not_found("webhook", webhook_id) from None


def enabled_destination(connection: Connection, webhook_id: str) -> Webhook:
    """The destination in a path, locked until the transaction ends: no other request sends past
    facts to it meanwhile. 404, or 409 if it is disabled."""
    its_id = uuid_in_path("webhook", webhook_id)
    if not requeue.hold(connection, tenant().id, its_id, is_waiting=True):
        raise not_found("webhook", webhook_id)
    found = destination(connection, webhook_id)
    if not found.is_enabled:
        raise Problem(409, "webhook_disabled", "The webhook is disabled: enable it first")
    return found


def _destination(webhook: Webhook) -> DestinationRef:
    return DestinationRef(webhook.tenant_id, webhook.id)


def _entry(delivery: Delivery) -> DeliveryEntry:
    is_pending = delivery.status == "pending"
    return shown(
        DeliveryEntry,
        delivery,
        fact_id=facts.public_id(delivery.fact_id),
        next_attempt_at=clock.isoformat(delivery.next_attempt_at) if is_pending else None,
        created_at=clock.isoformat(delivery.occurred_at),
        last=None
        if delivery.last is None
        else shown(LastAttempt, delivery.last, at=_at(delivery.last)),
    )


def _at(logged: Logged) -> str:
    return clock.to_text(ids.issued_at_us(logged.id))


def _attempt(logged: Logged) -> AttemptEntry:
    return shown(
        AttemptEntry,
        logged,
        fact_id=facts.public_id(logged.fact_id),
        error_detail=http_client.DETAILS.get(logged.error or ""),
        at=_at(logged),
    )
