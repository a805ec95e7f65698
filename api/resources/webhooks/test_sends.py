"""Test sends: a signed sample sent to a destination now, and its result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from flask import Blueprint, Response
from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from api.http.auth import require_admin, tenant
from api.http.describe import describe, shown
from api.http.problems import Problem, not_found
from api.http.request_context import app_context
from api.http.responses import answer
from api.http.tenant_session import reading, transaction
from api.input.field_types import uuid_in_path
from api.input.validation import body
from api.resources.shared import audit
from api.resources.webhooks.schemas import ClosedBody, ring, unsealing
from models import clock, ids
from models.delivery import destinations
from models.delivery.destinations import Webhook
from models.errors import NotFound
from webhooks import fact_samples, facts, test_send
from webhooks.attempt import SendOptions
from webhooks.http_client import HttpResult

blueprint = Blueprint("webhook_trials", __name__)

RETRY_SECONDS = 5  # most receivers have answered by then


def _known(kind: str) -> str:
    if kind not in facts.TYPES:
        known = ", ".join(facts.TYPES)
        raise PydanticCustomError("event_type", "must be one of {known}", {"known": known})
    return kind


class Trial(ClosedBody):
    """The sample to send."""

    type: Annotated[
        str,
        StringConstraints(strict=True, max_length=100),
        AfterValidator(_known),
        Field(json_schema_extra={"enum": [*facts.TYPES]}, description="The type of the sample."),
    ] = facts.STREAK_RECORDED


class TrialOutcome(TypedDict):
    """The outcome, in the format of an attempt."""

    fact_id: str
    type: str
    delivered: bool
    status_code: int | None
    error: str | None
    duration_ms: int
    response: str | None


@blueprint.post("/admin/webhooks/<webhook_id>/test")
@describe(
    "Send a sample fact to a destination",
    answers={200: TrialOutcome},
    body=Trial,
    example={"type": "behavior.streak_recorded"},
    problems=("webhook_not_found", "overloaded"),
)
@require_admin
def try_webhook(webhook_id: str) -> Response:
    """Send one signed sample fact now, once, and return the outcome, within 15 s.

    The sample is signed and sent like a fact, but not stored: no log and no feed lists it, and
    only the receiver knows its `fact_id`. A disabled destination can be tested too; its state does
    not change.
    """
    kind = body(Trial).type
    its_id = uuid_in_path("webhook", webhook_id)
    try:
        with reading() as connection:
            webhook = destinations.by_id(connection, tenant().id, its_id)
    except NotFound:
        raise not_found("webhook", webhook_id) from None
    with _place():
        with transaction() as connection:  # committed before anything is sent
            audit.record(connection, "webhook.tested", str(its_id), type=kind)
        return answer(_send(webhook, kind))


@contextmanager
def _place() -> Iterator[None]:
    """503 if too many test sends are running."""
    context = app_context()
    with context.slots.test_sends.slot() as is_free, context.waiters.slot() as may_wait:
        if not (is_free and may_wait):
            detail = "Too many samples are being sent. Nothing was sent; try again."
            raise Problem(503, "overloaded", detail, headers={"Retry-After": str(RETRY_SECONDS)})
        yield


def _send(webhook: Webhook, kind: str) -> TrialOutcome:
    now_us = clock.now_us()
    fact_id = ids.uuid7(now_us)
    sample = fact_samples.body(kind, tenant(), now_us, fact_id)
    with unsealing():
        result = test_send.send(SendOptions(ring(), app_context().policy), webhook, fact_id, sample)
    return _outcome(facts.public_id(fact_id), kind, result)


def _outcome(fact_id: str, kind: str, result: HttpResult) -> TrialOutcome:
    delivered, status = result.is_success, result.status
    return shown(
        TrialOutcome, result, fact_id=fact_id, type=kind, delivered=delivered, status_code=status
    )
