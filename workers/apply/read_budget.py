"""How much a drain reads in a round: a tenant that floods must not keep the others waiting.

Fresh writes are read first, each time. Beside them the backlog is drained in rounds that are short
while fresh writes flow, so that one that comes in the middle of a round waits for little; and in
full batches otherwise, which cost least a write. Of several drains only one keeps its rounds short
(the keeper): it is there for the fresh ones, the others are there for the backlog (ADR 11).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from workers.intake.stream import StreamEntry

SHORT_ROUND = 32  # about 6 ms: what a fresh write takes by itself; a tick costs twice as much
FLOWING_SECONDS = 1.0  # after a fresh write more are expected for so long


@dataclass
class Rounds:
    """What a drain has read lately, and how much it is to read next."""

    batch_max: int
    monotonic: Callable[[], float] = time.monotonic
    is_backlogged: bool = False
    _fresh_streams: int = field(default=1)
    _backlog_streams: int = field(default=1)
    _fresh_at: float = field(default=-1e9)

    @property
    def fresh(self) -> int:
        """Entries to be read of each fresh stream: each gets its share, however long it is."""
        return max(1, self.batch_max // self._fresh_streams)

    def backlog(self, *, is_alone: bool, is_keeper: bool) -> int:
        """Entries to be read of each backlog stream."""
        is_flowing = self.monotonic() - self._fresh_at < FLOWING_SECONDS
        is_short = is_keeper or (is_alone and is_flowing)
        total = min(SHORT_ROUND, self.batch_max) if is_short else self.batch_max
        return max(1, total // self._backlog_streams)

    def see(self, entries: Sequence[StreamEntry]) -> None:
        """Take note of what a round has read."""
        fresh, backlog = split(entries)
        if {entry.tenant for entry in fresh} - {entry.tenant for entry in backlog}:
            self._fresh_at = self.monotonic()  # of a tenant that does not flood
        self._fresh_streams = len({entry.stream for entry in fresh}) or 1
        self._backlog_streams = len({entry.stream for entry in backlog}) or 1
        self.is_backlogged = bool(backlog)


def split(entries: Sequence[StreamEntry]) -> tuple[list[StreamEntry], list[StreamEntry]]:
    """The fresh entries and the backlog's apart."""
    fresh = [entry for entry in entries if entry.is_fresh]
    return fresh, [entry for entry in entries if not entry.is_fresh]
