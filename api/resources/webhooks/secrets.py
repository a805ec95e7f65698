"""Rotation of the secret and the key that sign a destination's facts (webhooks.md: overlap)."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from flask import Blueprint, Response
from pydantic import Field
from typing_extensions import TypedDict

from api.http.auth import require_admin, tenant
from api.http.describe import Id, Moment, describe
from api.http.problems import invalid_field, not_found
from api.http.responses import answer
from api.http.tenant_session import transaction
from api.input.field_types import uuid_in_path
from api.input.validation import body
from api.resources.shared import audit
from api.resources.webhooks.schemas import ClosedBody, previous_secret_until, public_key, ring
from models import clock
from models.delivery import destinations
from models.delivery.destinations import Renewal, Webhook
from models.errors import NotFound
from webhooks import secrets

blueprint = Blueprint("webhook_secrets", __name__)

OVERLAP_HOURS = 24  # webhooks.md: time to deploy the new secret
OVERLAP_HOURS_MAX = 168  # a week; a leaked secret should expire sooner


class SecretRotation(ClosedBody):
    """The options of a rotation."""

    overlap_hours: Annotated[
        int,
        Field(
            ge=0,
            le=OVERLAP_HOURS_MAX,
            description="How long the replaced secret also signs; 0: not at all.",
        ),
    ] = OVERLAP_HOURS
    rotate_signing_key: Annotated[
        bool,
        Field(
            description="Also replace the ed25519 key of `v1a`, at once and without an overlap."
            " The answer has the new `public_key`."
        ),
    ] = False


class RotatedSecret(TypedDict):
    """The new secret, which is shown only once."""

    id: Id
    secret: str
    previous_secret_until: Moment | None
    public_key: str | None


@blueprint.post("/admin/webhooks/<webhook_id>/rotate")
@describe(
    "Rotate a destination's secret",
    answers={200: RotatedSecret},
    body=SecretRotation,
    example={"overlap_hours": 24},
    problems=("webhook_not_found",),
)
@require_admin
def rotate_secret(webhook_id: str) -> Response:
    """Replace the secret; the new one is shown only in this answer.

    Until `previous_secret_until` every request carries two signatures, of the new and of the
    replaced secret, so a receiver can verify with either. After another rotation in that time only
    the newest two secrets sign.
    """
    wish = body(SecretRotation)
    its_id = uuid_in_path("webhook", webhook_id)
    secret = secrets.generate()
    renewal = _renewal(wish, secret)
    try:
        with transaction() as connection:
            if wish.rotate_signing_key:
                _check_signing_key(destinations.by_id(connection, tenant().id, its_id))
            rotated = destinations.rotate(connection, tenant().id, its_id, renewal)
            given = audit.detail_of(wish.model_dump())
            audit.record(connection, "webhook.secret_rotated", str(its_id), **given)
    except NotFound:
        raise not_found("webhook", webhook_id) from None
    made: RotatedSecret = {
        "id": str(rotated.id),
        "secret": secret,
        "previous_secret_until": previous_secret_until(rotated),
        "public_key": public_key(rotated),
    }
    return answer(made)


def _renewal(wish: SecretRotation, secret: str) -> Renewal:
    until = clock.now() + timedelta(hours=wish.overlap_hours) if wish.overlap_hours else None
    fresh = secrets.generate_signing_key() if wish.rotate_signing_key else None
    return Renewal(
        secret=secrets.encrypt(ring(), secret),
        previous_until=until,
        signing_key=fresh and secrets.encrypt(ring(), fresh),
    )


def _check_signing_key(webhook: Webhook) -> None:
    """422 unless the destination has a signing key. One removed at the same time is not replaced: a
    rotation adds none to a destination without it."""
    if webhook.signing_key is None:
        message = "there is none: this destination has no v1a signatures"
        raise invalid_field("rotate_signing_key", "no_signing_key", message)
