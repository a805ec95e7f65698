"""Reminders: when those who have not recorded the current period are reminded of it. Pure.

Each period has at most one reminder. Its instant follows from the definition, the calendar and the
latest tick alone, so that a sweep that comes late, or twice, finds the same one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from models.rules.deadlines import Calendar, Reminded, starts_us
from models.rules.periods import DAY_US, HOUR_US, period_at, zone_info

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DAYS_BACK = 3  # a zone may leave out a day: the times of day are looked for before it
# A sweep comes some seconds after the instant. One that comes later looks at the clock again.
LATE_US = HOUR_US // 4


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Local times of day between which nothing is sent, in microseconds; may span midnight."""

    from_us: int
    to_us: int

    def cover(self, instant_us: int, zone: str | None) -> bool:
        """Whether they cover an instant; their two ends are not covered."""
        time_us = _time_us(instant_us, zone)
        if self.from_us < self.to_us:
            return self.from_us < time_us < self.to_us
        return time_us > self.from_us or time_us < self.to_us


@dataclass(frozen=True, slots=True)
class Reminder:
    """When the reminder of a period is due: by exactly one of the first three. Microseconds."""

    at_us: int | None = None  # a local time of day, on the last day of the period
    before_us: int | None = None  # before the period ends
    after_us: int | None = None  # after the latest tick
    min_count: int = 1
    quiet_hours: QuietHours | None = None
    apart_us: int = 0  # at least from one to the next


@dataclass(frozen=True, slots=True)
class LastTick:
    """The latest recorded period of a streak, and the latest instant."""

    period: int
    instant_us: int


@dataclass(frozen=True, slots=True)
class DueReminder:
    """A reminder whose instant has come."""

    period: int
    due_us: int


@dataclass(frozen=True, slots=True)
class ReminderLook:
    """The reminder to publish at an instant, and when to look again."""

    due: DueReminder | None
    again_us: int


def reminder_of(fields: Mapping[str, Any]) -> Reminder:
    """The reminder in a definition's field."""
    quiet = fields.get("quiet_hours")
    return Reminder(
        at_us=_parsed(fields.get("at")),
        before_us=_hours(fields.get("hours_before")),
        after_us=_hours(fields.get("hours_after_last_tick")),
        min_count=fields.get("min_count", 1),
        quiet_hours=None
        if quiet is None
        else QuietHours(time_us(quiet["from"]), time_us(quiet["to"])),
        apart_us=_hours(fields.get("at_most_every_hours")) or 0,
    )


def time_us(text: str) -> int:
    """A time of day such as `20:00`, in microseconds since midnight."""
    hours, _, minutes = text.partition(":")
    return int(hours) * HOUR_US + int(minutes) * HOUR_US // 60


def _parsed(text: str | None) -> int | None:
    return None if text is None else time_us(text)


def _hours(hours: float | None) -> int | None:
    return None if hours is None else round(hours * HOUR_US)


def next_us(reminder: Reminder, calendar: Calendar, last: LastTick, now_us: int) -> int:
    """The earliest instant from which a reminder may be due, unless there was one already."""
    period = max(period_at(calendar.cadence, now_us, calendar.zone), last.period + 1)
    due_us = instant_us(reminder, calendar, period, last.instant_us)
    return starts_us(calendar.cadence, period + 1, calendar.zone) if due_us is None else due_us


def look(
    reminder: Reminder, calendar: Calendar, last: LastTick, reminded: Reminded, now_us: int
) -> ReminderLook:
    """The reminder to publish at an instant: of the current period, unless it is recorded or was
    reminded of before."""
    period = max(period_at(calendar.cadence, now_us, calendar.zone), last.period + 1)
    due_us = None
    if reminded.period is None or reminded.period < period:
        due_us = instant_us(reminder, calendar, period, last.instant_us)
    if due_us is not None and now_us - due_us > LATE_US:
        due_us = _moved(reminder, calendar, period, now_us, due_us)
    if due_us is not None and due_us > now_us:
        return ReminderLook(None, due_us)
    due = None if due_us is None else DueReminder(period, due_us)
    following = instant_us(reminder, calendar, period + 1, last.instant_us)
    if following is None:
        following = starts_us(calendar.cadence, period + 2, calendar.zone)
    return ReminderLook(due, max(following, now_us + 1))


