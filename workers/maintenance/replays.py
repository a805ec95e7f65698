"""Replays, run in portions between other upkeep; a killed process loses at most one portion."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from models import clock
from models.db import Connection, Contended, Engine, reading, transaction
from models.delivery import destinations, replays, requeue
from models.delivery.destinations import DestinationFilter, Webhook
from models.delivery.replays import DeliveryKey, PastFacts, Replay, ReplayStep
from models.delivery.requeue import Target
from models.failpoints import failpoint
from webhooks import outbox
from webhooks.facts import Fact, matches
from workers.maintenance import dispatch
from workers.runtime.context import Context

log = logging.getLogger("unbroken.replays")

PORTION = 1_000  # facts of one transaction: some tens of milliseconds
# Today's facts queue behind those of a replay: at most this many go before them.
PENDING_MAX = 5_000
RUN_SECONDS = 0.5  # the sweep runs in the same process every second, and asks for more


def is_any(engine: Engine) -> bool:
    """Whether a replay may continue."""
    with reading(engine) as connection:
        return bool(replays.running(connection))


def run(context: Context) -> None:
    """Continue the running replays, one portion each in turn, for a moment."""
    ends = time.monotonic() + RUN_SECONDS
    with reading(context.engine) as connection:
        keys = replays.running(connection)
    while keys and time.monotonic() < ends and not context.should_stop():
        keys = [key for key in keys if _goes_on(context, key)]


def _goes_on(context: Context, key: DeliveryKey) -> bool:
    """Do one portion of a replay; return whether another may follow at once."""
    step = attempt(context.engine, key)
    if step is None:
        return False
    if step.queued:
        dispatch.wake(context.client, context.celery)
    return not step.is_last


def attempt(engine: Engine, key: DeliveryKey) -> ReplayStep | None:
    """One portion in one transaction; None when there is nothing to do now.

    Its position is committed with the deliveries it queued: the next process continues after them.
    """
    try:
        with transaction(engine) as connection:
            step = portion(connection, key, clock.now())
            failpoint("replay.before_commit")
    except Contended:  # an erasure, or an outcome being recorded
        log.warning("replay %s: a portion is to be tried again", key.id)
        return None
    failpoint("replay.after_commit")
    return step


def portion(connection: Connection, key: DeliveryKey, now: datetime) -> ReplayStep | None:
    """Queue the wanted ones of the next facts of a replay.

    None when it has ended, when another process holds it, while its destination is disabled, and
    while the destination's queue is full.
    """
    replay = replays.take(connection, key)
    if replay is None:
        return None
    webhook = destinations.by_id(connection, key.tenant_id, key.webhook_id)
    if not webhook.is_enabled or _is_busy(connection, key):
        return None
    found = replays.next_facts(connection, replay, PORTION)
    target = Target(key.tenant_id, key.webhook_id, webhook.is_ordered)
    queued = requeue.queue(
        connection, target, _wanted(replay, webhook, found), now, only_missing=replay.only_missing
    )
    position = found[-1].id if found else None
    step = ReplayStep(position, len(found), queued, is_last=len(found) < PORTION)
    replays.advance(connection, replay, step, now)
    return step


def _is_busy(connection: Connection, key: DeliveryKey) -> bool:
    room = PENDING_MAX - PORTION
    return requeue.pending(connection, key.tenant_id, key.webhook_id, room + 1) > room


def _wanted(replay: Replay, webhook: Webhook, found: Sequence[PastFacts]) -> list[UUID]:
    """The facts that both the destination, as it is now, and the replay want."""
    destination_filter = DestinationFilter(
        webhook.tenant_id, webhook.id, webhook.event_types, webhook.streak_codes
    )
    return [
        fact.id
        for fact in found
        if (replay.event_types is None or matches(replay.event_types, fact.type))
        and outbox.wants(destination_filter, _fact(replay.tenant_id, fact))
    ]


def _fact(tenant_id: int, past: PastFacts) -> Fact:
    """The fact without its body: no filter depends on it."""
    return Fact(
        tenant_id,
        past.id,
        past.participant_id,
        past.sequence,
        past.type,
        clock.to_us(past.occurred_at),
        "",
        past.streak_code,
    )
