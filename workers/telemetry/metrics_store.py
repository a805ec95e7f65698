"""Counting: in the memory of each process, added up in Redis about once a second.

Counting never waits for Redis. A flush is one script call that adds everything since the last one.
It is repeated under its number until Redis has answered, and counts once, however many time-outs
there are. When a process is killed, the metrics lose its counts since its last flush; the ledgers
lose nothing.
"""

from __future__ import annotations

import logging
import threading
import uuid
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import redis

from workers.telemetry.metrics import LOG_LINES_DROPPED, MetricDefinition

log = logging.getLogger("unbroken.tally")  # the released name: log filters may have it

FLUSH_SECONDS = 1.0
TIMEOUT_SECONDS = 1.0  # of a flush: a failed one is repeated, and a stop may have to wait for it
JOIN_SECONDS = 3.0  # of a stop: it does not wait longer for a Redis that is away
FLUSHED_SECONDS = 86_400  # how long a last flush's number is kept: longer than it is repeated
DROPPED_SECONDS = 3_600  # how long `unbroken doctor` reports dropped log lines
# The names in Redis.
_COUNTERS = "unbroken:{metrics}:counters"  # hash: the counts of all processes
_FLUSHED = "unbroken:{metrics}:flushed:"  # and the process: the number of its last flush
_DROPPED = "unbroken:{metrics}:log_lines_dropped"  # while some were dropped lately
SUM, INF = "sum", "+Inf"  # in place of an upper bound
_SEPARATOR = "|"  # occurs in no name, route or code

# KEYS counters, the number of the last flush of this process
# ARGV that number, seconds to keep it, then field, increment; …
_ADD = """
if redis.call('GET', KEYS[2]) == ARGV[1] then return 0 end
for i = 3, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2])
return 1
"""


@dataclass
class MetricsBuffer:
    """The counts of one process since the last `take`. Threads may add concurrently."""

    _counts: dict[tuple[str, tuple[str, ...]], int] = field(default_factory=dict)
    # Names are built at a flush: a request has no time for it.
    _seen: dict[tuple[Any, ...], list[int]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, metric: MetricDefinition, count: int = 1, *labels: str) -> None:
        """Count something `count` times."""
        key = (metric.name, labels)
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + count

    def add_each(self, metric: MetricDefinition, counts: Mapping[str, int]) -> None:
        """Count by the values of a metric's only label."""
        for label, count in counts.items():
            self.add(metric, count, label)

    def observe(self, metric: MetricDefinition, value: float, *labels: str) -> None:
        """Count a value in its bucket, and add it to the sum."""
        bounds = metric.bounds
        key = (metric.name, labels, bisect_left(bounds, value), bounds)
        total = round(value / metric.unit)
        with self._lock:
            seen = self._seen.get(key)
            if seen is None:
                self._seen[key] = [1, total]
            else:
                seen[0] += 1
                seen[1] += total

    def take(self) -> dict[str, int]:
        """Return all counts, and reset them."""
        with self._lock:
            counts, self._counts = self._counts, {}
            seen, self._seen = self._seen, {}
        found = {
            _SEPARATOR.join((name, *labels)): count for (name, labels), count in counts.items()
        }
        for (name, labels, index, bounds), (count, total) in seen.items():
            bound = f"{bounds[index]:g}" if index < len(bounds) else INF
            found[_SEPARATOR.join((name, *labels, bound))] = count
            whole = _SEPARATOR.join((name, *labels, SUM))
            found[whole] = found.get(whole, 0) + total
        return found


BUFFER = MetricsBuffer()  # of the process, as its loggers are: its lines count drops here
add, add_each, observe = BUFFER.add, BUFFER.add_each, BUFFER.observe


class Flusher:
    """Adds the counts of this process to Redis, in its own thread over its own connection."""

    def __init__(self, client: redis.Redis, buffer: MetricsBuffer = BUFFER) -> None:
        self._client, self._buffer = client, buffer
        self._name, self._number = uuid.uuid4().hex, 1
        self._pending: dict[str, int] = {}  # sent perhaps, not answered
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def start(self) -> None:
        """Begin to flush."""
        self._thread.start()

    def stop(self) -> None:
        """Flush once more and stop; a second call does nothing."""
        if not self._stopped.is_set():
            self._stopped.set()
            if self._thread.ident is not None:
                self._thread.join(JOIN_SECONDS)
            if not self._thread.is_alive():
                self.flush()

    def _run(self) -> None:
        while not self._stopped.wait(FLUSH_SECONDS):
            self.flush()

    def flush(self) -> bool:
        """Add the counts; False when Redis did not take them: then the next flush does."""
        self._pending = self._pending or self._buffer.take()
        if not self._pending:
            return True
        argv: list[Any] = [self._number, FLUSHED_SECONDS]
        for name, count in self._pending.items():
            argv += (name, count)
        try:
            if any(name.startswith(LOG_LINES_DROPPED.name) for name in self._pending):
                self._client.set(_DROPPED, 1, ex=DROPPED_SECONDS)
            self._client.eval(_ADD, 2, _COUNTERS, _FLUSHED + self._name, *argv)
        except redis.exceptions.RedisError as error:
            log.debug("counters not added up yet: %s", type(error).__name__)
            return False
        self._pending, self._number = {}, self._number + 1
        return True


Series = dict[tuple[str, ...], int]  # by label values; a histogram's last one is the bound or SUM


Counted = dict[str, Series]  # by metric


def read(client: redis.Redis) -> Counted:
    """The counts of all processes, by metric. Raises redis-py's error when it does not answer."""
    found: Any = client.hgetall(_COUNTERS)
    counted: Counted = {}
    for name, count in found.items():
        metric, *labels = name.decode().split(_SEPARATOR)
        counted.setdefault(metric, {})[tuple(labels)] = int(count)
    return counted


def log_lines_dropped(client: redis.Redis) -> int:
    """Ever, by any process; 0 when none was within the last hour. Raises as `read` does."""
    if not client.exists(_DROPPED):
        return 0
    return sum(read(client).get(LOG_LINES_DROPPED.name, {}).values())