def _moved(
    reminder: Reminder, calendar: Calendar, period: int, now_us: int, due_us: int
) -> int | None:
    """The instant of a late reminder: in quiet hours it waits until they end, or is left out."""
    if reminder.quiet_hours is None or not reminder.quiet_hours.cover(now_us, calendar.zone):
        return due_us
    last_us = _last_allowed(reminder.quiet_hours, calendar, period)
    return last_us if last_us is not None and last_us > now_us else None


def instant_us(reminder: Reminder, calendar: Calendar, period: int, last_us: int) -> int | None:
    """When the reminder of an unrecorded period is due, `last_us` being the latest tick; None: it
    has none.

    One that is due in quiet hours is moved to the last instant before the period ends at which
    they begin or end.
    """
    starts = starts_us(calendar.cadence, period, calendar.zone)
    ends = starts_us(calendar.cadence, period + 1, calendar.zone)
    due_us = _due_us(reminder, calendar, (starts, ends), last_us)
    if due_us is None or not starts <= due_us < ends:
        return None
    quiet = reminder.quiet_hours
    if quiet is not None and quiet.cover(due_us, calendar.zone):
        return _last_allowed(quiet, calendar, period)
    return due_us


def _due_us(
    reminder: Reminder, calendar: Calendar, span: tuple[int, int], last_us: int
) -> int | None:
    starts, ends = span
    if reminder.at_us is not None:
        return next((at for at in _times(reminder.at_us, calendar.zone, ends) if at < ends), None)
    if reminder.before_us is not None:
        return max(starts, ends - reminder.before_us)
    due_us = last_us + (reminder.after_us or 0)
    if due_us >= starts:
        return due_us
    # A later period: at the same local time on its first day.
    time_of_day_us = _time_us(due_us, calendar.zone)
    times = _times(time_of_day_us, calendar.zone, starts + 2 * DAY_US)
    return min((at for at in times if at >= starts), default=None)


def _last_allowed(quiet: QuietHours, calendar: Calendar, period: int) -> int | None:
    """The last instant of a period at which quiet hours begin or end."""
    starts = starts_us(calendar.cadence, period, calendar.zone)
    ends = starts_us(calendar.cadence, period + 1, calendar.zone)
    edges = [
        at
        for time_of_day in (quiet.from_us, quiet.to_us)
        for at in _times(time_of_day, calendar.zone, ends)
        if starts <= at < ends and not quiet.cover(at, calendar.zone)
    ]
    return max(edges, default=None)


def _times(time_of_day_us: int, zone: str | None, until_us: int) -> Iterator[int]:
    """The instants at which the clocks of `zone` show a time of day, on the local day of an instant
    and on those before it, latest first.

    A time that comes twice is the first; one that the clocks skip is as much later.
    """
    last = _local(until_us, zone)
    midnight = datetime(last.year, last.month, last.day, tzinfo=last.tzinfo)
    for days in range(_DAYS_BACK + 1):
        at = midnight - timedelta(days=days) + time_of_day_us * _MICROSECOND
        yield (at.astimezone(UTC) - _EPOCH) // _MICROSECOND


def _time_us(instant_us: int, zone: str | None) -> int:
    """The local time of day at an instant."""
    at = _local(instant_us, zone)
    return (at.hour * 3_600 + at.minute * 60 + at.second) * 1_000_000 + at.microsecond


def _local(instant_us: int, zone: str | None) -> datetime:
    return (_EPOCH + instant_us * _MICROSECOND).astimezone(zone_info(zone or "UTC"))
