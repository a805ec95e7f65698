"""Watchdog for an unresponsive Postgres: aborts overdue calls and fails new ones fast.

A server that is down refuses or resets a connection, and the driver raises. A server that is
stopped, or behind a dead link, does neither: the driver waits for ever, and its time-outs are kept
by the server. So the watchdog enforces them here:

1. Every round trip is registered with its deadline.
2. An overdue one has its socket shut: the driver then raises as for a lost connection.
3. From then on Postgres counts as unresponsive. New calls fail at once, except for one probe a
   second; the first answer of any kind ends this state.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar
from weakref import WeakSet, WeakValueDictionary

import psycopg2
from psycopg2.extensions import connection, cursor

P = ParamSpec("P")
T = TypeVar("T")

MARGIN_SECONDS = 1.0  # for the network: the server itself ends a statement before the watchdog does
LOOK_SECONDS = 0.25
PROBE_SECONDS = 1.0  # each holds a thread for as long as a round trip may take


class ServerState:
    """Whether a server is unresponsive, as seen by all its users in this process."""

    def __init__(self) -> None:
        self.is_unresponsive = False
        self._lock = threading.Lock()
        self._probe_at = 0.0  # when the next probe may run (monotonic)

    def admit(self) -> None:
        """Raise OperationalError at once rather than wait in vain."""
        if not self.is_unresponsive:
            return
        with self._lock:
            if time.monotonic() < self._probe_at:
                raise psycopg2.OperationalError("Postgres does not answer")
            self._probe_at = time.monotonic() + PROBE_SECONDS

    def report(self, *, is_unresponsive: bool) -> None:
        """Record that it was silent for too long, or that it gave an answer of any kind."""
        with self._lock:
            self.is_unresponsive = is_unresponsive
            self._probe_at = time.monotonic() + PROBE_SECONDS


class Watch:
    """The round trips of one engine."""

    def __init__(self, url: str, statement_seconds: float) -> None:
        self.patience_seconds = statement_seconds + MARGIN_SECONDS
        self._server = _servers.setdefault(url, ServerState())
        self._lock = threading.Lock()
        self._trips: dict[WatchedConnection, float] = {}  # deadline (monotonic)
        _watchman.add(self)

    def connect(self, *args: Any, **kwargs: Any) -> connection:
        """A connection whose round trips are watched; takes and raises what psycopg2 does."""
        self._server.admit()
        began = time.monotonic()
        try:
            made = psycopg2.connect(*args, **kwargs, connection_factory=WatchedConnection)
        except psycopg2.OperationalError:
            # A refusal is an answer; a time-out is none. libpq counts in whole seconds: its
            # time-out may end up to one second early.
            patience = float(kwargs.get("connect_timeout") or math.inf) - 1
            self._server.report(is_unresponsive=time.monotonic() - began >= patience)
            raise
        self._server.report(is_unresponsive=False)
        made.watch = self
        return made

    def trip(
        self, on: WatchedConnection, go: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """One round trip on a connection, aborted when overdue."""
        self._server.admit()
        self._trips[on] = time.monotonic() + (on.patience_seconds or self.patience_seconds)
        try:
            return go(*args, **kwargs)
        finally:
            with self._lock:
                was_answered = self._trips.pop(on, None) is not None
            if was_answered and self._server.is_unresponsive:
                self._server.report(is_unresponsive=False)

    def look(self) -> None:
        """Abort what is overdue."""
        now = time.monotonic()
        overdue = [on for on, ends in list(self._trips.items()) if ends <= now]
        for on in overdue:
            with self._lock:  # it cannot be closed meanwhile, so the number is that of its socket
                if self._trips.pop(on, None) is not None:
                    _shut(on)
        if overdue:
            self._server.report(is_unresponsive=True)


class WatchedConnection(connection):
    """A connection of a watch."""

    watch: Watch | None = None  # None while it is being made
    patience_seconds: float | None = None  # of the current transaction, should it need more

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("cursor_factory", WatchedCursor)
        return super().cursor(*args, **kwargs)

    def commit(self) -> None:
        self._trip(super().commit)
        self.patience_seconds = None

    def rollback(self) -> None:
        self._trip(super().rollback)
        self.patience_seconds = None

    def _trip(self, go: Callable[[], None]) -> None:
        if self.watch is None:
            go()
        else:
            self.watch.trip(self, go)


class WatchedCursor(cursor):
    """A cursor of a watched connection."""

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002 - the driver's name
        self._trip(super().execute, query, vars)

    def executemany(self, query: Any, vars_list: Any) -> None:
        self._trip(super().executemany, query, vars_list)

    def copy_expert(self, sql: Any, file: Any, size: int = 8_192) -> None:
        self._trip(super().copy_expert, sql, file, size)

    def _trip(self, go: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        on: Any = self.connection
        if on.watch is None:
            return go(*args, **kwargs)
        watch: Watch = on.watch
        return watch.trip(on, go, *args, **kwargs)


def is_stale(idle: connection) -> bool:
    """Whether an idle connection has bytes to read: that can only be its end.

    It checks the socket, which costs no round trip.
    """
    if idle.closed:
        return True
    looked = select.poll()
    looked.register(idle.fileno(), select.POLLIN)
    return bool(looked.poll(0))


def _shut(on: connection) -> None:
    """Shut a connection's socket; its user closes it."""
    with (
        contextlib.suppress(OSError, psycopg2.Error),  # it has ended by itself
        socket.socket(fileno=os.dup(on.fileno())) as mine,
    ):
        mine.shutdown(socket.SHUT_RDWR)


class _Watchman:
    """The one thread that checks all watches of this process."""

    def __init__(self) -> None:
        self._watches: WeakSet[Watch] = WeakSet()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, watch: Watch) -> None:
        """Check a watch from now on; in a forked process, with a new thread."""
        with self._lock:
            self._watches.add(watch)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._go_round, name="watch", daemon=True)
                self._thread.start()

    def _go_round(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            for watch in list(self._watches):
                watch.look()


# Of the process: one thread watches all engines, and what one engine learns of a server holds for
# the others. Both hold weak references, so an engine that is closed leaves them.
_watchman = _Watchman()
_servers: WeakValueDictionary[str, ServerState] = WeakValueDictionary()  # by URL
