"""The streams as a drain sees them: read, take over, acknowledge, answer."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from models import clock
from workers.intake import redis_keys

BLOCK_MS = 1_000  # how long an idle read waits: also how soon a stop is noticed
REFRESH_SECONDS = 1.0  # how often a drain says that it is alive
DRAIN_ALIVE_SECONDS = 3.0  # a drain silent for longer is counted as dead
REPLY_MS = 15_000  # longer than any request may wait
TAKEOVER_SECONDS = 2.0  # how often a drain looks for entries of a dead one
FINISH_MAX = 5_000  # ids a script call: Lua unpacks at most 8,000

# One step: an entry acknowledged and not deleted would count as backlog for ever, since no drain
# gets it again. A deleted entry no longer waits. In an empty stream no write waits, whatever the
# counters say.
# KEYS the entries' stream, the number's other one, waiting
# ARGV group, then tenant ('' when unknown), number of ids, ids; tenant, number, ids; …
_FINISH = """
local i = 2
while i <= #ARGV do
  local tenant, last = ARGV[i], i + 1 + tonumber(ARGV[i + 1])
  redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, i + 2, last))
  local deleted = redis.call('XDEL', KEYS[1], unpack(ARGV, i + 2, last))
  if tenant ~= '' and deleted > 0 and redis.call('HINCRBY', KEYS[3], tenant, -deleted) <= 0 then
    redis.call('HDEL', KEYS[3], tenant)
  end
  i = last + 1
end
if redis.call('XLEN', KEYS[1]) == 0 and redis.call('XLEN', KEYS[2]) == 0 then
  redis.call('DEL', KEYS[3])
