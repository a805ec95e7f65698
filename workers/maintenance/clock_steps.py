"""A clock that was set back must not delay what waits for an instant.

Correctness needs no clock: ids differ, sequences count, a tick has its effect once. But deliveries,
leases and signs of life hold instants. Once a clock is set back by an hour, these lie an hour
ahead. Every sweep compares the clocks of its machine and of Redis with their readings at the last
sweep. A clock set forward needs nothing: what is due is due sooner.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import redis

from models import clock
from models.db import DatabaseUnavailable, take_longer, transaction
from models.delivery import requeue
from workers.intake import redis_keys
from workers.intake.stream import STREAMS
from workers.runtime import redis_errors
from workers.runtime.context import Context

log = logging.getLogger("unbroken.upkeep")

CLOCKS = "unbroken:clocks"  # hash: machine → its clock at the last sweep, in microseconds
STEP_US = 30_000_000  # a lease: a smaller step costs no more than a crash
HASTEN_SECONDS = 60.0  # a million deliveries take about ten
PENDING_MAX = 100_000  # entries read from a stream: more than all drains can hold
LONG_IDLE_MS = 3_600_000


def notice(context: Context) -> None:
    """Bring forward what a clock set back would delay; retried while it fails."""
    host = context.name.partition(":")[0]
    client = context.client
    seconds, micros = client.time()
    for name, now_us, mend in (
        (host, clock.now_us(), _mend_ours),
        ("redis", seconds * 1_000_000 + micros, _mend_redis),
    ):
        seen: Any = client.hget(CLOCKS, name)
        step_us = int(seen or 0) - now_us
        if step_us > STEP_US:
            log.warning("the clock of %s was set back by %d s", name, step_us // 1_000_000)
            if not mend(context, now_us, step_us):
                continue
        client.hset(CLOCKS, name, now_us)


def _mend_ours(context: Context, now_us: int, step_us: int) -> bool:
    """Forget signs of life from the future; bring deliveries and their gates forward.

    A delivery in flight loses its lease: it may go out twice, under one id.
    """
    for group in (redis_keys.DRAINS, redis_keys.DELIVERERS):
        context.client.zremrangebyscore(group, now_us / 1e6, "+inf")
    try:
        with transaction(context.engine) as connection:
            take_longer(connection, HASTEN_SECONDS)
            step = timedelta(microseconds=step_us)
            requeue.hasten(connection, clock.from_us(now_us), step)
    except DatabaseUnavailable:
        return False
    return True


def _mend_redis(context: Context, now_us: int, step_us: int) -> bool:
    """Allow a take-over of what drains hold: Redis no longer knows for how long they have held it.

    What a living drain holds may be applied twice, which has no effect.
    """
    for stream in STREAMS:
        try:
            held: Any = context.client.xpending_range(
                stream, redis_keys.GROUP, "-", "+", PENDING_MAX
            )
        except redis.exceptions.ResponseError as error:
            if redis_errors.is_away(error):
                raise
            continue  # no stream or group yet
        found = [entry["message_id"] for entry in held]
        if found:
            context.client.xclaim(
                stream, redis_keys.GROUP, "clocks", 0, found, idle=LONG_IDLE_MS, justid=True
            )
    return True
