"""Previews: the result that a change of a streak would have now, decided without writing it.

The code that applies an accepted change decides on it. It reads one snapshot of the database in a
transaction that may not write, so a preview takes no lock and no drain waits for it. Accepted
writes that still wait in the intake are not part of the snapshot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from models import db
from models.db import Connection
from models.identity import aliases, participants
from webhooks.facts import Fact
from workers.apply.apply_batch import apply_effects, is_refused, read_effects
from workers.apply.batch import Batch, Configurations, refusal
from workers.apply.batch import UnknownDefinition as UnknownDefinition
from workers.intake.messages import StreakChangeMessage, renamed


@dataclass(frozen=True, slots=True)
class Preview:
    """The answer that a change would get, and the facts that it would publish."""

    answer: dict[str, Any]  # of a refused change: `rejected`, with its code
    facts: Sequence[Fact]


def of(connection: Connection, message: StreakChangeMessage) -> Preview:
    """Decide on one change, in a snapshot; raise UnknownDefinition where its streak is missing."""
    db.forbid_writes(connection)
    batch = Batch(Configurations().load(connection, {message.tenant_id}), {})
    batch.configuration(message)
    key = (message.tenant_id, message.participant_id)
    participant = participants.as_is(connection, key)
    if participant.merged_into is not None and refusal(participant, message) is None:
        survivor = (message.tenant_id, participant.merged_into)
        names = aliases.survivors(connection, [survivor])
        key = (message.tenant_id, names[survivor])
        message = renamed(message, {message.id: names[survivor]})
        participant = participants.as_is(connection, key)
    batch.participants = {key: participant}
    batch.zones = {(message.tenant_id, participant.id): participant.timezone}
    effects = None if is_refused(batch, message) else read_effects(connection, batch, [message])
    if effects is not None:
        apply_effects(batch, message, effects)
    return Preview(batch.answers[message.id], batch.facts)
