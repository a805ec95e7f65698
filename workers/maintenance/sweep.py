"""Upkeep, started by beat: sweeps for what lost wakes left, partitions, retention."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import redis

from models import clock
from models.db import DatabaseUnavailable, Engine, schema, transaction
from models.delivery import replays as ranges
from models.failpoints import failpoint
from models.people import erasure
from models.streaks import restores as streak_restores
from workers.intake import redis_keys
from workers.intake.stream import STREAMS, alive, depth
from workers.maintenance import clock_steps, dispatch, replays, restores
from workers.runtime import redis_errors
from workers.runtime.celery_config import DRAIN, UPKEEP, WEBHOOKS
from workers.runtime.context import Context

log = logging.getLogger("unbroken.upkeep")

SWEEP_LOCK_MS = 900  # beat sweeps every second; of two schedulers one acts
ENTRIES_PER_DRAIN = 20_000  # about a second's work of one drain: more backlog needs another
UPKEEP_WAITING_MAX = 3  # tasks of beat that may wait; a queue without a reader grows no longer
HEAL_SECONDS = 10  # longer than any change takes: its statements end after 5
CONSUMER_IDLE_MS = 3_600_000  # a consumer's name is deleted after an hour without a sign of life

# Only the version that was read: a change that began meanwhile ends by itself.
_HEAL = """
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
"""


def sweep(context: Context) -> None:
    """Bound the queues; heal interrupted changes; wake what should be running and is not."""
    client, settings = context.client, context.settings
    if not client.set(redis_keys.SWEEP_LOCK, context.name, nx=True, px=SWEEP_LOCK_MS):
        if (
            int(client.pttl(redis_keys.SWEEP_LOCK)) > SWEEP_LOCK_MS
        ):  # the clock of Redis was set back
            client.pexpire(redis_keys.SWEEP_LOCK, SWEEP_LOCK_MS)
        return
    failpoint("sweep.after_lock")
    client.set(redis_keys.SWEPT, int(clock.now_us() / 1e6))
    for queue in (DRAIN, WEBHOOKS, UPKEEP):
        client.ltrim(queue, 0, 2 * max(settings.drain_processes, settings.webhook_processes))
    _heal_versions(client)
    clock_steps.notice(context)
    waiting = depth(client)
    if waiting:
        wanted = min(settings.drain_processes, 1 + waiting // ENTRIES_PER_DRAIN)
        _wake_missing(context, "drain", DRAIN, wanted - alive(client, redis_keys.DRAINS))
    if _is_so(context.engine, dispatch.is_due):
        wanted = settings.webhook_processes
        _wake_missing(context, "deliver", WEBHOOKS, wanted - alive(client, redis_keys.DELIVERERS))
    for task, is_any in _JOBS.items():
        if int(client.llen(UPKEEP)) < UPKEEP_WAITING_MAX and _is_so(context.engine, is_any):
            context.celery.send_task(task, queue=UPKEEP)


# Jobs that go on in portions, and whether one may.
_JOBS: dict[str, Callable[[Engine], bool]] = {
    "replays": replays.is_any,
    "restores": restores.is_any,
}


def _is_so(engine: Engine, question: Callable[[Engine], bool]) -> bool:
    """Whether there is work; False while the database is away."""
    try:
        return question(engine)
    except DatabaseUnavailable as error:
        log.warning("database away: %s", type(error).__name__)
        return False


def _wake_missing(context: Context, task: str, queue: str, missing: int) -> None:
    """Wake missing workers, counting the wakes that wait in the queue."""
    for _ in range(missing - int(context.client.llen(queue))):
        context.celery.send_task(task, queue=queue)


def _heal_versions(client: redis.Redis) -> None:
    """Give a fresh version to configuration whose change was interrupted after its commit.

    Such a version ends with `!`; after HEAL_SECONDS its change counts as interrupted.
    """
    for number in range(redis_keys.STREAM_COUNT):
        versions: Any = client.hgetall(redis_keys.config(number))
        for tenant_id, version in versions.items():
            if not version.endswith(b"!"):
                continue
            seen = f"unbroken:healing:{version.decode()}"
            if client.set(seen, "1", nx=True, ex=3 * HEAL_SECONDS):
                continue
            if client.ttl(seen) <= 2 * HEAL_SECONDS:
                fresh = uuid.uuid4().hex
                client.eval(_HEAL, 1, redis_keys.config(number), tenant_id, version, fresh)


def partitions(context: Context) -> None:
    """Create the days ahead, drop expired ones, delete consumers long gone."""
    settings = context.settings
    kept = schema.kept(settings.retention_days)
    in_use = schema.ensure_partitions(context.engine, kept, clock.now())
    failpoint("partitions.after_making")
    # The slower of two clocks: one that was set forward must not drop what is to be kept.
    now = min(clock.now(), schema.now(context.engine))
    dropped = schema.drop_partitions(context.engine, kept, now)
    for name in dropped.names:
        log.info("dropped %s: past its retention", name)
    for table in {*in_use, *dropped.left}:
        log.warning("days of %s are left for the next hour: the table was in use", table)
    with transaction(context.engine) as connection:
        erasure.purge(connection, clock.now() - timedelta(days=settings.erasures_days))
        ended = clock.now() - timedelta(days=settings.deliveries_days)
        ranges.purge(connection, ended)
        streak_restores.purge(connection, ended)
    forget_consumers(context.client)


def forget_consumers(client: redis.Redis) -> None:
    """Delete consumers that hold nothing and have been silent for an hour."""
    for stream in STREAMS:
        try:
            consumers: Any = client.xinfo_consumers(stream, redis_keys.GROUP)
        except redis.exceptions.ResponseError as error:
            if redis_errors.is_away(error):
                raise
            continue  # no stream or group yet
        for consumer in consumers:
            if consumer["pending"] == 0 and consumer["idle"] > CONSUMER_IDLE_MS:
                client.xgroup_delconsumer(stream, redis_keys.GROUP, consumer["name"])
