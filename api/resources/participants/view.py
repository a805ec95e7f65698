"""A participant as JSON: the profile and the sections of the state (seed 000)."""

from __future__ import annotations

from typing import Any, NotRequired, cast

from pydantic_core import from_json
from typing_extensions import TypedDict

from api.http.describe import Moment, shown
from api.resources.shared.tier_progress import (
    PointsState,
    TierState,
    as_points,
    as_tier,
    placement,
)
from models import clock
from models.definitions.badges import Rarity
from models.people import profile
from models.people.profile_sections import ProfileBadge, Sections, Summary

SECTIONS = ("points", "tier", "badges", "streaks", "challenges", "rewards")


class BadgeSummary(TypedDict):
    """A badge in a participant's profile and state."""

    code: str
    name: str
    icon: str | None
    rarity: Rarity
    earned: bool
    earned_at: Moment | None


class StreakSummary(TypedDict):
    """The best of all active streaks, and the time of the last tick."""

    current: int
    longest: int
    last_activity_at: Moment | None


class ChallengesState(TypedDict):
    """The numbers of active and completed challenges."""

    active: int
    completed: int


class RewardsState(TypedDict):
    """The number of redemptions."""

    total_claimed: int


class ParticipantProfile(TypedDict):
    """The full profile of one participant."""

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
    """The requested sections."""

    participant_id: str
    points: NotRequired[PointsState]
    tier: NotRequired[TierState | None]
    badges: NotRequired[list[BadgeSummary]]
    streaks: NotRequired[StreakSummary | None]
    challenges: NotRequired[ChallengesState]
    rewards: NotRequired[RewardsState]


def as_profile(found: profile.Profile) -> ParticipantProfile:
    """The profile in the documented order."""
    return shown(
        ParticipantProfile,
        found,
        participant_id=found.external_id,
        attributes=from_json(found.attributes) if found.attributes else None,
        points=as_points(found.points),
        tier=as_tier(placement(found.placed), found.points),
        badges=[_badge(badge) for badge in found.badges],
        streaks=_streaks(found.streaks),
        is_active=found.status == "ACTIVE",
    )


def as_state(participant_id: str, found: Sections, wanted: tuple[str, ...]) -> ParticipantState:
    """The requested sections in the documented order."""
    sections: ParticipantState = {
        "participant_id": participant_id,
        "points": as_points(found.points),
        "tier": as_tier(placement(found.placed), found.points),
        "badges": [_badge(badge) for badge in found.badges],
        "streaks": _streaks(found.streaks),
        "challenges": shown(ChallengesState, found.challenges),
        "rewards": {"total_claimed": found.rewards_claimed},
    }
    kept = {
        name: section for name, section in sections.items() if name in ("participant_id", *wanted)
    }
    return cast(ParticipantState, kept)


def _badge(badge: ProfileBadge) -> BadgeSummary:
    earned_at = clock.to_text_or_none(badge.earned_us)
    earned = earned_at is not None
    return shown(BadgeSummary, badge, icon=badge.icon_url, earned=earned, earned_at=earned_at)


def _streaks(summary: Summary | None) -> StreakSummary | None:
    if summary is None:
        return None
    return shown(StreakSummary, summary, last_activity_at=clock.to_text(summary.last_us))
