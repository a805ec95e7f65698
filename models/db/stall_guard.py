"""A Postgres that has gone mute: what waits for it is ended, and nobody else begins to wait.

A server that is gone refuses or resets, and the driver says so. One that is stopped, or behind a
link that nothing comes out of, does neither: the driver waits for ever, and its own time-outs are
kept by the server. So the watch sees to it from here:

1. Every round trip is noted with the instant by which it must have been answered.
2. One that is overdue has its socket shut: the driver then says what it says of a lost connection.
3. From then on Postgres counts as mute. Whoever wants something is refused at once, except for one
   a second who tries; the first answer of any kind ends it.
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

MARGIN_SECONDS = 1.0  # for the way: the server ends a statement itself before the watch does
LOOK_SECONDS = 0.25
PROBE_SECONDS = 1.0  # each holds a thread for as long as a round trip may take


class ServerState:
    """Whether a server is mute, as all who use it from this process have found."""

    def __init__(self) -> None:
        self.is_unresponsive = False
        self._lock = threading.Lock()
        self._probe_at = 0.0  # when the next one may try (monotonic)

    def admit(self) -> None:
        """Raise OperationalError at once rather than let somebody wait in vain."""
        if not self.is_unresponsive:
            return
        with self._lock:
            if time.monotonic() < self._probe_at:
                raise psycopg2.OperationalError("Postgres does not answer")
            self._probe_at = time.monotonic() + PROBE_SECONDS

    def report(self, *, is_unresponsive: bool) -> None:
        """It has been silent for too long; or it has answered, whatever it was."""
        with self._lock:
            self.is_unresponsive = is_unresponsive
            self._probe_at = time.monotonic() + PROBE_SECONDS


class Watch:
    """The round trips of one engine."""

    def __init__(self, url: str, statement_seconds: float) -> None:
        self.patience_seconds = statement_seconds + MARGIN_SECONDS
        self._server = _servers.setdefault(url, ServerState())
        self._lock = threading.Lock()
        self._trips: dict[WatchedConnection, float] = {}  # until when (monotonic)
        _watchman.add(self)

    def connect(self, *args: Any, **kwargs: Any) -> connection:
        """A connection whose round trips are watched; takes and raises what psycopg2 does."""
        self._server.admit()
        began = time.monotonic()
        try:
            made = psycopg2.connect(*args, **kwargs, connection_factory=WatchedConnection)
        except psycopg2.OperationalError:
            # To be refused is an answer; after the time-out there was none. libpq counts in whole
            # seconds: its time-out may end up to one second early.
            patience = float(kwargs.get("connect_timeout") or math.inf) - 1
            self._server.report(is_unresponsive=time.monotonic() - began >= patience)
            raise
        self._server.report(is_unresponsive=False)
        made.watch = self
        return made

    def trip(
        self, on: WatchedConnection, go: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """One round trip on a connection, ended when it is overdue."""
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
        """End what is overdue."""
        now = time.monotonic()
        overdue = [on for on, ends in list(self._trips.items()) if ends <= now]
        for on in overdue:
            with self._lock:  # it is not closed meanwhile, so the number is that of its socket
                if self._trips.pop(on, None) is not None:
                    _shut(on)
        if overdue:
            self._server.report(is_unresponsive=True)


class WatchedConnection(connection):
    """A connection of a watch."""

    watch: Watch | None = None  # none yet while it is being made
    patience_seconds: float | None = None  # of the transaction under way, should it need more

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
    """Whether an idle connection has something to say: it can only be that it has ended.

    A look at the socket, which costs no round trip.
    """
    if idle.closed:
        return True
    looked = select.poll()
    looked.register(idle.fileno(), select.POLLIN)
    return bool(looked.poll(0))


def _shut(on: connection) -> None:
    """Shut a connection's socket, and leave it to whoever uses it to close it."""
    with (
        contextlib.suppress(OSError, psycopg2.Error),  # it has ended by itself
        socket.socket(fileno=os.dup(on.fileno())) as mine,
    ):
        mine.shutdown(socket.SHUT_RDWR)


class _Watchman:
    """The one thread that looks after all watches of this process."""

    def __init__(self) -> None:
        self._watches: WeakSet[Watch] = WeakSet()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, watch: Watch) -> None:
        """Look after a watch from now on; in a forked process, anew."""
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


_watchman = _Watchman()
_servers: WeakValueDictionary[str, ServerState] = WeakValueDictionary()  # by URL
