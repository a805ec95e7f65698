"""Facts: what happened, in the envelope that subscribers read (contract §4). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec

from models import clock
from models.rules.periods import key_of
from models.streaks import Streak
from models.tenants import Tenant
from models.ticks import Tick

STREAK_RECORDED = "behavior.streak_recorded"

# Every type of fact there is, for the validation of what a destination subscribes to.
TYPES = (
    STREAK_RECORDED,
    "behavior.streak_at_risk",
    "behavior.streak_broken",
    "behavior.streak_milestone",
    "badge.awarded",
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
class Subject:
    """Whom a fact is about."""

    tenant: Tenant
    participant_id: int
    external_id: str
    sequence: int


def public_id(fact_id: UUID) -> str:
    """A fact's id as subscribers see it: also the `webhook-id` of every delivery."""
    return f"evt_{fact_id.hex}"


def streak_recorded(
    fact_id: UUID, subject: Subject, streak: Streak, tick: Tick, now_us: int
) -> Fact:
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
    if tick.metadata is not None:
        payload["metadata"] = msgspec.Raw(tick.metadata.encode())
    return _fact(fact_id, subject, STREAK_RECORDED, payload, now_us)


def _fact(fact_id: UUID, subject: Subject, kind: str, payload: dict[str, Any], now_us: int) -> Fact:
    envelope = {
        "id": public_id(fact_id),
        "type": kind,
        "occurred_at": clock.to_text(now_us),
        "tenant": subject.tenant.slug,
        "mode": subject.tenant.mode,
        "participant_id": subject.external_id,
        "sequence": subject.sequence,
        "payload": payload,
    }
    return Fact(
        subject.tenant.id,
        fact_id,
        subject.participant_id,
        subject.sequence,
        kind,
        now_us,
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
