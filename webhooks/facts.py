"""Facts: what happened, in the envelope that receivers read (contract §4). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

import msgspec

from models import clock
from models.definitions.badges import Badge
from models.definitions.challenges import Challenge
from models.definitions.rewards import Reward
from models.identity.tenants import Tenant
from models.ledgers.awards import Earned
from models.ledgers.milestones import GivenBadge
from models.ledgers.points import Transaction
from models.ledgers.redemptions import Redemption
from models.ledgers.ticks import Tick, progress_of
from models.ledgers.tier_changes import Change
from models.rules.periods import key_of
from models.streaks.states import Streak

STREAK_RECORDED = "behavior.streak_recorded"
STREAK_MILESTONE = "behavior.streak_milestone"
STREAK_AT_RISK = "behavior.streak_at_risk"
STREAK_BROKEN = "behavior.streak_broken"
STREAK_FORGIVEN = "behavior.streak_forgiven"
STREAK_REMINDER_DUE = "behavior.streak_reminder_due"
STREAK_FREEZE_EARNED = "behavior.streak_freeze_earned"
STREAK_REPAIRED = "behavior.streak_repaired"
BADGE_AWARDED = "badge.awarded"
BADGE_REVOKED = "badge.revoked"
POINTS_AWARDED = "points.awarded"
POINTS_DEDUCTED = "points.deducted"
TIER_CHANGED = "tier.changed"
REWARD_CLAIMED = "reward.claimed"
CHALLENGE_COMPLETED = "challenge.completed"
DESTINATION_FAILING = "webhook.destination_failing"
DESTINATION_DISABLED = "webhook.destination_disabled"
DESTINATION_RECOVERED = "webhook.destination_recovered"

# Every type of fact, to validate the types that a destination subscribes to.
TYPES = (
    STREAK_RECORDED,
    STREAK_MILESTONE,
    STREAK_AT_RISK,
    STREAK_BROKEN,
    STREAK_FORGIVEN,
    STREAK_REMINDER_DUE,
    STREAK_FREEZE_EARNED,
    STREAK_REPAIRED,
    BADGE_AWARDED,
    BADGE_REVOKED,
    POINTS_AWARDED,
    POINTS_DEDUCTED,
    TIER_CHANGED,
    REWARD_CLAIMED,
    CHALLENGE_COMPLETED,
    DESTINATION_FAILING,
    DESTINATION_DISABLED,
    DESTINATION_RECOVERED,
)


@dataclass(frozen=True, slots=True)
class Fact:
    """One change, as stored and sent."""

    tenant_id: int
    id: UUID
    participant_id: int | None  # None: about a destination
    sequence: int | None  # counts up by one per participant, without gaps
    type: str
    occurred_us: int
    body: str  # the exact bytes (UTF-8) that are signed
    streak_code: str | None = None  # of a fact about a streak


@dataclass(frozen=True, slots=True)
class FactStamp:
    """The fields that every fact carries: its id, participant, number and time."""

    id: UUID
    tenant: Tenant
    participant_id: int | None
    external_id: str | None
    sequence: int | None
    now_us: int


@dataclass(frozen=True, slots=True)
class Reached:
    """A threshold that was crossed, and the badge it earns."""

    count: int
    badge_code: str | None
    is_badge_new: bool | None  # None without a badge, or when no badge of that code can be awarded
    points: int | None = None  # the points that it gives


@dataclass(frozen=True, slots=True)
class FreezesEarned:
    """Freezes that a tick has earned."""

    amount: int
    remaining: int  # with them


RepairCause = Literal[
    "late_tick", "pause", "freeze", "repair", "restore", "retraction", "outage", "rules",
    "timezone", "merge", "earn_back",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class StreakRepair:
    """A count that changed without a new tick, or a break that did not happen."""

    count: int
    previous_count: int
    longest_count: int
    cause: RepairCause
    reason: str | None = None
    corrects: UUID | None = None  # the fact that is no longer true


@dataclass(frozen=True, slots=True)
class DestinationChange:
    """The data of a fact about a destination."""

    webhook_id: UUID
    description: str | None
    reason: str | None  # gone | asked | failing
    failing_since: datetime | None


def public_id(fact_id: UUID) -> str:
    """A fact's id as receivers see it: also the `webhook-id` of every delivery."""
    return f"evt_{fact_id.hex}"


