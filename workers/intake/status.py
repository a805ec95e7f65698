"""The state of Redis and the workers, for the operator and the metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import redis

from models import clock
from workers.intake import redis_keys
from workers.intake.stream import BACKLOG, FRESH, alive
from workers.runtime import redis_errors
from workers.telemetry import heartbeats, metrics_store
from workers.telemetry.heartbeats import Processes


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """One stream that holds entries."""

    number: int
    kind: str  # fresh | backlog
    entries: int
    pending: int  # read by a drain and not acknowledged
    oldest_age_seconds: float


@dataclass(frozen=True, slots=True)
class IntakeStatus:
    """One reading of Redis. A setting is None where a managed server hides it."""

    version: str
    time_us: int  # the server's clock, since 1970
    settings: Mapping[str, str | None]  # appendonly, appendfsync, maxmemory, maxmemory-policy
    used_memory_bytes: int
    aof_bytes: int  # 0 without the file
    is_aof_well: bool  # neither its last write nor its last rewrite failed
    streams: list[StreamStatus]  # those that hold entries
    drains: int  # at work: an idle worker has none
    deliverers: int  # likewise
    swept_seconds_ago: float | None  # None: no sweep has ever run
    processes: Mapping[str, Processes] = field(default_factory=dict)  # by kind
    log_lines_dropped: int = 0  # ever, by any process; 0 when none was within the last hour

    def alive(self, kind: str) -> int:
        """How many processes of a kind run, idle ones included."""
        return self.processes.get(kind, Processes()).alive


SETTINGS = ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy")


def read(client: redis.Redis) -> IntakeStatus:
    """Read once. Raises redis-py's error when Redis does not answer."""
    info: Any = client.info()
    seconds, microseconds = client.time()
    now_us = seconds * 1_000_000 + microseconds
    swept: Any = client.get(redis_keys.SWEPT)
    return IntakeStatus(
        version=str(info["redis_version"]),
        time_us=now_us,
        settings={name: _setting(client, name) for name in SETTINGS},
        used_memory_bytes=int(info["used_memory"]),
        aof_bytes=int(info.get("aof_current_size", 0)),
        is_aof_well=all(
            info.get(name, "ok") == "ok"
            for name in ("aof_last_write_status", "aof_last_bgrewrite_status")
        ),
        streams=_streams(client, now_us),
        drains=alive(client, redis_keys.DRAINS),
        deliverers=alive(client, redis_keys.DELIVERERS),
        swept_seconds_ago=None if swept is None else clock.now_us() / 1e6 - int(swept),
        processes=heartbeats.read(client, now_us),
        log_lines_dropped=metrics_store.log_lines_dropped(client),
    )


def _setting(client: redis.Redis, name: str) -> str | None:
    try:
        found: Any = client.config_get(name)
    except redis.exceptions.ResponseError as error:
        if redis_errors.is_away(error):
            raise
        return None
    value: str | None = found.get(name)
    return value


def _streams(client: redis.Redis, now_us: int) -> list[StreamStatus]:
    kinds = {"fresh": FRESH, "backlog": BACKLOG}
    return [
        StreamStatus(
            number, kind, entries, _pending(client, name), _age_seconds(client, name, now_us)
        )
        for kind, names in kinds.items()
        for number, name in enumerate(names)
        if (entries := int(client.xlen(name)))
    ]


def _pending(client: redis.Redis, name: str) -> int:
    try:
        found: Any = client.xpending(name, redis_keys.GROUP)
    except redis.exceptions.ResponseError as error:
        if redis_errors.is_away(error):
            raise
        return 0  # no group yet: no drain has read
    return int(found["pending"])


def _age_seconds(client: redis.Redis, name: str, now_us: int) -> float:
    """Seconds since the oldest entry was accepted: its id begins with the server's milliseconds."""
    oldest: Any = client.xrange(name, count=1)
    if not oldest:
        return 0.0
    return max(0.0, now_us / 1e6 - int(oldest[0][0].partition(b"-")[0]) / 1e3)
