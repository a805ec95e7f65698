"""Waiting for the worker, within bounds (contract §2, RFC 7240)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import BoundedSemaphore

from flask import request

from workers.intake import WAIT_SECONDS_MAX


class Waiters:
    """How many requests of this process may wait at once; the others are answered 202."""

    def __init__(self, most: int) -> None:
        self._places = BoundedSemaphore(most)

    @contextmanager
    def place(self) -> Iterator[bool]:
        """A place to wait in, or False when all are taken."""
        taken = self._places.acquire(blocking=False)
        try:
            yield taken
        finally:
            if taken:
                self._places.release()


@dataclass(frozen=True, slots=True)
class Preference:
    """What the caller prefers, and what to say was applied."""

    wait_seconds: float
    applied: str | None


_WAIT = re.compile(r"wait\s*=\s*\"?(\d{1,6})\"?", re.ASCII)


def preference(default_seconds: float) -> Preference:
    """Read `Prefer: respond-async` and `Prefer: wait=N`; what cannot be read is no preference."""
    wishes = [wish.strip().lower() for wish in request.headers.get("Prefer", "").split(",")]
    is_async = "respond-async" in wishes
    for wish in wishes:
        if match := _WAIT.fullmatch(wish):
            seconds = min(int(match[1]), WAIT_SECONDS_MAX)
            return Preference(seconds, "respond-async" if is_async else f"wait={seconds}")
    return Preference(0, "respond-async") if is_async else Preference(default_seconds, None)
