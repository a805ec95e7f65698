"""One attempt at one delivery: prepare, send, decide what becomes of it."""

from __future__ import annotations

import logging
import random
from datetime import datetime, timedelta
from functools import lru_cache

from aiohttp import ClientSession

from models import clock, ids
from models.deliveries import Attempt, Claimed, Outcome
from webhooks import egress, facts, schedule, secrets, sender, signing
from webhooks.egress import Policy
from webhooks.errors import Refused, SecretsError
from webhooks.schedule import Random
from webhooks.secrets import Ring
from webhooks.sender import Result

log = logging.getLogger("unbroken.deliveries")

OUR_FAULT_SECONDS = 60.0  # until what failed by our own fault is tried again
# Our own faults count for nothing, but not for ever: a name service that answers for all names but
# one looks the same. Longer than the whole schedule.
OUR_FAULT_DAYS_MAX = 7

USER_AGENT = "Unbroken-Webhooks/1"


async def attempt(session: ClientSession, ring: Ring, policy: Policy, delivery: Claimed) -> Outcome:
    """Make one attempt; what fails by our own fault is postponed and counts as none."""
    if delivery.body is None:
        log.warning("fact %s is past its retention: its delivery is dead", delivery.fact_id)
        return Outcome(delivery, "dead", None, None)
    began = clock.now()
    try:
        key = _signing_key(ring, delivery.secret)
    except SecretsError as error:
        log.error("destination %s: %s", delivery.webhook_id, error)  # noqa: TRY400 -- no trace
        return postponed(delivery, began)
    headers = _headers(key, delivery, began)
    try:
        url = egress.parse(delivery.url, policy)
    except Refused:  # the operator allows less than when the destination was made
        result = Result(duration_ms=0, error=sender.UNREACHABLE)
    else:
        result = await sender.post(session, url, delivery.body.encode(), headers)
    return decide(delivery, result, began, random.random)


@lru_cache(maxsize=1_024)
def _signing_key(ring: Ring, stored: str) -> bytes:
    """Decrypted once a process and secret; raise SecretsError, which is not remembered."""
    return signing.secret_key(secrets.decrypt(ring, stored))


def _headers(key: bytes, delivery: Claimed, began: datetime) -> dict[str, str]:
    message_id = facts.public_id(delivery.fact_id)
    headers = signing.headers([key], message_id, began, (delivery.body or "").encode())
    headers["Content-Type"] = "application/json"
    headers["User-Agent"] = USER_AGENT
    return headers


def decide(delivery: Claimed, result: Result, began: datetime, random: Random) -> Outcome:
    """What becomes of a delivery after one POST; pure but for the id of the attempt."""
    now = began + timedelta(milliseconds=result.duration_ms)
    if result.is_ours and _age(delivery, now) < timedelta(days=OUR_FAULT_DAYS_MAX):
        return postponed(delivery, now)
    made = _logged(delivery, result, began)
    if result.is_success:
        return Outcome(delivery, "delivered", None, made)
    wish = schedule.retry_after(result.status or 0, result.retry_after, now)
    again = schedule.after_answer(made.number, now, random, wish)
    return Outcome(delivery, "dead" if again is None else "pending", again, made)


def _logged(delivery: Claimed, result: Result, began: datetime) -> Attempt:
    return Attempt(
        id=ids.uuid7(clock.to_us(began)),
        number=delivery.attempts + 1,
        status_code=result.status,
        error=result.error,
        duration_ms=result.duration_ms,
        remote_address=result.remote_address,
        response=result.response,
    )


def postponed(delivery: Claimed, now: datetime) -> Outcome:
    """Our own fault: tried again soon, and no attempt is counted."""
    return Outcome(delivery, "pending", now + timedelta(seconds=OUR_FAULT_SECONDS), None)


def _age(delivery: Claimed, now: datetime) -> timedelta:
    return now - clock.from_us(ids.issued_at_us(delivery.fact_id))
