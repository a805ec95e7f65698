"""Refusing cheaply: what is certain to be refused costs neither parsing nor a question to Redis.

Two places. The loop (api/server/asgi.py) bounds how many requests wait for a thread of a process.
`Memory` remembers for a moment what the door was told: that the intake is full, or that Redis
does not
answer. Both refuse with 503 and `Retry-After`, and accept nothing. docs/decisions/0012-overload.md
has the figures.
"""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from api.http.problems import Problem
from workers.intake.client import Full, Unavailable

# Requests of a process that wait for a thread. At 1,500 a second the last of them is answered after
# 0.7 s: later than a second, a caller may have gone, and its answer would be work in vain.
REQUESTS_MAX = 1_024
OPEN_FILES_MAX = 65_536  # asked for where the system sets no bound
ALIVE = "/livez"  # never refused: who restarts an overloaded process makes it worse
FULL_SECONDS = 0.1  # a drain applies a thousand entries meanwhile; a caller comes back after 1 s
AWAY_SECONDS = 0.1  # between two questions to a Redis that lets us wait in vain
SLOW_SECONDS = 0.1  # of vain waiting: a thread for each request, and then there are none left
RETRY_SECONDS = (1, 3)  # drawn: those who were refused together must not come back together
TENANTS_MAX = 10_000  # remembered per process; beyond that all are forgotten


def retry_after() -> str:
    """Seconds after which to try again."""
    return str(random.randint(*RETRY_SECONDS))  # noqa: S311 - it spreads, it hides nothing


# -- too many requests in this process -------------------------------------------------------


def allow_open_files() -> int:
    """Let this process open as many files as it may; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(soft, wanted)


def too_many_requests() -> Problem:
    """503: more requests wait in this process than it answers soon."""
    detail = "Too many requests at once. Nothing was accepted; try again."
    headers = {"Retry-After": retry_after(), "Connection": "close"}
    return Problem(503, "overloaded", detail, (), headers)


# -- what the door was told ------------------------------------------------------------------


@dataclass
class Memory:
    """What the door was told a moment ago. Threads race here: the last one wins, for a moment."""

    probe_seconds: float  # how long a question to Redis may take
    now: Callable[[], float] = time.monotonic
    _full: dict[int, tuple[float, int]] = field(default_factory=dict)
    _away_until: float = 0.0  # 0: Redis answers
    is_empty: bool = True  # nothing is remembered: no write is certain to be refused

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
        """Raise Unavailable unless Redis may be asked: one asks first when it did not answer."""
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
        """Redis did not answer. Where that was clear at once, asking again costs nothing."""
        ended = self.now()
        self._away_until = ended + AWAY_SECONDS if ended - began > SLOW_SECONDS else 0.0
        self._remember()

    def full(self, tenant_id: int, body_bytes: int) -> None:
        """A write found no room: nor will one of the same tenant whose body is as long."""
        if len(self._full) >= TENANTS_MAX:
            self._full.clear()
        until, shortest = self._full.get(tenant_id, (0.0, body_bytes))
        is_new = self.now() >= until
        found = body_bytes if is_new else min(body_bytes, shortest)
        self._full[tenant_id] = (self.now() + FULL_SECONDS if is_new else until, found)
        self._remember()

    def _remember(self) -> None:
        self.is_empty = not (self._full or self._away_until)
