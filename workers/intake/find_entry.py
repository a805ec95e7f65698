"""Find one write among those that wait, for the operator, in a bounded part of the streams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import redis

from models import ids
from workers.intake import redis_keys
from workers.runtime import redis_errors

PAGE = 1_000
ENTRIES_MAX = 20_000  # read from each stream, from the second in which the write was accepted
SKEW_MS = 60_000  # the most that the clocks of the API and of Redis may differ


@dataclass(frozen=True, slots=True)
class Queued:
    """A write that waits."""

    stream: str
    appended_us: int  # by Redis' clock
    drain: str | None  # the drain that has read it; None: none yet
    tries: int


def find(client: redis.Redis, tenant_id: int, write_id: UUID) -> Queued | None:
    """The entry of a write, or None. Raises redis-py's error when Redis does not answer."""
    number = redis_keys.stream_of(tenant_id)
    start = max(0, ids.issued_at_us(write_id) // 1_000 - SKEW_MS)
    for stream in (redis_keys.stream(number), redis_keys.backlog(number)):
        for entry_id, fields in _entries(client, stream, start):
            if str(write_id).encode() in fields.get(b"m", b""):
                return _queued(client, stream, entry_id)
    return None


def _entries(client: redis.Redis, stream: str, start: int) -> Iterator[tuple[bytes, Any]]:
    first = str(start)
    for _ in range(ENTRIES_MAX // PAGE):
        found: Any = client.xrange(stream, min=first, count=PAGE)
        yield from found
        if len(found) < PAGE:
            return
        first = f"({found[-1][0].decode()}"


def _queued(client: redis.Redis, stream: str, entry_id: bytes) -> Queued:
    appended_us = int(entry_id.partition(b"-")[0]) * 1_000
    try:
        found: Any = client.xpending_range(
            stream, redis_keys.GROUP, min=entry_id, max=entry_id, count=1
        )
    except redis.exceptions.ResponseError as error:
        if redis_errors.is_away(error):
            raise
        found = []  # no group yet: no drain has read
    if not found:
        return Queued(stream, appended_us, None, 0)
    return Queued(
        stream, appended_us, found[0]["consumer"].decode(), int(found[0]["times_delivered"])
    )
