"""The principal of a key with its tenant's configuration, cached by version.

A write carries the version it was checked under; Redis refuses any but the latest, and the entry is
read again. A read may use an entry for a few seconds without asking Redis.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

from models import clock
from models.db import Engine, reading
from models.definitions import badges, rewards
from models.definitions.badges import Badge
from models.definitions.rewards import Reward
from models.identity import tenants
from models.identity.tenants import ApiKey, Tenant
from models.ledgers import tier_changes
from models.ledgers.tier_changes import Tier
from models.streaks import states
from models.streaks.states import Streak
from workers.intake.client import Caps, Intake, Unavailable, may_be_cached

READ_SECONDS = 4.0  # contract §1: a revoked key reads for at most 5 s
_NO_VERSION = "?"  # matches no version: the entry serves reads; a write is refused as stale
ENTRIES_MAX = 10_000  # keys in use per process; an entry takes some kilobytes


@dataclass(frozen=True, slots=True)
class Principal:
    """A key, its tenant, and the tenant's configuration as of one version."""

    key: ApiKey
    tenant: Tenant
    streaks: dict[str, Streak]
    badges: dict[str, Badge]
    tiers: dict[str, Tier]
    rewards: dict[str, Reward]  # by id
    caps: Caps
    version: str
    loaded_at: float  # monotonic seconds

    @property
    def is_valid(self) -> bool:
        """Neither revoked nor expired now."""
        if self.key.expires_at is None:  # nearly all keys: no clock call
            return self.key.revoked_at is None
        return self.key.is_valid_at(clock.now())

    @property
    def is_fresh(self) -> bool:
        """Whether it was read recently enough to answer a read."""
        return time.monotonic() - self.loaded_at < READ_SECONDS


class Directory:
    """A bounded cache of principals by key hash; threads may race, the last write wins."""

    def __init__(self, engine: Engine, intake: Intake) -> None:
        self._engine, self._intake = engine, intake
        self._entries: OrderedDict[bytes, Principal] = OrderedDict()
        self._valid: OrderedDict[bytes, None] = OrderedDict()  # kept when a change drops an entry
        self._lock = Lock()

    def cached(self, key: str) -> Principal | None:
        """The entry of a key, however old."""
        return self._entries.get(tenants.hash_key(key))

    def forget(self, key: str) -> None:
        """Make the next request with a key read it again, even if its entry is fresh."""
        with self._lock:
            self._entries.pop(tenants.hash_key(key), None)

    def was_valid(self, key: str) -> bool:
        """Whether a key was valid when it was last read here, as far as is remembered."""
        return tenants.hash_key(key) in self._valid

    def load(self, key: str, *, for_reading: bool) -> Principal | None:
        """Read a key from the database; None if it does not exist.

        The version is read before the configuration: a change in between makes the entry stale at
        its first write, never wrong. Raises Unavailable without Redis, except for a read.
        """
        with reading(self._engine) as connection:
            found = tenants.find_key(connection, key)
            if found is None:
                return None
            tenant_id = found.tenant_id
            version = self._version(key, tenant_id, for_reading)
            stored = tenants.find_key(connection, key) or found
            tenant = tenants.by_id(connection, tenant_id)
            principal = Principal(
                key=stored,
                tenant=tenant,
                streaks={
                    streak.code: streak
                    for streak in states.definitions.all_of(connection, tenant_id)
                },
                badges={
                    badge.code: badge for badge in badges.definitions.all_of(connection, tenant_id)
                },
                tiers={
                    tier.code: tier
                    for tier in tier_changes.definitions.all_of(connection, tenant_id)
                },
                rewards={
                    str(reward.id): reward
                    for reward in rewards.definitions.all_of(connection, tenant_id)
                },
                caps=_caps(stored, tenant),
                version=version,
                loaded_at=time.monotonic(),
            )
        self._keep(tenants.hash_key(key), principal)
        return principal

    def _version(self, key: str, tenant_id: int, for_reading: bool) -> str:
        try:
            return self._intake.version(tenant_id)
        except Unavailable:
            if not for_reading:
                raise
        # If a write still finds the earlier version, nothing changed and this entry is current.
        # Without that version, the first write after Redis came back would need Postgres.
        before = self.cached(key)
        return before.version if before else _NO_VERSION

    def _keep(self, digest: bytes, principal: Principal) -> None:
        with self._lock:
            self._entries.pop(digest, None)
            if may_be_cached(principal.version):
                self._entries[digest] = principal
            self._valid.pop(digest, None)
            if principal.is_valid:
                self._valid[digest] = None
            for kept in (self._entries, self._valid):
                while len(kept) > ENTRIES_MAX:
                    kept.popitem(last=False)


def _caps(key: ApiKey, tenant: Tenant) -> Caps:
    return Caps(
        tenant.participant_writes_per_minute, key.writes_per_minute, tenant.writes_per_minute
    )
