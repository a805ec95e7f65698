"""What a drain knows of tenants' configuration, kept for as long as its version stands."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from models.db import Connection
from models.definitions import badges, challenges, rewards
from models.definitions.badges import Badge
from models.definitions.challenges import Challenge
from models.definitions.rewards import Reward
from models.delivery import destinations
from models.delivery.destinations import Subscription
from models.identity import tenants
from models.identity.tenants import Tenant
from models.ledgers import tier_changes
from models.ledgers.tier_changes import Tier
from models.streaks import states
from models.streaks.states import Streak

TENANTS_MAX = 10_000  # kept per process; an entry is some kilobytes


@dataclass(frozen=True, slots=True)
class Configuration:
    """One tenant's definitions and subscriptions, as of one version."""

    version: int
    tenant: Tenant
    streaks: dict[int, Streak]
    badges: dict[str, Badge]
    subscriptions: Sequence[Subscription]
    tiers: dict[str, Tier] = field(default_factory=dict)
    rewards: dict[str, Reward] = field(default_factory=dict)
    ladder: Sequence[Tier] = ()  # those that points lead to
    challenges: Sequence[Challenge] = ()  # those that are active, whether or not they count now

    def badge_to_award(self, code: str | None) -> Badge | None:
        """The active badge of a code; None without one, or when there is none to award."""
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


def _read(connection: Connection, tenant_id: int, version: int) -> Configuration:
    """Read after the version: what changes in between is read again with the next batch."""
    known_tiers = tier_changes.definitions.all_of(connection, tenant_id)
    return Configuration(
        version,
        tenants.by_id(connection, tenant_id),
        {one.id: one for one in states.definitions.all_of(connection, tenant_id)},
        {str(one.id): one for one in badges.definitions.all_of(connection, tenant_id)},
        destinations.subscriptions(connection, [tenant_id]),
        {str(known_tier.id): known_tier for known_tier in known_tiers},
        {str(one.id): one for one in rewards.definitions.all_of(connection, tenant_id)},
        [
            known_tier
            for known_tier in known_tiers
            if known_tier.is_active and known_tier.award_type == "automatic"
        ],
        [one for one in challenges.definitions.all_of(connection, tenant_id) if one.is_active],
    )
