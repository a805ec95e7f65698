"""Facts that no tick causes: at risk, broken, forgiven, and reminders (contract §4). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from models import clock
from models.rules.periods import key_of
from models.rules.streaks import Explained
from models.streaks.states import Streak
from webhooks.facts import (
    STREAK_AT_RISK,
    STREAK_BROKEN,
    STREAK_FORGIVEN,
    STREAK_REMINDER_DUE,
    Fact,
    FactStamp,
    fact_of,
)


@dataclass(frozen=True, slots=True)
class StreakDeadline:
    """The state of a streak whose deadline passed without a tick."""

    count: int
    longest_count: int
    grace_remaining: int
    last_recorded_us: int
    expires_us: int  # the instant at which it breaks, or broke


@dataclass(frozen=True, slots=True)
class ReminderDue:
    """The state of a streak whose current period is not recorded when a reminder is due."""

    count: int
    longest_count: int
    grace_remaining: int
    last_recorded_us: int
    period: int
    due_us: int
    period_ends_us: int
    expires_us: int | None  # None: protection reaches beyond the next two years


def streak_at_risk(stamp: FactStamp, streak: Streak, deadline: StreakDeadline) -> Fact:
    """The fact that the current period is the last that can save a streak."""
    payload = {
        "streak_code": streak.code,
        "count": deadline.count,
        "longest_count": deadline.longest_count,
        "period": streak.period,
        "grace_remaining": deadline.grace_remaining,
        "last_recorded_at": clock.to_text(deadline.last_recorded_us),
        "expires_at": clock.to_text(deadline.expires_us),
    }
    return fact_of(stamp, STREAK_AT_RISK, payload, streak.code)


def streak_broken(stamp: FactStamp, streak: Streak, deadline: StreakDeadline) -> Fact:
    """The fact that no period was left to save a streak; its count is 0, or kept while paused."""
    payload = {
        "streak_code": streak.code,
        "count": 0 if streak.rules.reset_on_miss else deadline.count,
        "previous_count": deadline.count,
        "longest_count": deadline.longest_count,
        "status": "broken" if streak.rules.reset_on_miss else "paused",
        "period": streak.period,
        "last_recorded_at": clock.to_text(deadline.last_recorded_us),
        "broken_at": clock.to_text(deadline.expires_us),
    }
    return fact_of(stamp, STREAK_BROKEN, payload, streak.code)


def streak_forgiven(stamp: FactStamp, streak: Streak, forgiven: Explained) -> Fact:
    """The fact that a period passed without a tick and grace or a freeze saved the streak."""
    payload = {
        "streak_code": streak.code,
        "by": forgiven.what,
        "count": forgiven.count,
        "period": streak.period,
        "period_key": key_of(streak.cadence, forgiven.period),
        "grace_remaining": forgiven.grace_remaining,
        "freezes_remaining": forgiven.freezes_remaining,
    }
    return fact_of(stamp, STREAK_FORGIVEN, payload, streak.code)


def streak_reminder_due(stamp: FactStamp, streak: Streak, reminder: ReminderDue) -> Fact:
    """The fact that it is time to remind a participant of the current period."""
    expires_us = reminder.expires_us
    payload = {
        "streak_code": streak.code,
        "count": reminder.count,
        "longest_count": reminder.longest_count,
        "period": streak.period,
        "period_key": key_of(streak.cadence, reminder.period),
        "grace_remaining": reminder.grace_remaining,
        "last_recorded_at": clock.to_text(reminder.last_recorded_us),
        "due_at": clock.to_text(reminder.due_us),
        "period_ends_at": clock.to_text(reminder.period_ends_us),
        "expires_at": None if expires_us is None else clock.to_text(expires_us),
    }
    return fact_of(stamp, STREAK_REMINDER_DUE, payload, streak.code)
