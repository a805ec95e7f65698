"""Apply the tiers of a batch: those reached by points, and those assigned."""

from __future__ import annotations

from dataclasses import dataclass, field

from models.db import Connection
from models.ledgers import tier_changes
from models.ledgers.tier_changes import Change, Source, Tier, Upgrade
from models.rules.tiers import reached
from webhooks import facts
from workers.apply.batch import Batch, UnknownDefinition
from workers.intake.messages import AssignmentV1, Message


@dataclass
class Tiers:
    """The tier changes of a batch, decided in memory."""

    ledger: list[Change] = field(default_factory=list)  # in the order of the messages

    def apply(self, batch: Batch, message: AssignmentV1) -> None:
        """Assign a requested tier, up or down."""
        tier = batch.configuration(message).tiers.get(message.tier_id)
        if tier is None:
            raise UnknownDefinition(f"tenant {message.tenant_id}, tier {message.tier_id}")
        change = self._change(batch, message, tier, _Cause(message.id, "assigned"))
        if change.is_change:
            publish(batch, message, change)
        if message.is_awaited:
            batch.answers[message.id] = tier_changes.answer(change, message.participant_id)

    def reached(self, batch: Batch, message: Message, cause_id: str) -> Change | None:
        """Move a participant up whose points ever earned reach a higher tier, else None."""
        participant, configuration = batch.participant(message), batch.configuration(message)
        if not configuration.ladder:
            return None
        current = configuration.tiers.get(participant.tier_id or "")
        level = current.level if current else None
        tier = reached(configuration.ladder, level, participant.earned)
        if tier is None:
            return None
        return self._change(batch, message, tier, _Cause(cause_id, "points"))

    def _change(self, batch: Batch, message: Message, tier: Tier, cause: _Cause) -> Change:
        participant = batch.participant(message)
        previous = batch.configuration(message).tiers.get(participant.tier_id or "")
        asked = message if isinstance(message, AssignmentV1) else None
        change = Change(
            tenant_id=message.tenant_id,
            id=cause.id,
            participant_id=participant.id,
            upgrade=Upgrade.between(previous, tier),
            source=cause.source,
            reason=asked.reason if asked else None,
            metadata=asked.metadata if asked else None,
        )
        self.ledger.append(change)
        if change.is_change:
            participant.tier_id, participant.tier_us = str(tier.id), change.achieved_us
            participant.is_richer = participant.is_changed = True
        return change

    def write(self, connection: Connection) -> None:
        """Write the ledger; raises UniqueViolation when it already holds a change."""
        tier_changes.append(connection, self.ledger)


@dataclass(frozen=True, slots=True)
class _Cause:
    """The cause of a tier change: the points, or the assignment, of that id."""

    id: str
    source: Source


def publish(batch: Batch, message: Message, change: Change) -> None:
    """The fact of a change."""
    earned = batch.participant(message).earned
    batch.publish(message, facts.tier_changed(batch.stamp_of(message), change, earned))
