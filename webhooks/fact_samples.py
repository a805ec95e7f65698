"""A realistic sample of every type of fact, for those who want to see one before it happens. Pure.

Made by the constructors that make the real ones, so that a sample cannot differ in shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from models import clock
from models.definitions.badges import Badge
from models.definitions.challenges import Challenge
from models.definitions.rewards import Reward
from models.identity.tenants import Tenant
from models.ledgers.awards import Earned
from models.ledgers.milestones import GivenBadge
from models.ledgers.points import MovementKind, Transaction
from models.ledgers.redemptions import Redemption
from models.ledgers.ticks import Tick
from models.ledgers.tier_changes import Change, Upgrade
from models.rules.challenges import Objective
from models.rules.periods import DAILY, DAY_US, HOUR_US, period_at
from models.rules.streaks import Explained, Rules
from models.streaks.states import Streak
from webhooks import deadline_facts, facts
from webhooks.deadline_facts import ReminderDue, StreakDeadline
from webhooks.facts import (
    DestinationChange,
    Fact,
    FactStamp,
    FreezesEarned,
    Reached,
    StreakRepair,
)

PARTICIPANT = "user_42"  # the documentation's
METADATA = '{"sample":true}'  # who stores facts can tell this one from the others
_OTHER_BITS = 0x2545_F491_4F6C_DD1D  # among the random ones of a UUIDv7: its time stays


def body(kind: str, tenant: Tenant, now_us: int, fact_id: UUID) -> str:
    """The body of a sample fact of one of `facts.TYPES`, as it would be sent; KeyError otherwise.

    `now_us` is when it happened. Nothing in it exists: not the participant, not the streak.
    """
    make = _MAKERS[kind]
    if kind.startswith("webhook."):
        return make(FactStamp(fact_id, tenant, None, None, None, now_us)).body
    return make(FactStamp(fact_id, tenant, 1, PARTICIPANT, 17, now_us)).body


def _streak_recorded(stamp: FactStamp) -> Fact:
    return facts.streak_recorded(stamp, _streak(stamp), _tick(stamp))


def _streak_milestone(stamp: FactStamp) -> Fact:
    reached = Reached(count=7, badge_code="week_warrior", is_badge_new=True)
    return facts.streak_milestone(stamp, _streak(stamp), _tick(stamp), reached)


def _streak_at_risk(stamp: FactStamp) -> Fact:
    midnight_us = stamp.now_us - stamp.now_us % DAY_US  # the streak's days are UTC's
    return deadline_facts.streak_at_risk(stamp, _streak(stamp), _deadline(midnight_us + DAY_US))


def _streak_broken(stamp: FactStamp) -> Fact:
    midnight_us = stamp.now_us - stamp.now_us % DAY_US
    return deadline_facts.streak_broken(stamp, _streak(stamp), _deadline(midnight_us))


def _streak_forgiven(stamp: FactStamp) -> Fact:
    yesterday = period_at(DAILY, stamp.now_us, None) - 1
    forgiven = Explained(yesterday, "freeze", 7, 0, freezes_remaining=1)
    return deadline_facts.streak_forgiven(stamp, _streak(stamp), forgiven)


def _streak_reminder_due(stamp: FactStamp) -> Fact:
    today = period_at(DAILY, stamp.now_us, None)
    ends_us = (today + 1) * DAY_US
    due = ReminderDue(
        count=7,
        longest_count=7,
        grace_remaining=0,
        last_recorded_us=stamp.now_us - 20 * HOUR_US,
        period=today,
        due_us=stamp.now_us,
        period_ends_us=ends_us,
        expires_us=ends_us,
    )
    return deadline_facts.streak_reminder_due(stamp, _streak(stamp), due)


def _streak_freeze_earned(stamp: FactStamp) -> Fact:
    return facts.streak_freeze_earned(stamp, _streak(stamp), _tick(stamp), FreezesEarned(1, 2))


def _streak_repaired(stamp: FactStamp) -> Fact:
    repair = StreakRepair(7, 0, 7, "repair", "A sample reason", _id(stamp))
    return facts.streak_repaired(stamp, _streak(stamp), repair)


def _badge_awarded(stamp: FactStamp) -> Fact:
    earned = Earned(str(_id(stamp)), stamp.now_us, METADATA)
    return facts.badge_awarded(stamp, _badge(stamp), earned)


def _points_awarded(stamp: FactStamp) -> Fact:
    return facts.points_awarded(stamp, _transaction(stamp, "award", 100, 1_500), 5_000)


def _points_deducted(stamp: FactStamp) -> Fact:
    return facts.points_deducted(stamp, _transaction(stamp, "deduct", 50, 1_450), 3_550)


def _transaction(stamp: FactStamp, kind: MovementKind, amount: int, balance: int) -> Transaction:
    return Transaction(
        tenant_id=stamp.tenant.id,
        id=str(_id(stamp)),
        participant_id=1,
        kind=kind,
        amount=amount,
        balance_after=balance,
        reason="Purchase completed",
        metadata=METADATA,
    )


def _tier_changed(stamp: FactStamp) -> Fact:
    upgrade = Upgrade(
        str(_id(stamp)), "gold", "Gold", 3, str(_id(stamp)), previous_code="silver",
        previous_level=2,
    )  # fmt: skip
    change = Change(stamp.tenant.id, str(_id(stamp)), 1, upgrade, "points")
    return facts.tier_changed(stamp, change, 5_000)


def _reward_redeemed(stamp: FactStamp) -> Fact:
    reward = Reward(
        **_defined(stamp),
        code="ten_percent_off",
        name="10 % off",
        image_url=None,
        type="coupon",
        points_cost=500,
        max_claims_per_user=1,
        starts_at=None,
        ends_at=None,
    )
    redemption = Redemption(
        stamp.tenant.id, str(_id(stamp)), 1, str(reward.id), 500, 1_000, METADATA
    )
    return facts.reward_redeemed(stamp, reward, redemption)


def _badge_revoked(stamp: FactStamp) -> Fact:
    badge = GivenBadge(str(_id(stamp)), "week_warrior", "Week Warrior", str(_id(stamp)))
    return facts.badge_revoked(stamp, badge, facts.Revoked("daily_login", 7, "A mistake"))


def _challenge_completed(stamp: FactStamp) -> Fact:
    challenge = Challenge(
        **_defined(stamp),
        code="november_streak",
        name="November streak",
        objective=Objective("ticks", "daily_login"),
        target=20,
        points=500,
        badge_code="november",
        starts_at=None,
        ends_at=None,
    )
    return facts.challenge_completed(stamp, challenge, True)


def _destination_failing(stamp: FactStamp) -> Fact:
    return _destination(stamp, facts.DESTINATION_FAILING, None, HOUR_US)


def _destination_disabled(stamp: FactStamp) -> Fact:
    return _destination(stamp, facts.DESTINATION_DISABLED, "failing", 5 * DAY_US)


def _destination_recovered(stamp: FactStamp) -> Fact:
    return _destination(stamp, facts.DESTINATION_RECOVERED, None, HOUR_US)


def _destination(stamp: FactStamp, kind: str, reason: str | None, failing_us: int) -> Fact:
    since = clock.from_us(stamp.now_us - failing_us)
    change = DestinationChange(_id(stamp), "A sample, no destination of yours", reason, since)
    return facts.destination(stamp, kind, change)


_MAKERS: dict[str, Callable[[FactStamp], Fact]] = {
    facts.STREAK_RECORDED: _streak_recorded,
    facts.STREAK_MILESTONE: _streak_milestone,
    facts.STREAK_AT_RISK: _streak_at_risk,
    facts.STREAK_BROKEN: _streak_broken,
    facts.STREAK_FORGIVEN: _streak_forgiven,
    facts.STREAK_REMINDER_DUE: _streak_reminder_due,
    facts.STREAK_FREEZE_EARNED: _streak_freeze_earned,
    facts.STREAK_REPAIRED: _streak_repaired,
    facts.BADGE_AWARDED: _badge_awarded,
    facts.BADGE_REVOKED: _badge_revoked,
    facts.POINTS_AWARDED: _points_awarded,
    facts.POINTS_DEDUCTED: _points_deducted,
    facts.TIER_CHANGED: _tier_changed,
    facts.REWARD_CLAIMED: _reward_redeemed,
    facts.CHALLENGE_COMPLETED: _challenge_completed,
    facts.DESTINATION_FAILING: _destination_failing,
    facts.DESTINATION_DISABLED: _destination_disabled,
    facts.DESTINATION_RECOVERED: _destination_recovered,
}


# -- what the samples are about --------------------------------------------------------------


def _defined(stamp: FactStamp) -> dict[str, Any]:
    """The fields of a definition that the samples do not differ in."""
    now = clock.from_us(stamp.now_us)
    own = {"tenant_id": stamp.tenant.id, "id": _id(stamp), "description": None, "is_active": True}
    return own | {"created_at": now, "updated_at": now}


def _streak(stamp: FactStamp) -> Streak:
    return Streak(
        **_defined(stamp) | {"id": 1},
        code="daily_login",
        name="Daily Login",
        period="daily",
        rules=Rules(grace_periods=1, reset_on_miss=True),
        boundary="utc",
        milestones=[{"count": 7, "badge_code": "week_warrior"}],
        at_risk_lead_hours=None,
        revision=1,
    )


def _tick(stamp: FactStamp) -> Tick:
    """The seventh day in a row."""
    return Tick(
        tenant_id=stamp.tenant.id,
        id=str(_id(stamp)),
        participant_id=1,
        streak_id=1,
        period=period_at(DAILY, stamp.now_us, None),
        occurred_us=stamp.now_us,
        outcome="extended",
        new_count=7,
        previous_count=6,
        longest_count=7,
        is_new_record=True,
        grace_remaining=1,
        timezone=None,
        metadata=METADATA,
    )


def _deadline(expires_us: int) -> StreakDeadline:
    """Seven days, and a credit spent on the way."""
    return StreakDeadline(
        count=7,
        longest_count=7,
        grace_remaining=0,
        last_recorded_us=expires_us - 2 * DAY_US + 9 * HOUR_US,
        expires_us=expires_us,
    )


def _badge(stamp: FactStamp) -> Badge:
    return Badge(
        **_defined(stamp),
        code="week_warrior",
        name="Week Warrior",
        icon_url="https://cdn.example.com/badges/week_warrior.png",
        badge_color=None,
        rarity="uncommon",
        category="streaks",
        is_hidden=False,
        display_order=0,
    )


def _id(stamp: FactStamp) -> UUID:
    """The id of whatever led to the fact: another one than the fact's, always the same."""
    return UUID(int=stamp.id.int ^ _OTHER_BITS)
