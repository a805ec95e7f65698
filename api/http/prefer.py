"""Waiting for the worker, within limits (contract §2, RFC 7240)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from threading import BoundedSemaphore

from workers.intake.client import WAIT_SECONDS_MAX


class Waiters:
    """How many requests of this process may wait at once; others are answered 202."""

    def __init__(self, most: int) -> None:
        self._slots = BoundedSemaphore(most)

    @contextmanager
    def slot(self) -> Iterator[bool]:
        """A slot to wait in, or False if all are taken."""
        taken = self._slots.acquire(blocking=False)
        try:
            yield taken
        finally:
            if taken:
                self._slots.release()


@dataclass(frozen=True, slots=True)
class Preference:
    """The caller's preference."""

    wait_seconds: float
    is_async: bool = False
    is_wait_named: bool = False

    def without_wait(self) -> Preference:
        """The same preference when no waiting slot is free."""
        return Preference(0, self.is_async)

    def applied(self, is_answered: bool) -> str | None:
        """The value of `Preference-Applied`: only what was done."""
        if self.is_async and not is_answered:
            return "respond-async"
        return f"wait={self.wait_seconds:.0f}" if self.is_wait_named else None


_WAIT = re.compile(r"wait\s*=\s*(\"?)(\d{1,6})\1", re.ASCII)


@lru_cache(maxsize=256)  # callers send the same one or two values
def preference(header: str, default_seconds: float) -> Preference:
    """Read `Prefer: respond-async` and `Prefer: wait=N`; an unreadable value is no preference.

    Both together: wait N seconds, then answer 202 (RFC 7240 §4.1).
    """
    wishes = [wish.partition(";")[0].strip() for wish in header.lower().split(",")]
    is_async = "respond-async" in wishes
    for wish in wishes:
        if match := _WAIT.fullmatch(wish):
            seconds = min(int(match[2]), WAIT_SECONDS_MAX)
            return Preference(seconds, is_async, is_wait_named=True)
    return Preference(0 if is_async else default_seconds, is_async)
