"""The bytes of a body, from callers who may be slow: no thread of the API waits long for them.

The server bounds how long the head of a request may take, and nothing else. A body that stops half
way would hold the thread that reads it for as long as its connection is open. So:

1. A body is read where it is wanted while hardly any others are being read: nearly all have come
   with their heads, and this costs them nothing. Of the threads, so many may get stuck.
2. Otherwise a thread of its own reads it, and whoever wants it waits for BODY_SECONDS_MAX.
3. Such a reader cannot be interrupted. It stays until its connection ends: at once when its caller
   hangs up, after a minute when the caller is gone without a word (api/cli/serve.py). So their
   number is bounded, for one caller and for all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import IO

BODY_SECONDS_MAX = 10.0  # as long as a request may wait for the worker (contract §2)
READ_AT_ONCE_MAX = 4  # of 16 threads a process: bodies that are there take microseconds
READERS_MAX = 64  # a thread each: 8 MB of address space, some 50 KB of memory
READERS_OF_ONE_MAX = 4  # of 64: one caller alone does not use them up


class TooSlow(Exception):
    """The body did not come within BODY_SECONDS_MAX."""


class TooMany(Exception):
    """As many bodies are being waited for as may be, of this caller or of all."""


class Bodies:
    """Reads the bodies of one process."""

    def __init__(
        self,
        seconds_max: float = BODY_SECONDS_MAX,
        at_once_max: int = READ_AT_ONCE_MAX,
        readers_max: int = READERS_MAX,
    ) -> None:
        self._seconds_max, self._readers_max = seconds_max, readers_max
        self._places = [None] * at_once_max  # pop and append are atomic
        self._lock = Lock()
        self._readers: Counter[Hashable] = Counter()

    def take(self, stream: IO[bytes], size: int, caller: Hashable) -> bytes:
        """At most so many bytes, fewer when the body ends; raises TooSlow, TooMany."""
        try:
            self._places.pop()
        except IndexError:
            return self._take_elsewhere(stream, size, caller)
        try:
            return stream.read(size)
        finally:
            self._places.append(None)

    def _take_elsewhere(self, stream: IO[bytes], size: int, caller: Hashable) -> bytes:
        self._enter(caller)
        found: SimpleQueue[bytes | BaseException] = SimpleQueue()

        def read() -> None:
            try:
                found.put(stream.read(size))
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                found.put(error)
            finally:
                self._leave(caller)

        Thread(target=read, name="body", daemon=True).start()
        try:
            body = found.get(timeout=self._seconds_max)
        except Empty:
            raise TooSlow from None
        if isinstance(body, BaseException):
            raise body
        return body

    def _enter(self, caller: Hashable) -> None:
        with self._lock:
            is_full = self._readers.total() >= self._readers_max
            if is_full or self._readers[caller] >= READERS_OF_ONE_MAX:
                raise TooMany
            self._readers[caller] += 1

    def _leave(self, caller: Hashable) -> None:
        with self._lock:
            self._readers[caller] -= 1
            if not self._readers[caller]:
                del self._readers[caller]


_bodies = Bodies()  # places and readers are those of the process
take = _bodies.take
