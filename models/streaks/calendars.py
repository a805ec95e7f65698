"""Calendars: named dates that cost nothing when they are missed, for the streaks that name them.

A streak's row holds the days of its calendars. A change of a calendar rewrites them in its own
transaction, so that no reader joins the two. A deactivated calendar cannot be named anew; streaks
that name it keep its dates, so that no count changes by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from models.db import Connection
from models.definitions.base import Definitions, definition_table
from models.rules.streaks import Ranges
from models.streaks import states
from models.streaks.forgiveness import ranges_of_days

DATES_MAX = 2_000
_EPOCH = date(1970, 1, 1)

calendars = definition_table("calendars", sa.Column("dates", ARRAY(sa.Date), nullable=False))


@dataclass(frozen=True, slots=True)
class HolidayCalendar:
    """A calendar definition."""

    tenant_id: int
    id: UUID
    code: str
    name: str
    description: str | None
    dates: list[date]  # ascending, each once
    is_active: bool
    created_at: datetime
    updated_at: datetime


class CalendarDefinitions(Definitions[HolidayCalendar]):
    """Calendars: other dates are rewritten into the streaks that name one."""

    def revise(
        self, connection: Connection, before: HolidayCalendar, values: Mapping[str, Any]
    ) -> HolidayCalendar:
        """Change a definition; raise NotFound."""
        revised = super().revise(connection, before, values)
        if "dates" in values:
            _rewrite_streaks(connection, revised)
        return revised


definitions = CalendarDefinitions(calendars, lambda row: HolidayCalendar(*row), (calendars.c.code,))


def hold(
    connection: Connection, tenant_id: int, codes: Iterable[str]
) -> dict[str, HolidayCalendar]:
    """Some calendars by code, active or not; they stay as they are until this transaction ends."""
    wanted = sorted(set(codes))
    return _of_codes(connection, tenant_id, wanted, is_held=True) if wanted else {}


def hold_one(connection: Connection, before: HolidayCalendar) -> HolidayCalendar:
    """A calendar as it is now, locked for a change of its dates."""
    statement = (
        sa.select(calendars)
        .where(calendars.c.tenant_id == before.tenant_id, calendars.c.id == before.id)
        .with_for_update(key_share=True)
    )
    return HolidayCalendar(*connection.execute(statement).one())


def days_of(found: Iterable[HolidayCalendar]) -> Ranges:
    """The days of some calendars together, since 1970."""
    return ranges_of_days((day - _EPOCH).days for calendar in found for day in calendar.dates)


def _of_codes(
    connection: Connection, tenant_id: int, codes: Iterable[str], *, is_held: bool
) -> dict[str, HolidayCalendar]:
    c = calendars.c
    statement = sa.select(calendars).where(c.tenant_id == tenant_id, c.code.in_(codes))
    if is_held:
        statement = statement.order_by(c.id).with_for_update(read=True)
    return {row.code: HolidayCalendar(*row) for row in connection.execute(statement)}


def _rewrite_streaks(connection: Connection, changed: HolidayCalendar) -> None:
    """Write the days anew into every streak that names the calendar.

    Each streak is locked before its calendars are read: a change of another one is then either
    seen here, or waits and sees this one.
    """
    for streak in states.hold_naming(connection, changed.tenant_id, changed.code):
        codes = (streak.forgiveness or {})["calendar_codes"]
        days = days_of(_of_codes(connection, changed.tenant_id, codes, is_held=False).values())
        if days != streak.holidays:
            states.definitions.revise(connection, streak, {"holidays": list(days) or None})