def streak_recorded(stamp: FactStamp, streak: Streak, tick: Tick) -> Fact:
    """The fact of a tick that changed something (contract §4)."""
    payload = {
        "streak_code": streak.code,
        "count": tick.new_count,
        "previous_count": tick.previous_count,
        "longest_count": tick.longest_count,
        "is_new_record": tick.is_new_record,
        "outcome": tick.outcome,
        "period": streak.period,
        "period_key": key_of(streak.cadence, tick.period),
        "grace_remaining": tick.grace_remaining,
        "recorded_at": clock.to_text(tick.occurred_us),
        "tick_id": tick.id,
    }
    if tick.progress is not None and streak.target is not None:
        payload["progress"] = progress_of(tick.progress, streak.target)
    return fact_of(stamp, STREAK_RECORDED, payload | _metadata(tick.metadata), streak.code)


def streak_milestone(stamp: FactStamp, streak: Streak, tick: Tick, reached: Reached) -> Fact:
    """The fact of one threshold that a tick has crossed (contract §4)."""
    payload = {
        "streak_code": streak.code,
        "milestone": reached.count,
        "count": tick.new_count,
        "previous_count": tick.previous_count,
        "badge_code": reached.badge_code,
        "is_badge_new": reached.is_badge_new,
        "points": reached.points,
        "period": streak.period,
        "period_key": key_of(streak.cadence, tick.period),
        "recorded_at": clock.to_text(tick.occurred_us),
        "tick_id": tick.id,
    }
    return fact_of(stamp, STREAK_MILESTONE, payload, streak.code)


def streak_freeze_earned(
    stamp: FactStamp, streak: Streak, tick: Tick, earned: FreezesEarned
) -> Fact:
    """The fact that a count earned a freeze."""
    payload = {
        "streak_code": streak.code,
        "count": tick.new_count,
        "freezes_earned": earned.amount,
        "freezes_remaining": earned.remaining,
        "period": streak.period,
        "period_key": key_of(streak.cadence, tick.period),
        "recorded_at": clock.to_text(tick.occurred_us),
        "tick_id": tick.id,
    }
    return fact_of(stamp, STREAK_FREEZE_EARNED, payload, streak.code)


def streak_repaired(stamp: FactStamp, streak: Streak, repair: StreakRepair) -> Fact:
    """The fact that a count was mended, or that an earlier fact is no longer true."""
    payload = {
        "streak_code": streak.code,
        "count": repair.count,
        "previous_count": repair.previous_count,
        "longest_count": repair.longest_count,
        "period": streak.period,
        "cause": repair.cause,
        "reason": repair.reason,
        "corrects": None if repair.corrects is None else public_id(repair.corrects),
    }
    return fact_of(stamp, STREAK_REPAIRED, payload, streak.code)


def badge_awarded(stamp: FactStamp, badge: Badge, earned: Earned) -> Fact:
    """The fact of a first award; a repeated one changes nothing and has no fact."""
    payload: dict[str, Any] = {
        "badge_code": badge.code,
        "badge_name": badge.name,
        "icon": badge.icon_url,
        "rarity": badge.rarity,
        "category": badge.category,
        "earned_at": clock.to_text(earned.earned_us),
        "award_id": earned.award_id,
    }
    return fact_of(stamp, BADGE_AWARDED, payload | _metadata(earned.metadata))


class Revoked(NamedTuple):
    """Why a badge was taken back."""

    streak_code: str
    milestone: int  # the count that is no longer reached
    reason: str | None


