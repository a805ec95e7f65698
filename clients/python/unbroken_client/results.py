"""The answers of the API as dataclasses. Fields that a newer service adds are ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, NotRequired, TypedDict, TypeVar

from unbroken_client.errors import ApiError

T = TypeVar("T")


def read(kind: type[T], document: Mapping[str, Any]) -> T:
    """A document as a dataclass; unknown fields are ignored. Pure."""
    names = {one.name for one in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in document.items() if name in names})


class TickDetails(TypedDict, total=False):
    """The optional fields of a tick."""

    timestamp: str  # RFC 3339 with a zone
    timezone: str  # IANA
    metadata: Mapping[str, Any]
    value: float  # what it adds, for a target of kind `value`


class TickInput(TickDetails):
    """A tick of a batch."""

    participant_id: str
    streak_code: str
    counted_timezone: NotRequired[str]  # IANA: by whose calendar it counts, as an export says


class AwardInput(TypedDict):
    """An award of a batch."""

    participant_id: str
    badge_code: str
    metadata: NotRequired[Mapping[str, Any]]
    earned_at: NotRequired[str]


class PointsDetails(TypedDict, total=False):
    """The optional fields of a movement of points."""

    reason: str
    metadata: Mapping[str, Any]


class PointsInput(PointsDetails):
    """An award of points of a batch."""

    participant_id: str
    amount: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """A write that will be applied exactly once; `Unbroken.outcome` reads its result."""

    kind: Literal["ticks", "awards", "points/transactions", "streak-changes"]
    id: str
    status_url: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a tick did."""

    streak_code: str
    new_count: int
    longest_count: int
    is_new_record: bool
    already_recorded: bool
    participant_id: str
    tick_id: str
    outcome: str
    previous_count: int
    grace_remaining: int
    period_key: str
    progress: Mapping[str, float] | None = None  # `value` and `target` of a streak with a target


@dataclass(frozen=True, slots=True)
class Awarded:
    """What an award did."""

    participant_id: str
    badge_code: str
    badge_name: str
    icon: str | None
    rarity: str
    earned_at: str
    already_earned: bool
    award_id: str


@dataclass(frozen=True, slots=True)
class Moved:
    """What an award or a deduction of points did."""

    transaction_id: str
    participant_id: str
    amount: int
    new_balance: int
    tier_upgrade: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Balance:
    """The points of a participant."""

    participant_id: str
    balance: int
    total_earned: int
    total_spent: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a write: accepted, applied, rejected or dead."""

    status: str
    result: Mapping[str, Any] | None = None  # once applied
    code: str | None = None  # why it was rejected
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What became of one item of a batch: an id, or why it was refused."""

    index: int  # in what was given, from 0
    id: str | None = None
    error: ApiError | None = None


@dataclass(frozen=True, slots=True)
class StreakOf:
    """A streak of a participant, live."""

    code: str
    name: str
    current_count: int
    longest_count: int
    last_recorded_at: str
    is_at_risk: bool
    period: str
    status: str
    expires_at: str | None
    grace_remaining: int
    freezes_remaining: int = 0
    is_perfect: bool = False  # nothing was forgiven, protected or repaired in the current run
    is_protected: bool = False  # the current period
    protected_by: str | None = None


@dataclass(frozen=True, slots=True)
class StreakChanged:
    """What a pause, a repair, a retraction, freezes or a merge did."""

    streak_change_id: str
    kind: str
    participant_id: str
    streak_code: str | None  # None: several
    reason: str | None
    streaks: list[Mapping[str, Any]]  # each with its count, before and after
    pause_id: str | None = None
    periods: list[str] | None = None  # repaired
    period_key: str | None = None  # of a retraction
    is_period_removed: bool | None = None
    revoked: list[Mapping[str, Any]] | None = None  # milestones, with what they had given
    freezes_remaining: int | None = None
    points_deducted: int | None = None
    new_balance: int | None = None
    is_repeated: bool | None = None  # of a merge: it was an alias before, nothing changed


@dataclass(frozen=True, slots=True)
class StreakPreview:
    """What a change would do now: nothing was written."""

    result: Mapping[str, Any]  # as in StreakChanged, without ids that are not given yet
    facts: list[Mapping[str, Any]]  # that would be sent: each with its type and payload


@dataclass(frozen=True, slots=True)
class RestoreJob:
    """A restore of many and its progress."""

    id: str
    streak_code: str
    status: str  # running, done, cancelled
    is_preview: bool  # nothing is restored, only counted
    lost_between: Mapping[str, str] | None  # None: of listed participants
    reason: str | None
    total: int  # participants to look at
    scanned: int  # looked at
    found: int  # with a break to restore
    restored: int
    nothing_to_restore: int
    refused: int  # of suspended, closed or erased participants
    created_at: str
    finished_at: str | None


@dataclass(frozen=True, slots=True)
class Outage:
    """A span in which no participant loses a streak."""

    id: str
    starts_at: str
    ends_at: str
    streak_codes: list[str] | None  # None: every streak
    reason: str
    created_at: str


@dataclass(frozen=True, slots=True)
class Period:
    """What became of one period of a streak."""

    period_key: str
    status: str  # recorded, grace, freeze, protected, missed, pending
    count: int
    grace_remaining: int
    tick_id: str | None
    recorded_at: str | None
    freezes_remaining: int = 0
    by: str | None = None  # the cause of a protected period


@dataclass(frozen=True, slots=True)
class History:
    """A streak, period by period."""

    participant_id: str
    streak_code: str
    period: str
    timezone: str
    periods: Sequence[Period]


@dataclass(frozen=True, slots=True)
class AtRisk:
    """Somebody whose streak breaks at `expires_at` unless a tick comes before."""

    participant_id: str
    streak_code: str
    current_count: int
    longest_count: int
    last_recorded_at: str
    expires_at: str
    grace_remaining: int
    timezone: str | None


@dataclass(frozen=True, slots=True)
class Profile:
    """The full profile of one participant."""

    participant_id: str
    display_name: str | None
    avatar_url: str | None
    attributes: Mapping[str, Any] | None
    points: Mapping[str, int]
    tier: Mapping[str, Any] | None
    badges: Sequence[Mapping[str, Any]]
    streaks: Mapping[str, Any] | None
    rewards_claimed: int
    first_seen_at: str | None
    last_seen_at: str | None
    total_events: int
    is_active: bool
    created_at: str
    timezone: str | None
