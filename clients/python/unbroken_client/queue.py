"""A queue of ticks. Its thread sends them after a number of items or a time."""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

from unbroken_client import many
from unbroken_client.client import Unbroken
from unbroken_client.errors import ApiError, QueueFull, UnbrokenError
from unbroken_client.many import ITEMS_MAX, TICKS, Sending
from unbroken_client.results import TickInput

log = logging.getLogger("unbroken_client")

OnRefused = Callable[[TickInput, UnbrokenError], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """When a queue sends, and how much it holds."""

    items: int = 500  # sends when it holds so many, at most 1,000
    seconds: float = 1.0  # or when its first has waited so long
    held_max: int = 10_000  # beyond them `put` waits
    put_seconds_max: float = 5.0  # then it raises QueueFull


def _tell(tick: TickInput, error: UnbrokenError) -> None:
    code = error.code if isinstance(error, ApiError) else type(error).__name__
    log.warning("a tick of streak %r was not recorded: %s", tick["streak_code"], code)


class TickQueue:
    """`put` returns at once; `close`, or the end of `with`, sends the remaining ticks.

    What the API refuses, and what could not be sent after all retries, goes to `on_refused`: a
    process that is killed loses what it held.
    """

    def __init__(
        self, client: Unbroken, on_refused: OnRefused = _tell, limits: Limits | None = None
    ) -> None:
        self._client, self._on_refused = client, on_refused
        self._limits = limits or Limits()
        self._held: queue.Queue[TickInput | None] = queue.Queue(self._limits.held_max)
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="unbroken-ticks", daemon=True)
        self._thread.start()

    def __enter__(self) -> TickQueue:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def put(self, tick: TickInput) -> None:
        """Add a tick; set its `timestamp` if the instant matters. Raises QueueFull."""
        if self._is_closed:
            raise QueueFull("the queue is closed")
        try:
            self._held.put(tick, timeout=self._limits.put_seconds_max)
        except queue.Full:
            raise QueueFull("the queue holds as many ticks as it may") from None

    def close(self) -> None:
        """Send the remaining ticks and wait, as long as the client's retries take."""
        if not self._is_closed:
            self._is_closed = True
            self._held.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_over = False
        while not is_over:
            batch, is_over = self._take()
            for part in many.batches(batch, min(self._limits.items, ITEMS_MAX)):
                self._send(part)  # type: ignore[arg-type]

    def _take(self) -> tuple[list[TickInput], bool]:
        """Ticks to send now, and whether these are the last."""
        first = self._held.get()
        if first is None:
            return [], True
        batch, ends = [first], time.monotonic() + self._limits.seconds
        while len(batch) < self._limits.items:
            try:
                one = self._held.get(timeout=max(0.0, ends - time.monotonic()))
            except queue.Empty:
                return batch, False
            if one is None:
                return batch, True
            batch.append(one)
        return batch, False

    def _send(self, batch: Sequence[TickInput]) -> None:
        try:
            results = many.send(self._client.transport, TICKS, batch, (uuid.uuid4().hex, Sending()))
        except UnbrokenError as error:
            refused = [(tick, error) for tick in batch]
        else:
            refused = [(batch[one.index], one.error) for one in results if one.error is not None]
        for tick, why in refused:
            try:
                self._on_refused(tick, why)
            except Exception:
                log.exception("on_refused failed")
