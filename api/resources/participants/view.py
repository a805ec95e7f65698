"""How a participant is shown: the profile, and the sections of the state (seed 000)."""

from __future__ import annotations

from typing import Any, NotRequired, cast

from pydantic_core import from_json
from typing_extensions import TypedDict

from api.http.describe import Moment
from api.resources.definitions.badges import BadgeSummary
from api.resources.participants.tier_progress import Placement, placement
from models import clock
from models.ledgers.points import PointsBalance
from models.ledgers.tier_changes import Tier
from models.people import profile
from models.people.profile_sections import ProfileBadge, Sections, Summary

SECTIONS = ("points", "tier", "badges", "streaks", "challenges", "rewards")


class PointsState(TypedDict):
    """Points, as they stand."""

    balance: int
    total_earned: int
    total_spent: int


class NextTierState(TypedDict):
    """The tier above, and what is missing."""

    code: str
    name: str
    points_required: int
    points_remaining: int


class TierState(TypedDict):
    """The tier that a participant is in."""

    code: str
    name: str
    level: int
    color: NotRequired[str | None]
    achieved_at: NotRequired[Moment | None]
    next_tier: NotRequired[NextTierState | None]


class StreakSummary(TypedDict):
    """The best of all active streaks, and when the last tick was."""

    current: int
    longest: int
    last_activity_at: Moment | None


class ChallengesState(TypedDict):
    """How many challenges are under way, and how many are done."""

    active: int
    completed: int


class RewardsState(TypedDict):
    """How many rewards were claimed."""

    total_claimed: int


class ParticipantProfile(TypedDict):
    """Everything about one participant."""

    participant_id: str
    display_name: str | None
    avatar_url: str | None
    attributes: dict[str, Any] | None
    points: PointsState
    tier: TierState | None
    badges: list[BadgeSummary]
    streaks: StreakSummary | None
    rewards_claimed: int
    first_seen_at: Moment | None
    last_seen_at: Moment | None
    total_events: int
    is_active: bool
    created_at: Moment
    timezone: str | None


class ParticipantState(TypedDict):
    """The sections that were asked for."""

    participant_id: str
    points: NotRequired[PointsState]
    tier: NotRequired[TierState | None]
    badges: NotRequired[list[BadgeSummary]]
    streaks: NotRequired[StreakSummary | None]
    challenges: NotRequired[ChallengesState]
    rewards: NotRequired[RewardsState]


def as_profile(found: profile.Profile) -> ParticipantProfile:
    """The profile, in the documented order."""
    first, last = found.first_seen_at, found.last_seen_at
    return {
        "participant_id": found.external_id,
        "display_name": found.display_name,
        "avatar_url": found.avatar_url,
        "attributes": from_json(found.attributes) if found.attributes else None,
        "points": as_points(found.points),
        "tier": as_tier(placement(found.placed), found.points),
        "badges": [_badge(one) for one in found.badges],
        "streaks": _streaks(found.streaks),
        "rewards_claimed": found.rewards_claimed,
        "first_seen_at": clock.isoformat(first) if first else None,
        "last_seen_at": clock.isoformat(last) if last else None,
        "total_events": found.total_events,
        "is_active": found.status == "ACTIVE",
        "created_at": clock.isoformat(found.created_at),
        "timezone": found.timezone,
    }


def as_state(participant_id: str, found: Sections, wanted: tuple[str, ...]) -> ParticipantState:
    """The sections wanted, in the documented order."""
    sections: ParticipantState = {
        "participant_id": participant_id,
        "points": as_points(found.points),
        "tier": as_tier(placement(found.placed), found.points),
        "badges": [_badge(one) for one in found.badges],
        "streaks": _streaks(found.streaks),
        "challenges": {
            "active": found.challenges.active,
            "completed": found.challenges.completed,
        },
        "rewards": {"total_claimed": found.rewards_claimed},
    }
    kept = {name: one for name, one in sections.items() if name in ("participant_id", *wanted)}
    return cast(ParticipantState, kept)


def as_points(points: PointsBalance) -> PointsState:
    """Points, as they stand."""
    return {
        "balance": points.balance,
        "total_earned": points.earned,
        "total_spent": points.spent,
    }


def as_tier(found: Placement | None, points: PointsBalance) -> TierState | None:
    """The tier that somebody is in, with the one above."""
    if found is None:
        return None
    tier = found.tier
    return {
        "code": tier.code,
        "name": tier.name,
        "level": tier.level,
        "color": tier.color,
        "achieved_at": clock.to_text(found.achieved_us),
        "next_tier": as_next_tier(found.above, points),
    }


def as_next_tier(above: Tier | None, points: PointsBalance) -> NextTierState | None:
    """The tier above. What remains counts from the balance, as the documented example does (10,000
    required, 1,500 left of 5,000 earned: 8,500 remain); see docs/decisions/0014."""
    if above is None or above.min_points is None:
        return None
    return {
        "code": above.code,
        "name": above.name,
        "points_required": above.min_points,
        "points_remaining": max(0, above.min_points - points.balance),
    }


def _badge(one: ProfileBadge) -> BadgeSummary:
    return {
        "code": one.code,
        "name": one.name,
        "icon": one.icon_url,
        "rarity": one.rarity,
        "earned": one.earned_us is not None,
        "earned_at": None if one.earned_us is None else clock.to_text(one.earned_us),
    }


def _streaks(summary: Summary | None) -> StreakSummary | None:
    if summary is None:
        return None
    return {
        "current": summary.current,
        "longest": summary.longest,
        "last_activity_at": clock.to_text(summary.last_us),
    }
