"""Apply a batch of ticks and of changes of streaks in turns, in one transaction.

A tick and a repair of the same participant are applied in the order in which they were accepted.
Writes for different participants do not depend on each other: most batches take two turns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.db import Connection
from models.identity import participants
from models.identity.participants import ExternalKey
from workers.intake.messages import STREAK_CHANGES, Message


@dataclass(frozen=True, slots=True)
class Done:
    """The counts of a batch, added to the metrics once it is committed."""

    applied: Mapping[str, int] = field(default_factory=dict)  # by kind of write
    rejected: Mapping[str, int] = field(default_factory=dict)  # by code
    facts: Mapping[str, int] = field(default_factory=dict)  # by type
    repeated: int = 0  # ticks that changed nothing

    def plus(self, other: Done) -> Done:
        """The counts of both."""
        return Done(
            Counter(self.applied) + Counter(other.applied),
            Counter(self.rejected) + Counter(other.rejected),
            Counter(self.facts) + Counter(other.facts),
            self.repeated + other.repeated,
        )


@dataclass
class Applied:
    """The result of a batch."""

    answers: dict[str, dict[str, Any]] = field(default_factory=dict)  # by write id, if awaited
    deliveries: int = 0
    done: Done = field(default_factory=Done)


def apply(
    connection: Connection,
    messages: Sequence[Message],
    apply_alike: Callable[[Connection, Sequence[Message]], Applied],
) -> Applied:
    """Apply each turn. All participants are locked first, in key order: no turn waits for one while
    an earlier turn holds another."""
    participants.hold(
        connection, {(message.tenant_id, message.participant_id) for message in messages}
    )
    whole = Applied()
    for turn in turns(messages):
        result = apply_alike(connection, turn)
        whole.answers |= result.answers
        whole.deliveries += result.deliveries
        whole.done = whole.done.plus(result.done)
    return whole


def turns(messages: Sequence[Message]) -> list[list[Message]]:
    """Messages of one sort, ticks and their like in even turns, changes of streaks in odd ones; a
    participant's in their order. Pure."""
    found: list[list[Message]] = []
    last: dict[ExternalKey, int] = {}
    for message in messages:
        key = (message.tenant_id, message.participant_id)
        turn, is_change = last.get(key, 0), type(message) in STREAK_CHANGES
        turn += turn % 2 != is_change
        last[key] = turn
        found.extend([] for _ in range(len(found), turn + 1))
        found[turn].append(message)
    return [turn for turn in found if turn]
