"""A TCP link between two processes that a test may cut, leave half open, and heal."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from urllib.parse import parse_qs, unquote, urlsplit

Target = tuple[str, int] | str  # host and port, or the path of a Unix socket

CHUNK_BYTES = 65_536
TURN_SECONDS = 0.02  # how long the pump may not notice that the link was healed
CONNECT_SECONDS = 5.0
CLOSE_SECONDS = 10.0
# On close: reset instead of a last word, as when a cable or a host is gone.
RESET = struct.pack("ii", 1, 0)


class State(Enum):
    """What a link does with what comes in."""

    OPEN = "open"
    STALLED = "stalled"
    CUT = "cut"


@dataclass(eq=False)
class _End:
    """One socket of a pair, and what it still has to send."""

    socket: socket.socket
    other: _End | None = None
    waiting: bytearray = field(default_factory=bytearray)
    is_read_out: bool = False  # it will send no more


class Link:
    """Forwards a port on loopback to a target, until told otherwise.

    One thread pumps all connections. `cut` and `stall` have taken effect when they return.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self._lock = threading.Condition()  # notified with each turn of the pump
        self._turn = 0
        self._state = State.OPEN
        self._ends: set[_End] = set()
        self._unpaired: list[socket.socket] = []  # accepted while stalled
        self._stranded: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self._closing = threading.Event()
        self.port = self._listen(0)
        self._thread = threading.Thread(target=self._pump, name=f"link-{self.port}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Link:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def connections(self) -> int:
        """How many connections are open through it, those accepted while mute included."""
        with self._lock:
            return len(self._ends) // 2 + len(self._unpaired)

    def cut(self) -> None:
        """Reset every connection and refuse new ones."""
        with self._lock:
            self._state = State.CUT
            if self._listener is not None:
                self._listener.close()
                self._listener = None
            self._reset_all()
            self._wait_for_turn()

    def stall(self) -> None:
        """Half open: connections stay and new ones are accepted, but nothing passes any more."""
        with self._lock:
            if self._listener is None:
                self._listen(self.port)
            self._state = State.STALLED

    def strand(self) -> None:
        """The connections that there are stay open and mute for ever; new ones work."""
        with self._lock:
            self._stranded += [end.socket for end in self._ends]
            self._ends = set()

    def heal(self) -> None:
        """Forward again: what was held back while mute, and new connections."""
        with self._lock:
            if self._listener is None:
                self._listen(self.port)
            self._state = State.OPEN
            unpaired, self._unpaired = self._unpaired, []
            for one in unpaired:
                self._pair(one)

    def close(self) -> None:
        """Reset everything and stop."""
        self.cut()
        self._closing.set()
        self._thread.join(CLOSE_SECONDS)

    def _listen(self, port: int) -> int:
        listener = socket.create_server(("127.0.0.1", port), backlog=128)
        listener.setblocking(False)
        self._listener = listener
        return int(listener.getsockname()[1])

    def _pump(self) -> None:
        while not self._closing.is_set():
            with selectors.PollSelector() as ready:
                with self._lock:
                    self._turn += 1
                    self._lock.notify_all()
                    self._register(ready)
                found = ready.select(TURN_SECONDS)
            with self._lock:
                for key, events in found:
                    self._handle(key, events)

    def _wait_for_turn(self) -> None:
        """Until the pump looks again: what it is looking at is not closed before."""
        turn = self._turn
        if self._thread.is_alive():
            self._lock.wait_for(lambda: self._turn > turn, CLOSE_SECONDS)

    def _register(self, ready: selectors.PollSelector) -> None:
        if self._listener is not None:
            ready.register(self._listener, selectors.EVENT_READ)
        if self._state is State.OPEN:
            for end in self._ends:
                if events := _wanted(end):
                    ready.register(end.socket, events, end)

    def _handle(self, key: selectors.SelectorKey, events: int) -> None:
        """Do what can be done at once, if nobody has changed the link meanwhile."""
        if self._listener is not None and key.fileobj is self._listener:
            self._accept(self._listener)
        elif key.data in self._ends and self._state is State.OPEN:
            self._move(key.data, events)

    def _accept(self, listener: socket.socket) -> None:
        try:
            accepted, _ = listener.accept()
        except OSError:  # it gave up meanwhile
            return
        if self._state is State.STALLED:
            self._unpaired.append(accepted)
        else:
            self._pair(accepted)

    def _pair(self, accepted: socket.socket) -> None:
        try:
            onward = _connect(self.target)
        except OSError:
            _reset(accepted)
            return
        near, far = _End(accepted), _End(onward)
        near.other, far.other = far, near
        for end in (near, far):
            end.socket.setblocking(False)
        self._ends |= {near, far}

    def _move(self, end: _End, events: int) -> None:
        assert end.other is not None
        try:
            if events & selectors.EVENT_WRITE and end.waiting:
                del end.waiting[: end.socket.send(end.waiting)]
            if events & selectors.EVENT_READ:
                chunk = end.socket.recv(CHUNK_BYTES)
                end.other.waiting += chunk
                end.is_read_out = not chunk
        except BlockingIOError:
            return
        except OSError:
            self._drop(end)
            return
        self._pass_on_the_end(end, end.other)

    def _pass_on_the_end(self, end: _End, other: _End) -> None:
        """A connection that one side has finished is finished when all has reached the other."""
        for one, peer in ((end, other), (other, end)):
            if one.is_read_out and not peer.waiting:
                for each in (one, peer):
                    each.socket.close()
                    self._ends.discard(each)
                return

    def _drop(self, end: _End) -> None:
        for one in (end, end.other):
            if one in self._ends and one is not None:
                _reset(one.socket)
                self._ends.discard(one)

    def _reset_all(self) -> None:
        for end in self._ends:
            _reset(end.socket)
        for one in self._unpaired + self._stranded:
            _reset(one)
        self._ends, self._unpaired, self._stranded = set(), [], []


def through(link: Link, url: str) -> str:
    """The URL of a Postgres or Redis, led through a link: same user, same database."""
    parts = urlsplit(url)
    if parts.scheme == "unix":  # Redis' spelling; the path is the socket's
        number = parse_qs(parts.query).get("db", ["0"])[0]
        return f"redis://127.0.0.1:{link.port}/{number}"
    who = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    if not who and "user" in (named := parse_qs(parts.query)):
        who = f"{named['user'][0]}@"
    return f"{parts.scheme}://{who}127.0.0.1:{link.port}{parts.path or '/'}"


def target_of(url: str, port: int) -> Target:
    """Where a URL leads: a Unix socket (`?host=/run/postgresql`), or host and port.

    `port` is what the URL's scheme means without one.
    """
    parts = urlsplit(url)
    named = parse_qs(parts.query)
    if host := named.get("host", [""])[0]:
        number = int(named.get("port", [str(parts.port or port)])[0])
        return f"{unquote(host)}/.s.PGSQL.{number}" if host.startswith("/") else (host, number)
    if parts.scheme == "unix":
        return unquote(parts.path)
    return (parts.hostname or "127.0.0.1", parts.port or port)


def _wanted(end: _End) -> int:
    assert end.other is not None
    events = selectors.EVENT_WRITE if end.waiting else 0
    if not end.is_read_out and len(end.other.waiting) < CHUNK_BYTES:
        events |= selectors.EVENT_READ
    return events


def _connect(target: Target) -> socket.socket:
    if isinstance(target, tuple):
        return socket.create_connection(target, CONNECT_SECONDS)
    onward = socket.socket(socket.AF_UNIX)
    onward.settimeout(CONNECT_SECONDS)
    try:
        onward.connect(target)
    except OSError:
        onward.close()
        raise
    return onward


def _reset(one: socket.socket) -> None:
    if one.family != socket.AF_UNIX:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    one.close()
