"""A batch of accepted writes while it is applied: what it has read and what it will write."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from models import clock, ids
from models.db import Connection
from models.definitions import badges, challenges, rewards
from models.definitions.badges import Badge
from models.definitions.challenges import Challenge
from models.definitions.rewards import Reward
from models.delivery import destinations
from models.delivery.destinations import DestinationFilter
from models.identity import tenants
from models.identity.participants import ExternalKey, Participant, ParticipantKey
from models.identity.tenants import Tenant
from models.ledgers import tier_changes
from models.ledgers.rejections import RejectedWrite, Rejection
from models.ledgers.tier_changes import Tier
from models.streaks import states
from models.streaks.states import Streak
from webhooks.facts import Fact, FactStamp
from workers.intake.messages import Message, is_published

TENANTS_MAX = 10_000  # with a cached configuration per process; an entry is some kilobytes


def refusal(participant: Participant, message: Message) -> str | None:
    """Why the participant's status refuses a write: one accepted before a suspension is applied,
    one accepted before an erasure is not.

    The instant of acceptance is in the write's id: in milliseconds, by the API's clock.
    """
    if participant.inactive_us is None and participant.erased_us is None:
        return None
    accepted_us = ids.issued_at_us(UUID(message.id))
    if participant.inactive_us is not None and accepted_us >= participant.inactive_us:
        return "participant_inactive"
    if participant.erased_us is not None and accepted_us < participant.erased_us:
        return "participant_erased"
    return None


class UnknownDefinition(LookupError):
    """A write names a streak or badge that its tenant does not have."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """One tenant's definitions and destinations, as of one version."""

    version: int
    tenant: Tenant
    streaks: dict[int, Streak]
    badges: dict[str, Badge]
    destination_filters: Sequence[DestinationFilter]
    tiers: dict[str, Tier] = field(default_factory=dict)
    rewards: dict[str, Reward] = field(default_factory=dict)
    ladder: Sequence[Tier] = ()  # the tiers that points lead to
    challenges: Sequence[Challenge] = ()  # the active ones, whether or not they count now

    def badge_to_award(self, code: str | None) -> Badge | None:
        """The active badge of a code; None without a code, or without such a badge."""
        found = (badge for badge in self.badges.values() if badge.code == code and badge.is_active)
        return next(found, None)


class Configurations:
    """A bounded cache, checked against the database's versions inside each transaction."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, Configuration] = OrderedDict()

    def load(self, connection: Connection, tenant_ids: set[int]) -> dict[int, Configuration]:
        """The configuration of tenants as this transaction sees it; unknown ones are missing."""
        found = {}
        for tenant_id, version in tenants.versions(connection, sorted(tenant_ids)).items():
            kept = self._kept.get(tenant_id)
            if kept is None or kept.version != version:
                kept = _read(connection, tenant_id, version)
                self._keep(tenant_id, kept)
            found[tenant_id] = kept
        return found

    def _keep(self, tenant_id: int, configuration: Configuration) -> None:
        self._kept.pop(tenant_id, None)
        self._kept[tenant_id] = configuration
        while len(self._kept) > TENANTS_MAX:
            self._kept.popitem(last=False)


@dataclass
class Batch:
    """One transaction's work on writes of all kinds."""

    configurations: dict[int, Configuration]
    participants: dict[ExternalKey, Participant]  # locked: only this transaction changes their data
    zones: dict[ParticipantKey, str | None] = field(default_factory=dict)  # the participants' own
    now_us: int = field(default_factory=clock.now_us)
    facts: list[Fact] = field(default_factory=list)
    fact_ids: Iterator[UUID] = field(init=False)  # in the order of the facts, as in the feed
    rejections: list[Rejection] = field(default_factory=list)
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)  # by write id, if awaited

    def __post_init__(self) -> None:
        self.fact_ids = ids.uuid7s(self.now_us)

    def configuration(self, message: Message) -> Configuration:
        """The configuration of the message's tenant."""
        found = self.configurations.get(message.tenant_id)
        if found is None:
            raise UnknownDefinition(f"tenant {message.tenant_id}")
        return found

    def participant(self, message: Message) -> Participant:
        """The participant of the message."""
        return self.participants[message.tenant_id, message.participant_id]

    def reject(self, message: Message, code: str, detail: str | None = None) -> None:
        """Refuse a write: it changes nothing, and a waiting request gets the reason."""
        participant = self.participants.get((message.tenant_id, message.participant_id))
        internal_id = None if participant is None else participant.id
        self.rejections.append(Rejection(message.tenant_id, message.id, internal_id, code, detail))
        if message.is_awaited:
            self.answers[message.id] = RejectedWrite(code, detail).answer()

    def publish(self, message: Message, fact: Fact) -> None:
        """Publish a fact, unless its write is silent (docs/import.md)."""
        if is_published(message):
            self.facts.append(fact)

    def stamp_of(self, message: Message) -> FactStamp:
        """As `stamp`, with the message's tenant and participant looked up."""
        return self.stamp(message, self.configuration(message).tenant, self.participant(message))

    def stamp(self, message: Message, tenant: Tenant, participant: Participant) -> FactStamp:
        """The fields that the next fact about a participant carries, whatever its type.

        An unpublished fact takes no number, so the sequence of published facts has no gap.
        """
        return FactStamp(
            next(self.fact_ids),
            tenant,
            participant.id,
            message.participant_id,
            participant.next_sequence() if is_published(message) else participant.fact_sequence,
            self.now_us,
        )


def _read(connection: Connection, tenant_id: int, version: int) -> Configuration:
    """Read after the version: a change made meanwhile is read again with the next batch."""
    known_tiers = tier_changes.definitions.all_of(connection, tenant_id)
    return Configuration(
        version,
        tenants.by_id(connection, tenant_id),
        {streak.id: streak for streak in states.definitions.all_of(connection, tenant_id)},
        {str(badge.id): badge for badge in badges.definitions.all_of(connection, tenant_id)},
        destinations.destination_filters(connection, [tenant_id]),
        {str(tier.id): tier for tier in known_tiers},
        {str(reward.id): reward for reward in rewards.definitions.all_of(connection, tenant_id)},
        [tier for tier in known_tiers if tier.is_active and tier.award_type == "automatic"],
        [
            challenge
            for challenge in challenges.definitions.all_of(connection, tenant_id)
            if challenge.is_active
        ],
    )
