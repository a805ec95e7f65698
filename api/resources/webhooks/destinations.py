"""Destinations of facts, managed by admins at `/admin/webhooks` (contract §4)."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint, Response
from typing_extensions import TypedDict

from api.http.auth import require_admin, tenant
from api.http.describe import PAGE, MessageAnswer, describe
from api.http.problems import Problem, not_found
from api.http.responses import answer
from api.http.tenant_session import reading, transaction
from api.input.field_types import uuid_in_path
from api.input.validation import body, page_window, some_fields
from api.resources.shared import audit
from api.resources.webhooks.schemas import (
    Destination,
    DestinationDetail,
    NewWebhook,
    WebhookChange,
    as_json,
    check_url,
    ring,
    to_values,
)
from models import clock
from models.db import Connection
from models.delivery import destination_health, destinations
from models.delivery.destinations import WEBHOOKS_MAX
from models.errors import NotFound, TooMany
from webhooks import secrets

blueprint = Blueprint("webhooks", __name__)


class NewDestination(Destination):
    """A new destination with its signing secret, which is shown only once."""

    secret: str


class DestinationPage(TypedDict):
    """A page of destinations, oldest first."""

    items: list[Destination]
    total: int
    page: int
    page_size: int


@blueprint.post("/admin/webhooks")
@describe(
    "Create a destination",
    answers={201: NewDestination},
    body=NewWebhook,
    example={"url": "http://127.0.0.1:9000/facts", "event_types": ["behavior.*"]},
    problems=("webhook_limit_reached",),
)
@require_admin
def create_webhook() -> Response:
    """Create a destination; its secret is shown only in this answer."""
    new = body(NewWebhook)
    check_url(new.url)
    secret = secrets.generate()
    values = to_values(new.model_dump()) | {"secret": secrets.encrypt(ring(), secret)}
    try:
        with transaction() as connection:
            webhook = destinations.create(connection, tenant().id, values)
            given = new.model_dump(exclude_unset=True)
            audit.record(connection, "webhook.created", str(webhook.id), **audit.detail_of(given))
    except TooMany:
        detail = f"A tenant has at most {WEBHOOKS_MAX} webhooks of each mode: delete one first"
        raise Problem(400, "webhook_limit_reached", detail) from None
    made: NewDestination = {**as_json(webhook), "secret": secret}
    return answer(made, 201)


@blueprint.get("/admin/webhooks")
@describe("List destinations", answers={200: DestinationPage}, parameters=PAGE)
@require_admin
def list_webhooks() -> Response:
    """A page of the tenant's destinations, oldest first."""
    window = page_window()
    with reading() as connection:
        found, total = destinations.page(connection, tenant().id, window.slice)
    return window.answer([as_json(webhook) for webhook in found], total)


@blueprint.get("/admin/webhooks/<webhook_id>")
@describe("Get a destination", answers={200: DestinationDetail}, problems=("webhook_not_found",))
@require_admin
def get_webhook(webhook_id: str) -> Response:
    """One destination with its health and the number of pending facts."""
    its_id = uuid_in_path("webhook", webhook_id)
    with reading() as connection:
        return answer(_detail(connection, its_id))


def _detail(connection: Connection, its_id: UUID) -> DestinationDetail:
    try:
        found = destinations.by_id(connection, tenant().id, its_id)
    except NotFound:
        raise not_found("webhook", str(its_id)) from None
    return {**as_json(found), "pending": destinations.pending(connection, tenant().id, its_id)}


@blueprint.post("/admin/webhooks/<webhook_id>/probe")
@describe(
    "Probe a parked destination now",
    answers={200: DestinationDetail},
    problems=("webhook_not_found", "webhook_disabled"),
)
@require_admin
def probe_webhook(webhook_id: str) -> Response:
    """Send one of the pending facts to a parked destination, within 2 s.

    If it is delivered, all pending facts follow at once. If it fails, the destination stays
    parked, twice as long as before, at most one hour. A destination that is not parked is not
    changed; its due facts are being sent.
    """
    its_id = uuid_in_path("webhook", webhook_id)
    with transaction() as connection:
        destination_health.probe_now(connection, (tenant().id, its_id), clock.now())
        detail = _detail(connection, its_id)
        if not detail["is_enabled"]:
            raise Problem(409, "webhook_disabled", "The webhook is disabled: enable it first")
        audit.record(connection, "webhook.probed", str(its_id))
    return answer(detail)


@blueprint.patch("/admin/webhooks/<webhook_id>")
@describe(
    "Change a destination",
    answers={200: Destination},
    body=WebhookChange,
    example={"description": "The mobile team's", "is_enabled": False},
    problems=("no_fields_to_update", "webhook_not_found"),
)
@require_admin
def change_webhook(webhook_id: str) -> Response:
    """Change the given fields.

    While disabled, it gets no new facts, and its pending facts wait. Enabling it resets its health
    and the reason for which it was disabled. A parked destination is probed at once after
    `is_enabled: true`, another `url` or other `signatures`. Removing `v1a` from `signatures`
    deletes its ed25519 key.
    """
    values = body(WebhookChange).model_dump(exclude_unset=True)
    some_fields(values)
    its_id = uuid_in_path("webhook", webhook_id)
    if "url" in values:
        check_url(values["url"])
    stored = to_values(values)
    try:
        with transaction() as connection:
            changed = destinations.change(connection, tenant().id, its_id, stored)
            audit.record(connection, "webhook.updated", str(its_id), **audit.detail_of(values))
    except NotFound:
        raise not_found("webhook", webhook_id) from None
    return answer(as_json(changed))


@blueprint.delete("/admin/webhooks/<webhook_id>")
@describe("Delete a destination", answers={200: MessageAnswer}, problems=("webhook_not_found",))
@require_admin
def delete_webhook(webhook_id: str) -> Response:
    """Delete a destination; its pending facts are not sent."""
    its_id = uuid_in_path("webhook", webhook_id)
    try:
        with transaction() as connection:
            destinations.delete(connection, tenant().id, its_id)
            audit.record(connection, "webhook.deleted", str(its_id))
    except NotFound:
        raise not_found("webhook", webhook_id) from None
    return answer({"message": "Webhook deleted"})
