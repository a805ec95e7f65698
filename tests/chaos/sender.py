"""What every thread of the load has in common: it goes on until told to stop, and repeats."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from tests.chaos.client import Client
from tests.chaos.history import Write
from tests.chaos.scene import Side

LAST_TRIES_SECONDS = 60.0  # for what is still to be repeated when everything is well again

Things = Sequence[tuple[Callable[[Side], None], int]]  # what may be done, and how often


@dataclass
class Sender(ABC):
    """One thread."""

    name: str
    client: Client
    sides: Sequence[Side]
    random: Random
    stop: threading.Event
    unsure: list[tuple[Side, Write]] = field(default_factory=list)  # to be repeated by their key
    sent: int = 0

    @abstractmethod
    def things(self) -> Things:
        """What it does."""

    @abstractmethod
    def send_again(self, side: Side, write: Write) -> None:
        """Repeat a request under its key."""

    def do_something(self, things: Things) -> None:
        """One of them, on one of the sides."""
        doing, weights = [one for one, _ in things], [weight for _, weight in things]
        self.random.choices(doing, weights)[0](self.random.choice(self.sides))

    def repeat(self, side: Side) -> None:
        """Repeat a request that got no answer; it may have to be done again."""
        self._repeat_unsure()

    def finish(self) -> None:
        """Repeat, now that everything is well, what nobody has answered yet."""
        ends = time.monotonic() + LAST_TRIES_SECONDS
        while self.unsure and time.monotonic() < ends:
            before = len(self.unsure)
            self._repeat_unsure()
            if len(self.unsure) == before:
                time.sleep(0.2)

    def _repeat_unsure(self) -> None:
        if not self.unsure:
            return
        side, write = self.unsure.pop(self.random.randrange(len(self.unsure)))
        self.send_again(side, write)
        if write.outcome == "maybe":
            self.unsure.append((side, write))
