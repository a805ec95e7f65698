"""Apply the awards and deductions of points of a batch: ledger, balances, facts."""

from __future__ import annotations

from dataclasses import dataclass, field

from models.db import Connection
from models.ledgers import points
from models.ledgers.points import MovementKind, Transaction
from models.ledgers.tier_changes import Upgrade
from webhooks import facts
from workers.apply.batch import Batch
from workers.apply.tiers import Tiers, publish
from workers.intake.messages import Message, PointsV1

INSUFFICIENT = "insufficient_points"


@dataclass(frozen=True, slots=True)
class Movement:
    """Points that a participant gets or gives, whatever the source."""

    id: str
    kind: MovementKind
    amount: int  # above zero
    source: str | None = None
    reason: str | None = None
    metadata: str | None = None  # JSON as sent

    @staticmethod
    def asked_by(message: PointsV1) -> Movement:
        """The movement that a message asks for."""
        kind: MovementKind = "award" if message.amount > 0 else "deduct"
        return Movement(
            message.id,
            kind,
            abs(message.amount),
            reason=message.reason,
            metadata=message.metadata,
        )


@dataclass
class BatchPoints:
    """The movements of a batch, decided in memory."""

    tiers: Tiers
    ledger: list[Transaction] = field(default_factory=list)  # in the order of the messages

    def give(self, batch: Batch, message: Message, movement: Movement) -> Transaction:
        """Award points, and the tier that they lead to."""
        participant = batch.participant(message)
        participant.earned += movement.amount
        change = self.tiers.reached(batch, message, movement.id)
        made = self._record_movement(batch, message, movement, change.upgrade if change else None)
        batch.publish(
            message, facts.points_awarded(batch.stamp_of(message), made, participant.earned)
        )
        if change:
            publish(batch, message, change)
        return made

    def take(self, batch: Batch, message: Message, movement: Movement) -> Transaction | None:
        """Deduct points; None when there are too few: then nothing has changed."""
        participant = batch.participant(message)
        if movement.amount > participant.balance:
            return None
        participant.spent += movement.amount
        made = self._record_movement(batch, message, movement, None)
        batch.publish(
            message, facts.points_deducted(batch.stamp_of(message), made, participant.spent)
        )
        return made

    def _record_movement(
        self,
        batch: Batch,
        message: Message,
        movement: Movement,
        upgrade: Upgrade | None,
    ) -> Transaction:
        participant = batch.participant(message)
        participant.is_richer = participant.is_changed = True
        made = Transaction(
            tenant_id=message.tenant_id,
            id=movement.id,
            participant_id=participant.id,
            kind=movement.kind,
            amount=movement.amount,
            balance_after=participant.balance,
            source=movement.source,
            reason=movement.reason,
            metadata=movement.metadata,
            upgrade=upgrade,
        )
        self.ledger.append(made)
        return made

    def write(self, connection: Connection) -> None:
        """Write the ledger; raises UniqueViolation when it already holds a movement."""
        if self.ledger:
            points.append(connection, self.ledger)


def too_few(available: int, requested: int) -> str:
    """The documented detail (contract §6)."""
    return f"Insufficient points. Available: {available}, requested: {requested}"
