"""The effect of outcomes on their destinations: health, disabling, and the facts about both.

The transaction that records the outcomes also writes each change and its fact, so both exist once.
"""

from __future__ import annotations

import logging
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from models import clock, ids
from models.db import Connection
from models.delivery import destination_health, destination_queues, destinations
from models.delivery.deliveries import Attempt, AttemptOutcome, DestinationId
from models.delivery.destination_health import DestinationHealth
from models.identity import tenants
from webhooks import facts, outbox
from webhooks.circuit_breaker import HealthChange, Judgement, Sign, judge
from webhooks.facts import DestinationChange, FactStamp

log = logging.getLogger("unbroken.deliveries")

FAILURE_CHARS_MAX = 200  # an error's first words show the cause


def record_attempts(
    connection: Connection, outcomes: Sequence[AttemptOutcome], now: datetime
) -> bool:
    """Apply attempts, in the order in which they ended; return whether any health changed.

    Failures by our own fault do not count.
    """
    signs = _signs(outcomes)
    unwell = {key for key, seen in signs.items() if not all(map(_is_plain_success, seen))}
    if others := sorted(signs.keys() - unwell):
        unwell |= destination_queues.failing(connection, others)
    if not unwell:
        return False
    cases = [
        _Case(key, destination, judge(destination.health, signs[key], now, random.random))
        for key, destination in destination_health.lock(connection, sorted(unwell)).items()
        if destination.is_enabled
    ]
    for case in cases:
        _write_case(connection, case, now)
    return any(case.is_changed for case in cases)


@dataclass(frozen=True)
class _Case:
    """A locked destination, and its outcomes."""

    key: DestinationId
    destination: DestinationHealth
    judgement: Judgement

    @property
    def is_changed(self) -> bool:
        judgement = self.judgement
        return judgement.health != self.destination.health or judgement.disables is not None


def _signs(outcomes: Sequence[AttemptOutcome]) -> dict[DestinationId, list[Sign]]:
    signs: dict[DestinationId, list[Sign]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.attempt is not None:
            is_success = outcome.status == "delivered"
            failure = None if is_success else _failure(outcome.attempt)
            sign = Sign(is_success, outcome.delivery.is_probe, outcome.disables, failure)
            signs[outcome.delivery.destination_id].append(sign)
    return signs


def _failure(attempt: Attempt) -> str:
    """The error of a failed attempt, in few words."""
    found = attempt.error or f"HTTP {attempt.status_code}"
    return found[:FAILURE_CHARS_MAX]


def _is_plain_success(sign: Sign) -> bool:
    return sign.is_success and sign.disables is None


def _write_case(connection: Connection, case: _Case, now: datetime) -> None:
    judgement = case.judgement
    if not case.is_changed:
        return
    destination_health.write(connection, case.key, judgement.health)
    changes = judgement.changes
    if judgement.disables and not destination_health.disable(
        connection, case.key, judgement.disables, now
    ):
        changes = [change for change in changes if change.kind != facts.DESTINATION_DISABLED]
    for change in changes:
        log.warning("destination %s: %s", case.key[1], change.kind)
    if changes:
        _publish(connection, case, changes, now)


def _publish(
    connection: Connection, case: _Case, changes: Sequence[HealthChange], now: datetime
) -> None:
    """Publish to the tenant's other destinations; a destination gets no facts about itself."""
    tenant_id, webhook_id = case.key
    tenant, now_us = tenants.by_id(connection, tenant_id), clock.to_us(now)
    published = [
        facts.destination(
            FactStamp(ids.uuid7(now_us), tenant, None, None, None, now_us),
            change.kind,
            DestinationChange(
                webhook_id, case.destination.description, change.reason, change.failing_since
            ),
        )
        for change in changes
    ]
    wanted = destinations.destination_filters(connection, [tenant_id])
    outbox.publish(
        connection,
        published,
        [destination for destination in wanted if destination.webhook_id != webhook_id],
    )
