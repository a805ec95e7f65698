"""Refusing cheaply: what is certain to be refused costs neither parsing nor a question to Redis.

Two places. `Gate` stands before the application and bounds how many requests wait in a process: by
its connections, since each has at most one request under way. `Memory` remembers for a moment what
the door was told: that the intake is full, or that Redis does not answer. Both refuse with 503
and `Retry-After`, and accept nothing. docs/decisions/0012-overload.md has the figures.
"""

from __future__ import annotations

import os
import random
import resource
import time
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from api import bodies
from api.context import app_context, this_request
from api.validation import BODY_BYTES_MAX
from workers import tally
from workers.intake import Full, IntakeError, Unavailable
from workers.meters import ERRORS

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from api.directory import Principal

# Per process. At 1,500 requests/s the last of them is answered after 0.7 s: later than a second,
# a caller may have gone, and its answer would be work for nobody.
CONNECTIONS_MAX = 1_024
OPEN_FILES_MAX = 65_536  # asked for where the system sets no bound
ALIVE = "/livez"  # never refused: who restarts an overloaded process makes it worse
LOOK_SECONDS = 0.02  # counting costs 0.1 µs a connection
FULL_SECONDS = 0.1  # a drain applies a thousand entries meanwhile; a caller comes back after 1 s
AWAY_SECONDS = 0.1  # between two questions to a Redis that lets us wait in vain
SLOW_SECONDS = 0.1  # of vain waiting: a thread for each request, and then there are none left
RETRY_SECONDS = (1, 3)  # drawn: those who were refused together must not come back together
TENANTS_MAX = 10_000  # remembered per process; beyond that all are forgotten


def retry_after() -> str:
    """Seconds after which to try again."""
    return str(random.randint(*RETRY_SECONDS))  # noqa: S311 - it spreads, it hides nothing


# -- too many requests in this process -------------------------------------------------------


class Gate:
    """A WSGI application before the application: as many requests as there are too many
    connections are refused, and these connections closed, which ends the excess."""

    def __init__(
        self, app: WSGIApplication, connections_max: int = 0, count: Callable[[], int] | None = None
    ) -> None:
        self._app, self._count = app, count or open_files
        self._max = connections_max or min(CONNECTIONS_MAX, allow_open_files() // 2)
        self._excess, self._look_at = 0, 0.0

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Refuse at once, or hand on."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self._excess = self._count() - self._max
        if self._excess <= 0 or environ["PATH_INFO"] == ALIVE:
            return self._app(environ, start_response)
        self._excess -= 1  # threads may race: one more or one less is refused
        return _refuse(environ, start_response)


def open_files() -> int:
    """How many connections (and other files) this process has open."""
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - names are enough to count


def allow_open_files() -> int:
    """Let this process open as many files as it may; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(soft, wanted)


def _refuse(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """503, without the application. What was sent is read first: a connection that is closed with
    bytes unread is reset, and its caller may never see the answer."""
    _take_in(environ, environ.get("REMOTE_ADDR"))
    request_id = os.urandom(16).hex()
    body = _REFUSAL % request_id.encode()
    headers = [
        ("Content-Type", "application/problem+json"),
        ("Content-Length", str(len(body))),
        ("Retry-After", retry_after()),
        ("X-Request-Id", request_id),
        ("Connection", "close"),
    ]
    start_response("503 Service Unavailable", headers)
    tally.add(ERRORS, 1, "overloaded")
    return [body]


_REFUSAL = (
    b'{"type":"urn:unbroken:error:overloaded","title":"Service Unavailable","status":503,'
    b'"detail":"Too many requests at once. Nothing was accepted; try again.",'
    b'"code":"overloaded","request_id":"%s"}\n'
)


# -- what the door was told ------------------------------------------------------------------


@dataclass
class Memory:
    """What the door was told a moment ago. Threads race here: the last one wins, for a moment."""

    probe_seconds: float  # how long a question to Redis may take
    now: Callable[[], float] = time.monotonic
    _full: dict[int, tuple[float, int]] = field(default_factory=dict)
    _away_until: float = 0.0  # 0: Redis answers

    @property
    def is_empty(self) -> bool:
        """Nothing is remembered: no write is certain to be refused."""
        return not (self._full or self._away_until)

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

    def away(self, began: float) -> None:
        """Redis did not answer. Where that was clear at once, asking again costs nothing."""
        ended = self.now()
        self._away_until = ended + AWAY_SECONDS if ended - began > SLOW_SECONDS else 0.0

    def full(self, tenant_id: int, body_bytes: int) -> None:
        """A write found no room: nor will one of the same tenant whose body is as long."""
        if len(self._full) >= TENANTS_MAX:
            self._full.clear()
        until, shortest = self._full.get(tenant_id, (0.0, body_bytes))
        is_new = self.now() >= until
        found = body_bytes if is_new else min(body_bytes, shortest)
        self._full[tenant_id] = (self.now() + FULL_SECONDS if is_new else until, found)


def check_write(who: Principal) -> None:
    """Raise Full or Unavailable when this request's write is certain to be refused: before its body
    is parsed, but not before it is read, as in `_refuse`."""
    memory = app_context().memory
    if memory.is_empty:
        return
    try:
        memory.check(who.tenant.id, this_request().content_length or 0)
    except IntakeError:
        take_in(who)
        raise


def take_in(who: Principal) -> None:
    """Read what the caller of this request still sends, so that it reads our refusal."""
    _take_in(this_request().environ, who.key.id)


def _take_in(environ: WSGIEnvironment, caller: Hashable) -> None:
    with suppress(bodies.TooSlow, bodies.TooMany):
        bodies.take(environ["wsgi.input"], BODY_BYTES_MAX, caller)
