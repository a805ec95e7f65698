"""Advance the challenges of a batch: events count, and a target is reached once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from models import clock
from models.db import Connection
from models.definitions import challenges
from models.definitions.challenges import Challenge, ChallengeProgress, ProgressKey
from models.rules.challenges import Happened, advance
from workers.apply.batch import Batch
from workers.intake.messages import Message


@dataclass
class BatchChallenges:
    """The progress of a batch's participants, decided in memory between one read and one write."""

    progress: dict[ProgressKey, ChallengeProgress] = field(default_factory=dict)
    changed: dict[ProgressKey, ChallengeProgress] = field(default_factory=dict)

    def read(self, connection: Connection, batch: Batch, messages: Iterable[Message]) -> None:
        """Read the participants' progress under their locks, if any challenge is active."""
        participant_keys: set[tuple[int, int]] = set()
        ids: set[str] = set()
        for message in messages:
            open_to = batch.configuration(message).challenges
            if open_to:
                participant_keys.add((message.tenant_id, batch.participant(message).id))
                ids.update(str(challenge.id) for challenge in open_to)
        if participant_keys:
            self.progress = challenges.progress(connection, participant_keys, sorted(ids))

    def left(self, batch: Batch, message: Message) -> Iterator[Challenge]:
        """The challenges that a message's participant has not completed."""
        for challenge in batch.configuration(message).challenges:
            mine = self.progress.get(_key(batch, message, challenge))
            if mine is None or mine.completed_us is None:
                yield challenge

    def advance(
        self, batch: Batch, message: Message, happened: Happened, at_us: int
    ) -> list[Challenge]:
        """Count an event; return the challenges that it completes."""
        completed = []
        for challenge in self.left(batch, message):
            if not challenge.is_open_at(clock.from_us(at_us)):
                continue
            key = _key(batch, message, challenge)
            mine = self.progress.get(key) or ChallengeProgress()
            reached = advance(challenge.objective, mine.progress, happened)
            if reached == mine.progress:
                continue
            mine.progress = reached
            self.progress[key] = self.changed[key] = mine
            if reached >= challenge.target:
                mine.completed_us = batch.now_us
                completed.append(challenge)
        return completed

    def complete_reached(self, batch: Batch, message: Message) -> list[Challenge]:
        """Complete the open challenges whose target a participant has reached already."""
        completed = []
        for challenge in self.left(batch, message):
            mine = self.progress.get(_key(batch, message, challenge))
            is_open = challenge.is_open_at(clock.from_us(batch.now_us))
            if mine is not None and is_open and mine.progress >= challenge.target:
                mine.completed_us = batch.now_us
                self.changed[_key(batch, message, challenge)] = mine
                completed.append(challenge)
        return completed

    def write(self, connection: Connection, now_us: int) -> None:
        """Write the participants' progress."""
        challenges.write(connection, self.changed, now_us)


def _key(batch: Batch, message: Message, challenge: Challenge) -> ProgressKey:
    return message.tenant_id, batch.participant(message).id, str(challenge.id)
