"""Forgiveness of a definition: its optional fields as the rules that the walk follows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from models.rules.periods import STARTS, WEEKDAYS, Cadence, first_day, period_of_day
from models.rules.streaks import EarnBack, Forgiveness, Freezes, Ranges, add

# The optional fields that a definition may have, by their public names.
FIELDS = (
    "grace_refill", "freezes", "grace_by_count", "rest_days", "calendar_codes", "target",
    "earn_back", "week_starts_on", "day_starts_at",
)  # fmt: skip


def forgiveness_of(
    cadence: Cadence, fields: Mapping[str, Any] | None, holidays: Ranges
) -> Forgiveness | None:
    """The rules in a definition's optional fields; None when the walk needs none of them."""
    given = fields or {}
    built = Forgiveness(
        refill=given.get("grace_refill"),
        freezes=_freezes(given.get("freezes") or {}),
        grace_by_count=tuple(
            (step["from_count"], step["grace_periods"]) for step in given.get("grace_by_count", ())
        ),
        rest_days=frozenset(WEEKDAYS.index(name) for name in given.get("rest_days", ())),
        holidays=periods_of_days(cadence, holidays),
        earn_back=_earn_back(given.get("earn_back")),
    )
    return None if built == Forgiveness() else built


def _freezes(given: Mapping[str, Any]) -> Freezes:
    return Freezes(given.get("initial", 0), given.get("earn_every"), given.get("max", 0))


def _earn_back(given: Mapping[str, Any] | None) -> EarnBack | None:
    return None if given is None else EarnBack(given["times"], given["within"])


def stored(before: Mapping[str, Any] | None, given: Mapping[str, Any]) -> dict[str, Any] | None:
    """A definition's optional fields after a change, without defaults; None without any."""
    after = {**(before or {}), **given}
    return {
        name: value for name, value in after.items() if value and value != STARTS.get(name)
    } or None


def periods_of_days(cadence: Cadence, days: Ranges) -> Ranges:
    """The periods of which more than half of the days are among `days`."""
    if cadence.kind == "daily":
        return days
    found: dict[int, int] = {}
    for first, end in days:
        for day in range(first, end):
            period = period_of_day(cadence, day)
            found[period] = found.get(period, 0) + 1
    ranges: Ranges = ()
    for period, count in found.items():
        if 2 * count > days_in(cadence, period):
            ranges = add(ranges, period)
    return ranges


def days_in(cadence: Cadence, period: int) -> int:
    """How many days a period has."""
    return (first_day(cadence, period + 1) - first_day(cadence, period)).days


def ranges_of_days(days: Iterable[int]) -> Ranges:
    """Ascending days as ranges."""
    ranges: list[tuple[int, int]] = []
    for day in sorted(set(days)):
        if ranges and ranges[-1][1] == day:
            ranges[-1] = (ranges[-1][0], day + 1)
        else:
            ranges.append((day, day + 1))
    return tuple(ranges)


def ranges_in(stored: Iterable[Iterable[int]] | None) -> Ranges:
    """The ranges in a JSON column."""
    return tuple((first, end) for first, end in stored or ())
