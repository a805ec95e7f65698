"""Apply the awards of a batch: badges, ledger, facts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from models.db import Connection
from models.definitions.badges import Badge
from models.ledgers import awards
from models.ledgers.awards import Award, AwardKey, Earned
from webhooks import facts
from workers.apply.batch import Batch, UnknownDefinition
from workers.intake.messages import AwardV1, Message


@dataclass(frozen=True, slots=True)
class BadgeRequest:
    """The data of an award, whatever its source."""

    id: str
    earned_us: int
    metadata: str | None

    @staticmethod
    def by(message: AwardV1) -> BadgeRequest:
        """The request in a message."""
        return BadgeRequest(message.id, message.earned_us, message.metadata)


@dataclass
class Awards:
    """The awards of a batch, decided in memory between one read and one write."""

    earned: dict[AwardKey, Earned] = field(default_factory=dict)
    fresh: dict[AwardKey, Earned] = field(default_factory=dict)
    ledger: list[Award] = field(default_factory=list)  # in the order of the messages

    def read(self, connection: Connection, keys: Iterable[AwardKey]) -> None:
        """Read which badges participants already have, under their locks."""
        wanted = sorted(set(keys))
        if wanted:
            self.earned = awards.earned(connection, wanted)

    def award(self, batch: Batch, message: Message, badge: Badge, asked: BadgeRequest) -> Award:
        """A participant keeps the first award of a badge for ever (seed 001)."""
        participant = batch.participant(message)
        key = (message.tenant_id, participant.id, str(badge.id))
        earned = self.earned.get(key)
        award = Award(
            tenant_id=message.tenant_id,
            id=asked.id,
            participant_id=participant.id,
            badge_id=key[2],
            earned_us=asked.earned_us if earned is None else earned.earned_us,
            already_earned=earned is not None,
        )
        self.ledger.append(award)
        if earned is None:
            earned = Earned(asked.id, asked.earned_us, asked.metadata)
            self.earned[key] = self.fresh[key] = earned
            stamp = batch.stamp(message, batch.configuration(message).tenant, participant)
            batch.publish(message, facts.badge_awarded(stamp, badge, earned))
        return award

    def write(self, connection: Connection) -> None:
        """Write earned badges and the ledger; raises UniqueViolation when it holds an award."""
        if self.ledger:
            awards.write_earned(connection, self.fresh)
            awards.append(connection, self.ledger)


def key_of(batch: Batch, message: AwardV1) -> AwardKey:
    """The participant and badge of a message; raises UnknownDefinition."""
    badge_of(batch, message)
    return message.tenant_id, batch.participant(message).id, message.badge_id


def badge_of(batch: Batch, message: AwardV1) -> Badge:
    """The definition that a message names; raises UnknownDefinition."""
    found = batch.configuration(message).badges.get(message.badge_id)
    if found is None:
        raise UnknownDefinition(f"tenant {message.tenant_id}, badge {message.badge_id}")
    return found
