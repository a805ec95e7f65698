"""Waiting until nothing is left to do, and saying what is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis
import sqlalchemy as sa

from models.db import DatabaseError, Engine, reading, transaction
from workers.intake import redis_keys
from workers.intake.stream import STREAMS, depth

LOOK_SECONDS = 0.5
LEASE_SECONDS_MAX = 40  # a longer one was taken by a clock that was wrong
STEADY = 3  # so many looks must find nothing


@dataclass(frozen=True)
class Left:
    """What is still to be done."""

    entries: int
    pending: int
    deliveries: int
    deadlines: int
    replays: int

    @property
    def is_nothing(self) -> bool:
        """Whether everything is done."""
        left = self.entries + self.pending + self.deliveries + self.deadlines + self.replays
        return left == 0

    def __str__(self) -> str:
        return (
            f"{self.entries} entries ({self.pending} with a drain), {self.deliveries} deliveries,"
            f" {self.deadlines} deadlines, {self.replays} replays"
        )


def wait(engine: Engine, client: redis.Redis, tend: Callable[[], None], seconds: float) -> str:
    """Wait until nothing is left to do; empty, or what is left when the time is over.

    Retries and parked destinations are made due: their minutes and hours are let pass.
    """
    ends, calm, found = time.monotonic() + seconds, 0, "nothing was seen"
    while time.monotonic() < ends:
        tend()
        try:
            left = look(engine, client)
            found, calm = str(left), calm + 1 if left.is_nothing else 0
            if calm >= STEADY:
                return ""
            let_time_pass(engine)
        except (redis.exceptions.RedisError, DatabaseError) as error:
            found, calm = f"not known: {type(error).__name__}", 0
        for _ in range(10):
            tend()
            time.sleep(LOOK_SECONDS / 10)
    return found


def look(engine: Engine, client: redis.Redis) -> Left:
    """What is left at this moment."""
    return Left(
        depth(client),
        sum(_pending(client, stream) for stream in STREAMS),
        _count(engine, "deliveries WHERE status = 'pending'"),
        _count(engine, "streak_deadlines WHERE due_at <= now() - interval '6 seconds'"),
        _count(engine, "replays WHERE status = 'running'"),
    )


def _pending(client: redis.Redis, stream: str) -> int:
    found: Any = client.xpending(stream, redis_keys.GROUP)
    return int(found["pending"])


def _count(engine: Engine, rows: str) -> int:
    with reading(engine) as session:
        return int(session.execute(sa.text(f"SELECT count(*) FROM {rows}")).scalar_one())


def let_time_pass(engine: Engine) -> None:
    """Make due what waits for a retry, for a parked destination, or for a wrong clock's lease."""
    with transaction(engine) as session:
        session.execute(
            sa.text(
                "UPDATE deliveries_pending SET next_attempt_at = now() - interval '1 second'"
                " WHERE next_attempt_at > now() AND leased_until IS NULL"
            )
        )
        session.execute(
            sa.text(
                "UPDATE deliveries_pending SET leased_until = now()"
                f" WHERE leased_until > now() + interval '{LEASE_SECONDS_MAX} seconds'"
            )
        )
        session.execute(
            sa.text(
                "UPDATE webhook_health SET parked_until = now() - interval '1 second'"
                " WHERE parked_until > now()"
            )
        )
