"""Listening for new work while other work is in flight, in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class WakeupListener:
    """Calls `wait(seconds)` once at a time; what it returns for, a word or its time, wakes us.

    To be used in one event loop.
    """

    def __init__(self, wait: Callable[[float], object], seconds: float) -> None:
        self._wait, self._seconds = wait, seconds
        self._thread = ThreadPoolExecutor(1, "delivery-wakeup")
        self._listening: asyncio.Future[object] | None = None
        self._on_wakeup: Callable[[], None] = lambda: None

    def listen(self, on_wakeup: Callable[[], None]) -> asyncio.Future[object]:
        """Listen, unless it does already; `on_word()` is called when something is heard.

        The future is for who has nothing else to do. Raises what `wait` raised the last time.
        """
        self._on_wakeup = on_wakeup
        if self._listening is None or self._listening.done():
            if self._listening is not None:
                self._listening.result()
            loop = asyncio.get_running_loop()
            self._listening = loop.run_in_executor(self._thread, self._wait, self._seconds)
            self._listening.add_done_callback(self._woken)
        return self._listening

    def _woken(self, listening: asyncio.Future[object]) -> None:
        self._on_wakeup()

    def close(self) -> None:
        """Wait for the end of what is being listened to: some tenths of a second at most."""
        self._thread.shutdown(wait=True)
