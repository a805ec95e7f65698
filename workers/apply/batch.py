"""A batch of accepted writes while it is applied: what it has read and what it will write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from models import clock, ids
from models.delivery.destinations import Subscription
from models.identity.participants import ExternalKey, Participant
from models.identity.tenants import Tenant
from models.ledgers.rejections import RejectedWrite, Rejection
from webhooks.facts import Fact, FactStamp
from workers.apply.config_cache import Configuration
from workers.intake.messages import Message, is_published


class UnknownDefinition(LookupError):
    """A write names a streak or badge that its tenant does not have."""


@dataclass
class Batch:
    """One transaction's work, whatever kinds of writes it holds."""

    configurations: dict[int, Configuration]
    participants: dict[ExternalKey, Participant]  # locked: nobody else changes what is theirs
    now_us: int = field(default_factory=clock.now_us)
    facts: list[Fact] = field(default_factory=list)
    fact_ids: Iterator[UUID] = field(init=False)  # in the order of the facts, as in the feed
    rejections: list[Rejection] = field(default_factory=list)
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)  # by write id, if awaited

    def __post_init__(self) -> None:
        self.fact_ids = ids.uuid7s(self.now_us)

    def configuration(self, message: Message) -> Configuration:
        """What the message's tenant has configured."""
        found = self.configurations.get(message.tenant_id)
        if found is None:
            raise UnknownDefinition(f"tenant {message.tenant_id}")
        return found

    def participant(self, message: Message) -> Participant:
        """The participant whom the message names."""
        return self.participants[message.tenant_id, message.participant_id]

    def reject(self, message: Message, code: str, detail: str | None = None) -> None:
        """Refuse a write: it takes nothing, and whoever waits is told why."""
        participant = self.participants.get((message.tenant_id, message.participant_id))
        internal_id = None if participant is None else participant.id
        self.rejections.append(Rejection(message.tenant_id, message.id, internal_id, code, detail))
        if message.is_awaited:
            self.answers[message.id] = RejectedWrite(code, detail).answer()

    def publish(self, message: Message, fact: Fact) -> None:
        """Have a fact published, unless its write was to be silent (docs/import.md)."""
        if is_published(message):
            self.facts.append(fact)

    def stamp_of(self, message: Message) -> FactStamp:
        """As `stamp`, for whoever has neither at hand."""
        return self.stamp(message, self.configuration(message).tenant, self.participant(message))

    def stamp(self, message: Message, tenant: Tenant, participant: Participant) -> FactStamp:
        """What the next fact about a participant carries, whatever it says.

        A fact that nobody is told takes no number: the sequence of those told has no gap.
        """
        return FactStamp(
            next(self.fact_ids),
            tenant,
            participant.id,
            message.participant_id,
            participant.next_sequence() if is_published(message) else participant.fact_sequence,
            self.now_us,
        )

    def subscriptions(self) -> Sequence[Subscription]:
        """Who wants to hear of the tenants of this batch."""
        return [
            subscription
            for configuration in self.configurations.values()
            for subscription in configuration.subscriptions
        ]
