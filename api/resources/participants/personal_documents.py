"""The schema of the document with all data of one participant."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from api.http.describe import Id, Moment
from api.resources.shared.dead_letter_view import DeadLetterDetail
from models.delivery.deliveries import DeliveryStatus
from models.ledgers.points import Account
from models.ledgers.points import MovementKind as PointsKind
from models.ledgers.streak_changes import ChangeKind
from models.ledgers.tier_changes import Source
from models.people.profile import ParticipantStatus
from models.rules.periods import PeriodKind as Period


class ExportedProfile(TypedDict):
    """The participant's own row."""

    display_name: str | None
    avatar_url: str | None
    attributes: dict[str, Any] | None
    timezone: str | None
    status: ParticipantStatus
    tags: list[str]
    inactive_since: Moment | None
    total_events: int
    total_earned: int
    total_spent: int
    balance: int
    opening_earned: int | None  # imported from another system
    opening_spent: int | None
    rewards_claimed: int
    tier_code: str | None
    tier_achieved_at: Moment | None
    first_seen_at: Moment | None
    last_seen_at: Moment | None
    created_at: Moment
    updated_at: Moment
    aliases: list[str]  # ids that were merged into the participant's


class ExportedProgram(TypedDict):
    """An enrolment."""

    program_id: Id
    name: str
    enrolled_at: Moment


class ExportedStreak(TypedDict):
    """A streak with the set of recorded periods: the first and the last key of each run."""

    streak_code: str
    streak_name: str
    period: Period
    count: int
    longest_count: int
    grace_remaining: int
    last_recorded_at: Moment
    timezone: str | None
    review_at: Moment | None  # when the service next checks it
    recorded: list[list[str]]


class ExportedMilestone(TypedDict):
    """A milestone reached, and the recorded period that reached it (null: unknown)."""

    streak_code: str
    count: int
    tick_id: Id | None
    period_key: str | None


class ExportedProgress(TypedDict):
    """What the ticks of a period add up to, of a streak with a target."""

    streak_code: str
    value: float
    days: int
    last_recorded_at: Moment
    last_timezone: str | None
    period_key: str


class ExportedTick(TypedDict):
    """A tick and its result."""

    accepted_at: Moment
    tick_id: Id
    streak_code: str
    timestamp: Moment
    timezone: str | None
    metadata: dict[str, Any] | None
    value: float | None
    progress: float | None
    outcome: str
    new_count: int
    previous_count: int
    longest_count: int
    is_new_record: bool
    grace_remaining: int
    period_key: str


class ExportedBadge(TypedDict):
    """Badges earned."""

    badge_code: str
    badge_name: str
    earned_at: Moment
    award_id: Id
    metadata: dict[str, Any] | None


class ExportedAward(TypedDict):
    """An award by an API call, a milestone or a challenge."""

    accepted_at: Moment
    award_id: Id
    badge_code: str
    earned_at: Moment
    already_earned: bool


class ExportedTransaction(TypedDict):
    """A movement of points; negative if the balance fell."""

    accepted_at: Moment
    transaction_id: Id
    kind: PointsKind
    amount: int
    balance_after: int
    debit: Account
    credit: Account
    source: str | None
    reason: str | None
    metadata: dict[str, Any] | None
    tier_code: str | None


class ExportedTierChange(TypedDict):
    """A tier change."""

    achieved_at: Moment
    tier_code: str
    previous_code: str | None
    source: Source
    reason: str | None
    metadata: dict[str, Any] | None


class ExportedRedemption(TypedDict):
    """A redemption."""

    claimed_at: Moment
    claim_id: Id
    reward_code: str
    reward_name: str
    points_deducted: int
    balance_after: int
    metadata: dict[str, Any] | None


class ExportedStreakChange(TypedDict):
    """What was done to a streak: a pause, freezes, a repair or a retraction."""

    accepted_at: Moment
    change_id: Id
    kind: ChangeKind
    streak_code: str | None  # null: several
    reason: str | None
    details: dict[str, Any]


ExportedPause = TypedDict(
    "ExportedPause",
    {
        "pause_id": Id,
        "created_at": Moment,
        "from": str,
        "to": str,
        "reason": str | None,
        "streak_codes": list[str] | None,
    },
)
ExportedPause.__doc__ = "A pause: the first and the last day, and its streaks (null: all)."


class ExportedChallenge(TypedDict):
    """Progress in a challenge."""

    challenge_code: str
    challenge_name: str
    progress: int
    target: int
    completed_at: Moment | None
    updated_at: Moment


class ExportedScore(TypedDict):
    """A leaderboard entry; the score is null until it is first computed."""

    leaderboard_code: str
    leaderboard_name: str
    score: int | None
    reached_at: Moment | None
    is_to_be_updated: bool


class ExportedDelivery(TypedDict):
    """A fact, and the hosts to which it was or will be sent."""

    fact_id: str
    webhook_id: Id
    status: DeliveryStatus
    attempts: int
    next_attempt_at: Moment
    destination: str | None


class ExportedAttempt(TypedDict):
    """One attempt to send a fact, and what the receiver answered."""

    attempted_at: Moment
    fact_id: str
    webhook_id: Id
    number: int
    status_code: int | None
    error: str | None
    duration_ms: int
    remote_address: str | None
    response: str | None
    destination: str | None


class ExportedRejection(TypedDict):
    """An accepted write that was rejected because of the participant's status or balance."""

    accepted_at: Moment
    write_id: Id
    code: str
    detail: str | None


class PersonalData(TypedDict):
    """All data that an erasure of the participant would delete."""

    participant_id: str
    tenant: str
    mode: str
    exported_at: Moment
    profile: ExportedProfile
    programs: list[ExportedProgram]
    streaks: list[ExportedStreak]
    milestones: list[ExportedMilestone]
    progress: list[ExportedProgress]
    ticks: list[ExportedTick]
    badges: list[ExportedBadge]
    awards: list[ExportedAward]
    points_transactions: list[ExportedTransaction]
    tier_changes: list[ExportedTierChange]
    claims: list[ExportedRedemption]
    streak_changes: list[ExportedStreakChange]
    pauses: list[ExportedPause]
    challenges: list[ExportedChallenge]
    leaderboards: list[ExportedScore]
    facts: list[dict[str, Any]]
    deliveries: list[ExportedDelivery]
    attempts: list[ExportedAttempt]
    rejections: list[ExportedRejection]
    dead_letters: list[DeadLetterDetail]