def badge_revoked(stamp: FactStamp, badge: GivenBadge, why: Revoked) -> Fact:
    """The fact of a badge that a participant no longer has."""
    payload: dict[str, Any] = {
        "badge_code": badge.code,
        "badge_name": badge.name,
        "award_id": badge.award_id,
        **why._asdict(),
    }
    return fact_of(stamp, BADGE_REVOKED, payload)


def points_awarded(stamp: FactStamp, made: Transaction, earned: int) -> Fact:
    """The fact of points that a participant got, from any source."""
    return fact_of(stamp, POINTS_AWARDED, _movement(made) | {"total_earned": earned})


def points_deducted(stamp: FactStamp, made: Transaction, spent: int) -> Fact:
    """The fact of points that a participant gave, for any reason."""
    return fact_of(stamp, POINTS_DEDUCTED, _movement(made) | {"total_spent": spent})


def _movement(made: Transaction) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "amount": made.amount,
        "balance": made.balance_after,
        "kind": made.kind,
        "source": made.source,
        "reason": made.reason,
        "transaction_id": made.id,
    }
    return payload | _metadata(made.metadata)


def tier_changed(stamp: FactStamp, change: Change, earned: int) -> Fact:
    """The fact that a participant's tier changed, by points or by an assignment."""
    upgrade = change.upgrade
    payload: dict[str, Any] = {
        "tier_code": upgrade.code,
        "tier_name": upgrade.name,
        "level": upgrade.level,
        "previous_tier_code": upgrade.previous_code,
        "previous_level": upgrade.previous_level,
        "source": change.source,
        "reason": change.reason,
        "total_earned": earned,
        "achieved_at": clock.to_text(change.achieved_us),
    }
    return fact_of(stamp, TIER_CHANGED, payload | _metadata(change.metadata))


def reward_redeemed(stamp: FactStamp, reward: Reward, redemption: Redemption) -> Fact:
    """The fact that a participant redeemed a reward; its cost has a fact of its own."""
    payload: dict[str, Any] = {
        "reward_id": redemption.reward_id,
        "reward_code": reward.code,
        "reward_name": reward.name,
        "reward_type": reward.type,
        "points_deducted": redemption.points_deducted,
        "balance": redemption.balance_after,
        "claim_id": redemption.id,
        "claimed_at": clock.to_text(redemption.claimed_us),
    }
    return fact_of(stamp, REWARD_CLAIMED, payload | _metadata(redemption.metadata))


def challenge_completed(stamp: FactStamp, challenge: Challenge, is_badge_new: bool | None) -> Fact:
    """The fact that a participant reached a challenge's target, after the facts of its prizes."""
    payload = {
        "challenge_code": challenge.code,
        "challenge_name": challenge.name,
        "objective": challenge.objective.as_json(),
        "target": challenge.target,
        "points": challenge.points,
        "badge_code": challenge.badge_code,
        "is_badge_new": is_badge_new,
        "completed_at": clock.to_text(stamp.now_us),
    }
    return fact_of(stamp, CHALLENGE_COMPLETED, payload)


def _metadata(text: str | None) -> dict[str, Any]:
    """The metadata of a write, byte for byte; nothing without it."""
    return {} if text is None else {"metadata": msgspec.Raw(text.encode())}


def destination(stamp: FactStamp, kind: str, change: DestinationChange) -> Fact:
    """An operational fact: a destination is failing, disabled or healthy again."""
    payload = {
        "webhook_id": str(change.webhook_id),
        "description": change.description,
        "reason": change.reason,
        "failing_since": change.failing_since and clock.isoformat(change.failing_since),
    }
    return fact_of(stamp, kind, payload)


def fact_of(
    stamp: FactStamp, kind: str, payload: dict[str, Any], streak_code: str | None = None
) -> Fact:
    """A fact with its payload in the envelope."""
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
        streak_code,
    )


def matches(patterns: list[str], kind: str) -> bool:
    """Whether a type matches a subscription: `behavior.*` and `*` are globs."""
    return any(
        pattern == kind
        or pattern == "*"
        or (pattern[-2:] == ".*" and kind.startswith(pattern[:-1]))
        for pattern in patterns
    )
