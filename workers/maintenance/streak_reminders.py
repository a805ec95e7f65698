"""Whether a sweep publishes a streak's reminder: to those who can still record the period."""

from __future__ import annotations

from dataclasses import dataclass

from models.rules.deadlines import Calendar, Deadlines, Reminded, starts_us
from models.rules.reminders import DueReminder, LastTick, Reminder, ReminderLook, look
from models.streaks import terms
from models.streaks.states import Streak, StreakState
from webhooks.deadline_facts import ReminderDue


@dataclass(frozen=True, slots=True)
class ReminderCase:
    """A streak that has a reminder, and a state under it on the calendar of a zone."""

    streak: Streak
    reminder: Reminder
    state: StreakState
    zone: str | None
    horizon_us: int

    def look(self, reminded: Reminded) -> ReminderLook:
        """The reminder that is due, and when the next one may be."""
        last = LastTick(self.state.ranges[-1][1] - 1, self.state.last_recorded_us)
        calendar = Calendar(self.streak.cadence, self.zone)
        return look(self.reminder, calendar, last, reminded, self.horizon_us)

    def reminded(
        self, due: DueReminder, before: Reminded, deadlines: Deadlines
    ) -> ReminderDue | None:
        """The reminder to publish; None where the period is protected, the count is too low, or
        the last reminder was too short a time ago."""
        now = terms.live(self.streak, self.state, self.zone, due.period)
        is_too_soon = (
            before.due_us is not None and due.due_us - before.due_us < self.reminder.apart_us
        )
        if is_too_soon or now.protected_by is not None or now.count < self.reminder.min_count:
            return None
        return ReminderDue(
            count=now.count,
            longest_count=self.state.totals.longest,
            grace_remaining=now.grace_remaining,
            last_recorded_us=self.state.last_recorded_us,
            period=due.period,
            due_us=due.due_us,
            period_ends_us=starts_us(self.streak.cadence, due.period + 1, self.zone),
            expires_us=None if deadlines.breaks_at is None else deadlines.breaks_us,
        )