end
"""


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """One entry of a stream, and how we got it."""

    stream: str
    id: bytes
    text: bytes
    tenant: bytes = b""  # its owner, for the counters; empty for an entry that was not counted

    @property
    def is_fresh(self) -> bool:
        """Whether it is read before any backlog."""
        return self.stream in _FRESH_NAMES


@dataclass
class Streams:
    """All streams, read through one consumer of the group."""

    client: redis.Redis
    consumer: str
    takeover_idle_ms: int
    is_short_of_memory: bool = False  # then no wake works: a drain must continue by itself
    is_keeper: bool = False  # of several drains one keeps its rounds short (workers/apply/drain.py)
    is_alone: bool = True  # whether no other drain is alive
    _refreshed: float = field(default=-1e9)
    _took_over: float = field(default=-1e9)

    def read(self, count: int, block_ms: int = BLOCK_MS) -> list[StreamEntry]:
        """Up to `count` new entries of each stream; waits while there are none."""
        try:
            return _entries([self._ask(self.client, STREAMS, count, block_ms)])
        except redis.exceptions.ResponseError as error:
            return self._without_groups(error)

    def read_at_once(self, fresh: int, backlog: int) -> list[StreamEntry]:
        """New entries, at most the given count for each stream of a kind; does not wait."""
        pipeline = self.client.pipeline(transaction=False)
        self._ask(pipeline, FRESH, fresh)
        self._ask(pipeline, BACKLOG, backlog)
        try:
            return _entries(pipeline.execute())
        except redis.exceptions.ResponseError as error:
            return self._without_groups(error)

    def _ask(
        self, client: Any, names: Sequence[str], count: int, block_ms: int | None = None
    ) -> Any:
        return client.xreadgroup(
            redis_keys.GROUP, self.consumer, dict.fromkeys(names, ">"), count=count, block=block_ms
        )

    def _without_groups(self, error: redis.exceptions.ResponseError) -> list[StreamEntry]:
        """Create the groups of a Redis that has lost them; there was nothing to read."""
        if "NOGROUP" not in str(error):
            raise error
        self.create_groups()
        return []

    def create_groups(self) -> None:
        """Create the missing consumer groups; they begin with the first entry."""
        for stream in STREAMS:
            try:
                self.client.xgroup_create(stream, redis_keys.GROUP, id="0", mkstream=True)
            except redis.exceptions.OutOfMemoryError:
                continue  # the error of a group that exists
            except redis.exceptions.ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise

    def take_over(self, count: int) -> list[StreamEntry]:
        """Take over entries that a dead drain has not acknowledged; checked at intervals."""
        if time.monotonic() - self._took_over < TAKEOVER_SECONDS:
            return []
        self._took_over = time.monotonic()
        pipeline = self.client.pipeline(transaction=False)
        for stream in STREAMS:
            pipeline.xautoclaim(
                stream, redis_keys.GROUP, self.consumer, self.takeover_idle_ms, "0-0", count=count
            )
        taken = []
        for stream, (_, entries, *_rest) in zip(STREAMS, pipeline.execute(), strict=True):
            # Entries that were deleted meanwhile come without fields.
            present = [(entry_id, fields) for entry_id, fields in entries if fields]
            taken += _entries([[(stream.encode(), present)]])
        return taken

    def finish(
        self, entries: Iterable[StreamEntry], answers: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Answer the waiting requests, acknowledge and delete; only after the commit."""
        pipeline = self.client.pipeline(transaction=False)
        for tick_id, answer in answers.items():
            name = redis_keys.reply(tick_id)
            pipeline.rpush(name, json.dumps(answer))
            pipeline.pexpire(name, REPLY_MS)
        by_stream: dict[str, dict[bytes, list[bytes]]] = {}
        for entry in entries:
            by_stream.setdefault(entry.stream, {}).setdefault(entry.tenant, []).append(entry.id)
        for stream, by_tenant in by_stream.items():
            number = NUMBERS[stream]
            other = BACKLOG[number] if stream == FRESH[number] else FRESH[number]
            for argv in _finishing(by_tenant):
                pipeline.eval(_FINISH, 3, stream, other, WAITING[number], redis_keys.GROUP, *argv)
        self._refresh(pipeline)
        self._execute(pipeline)

    def refresh(self) -> None:
        """Report at intervals that this drain is alive."""
        pipeline = self.client.pipeline(transaction=False)
        self._refresh(pipeline)
        if len(pipeline):
            self._execute(pipeline)

    def _execute(self, pipeline: Any) -> None:
        """Run commands; a Redis without memory may refuse answers and signs of life.

        Those are hints. The deletions beside them are not refused, and they free memory.
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
        self._look_around()
        for name in AWAKE:
            pipeline.set(name, "1", px=redis_keys.AWAKE_MS)
        pipeline.zadd(redis_keys.DRAINS, {self.consumer: clock.now_us() / 1e6})

    def _look_around(self) -> None:
        """Read which drains are alive. Every drain finds the same keeper without coordination; two
        keepers for a second do no harm."""
        others = {*_alive(self.client, redis_keys.DRAINS), self.consumer.encode()}
        self.is_alone = len(others) == 1
        self.is_keeper = not self.is_alone and min(others) == self.consumer.encode()

    def leave(self) -> None:
        """Report that this drain ends; the next tick wakes another."""
        self.client.zrem(redis_keys.DRAINS, self.consumer)
        if not _alive(self.client, redis_keys.DRAINS):
            self.client.delete(*AWAKE)

    def tries(self, entry: StreamEntry) -> int:
        """How often an entry has been handed to a drain."""
        found: Any = self.client.xpending_range(
            entry.stream, redis_keys.GROUP, min=entry.id, max=entry.id, count=1
        )
        return int(found[0]["times_delivered"]) if found else 1


def _entries(answers: Sequence[Any]) -> list[StreamEntry]:
    """The entries of some reads."""
    found = []
    for answer in answers:
        for name, entries in answer or ():
            stream = name.decode()
            for entry_id, fields in entries:
                text, tenant = fields.get(b"m", b""), fields.get(b"t", b"")
                found.append(StreamEntry(stream, entry_id, text, tenant))
    return found


def _finishing(by_tenant: Mapping[bytes, Sequence[bytes]]) -> Iterator[list[Any]]:
    """The ids to finish as arguments, each within a script's limit."""
    argv: list[Any] = []
    for tenant, ids in by_tenant.items():
        for start in range(0, len(ids), FINISH_MAX):
            some = ids[start : start + FINISH_MAX]
            if argv and len(argv) + len(some) > FINISH_MAX:
                yield argv
                argv = []
            argv += [tenant, len(some), *some]
    yield argv


FRESH = [redis_keys.stream(number) for number in range(redis_keys.STREAM_COUNT)]
BACKLOG = [redis_keys.backlog(number) for number in range(redis_keys.STREAM_COUNT)]
STREAMS = [*FRESH, *BACKLOG]
AWAKE = [redis_keys.awake(number) for number in range(redis_keys.STREAM_COUNT)]
WAITING = [redis_keys.waiting(number) for number in range(redis_keys.STREAM_COUNT)]
NUMBERS = {name: number for names in (FRESH, BACKLOG) for number, name in enumerate(names)}
_FRESH_NAMES = frozenset(FRESH)


def alive(client: redis.Redis, group: str) -> int:
    """How many workers of a kind gave a recent sign of life."""
    return len(_alive(client, group))


def _alive(client: redis.Redis, group: str) -> list[bytes]:
    since = clock.now_us() / 1e6 - DRAIN_ALIVE_SECONDS
    found: Any = client.zrangebyscore(group, since, "+inf")
    return list(found)


def depth(client: redis.Redis) -> int:
    """Entries accepted and not applied yet, in all streams."""
    pipeline = client.pipeline(transaction=False)
    for stream in STREAMS:
        pipeline.xlen(stream)
    lengths: Sequence[int] = pipeline.execute()
    return sum(lengths)
