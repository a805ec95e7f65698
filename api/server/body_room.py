"""Memory reserved for request bodies in one process, shared between callers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from api.http.problems import RETRY_SECONDS, Problem

ROOM_BYTES_MAX = 64_000_000  # per process; a body of 1 MB arrives in well under a second
SHARE_BYTES_MAX = 16_000_000  # per caller: a single caller cannot use up the room
STRANGERS = ""  # requests without a known key share one caller's room


class Room:
    """Bytes reserved before a body is read. It belongs to one event loop and needs no lock.

    A body reserves its full size: two bodies that each held half could deadlock.
    """

    def __init__(
        self, bytes_max: int = ROOM_BYTES_MAX, share_bytes_max: int = SHARE_BYTES_MAX
    ) -> None:
        self._left, self._share = bytes_max, share_bytes_max
        self._taken: Counter[Hashable] = Counter()
        self._waiting: set[asyncio.Future[None]] = set()

    @asynccontextmanager
    async def of(self, caller: Hashable, size: int, until: float) -> AsyncIterator[None]:
        """Reserve room for a body, waiting for it; 503 if it is not free by `until` (loop time)."""
        try:
            async with asyncio.timeout_at(until):
                while not self._fits(caller, size):
                    await self._change()
        except TimeoutError:
            detail = "Too many long bodies at once. Nothing was accepted; try again."
            headers = {"Retry-After": str(RETRY_SECONDS), "Connection": "close"}
            raise Problem(503, "overloaded", detail, (), headers) from None
        self._take(caller, size)
        try:
            yield
        finally:
            self._take(caller, -size)

    def _fits(self, caller: Hashable, size: int) -> bool:
        return size <= self._left and self._taken[caller] + size <= self._share

    async def _change(self) -> None:
        changed = asyncio.get_running_loop().create_future()
        self._waiting.add(changed)
        try:
            await changed
        finally:
            self._waiting.discard(changed)

    def _take(self, caller: Hashable, size: int) -> None:
        self._left -= size
        self._taken[caller] += size
        if not self._taken[caller]:
            del self._taken[caller]
        if size < 0:
            for waiter in self._waiting:
                if not waiter.done():
                    waiter.set_result(None)
