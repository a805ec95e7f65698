"""Facts: what happened, in the envelope that subscribers read (contract §4). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec

from models import clock
from models.awards import Earned
from models.badges import Badge
from models.rules.periods import key_of
from models.streaks import Streak
from models.tenants import Tenant
from models.ticks import Tick

STREAK_RECORDED = "behavior.streak_recorded"
BADGE_AWARDED = "badge.awarded"

# Every type of fact there is, for the validation of what a destination subscribes to.
TYPES = (
    STREAK_RECORDED,
    "behavior.streak_at_risk",
    "behavior.streak_broken",
    "behavior.streak_milestone",
    BADGE_AWARDED,
)


@dataclass(frozen=True, slots=True)
class Fact:
    """One change, as it is stored and sent."""

    tenant_id: int
    id: UUID
    participant_id: int
    sequence: int  # counts up by one per participant, without gaps
    type: str
    occurred_us: int
    body: str  # the exact bytes (UTF-8) that are signed


@dataclass(frozen=True, slots=True)
class Stamp:
    """What every fact carries, whatever it says: its id, whom it is about, its number, its time."""

    id: UUID
    tenant: Tenant
    participant_id: int
    external_id: str
    sequence: int
    now_us: int


def public_id(fact_id: UUID) -> str:
    """A fact's id as subscribers see it: also the `webhook-id` of every delivery."""
    return f"evt_{fact_id.hex}"


def streak_recorded(stamp: Stamp, streak: Streak, tick: Tick) -> Fact:
    """The fact of a tick that changed something (contract §4)."""
    payload = {
        "streak_code": streak.code,
        "count": tick.new_count,
        "previous_count": tick.previous_count,
        "longest_count": tick.longest_count,
        "is_new_record": tick.is_new_record,
        "outcome": tick.outcome,
        "period": streak.period,
        "period_key": key_of(streak.period, tick.period),
        "grace_remaining": tick.grace_remaining,
        "recorded_at": clock.to_text(tick.occurred_us),
        "tick_id": tick.id,
    }
    return _fact(stamp, STREAK_RECORDED, payload, tick.metadata)


def badge_awarded(stamp: Stamp, badge: Badge, earned: Earned) -> Fact:
    """The fact of a first award; a repeated one changes nothing and has none."""
    payload = {
        "badge_code": badge.code,
        "badge_name": badge.name,
        "icon": badge.icon_url,
        "rarity": badge.rarity,
        "category": badge.category,
        "earned_at": clock.to_text(earned.earned_us),
        "award_id": earned.award_id,
    }
    return _fact(stamp, BADGE_AWARDED, payload, earned.metadata)


def _fact(stamp: Stamp, kind: str, payload: dict[str, Any], metadata: str | None) -> Fact:
    if metadata is not None:
        payload["metadata"] = msgspec.Raw(metadata.encode())
    envelope = {
        "id": public_id(stamp.id),
        "type": kind,
        "occurred_at": clock.to_text(stamp.now_us),
        "tenant": stamp.tenant.slug,
        "mode": stamp.tenant.mode,
        "participant_id": stamp.external_id,
        "sequence": stamp.sequence,
        "payload": payload,
    }
    return Fact(
        stamp.tenant.id,
        stamp.id,
        stamp.participant_id,
        stamp.sequence,
        kind,
        stamp.now_us,
        msgspec.json.encode(envelope).decode(),
    )


def matches(patterns: list[str], kind: str) -> bool:
    """Whether a type is among those subscribed to: `behavior.*` and `*` stand for many."""
    return any(
        pattern == kind
        or pattern == "*"
        or (pattern[-2:] == ".*" and kind.startswith(pattern[:-1]))
        for pattern in patterns
    )
