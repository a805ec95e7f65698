"""The streams as a drain sees them: read, take over, acknowledge, answer."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from models import clock
from workers import keys

BLOCK_MS = 1_000  # how long an idle read waits: also how soon a stop is noticed
REFRESH_SECONDS = 1.0  # how often a drain says that it is alive
AWAKE_MS = 5_000  # after a drain's last sign of life the next tick kicks another
DRAIN_ALIVE_SECONDS = 3.0  # a drain silent for longer is not counted on
REPLY_MS = 15_000  # longer than any request may wait
TAKEOVER_SECONDS = 2.0  # how often a drain looks for what a dead one left
FINISH_MAX = 5_000  # ids a script call: Lua unpacks at most 8,000

# One step: an entry acknowledged and not deleted would be counted as backlog for ever, since no
# drain is given it again.
_FINISH = """
redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, 2))
return redis.call('XDEL', KEYS[1], unpack(ARGV, 2))
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a stream, and how it was handed to us."""

    stream: str
    id: bytes
    text: bytes


@dataclass
class Streams:
    """All streams, read through one consumer of the group."""

    client: redis.Redis
    consumer: str
    takeover_idle_ms: int
    is_short_of_memory: bool = False  # then nobody can be kicked: whoever drains must go on
    _refreshed: float = field(default=-1e9)
    _took_over: float = field(default=-1e9)

    def read(self, count: int, block_ms: int = BLOCK_MS) -> list[Entry]:
        """Up to `count` new entries of each stream in one call; waits while there are none."""
        try:
            found: Any = self.client.xreadgroup(
                keys.GROUP, self.consumer, dict.fromkeys(STREAMS, ">"), count=count, block=block_ms
            )
        except redis.exceptions.ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            self.create_groups()
            return []
        return [
            Entry(name.decode(), entry_id, fields.get(b"m", b""))
            for name, entries in found or ()
            for entry_id, fields in entries
        ]

    def create_groups(self) -> None:
        """Make the consumer groups that are missing; they begin with what is there."""
        for stream in STREAMS:
            try:
                self.client.xgroup_create(stream, keys.GROUP, id="0", mkstream=True)
            except redis.exceptions.OutOfMemoryError:
                continue  # said of a group that is there, too
            except redis.exceptions.ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise

    def take_over(self, count: int) -> list[Entry]:
        """What a dead drain read and did not acknowledge, now ours; looked for now and then."""
        if time.monotonic() - self._took_over < TAKEOVER_SECONDS:
            return []
        self._took_over = time.monotonic()
        pipeline = self.client.pipeline(transaction=False)
        for stream in STREAMS:
            pipeline.xautoclaim(
                stream, keys.GROUP, self.consumer, self.takeover_idle_ms, "0-0", count=count
            )
        taken = []
        for stream, (_, entries, *_rest) in zip(STREAMS, pipeline.execute(), strict=True):
            # Entries that were deleted meanwhile come without fields.
            taken += [
                Entry(stream, one, fields.get(b"m", b"")) for one, fields in entries if fields
            ]
        return taken

    def finish(self, entries: Iterable[Entry], answers: Mapping[str, Mapping[str, Any]]) -> None:
        """Answer those who wait, acknowledge and delete; only ever after the commit."""
        pipeline = self.client.pipeline(transaction=False)
        for tick_id, answer in answers.items():
            name = keys.reply(tick_id)
            pipeline.rpush(name, json.dumps(answer))
            pipeline.pexpire(name, REPLY_MS)
        by_stream: dict[str, list[bytes]] = {}
        for entry in entries:
            by_stream.setdefault(entry.stream, []).append(entry.id)
        for stream, entry_ids in by_stream.items():
            for start in range(0, len(entry_ids), FINISH_MAX):
                some = entry_ids[start : start + FINISH_MAX]
                pipeline.eval(_FINISH, 1, stream, keys.GROUP, *some)
        self._refresh(pipeline)
        self._execute(pipeline)

    def refresh(self) -> None:
        """Say that this drain is alive, when it is time to."""
        pipeline = self.client.pipeline(transaction=False)
        self._refresh(pipeline)
        if len(pipeline):
            self._execute(pipeline)

    def _execute(self, pipeline: Any) -> None:
        """Run commands; a Redis without memory may refuse answers and signs of life.

        Those are hints. The deletions beside them are not refused, and they are what frees memory.
        """
        for result in pipeline.execute(raise_on_error=False):
            if isinstance(result, redis.exceptions.OutOfMemoryError):
                self.is_short_of_memory = True
            elif isinstance(result, Exception):
                raise result

    def _refresh(self, pipeline: Any) -> None:
        if time.monotonic() - self._refreshed < REFRESH_SECONDS:
            return
        self._refreshed = time.monotonic()
        self.is_short_of_memory = False
        for number in range(keys.STREAMS):
            pipeline.set(keys.awake(number), "1", px=AWAKE_MS)
        pipeline.zadd(keys.DRAINS, {self.consumer: clock.now_us() / 1e6})

    def leave(self) -> None:
        """Say that this drain ends; the next tick kicks another."""
        self.client.zrem(keys.DRAINS, self.consumer)
        if not alive(self.client, keys.DRAINS):
            self.client.delete(*(keys.awake(number) for number in range(keys.STREAMS)))

    def tries(self, entry: Entry) -> int:
        """How often an entry has been handed to a drain."""
        found: Any = self.client.xpending_range(
            entry.stream, keys.GROUP, min=entry.id, max=entry.id, count=1
        )
        return int(found[0]["times_delivered"]) if found else 1


STREAMS = [keys.stream(number) for number in range(keys.STREAMS)]


def alive(client: redis.Redis, group: str) -> int:
    """How many workers of a kind gave a sign of life lately."""
    since = clock.now_us() / 1e6 - DRAIN_ALIVE_SECONDS
    return int(client.zcount(group, since, "+inf"))


def depth(client: redis.Redis) -> int:
    """Entries accepted and not applied yet, in all streams."""
    pipeline = client.pipeline(transaction=False)
    for stream in STREAMS:
        pipeline.xlen(stream)
    lengths: Sequence[int] = pipeline.execute()
    return sum(lengths)
