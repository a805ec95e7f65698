"""Signs of life: each process reports every second that it runs, by the clock of Redis.

A process that is stopped, hangs as a whole or was killed falls silent; one that ends removes itself
from the list.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

PERIOD_SECONDS = 1.0
ALIVE_SECONDS = 5.0  # a process silent for longer is not counted
KEPT_SECONDS = 3_600  # how long a silent process stays listed
JOIN_SECONDS = 3.0
KINDS = ("drain", "webhooks", "upkeep", "api")  # the first three are queues

# KEYS the sorted set of each kind of this process
# ARGV the process, seconds to keep a silent one
_BEAT = """
local now = tonumber(redis.call('TIME')[1])
for _, key in ipairs(KEYS) do
  redis.call('ZADD', key, now, ARGV[1])
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - ARGV[2])
end
"""


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of a kind."""

    alive: int = 0
    silent: Mapping[str, float] = field(default_factory=dict)  # name → seconds since the last sign


def processes(kind: str) -> str:
    """Sorted set: process → its last sign of life, by the clock of Redis, in seconds."""
    return f"unbroken:{{processes}}:{kind}"


def process_name() -> str:
    """The name of this process: its machine's name and its process number."""
    return f"{socket.gethostname()}:{os.getpid()}"


def beat(client: redis.Redis, name: str, kinds: Sequence[str]) -> None:
    """Report once that a process runs."""
    client.eval(_BEAT, len(kinds), *map(processes, kinds), name, KEPT_SECONDS)


def read(client: redis.Redis, now_us: int) -> dict[str, Processes]:
    """The processes of each kind, at an instant by the clock of Redis."""
    return {kind: _read(client, kind, now_us / 1e6) for kind in KINDS}


def _read(client: redis.Redis, kind: str, now: float) -> Processes:
    found: Any = client.zrange(processes(kind), 0, -1, withscores=True)
    ages = {name.decode(): now - seen for name, seen in found}
    silent = {name: age for name, age in ages.items() if age > ALIVE_SECONDS}
    return Processes(len(ages) - len(silent), silent)


class Heartbeat:
    """Reports from its own thread that this process runs; while Redis is away, it waits."""

    def __init__(self, client: redis.Redis, name: str) -> None:
        self._client, self._name = client, name
        self._kinds: list[str] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self, kinds: Sequence[str]) -> None:
        """Start; kinds that are not ours are not counted."""
        self._kinds = [kind for kind in kinds if kind in KINDS]
        if self._kinds:
            self._thread.start()

    def stop(self) -> None:
        """Stop, and remove this process from the list; a second call does nothing."""
        if self._stopped.is_set() or self._thread.ident is None:
            return
        self._stopped.set()
        self._thread.join(JOIN_SECONDS)
        with contextlib.suppress(redis.exceptions.RedisError):
            for kind in self._kinds:
                self._client.zrem(processes(kind), self._name)

    def _run(self) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(redis.exceptions.RedisError):
                beat(self._client, self._name, self._kinds)
            self._stopped.wait(PERIOD_SECONDS)
