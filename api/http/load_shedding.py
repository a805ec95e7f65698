"""Load shedding: refuse what is certain to be refused before it is parsed or sent to Redis.

Two places do it. The loop (api/server/asgi.py) bounds the requests that wait for a thread of a
process. `Memory` remembers for a moment that the intake is full or that Redis does not answer. Both
refuse with 503 and `Retry-After`, and accept nothing. Figures: docs/decisions/0012-overload.md.
"""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from api.http.problems import Problem
from workers.intake.client import Full, Unavailable

# Requests of a process that wait for a thread. At 1,500 requests/s the last one is answered after
# 0.7 s; after more than 1 s the caller may have hung up and the work would be wasted.
REQUESTS_MAX = 1_024
OPEN_FILES_MAX = 65_536  # requested where the system sets no limit
ALIVE = "/livez"  # never refused: restarting an overloaded process makes the overload worse
FULL_SECONDS = 0.1  # a drain applies a thousand entries in that time; a caller retries after 1 s
AWAY_SECONDS = 0.1  # between two probes of a Redis that times out
SLOW_SECONDS = 0.1  # longer waits would take up every thread
RETRY_SECONDS = (1, 3)  # random, so that refused callers do not all retry at once
TENANTS_MAX = 10_000  # remembered per process; above this all are forgotten


def retry_after() -> str:
    """Seconds to wait before a retry."""
    return str(random.randint(*RETRY_SECONDS))  # noqa: S311 - spreads retries, not secret


# -- too many requests in this process -------------------------------------------------------


def allow_open_files() -> int:
    """Raise this process's limit of open files to the maximum; returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(soft, wanted)


def too_many_requests() -> Problem:
    """503: more requests wait in this process than it can answer soon."""
    detail = "Too many requests at once. Nothing was accepted; try again."
    headers = {"Retry-After": retry_after(), "Connection": "close"}
    return Problem(503, "overloaded", detail, (), headers)


# -- remembered refusals ---------------------------------------------------------------------


@dataclass
class Memory:
    """Recent answers of Redis and the intake. Threads may race: the last write wins."""

    probe_seconds: float  # how long a probe of Redis may take
    now: Callable[[], float] = time.monotonic
    _full: dict[int, tuple[float, int]] = field(default_factory=dict)
    _away_until: float = 0.0  # 0: Redis answers
    is_empty: bool = True  # nothing remembered, so no write is certain to be refused

    def check(self, tenant_id: int, body_bytes: int) -> None:
        """Raise Full or Unavailable when a write is certain to be refused."""
        if self.now() < self._away_until:
            raise Unavailable
        found = self._full.get(tenant_id)
        if found is None:
            return
        until, shortest = found
        if self.now() >= until:
            self._full.pop(tenant_id, None)
            self._remember()
        elif body_bytes >= shortest:
            raise Full

    def ask(self) -> None:
        """Raise Unavailable unless Redis may be asked; after a failure, one request probes it."""
        if not self._away_until:
            return
        if self.now() < self._away_until:
            raise Unavailable
        self._away_until = self.now() + self.probe_seconds

    def answered(self) -> None:
        """Redis answered."""
        self._away_until = 0.0
        self._remember()

    def away(self, began: float) -> None:
        """Redis did not answer. If that failed at once, asking again costs nothing."""
        ended = self.now()
        self._away_until = ended + AWAY_SECONDS if ended - began > SLOW_SECONDS else 0.0
        self._remember()

    def full(self, tenant_id: int, body_bytes: int) -> None:
        """The intake was full: another body of this size or more from this tenant will not fit."""
        if len(self._full) >= TENANTS_MAX:
            self._full.clear()
        until, shortest = self._full.get(tenant_id, (0.0, body_bytes))
        is_new = self.now() >= until
        found = body_bytes if is_new else min(body_bytes, shortest)
        self._full[tenant_id] = (self.now() + FULL_SECONDS if is_new else until, found)
        self._remember()

    def _remember(self) -> None:
        self.is_empty = not (self._full or self._away_until)
