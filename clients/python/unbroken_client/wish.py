"""How a single write is to be answered."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

WAIT_SECONDS_MAX = 10  # the most the API waits


@dataclass(frozen=True, slots=True)
class Wish:
    """How a single write is to be answered."""

    respond_async: bool = False  # at once, with an Accepted
    wait_seconds: int | None = None  # for the worker, at most 10; None: as the service is set
    idempotency_key: str | None = None  # None: a fresh one, so that its retries never double

    def headers(self) -> dict[str, str]:
        """As the API reads it."""
        named = {"Idempotency-Key": self.idempotency_key or uuid.uuid4().hex}
        if self.respond_async:
            return named | {"Prefer": "respond-async"}
        if self.wait_seconds is not None:
            return named | {"Prefer": f"wait={min(self.wait_seconds, WAIT_SECONDS_MAX)}"}
        return named
