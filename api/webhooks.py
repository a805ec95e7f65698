"""Destinations of facts: what an admin manages at `/admin/webhooks` (contract §4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from flask import Blueprint, Response
from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic import ValidationError as ModelError
from pydantic_core import InitErrorDetails, PydanticCustomError
from typing_extensions import TypedDict

from api.answers import answer
from api.auth import require_admin, tenant
from api.context import app_context
from api.definitions import some_fields
from api.errors import Problem, invalid_field, not_found
from api.operations import PAGE, Id, Message, Moment, describe
from api.validation import Body, Text, body, page_window
from models import clock, webhooks
from models.db import reading, transaction
from models.errors import NotFound
from models.webhooks import Webhook
from webhooks import egress, facts, secrets
from webhooks.errors import Refused, SecretsError
from webhooks.secrets import Ring

blueprint = Blueprint("webhooks", __name__)

EVENT_TYPES_MAX = 100
UNKNOWN_NAMED_MAX = 10  # enough to see the mistake; a megabyte of names is not sent back
UNKNOWN_CHARS_MAX = 64


def _event_type(pattern: str) -> str:
    """A known type, or a glob that stands for at least one."""
    if pattern not in facts.TYPES and not any(facts.matches([pattern], one) for one in facts.TYPES):
        known = ", ".join((*facts.TYPES, "behavior.*", "*"))
        raise PydanticCustomError("event_type", "must be one of {known}", {"known": known})
    return pattern


def _once_each(patterns: list[str]) -> list[str]:
    return list(dict.fromkeys(patterns))


EventType = Annotated[
    str, StringConstraints(strict=True, max_length=100), AfterValidator(_event_type)
]
EventTypes = Annotated[
    list[EventType], Field(min_length=1, max_length=EVENT_TYPES_MAX), AfterValidator(_once_each)
]
Url = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=egress.URL_CHARS_MAX)]


class _Known(Body):
    """A body without other fields: what is set by us must not look as if it had been accepted."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"additionalProperties": False})

    @model_validator(mode="before")
    @classmethod
    def _only_known(cls, values: Any) -> Any:
        names = values.keys() - cls.model_fields.keys() if isinstance(values, dict) else set()
        if names:
            named = [_unknown(name) for name in sorted(names)[:UNKNOWN_NAMED_MAX]]
            raise ModelError.from_exception_data(cls.__name__, named)
        return values


def _unknown(name: str) -> InitErrorDetails:
    error = PydanticCustomError("unknown_field", "is not a field that can be set")
    return InitErrorDetails(type=error, loc=(name[:UNKNOWN_CHARS_MAX],), input=None)


class NewWebhook(_Known):
    """A destination to create."""

    url: Url
    event_types: EventTypes
    description: Text | None = None
    is_enabled: bool = True


class WebhookChange(_Known):
    """What may be changed of a destination; what is not given stays."""

    url: Url = ""
    event_types: EventTypes = Field(default_factory=list)
    description: Text | None = None
    is_enabled: bool = True


class Destination(TypedDict):
    """A destination as it is answered."""

    id: Id
    url: str
    description: str | None
    event_types: list[str]
    is_enabled: bool
    created_at: Moment
    updated_at: Moment


class NewDestination(Destination):
    """A destination just created, with the secret that signs its facts: shown this once."""

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
)
@require_admin
def create_webhook() -> Response:
    """Create a destination; its secret is in this answer and in no other."""
    new = body(NewWebhook)
    _check_url(new.url)
    secret = secrets.generate()
    values = new.model_dump() | {"secret": secrets.encrypt(_ring(), secret)}
    with transaction(app_context().engine) as session:
        webhook = webhooks.create(session, tenant().id, values)
    made: NewDestination = {**_as_json(webhook), "secret": secret}
    return answer(made, 201)


@blueprint.get("/admin/webhooks")
@describe("List destinations", answers={200: DestinationPage}, parameters=PAGE)
@require_admin
def list_webhooks() -> Response:
    """A page of the tenant's destinations, oldest first."""
    page, size = page_window()
    with reading(app_context().engine) as session:
        found, total = webhooks.page(session, tenant().id, (size, (page - 1) * size))
    return answer({"items": _all_as_json(found), "total": total, "page": page, "page_size": size})


@blueprint.get("/admin/webhooks/<webhook_id>")
@describe("Get a destination", answers={200: Destination}, problems=("webhook_not_found",))
@require_admin
def get_webhook(webhook_id: str) -> Response:
    """One destination."""
    try:
        with reading(app_context().engine) as session:
            return answer(_as_json(webhooks.by_id(session, tenant().id, _id(webhook_id))))
    except NotFound:
        raise not_found("webhook", webhook_id) from None


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
    """Change what is given. Disabled, it gets no new facts and those pending for it wait."""
    values = body(WebhookChange).model_dump(exclude_unset=True)
    some_fields(values)
    if "url" in values:
        _check_url(values["url"])
    try:
        with transaction(app_context().engine) as session:
            changed = webhooks.change(session, tenant().id, _id(webhook_id), values)
    except NotFound:
        raise not_found("webhook", webhook_id) from None
    return answer(_as_json(changed))


@blueprint.delete("/admin/webhooks/<webhook_id>")
@describe("Delete a destination", answers={200: Message}, problems=("webhook_not_found",))
@require_admin
def delete_webhook(webhook_id: str) -> Response:
    """Delete a destination; what is pending for it is not sent any more."""
    try:
        with transaction(app_context().engine) as session:
            webhooks.delete(session, tenant().id, _id(webhook_id))
    except NotFound:
        raise not_found("webhook", webhook_id) from None
    return answer({"message": "Webhook deleted"})


def _id(text: str) -> UUID:
    """The id in a path; one that cannot be an id is nobody's."""
    try:
        parsed = UUID(text)
    except ValueError:
        raise NotFound(text) from None
    if str(parsed) != text.lower():  # UUID() also takes braces, urn: and no hyphens
        raise NotFound(text)
    return parsed


def _check_url(url: str) -> None:
    settings = app_context().settings
    policy = egress.policy(
        settings.webhook_allow_cidrs, settings.webhook_allow_http, settings.webhook_ports
    )
    try:
        egress.check(url, policy)
    except Refused as refused:
        raise invalid_field("url", "url_refused", str(refused)) from None


def _ring() -> Ring:
    try:
        return secrets.ring(app_context().settings.secret_keys)
    except SecretsError as error:
        detail = f"This server cannot store secrets. {error}"
        raise Problem(503, "unavailable", detail, headers={"Retry-After": "60"}) from None


def _all_as_json(found: Sequence[Webhook]) -> list[Destination]:
    return [_as_json(webhook) for webhook in found]


def _as_json(webhook: Webhook) -> Destination:
    return {
        "id": str(webhook.id),
        "url": webhook.url,
        "description": webhook.description,
        "event_types": webhook.event_types,
        "is_enabled": webhook.is_enabled,
        "created_at": clock.isoformat(webhook.created_at),
        "updated_at": clock.isoformat(webhook.updated_at),
    }
