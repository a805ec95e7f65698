"""Counting: in the memory of each process, added up in Redis about once a second.

Nothing that is counted waits for it. A flush is one script call that adds everything since the
last one, and is repeated under its number until Redis has answered it: it counts once, whatever
time-outs there are. What a killed process counted since its last flush is lost to the counters, not
to the ledgers.
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

log = logging.getLogger("unbroken.metrics")

FLUSH_SECONDS = 1.0
TIMEOUT_SECONDS = 1.0  # of a flush: one that fails is repeated, and a stop may have to wait for it
JOIN_SECONDS = 3.0  # of a stop: a Redis that is away is not waited for any longer
FLUSHED_SECONDS = 86_400  # the number of a process's last flush is kept: longer than it is repeated
DROPPED_SECONDS = 3_600  # for so long `unbroken doctor` says that log lines were dropped
# The names in Redis.
_COUNTERS = "unbroken:{metrics}:counters"  # hash: what all processes have counted
_FLUSHED = "unbroken:{metrics}:flushed:"  # and the process: the number of its last flush
_DROPPED = "unbroken:{metrics}:log_lines_dropped"  # while some were dropped lately
SUM, INF = "sum", "+Inf"  # in the place of an upper bound
_SEPARATOR = "|"  # in no name, route or code

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
    """What one process has counted since it was last asked. Threads may add side by side."""

    _counts: dict[tuple[str, tuple[str, ...]], int] = field(default_factory=dict)
    # Names are made at a flush: a request has no time for it.
    _seen: dict[tuple[Any, ...], list[int]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, metric: MetricDefinition, count: int = 1, *labels: str) -> None:
        """Count something `count` times."""
        key = (metric.name, labels)
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + count

    def add_each(self, metric: MetricDefinition, counts: Mapping[str, int]) -> None:
        """Count by the values of a meter's only label."""
        for label, count in counts.items():
            self.add(metric, count, label)

    def observe(self, metric: MetricDefinition, value: float, *labels: str) -> None:
        """Put a value into its bucket, and add it to the sum."""
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
        """Everything that was counted, which is forgotten here."""
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


BUFFER = MetricsBuffer()  # of this process, as its loggers are
add, add_each, observe = BUFFER.add, BUFFER.add_each, BUFFER.observe


class Flusher:
    """Adds up what this process counts, in a thread of its own and over a connection of its own."""

    def __init__(self, client: redis.Redis, buffer: MetricsBuffer = BUFFER) -> None:
        self._client, self._buffer = client, buffer
        self._name, self._number = uuid.uuid4().hex, 1
        self._pending: dict[str, int] = {}  # sent perhaps, answered not
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def start(self) -> None:
        """Begin to flush."""
        self._thread.start()

    def stop(self) -> None:
        """Flush once more and end; asked again, it does nothing."""
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
        """Add what was counted; False when Redis did not take it: the next flush does, then."""
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


Counted = dict[str, Series]  # by meter


def read(client: redis.Redis) -> Counted:
    """What all processes have counted, by meter. Raises what Redis does when it does not answer."""
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
