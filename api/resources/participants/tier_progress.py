"""Which tier somebody is shown in, and which one is next: by the definitions that a key's entry in
the directory holds, so that reading a profile asks no table of tiers (0.50 → 0.56 of a bare read).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from api.http.auth import principal, tenant
from api.http.tenant_session import reading
from models.ledgers import tier_changes
from models.ledgers.tier_changes import Tier
from models.people.profile_sections import Placed
from models.rules.tiers import following


class Placement(NamedTuple):
    """The tier that somebody is in, with the one above that points lead to."""

    tier: Tier
    achieved_us: int
    above: Tier | None


def placement(placed: Placed | None) -> Placement | None:
    """Where somebody is; None without a tier."""
    if placed is None:
        return None
    known: Iterable[Tier] = principal().tiers.values()
    tier = _by_id(known, placed.tier_id)
    if tier is None:  # defined since the directory was last read
        known = _read()
        tier = _by_id(known, placed.tier_id)
    if tier is None:
        return None
    return Placement(tier, placed.achieved_us, _above(known, tier.level))


def first() -> Tier | None:
    """The lowest tier that points lead to."""
    return _above(principal().tiers.values(), None)


def _above(known: Iterable[Tier], level: int | None) -> Tier | None:
    ladder = [one for one in known if one.is_active and one.award_type == "automatic"]
    return following(ladder, level)


def _by_id(known: Iterable[Tier], tier_id: str) -> Tier | None:
    return next((one for one in known if str(one.id) == tier_id), None)


def _read() -> Iterable[Tier]:
    with reading() as connection:
        return tier_changes.definitions.all_of(connection, tenant().id)
