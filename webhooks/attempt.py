"""One attempt at one delivery: prepare, send, decide the outcome."""

from __future__ import annotations

import logging
import random
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Protocol
from uuid import UUID

from aiohttp import ClientSession

from models import clock, ids
from models.delivery.deliveries import Attempt, AttemptOutcome, DisableReason, LeasedDelivery
from models.failpoints import failpoint
from webhooks import egress, facts, http_client, retry_policy, secrets, signing
from webhooks.destination_queues import Limits
from webhooks.egress import Lookup, Policy
from webhooks.errors import EgressRefused, SecretsError
from webhooks.http_client import DEFAULT_TIMEOUTS, HttpResult, Timeouts
from webhooks.retry_policy import Failed, Random
from webhooks.secrets import Ring

log = logging.getLogger("unbroken.deliveries")

OUR_FAULT_SECONDS = 60.0  # until a failure by our own fault is retried
# Our own faults do not count, but not for ever: a name service that fails for one name only looks
# the same. Longer than the whole schedule.
OUR_FAULT_DAYS_MAX = 7

USER_AGENT = "Unbroken-Webhooks/1"


def _not_counted(outcomes: Sequence[AttemptOutcome]) -> None:
    """The default: counts no metric."""


@dataclass(frozen=True)
class SendOptions:
    """The means of sending facts, made once by the composition root."""

    ring: Ring
    policy: Policy
    limits: Limits = field(default_factory=Limits)
    lookup: Lookup = egress.system_lookup
    tls: ssl.SSLContext | None = None  # None: the system's trust
    timeouts: Timeouts = DEFAULT_TIMEOUTS
    failpoint: Callable[[str], None] = failpoint
    on_recorded: Callable[[Sequence[AttemptOutcome]], None] = (
        _not_counted  # after they are recorded
    )
    now: Callable[[], datetime] = clock.now  # for due times and times of sending, not for timeouts

    def open_session(self) -> ClientSession:
        """A session for POSTs; close it with `http_client.close`."""
        return http_client.open_session(self.policy, self.lookup, self.tls, self.timeouts)


class Keyed(Protocol):
    """The encrypted keys of a destination, as its row and its leased deliveries hold them."""

    @property
    def secret(self) -> str: ...
    @property
    def previous_secret(self) -> str | None: ...
    @property
    def previous_until(self) -> datetime | None: ...
    @property
    def signing_key(self) -> str | None: ...


async def attempt(
    http: ClientSession, options: SendOptions, delivery: LeasedDelivery
) -> AttemptOutcome:
    """Make one attempt; a failure by our own fault is postponed and counts as no attempt."""
    if delivery.body is None:
        log.warning("fact %s is past its retention: its delivery is dead", delivery.fact_id)
        return AttemptOutcome(delivery, "dead", None, None)
    began = options.now()
    try:
        keys = keys_at(options.ring, delivery, began)
    except SecretsError as error:
        log.error("destination %s: %s", delivery.webhook_id, error)  # noqa: TRY400 -- no trace
        return postponed(delivery, began)
    headers = headers_of(keys, delivery.fact_id, began, delivery.body.encode())
    try:
        url = egress.parse(delivery.url, options.policy)
    except EgressRefused:  # the operator allows less than at the destination's creation
        result = HttpResult(duration_ms=0, error=http_client.UNREACHABLE)
    else:
        result = await http_client.post(http, url, delivery.body.encode(), headers)
    return decide(delivery, result, began, random.random)


def keys_at(ring: Ring, destination: Keyed, now: datetime) -> list[signing.SigningKey]:
    """The keys that sign for a destination at an instant: the newest secret, the previous one
    during the overlap, and the ed25519 key. Raises SecretsError when no key of the ring fits."""
    stored = [destination.secret]
    previous, until = destination.previous_secret, destination.previous_until
    if previous is not None and until is not None and now < until:
        stored.append(previous)
    if destination.signing_key is not None:
        stored.append(destination.signing_key)
    return [secrets.signer(ring, secret) for secret in stored]


def headers_of(
    keys: Sequence[signing.SigningKey], fact_id: UUID, began: datetime, body: bytes
) -> dict[str, str]:
    """The headers of one POST of a fact: its sender, and the fact's identity."""
    headers = signing.headers(keys, facts.public_id(fact_id), began, body)
    headers["Content-Type"] = "application/json"
    headers["User-Agent"] = USER_AGENT
    return headers


def decide(
    delivery: LeasedDelivery, result: HttpResult, began: datetime, random: Random
) -> AttemptOutcome:
    """The outcome of a delivery after one POST; pure except for the id of the attempt."""
    now = began + timedelta(milliseconds=result.duration_ms)
    age = now - clock.from_us(ids.issued_at_us(delivery.fact_id))
    if result.is_ours and age < timedelta(days=OUR_FAULT_DAYS_MAX):
        return postponed(delivery, now)
    made = _logged(delivery, result, began)
    asked: DisableReason | None = "asked" if http_client.DISABLE in result.wishes else None
    disables: DisableReason | None = "gone" if result.status == HTTPStatus.GONE else asked
    if result.is_success:
        return AttemptOutcome(delivery, "delivered", None, made, disables=disables)
    again = _again(delivery, result, now, random)
    return AttemptOutcome(
        delivery,
        "dead" if again is None else "pending",
        again,
        made,
        is_counted=again is None or not delivery.is_probe,
        disables=disables,
    )


def _again(
    delivery: LeasedDelivery, result: HttpResult, now: datetime, random: Random
) -> datetime | None:
    if http_client.ABORT_MESSAGE in result.wishes:
        return None
    wish = retry_policy.retry_after(result.status or 0, result.retry_after, now)
    failed = Failed(delivery.attempts + 1, wish, delivery.retry_seconds)
    plan = retry_policy.after_probe if delivery.is_probe else retry_policy.after_answer
    return plan(failed, now, random)


def _logged(delivery: LeasedDelivery, result: HttpResult, began: datetime) -> Attempt:
    return Attempt(
        id=ids.uuid7(clock.to_us(began)),
        number=delivery.attempts + 1,
        status_code=result.status,
        error=result.error,
        duration_ms=result.duration_ms,
        remote_address=result.remote_address,
        response=result.response,
    )


def postponed(delivery: LeasedDelivery, now: datetime) -> AttemptOutcome:
    """Our own fault: retried soon, and no attempt is counted."""
    return AttemptOutcome(delivery, "pending", now + timedelta(seconds=OUR_FAULT_SECONDS), None)
