"""A destination's fields: as sent, validated, stored and answered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from api.http.describe import Id, Moment, shown
from api.http.problems import Problem, invalid_field
from api.http.request_context import app_context
from api.input.validation import Body, Code, Text
from models import clock
from models.delivery.destinations import DestinationStatus, DisabledReason, Webhook
from webhooks import egress, facts, secrets
from webhooks.errors import EgressRefused, SecretsError
from webhooks.secrets import Ring

EVENT_TYPES_MAX = 100
STREAK_CODES_MAX = 100
RETRIES_MAX = 20  # the default schedule has nine
RETRY_SECONDS_MAX = 604_800  # a week
RATE_PER_SECOND_MAX = 10_000  # more than a process can send
IN_FLIGHT_MAX = 128  # per destination and process

Version = Literal["v1", "v1a"]


def _event_type(pattern: str) -> str:
    """A known type, or a glob that matches at least one."""
    if pattern not in facts.TYPES and not any(
        facts.matches([pattern], kind) for kind in facts.TYPES
    ):
        known = ", ".join((*facts.TYPES, "behavior.*", "*"))
        raise PydanticCustomError("event_type", "must be one of {known}", {"known": known})
    return pattern


def _once_each(values: list[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _with_v1(versions: list[Version]) -> list[Version]:
    if "v1" not in versions:
        raise PydanticCustomError("signatures", "must hold v1; v1a is optional")
    return ["v1", "v1a"] if "v1a" in versions else ["v1"]


EventType = Annotated[
    str, StringConstraints(strict=True, max_length=100), AfterValidator(_event_type)
]
EventTypes = Annotated[
    list[EventType], Field(min_length=1, max_length=EVENT_TYPES_MAX), AfterValidator(_once_each)
]
StreakCodes = Annotated[
    list[Code],
    Field(
        min_length=1,
        max_length=STREAK_CODES_MAX,
        description="Limits facts about streaks to these streaks; null: no limit.",
    ),
    AfterValidator(_once_each),
]
Url = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=egress.URL_CHARS_MAX)]
IsOrdered = Annotated[
    bool, Field(description="Send each participant's facts in the order of their sequence.")
]
RatePerSecond = Annotated[
    int,
    Field(ge=1, le=RATE_PER_SECOND_MAX, description="Maximum deliveries a second; null: no limit."),
]
InFlight = Annotated[
    int,
    Field(
        ge=1,
        le=IN_FLIGHT_MAX,
        description="Maximum concurrent deliveries per deliverer; null: the default.",
    ),
]
RetrySeconds = Annotated[
    list[Annotated[int, Field(ge=1, le=RETRY_SECONDS_MAX)]],
    Field(
        max_length=RETRIES_MAX,
        description="Seconds before each retry, each ±20 %; null: the default schedule.",
    ),
]
Signatures = Annotated[
    list[Version],
    Field(
        min_length=1,
        max_length=2,
        description="`v1` (HMAC with the secret) is required; `v1a` (ed25519) is optional.",
    ),
    AfterValidator(_with_v1),
]


# -- requests --------------------------------------------------------------------------------


class ClosedBody(Body):
    """A body without other fields, whatever the operator allows its tenant: what is set by us must
    not look as if it had been accepted."""

    is_always_strict = True


class _Optional(ClosedBody):
    """What may be left out, when a destination is created and when it is changed."""

    description: Text | None = None
    is_enabled: bool = True
    streak_codes: StreakCodes | None = None
    is_ordered: IsOrdered = False
    rate_per_second: RatePerSecond | None = None
    in_flight_max: InFlight | None = None
    retry_seconds: RetrySeconds | None = None
    signatures: Signatures = Field(default=["v1"])


class NewWebhook(_Optional):
    """A destination to create."""

    url: Url
    event_types: EventTypes


class WebhookChange(_Optional):
    """The changeable fields of a destination; fields that are not given keep their values."""

    url: Url = ""
    event_types: EventTypes = Field(default_factory=list)


def to_values(given: dict[str, Any]) -> dict[str, Any]:
    """The values to store for the given fields: signatures are a key, made here and encrypted."""
    values = dict(given)
    versions = values.pop("signatures", None)
    if versions is not None:
        fresh = secrets.generate_signing_key() if "v1a" in versions else None
        values["signing_key"] = fresh and secrets.encrypt(ring(), fresh)
    return values


# -- responses -------------------------------------------------------------------------------


class Health(TypedDict):
    """The health of a destination: since when it fails, the last failure, and the next probe.

    While it is parked, nothing is sent before `next_probe_at`; then one fact is sent as a probe.
    """

    status: DestinationStatus
    failing_since: Moment | None
    parked_until: Moment | None
    failures: int
    last_failure: str | None
    next_probe_at: Moment | None


class Destination(TypedDict):
    """A destination."""

    id: Id
    url: str
    description: str | None
    event_types: list[str]
    streak_codes: list[str] | None
    is_enabled: bool
    disabled_reason: DisabledReason | None
    is_ordered: bool
    rate_per_second: int | None
    in_flight_max: int | None
    retry_seconds: list[int] | None
    signatures: list[Version]
    public_key: str | None
    previous_secret_until: Moment | None
    health: Health
    created_at: Moment
    updated_at: Moment


class DestinationDetail(Destination):
    """A destination with its number of pending facts; 10,000 means 10,000 or more."""

    pending: int


def as_json(webhook: Webhook) -> Destination:
    """The JSON of a destination, without its secrets. 503 if its v1a key cannot be decrypted."""
    return shown(
        Destination,
        webhook,
        signatures=["v1"] if webhook.signing_key is None else ["v1", "v1a"],
        public_key=public_key(webhook),
        previous_secret_until=previous_secret_until(webhook),
        health=_health(webhook),
    )


def _health(webhook: Webhook) -> Health:
    until = webhook.parked_until if webhook.is_enabled else None
    failures = webhook.failures or 0
    return shown(Health, webhook, failures=failures, next_probe_at=clock.isoformat_or_none(until))


def previous_secret_until(webhook: Webhook) -> str | None:
    """When the replaced secret stops signing; None once it has stopped."""
    until = webhook.previous_until
    return None if until is None or until <= clock.now() else clock.isoformat_or_none(until)


def public_key(webhook: Webhook) -> str | None:
    """The public key for `v1a` signatures; None without them."""
    if webhook.signing_key is None:
        return None
    with unsealing():
        return secrets.public_key(ring(), webhook.signing_key)


# -- key ring and URL policy -----------------------------------------------------------------


@contextmanager
def unsealing() -> Iterator[None]:
    """503 if the key ring is missing or does not fit. The detail says which, without any secret."""
    try:
        yield
    except SecretsError as error:
        detail = f"This server cannot use secrets. {error}"
        raise Problem(503, "unavailable", detail, headers={"Retry-After": "60"}) from None


def ring() -> Ring:
    """The operator's key ring; 503 without one."""
    with unsealing():
        return secrets.ring(app_context().settings.secret_keys)


def check_url(url: str) -> None:
    """422 unless a destination may have this URL."""
    try:
        egress.check(url, app_context().policy)
    except EgressRefused as refused:
        raise invalid_field("url", "url_refused", str(refused)) from None
