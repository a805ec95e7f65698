"""Streaks at risk: they break unless the current period is recorded (contract §3.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from models.db import Connection
from models.rules.periods import period_at
from models.streaks.states import Streak, StreakState, state_of_row
from models.streaks.terms import live

# A page ends when it is full, or at this cost: tens of milliseconds when no participant is at risk,
# about a second when every state must be checked and few are at risk.
_CANDIDATES = 200  # rows of one statement: twice the longest page
_SCANNED = 20_000  # states that one statement scans, candidates or not
_STATEMENTS = 50


@dataclass(frozen=True, slots=True)
class AtRiskQuery:
    """The content of a page."""

    now_us: int
    min_count: int
    limit: int
    after: int = 0  # the cursor: a participant; 0 is before the first


@dataclass(frozen=True, slots=True)
class AtRisk:
    """A participant whose streak breaks at the end of the current period."""

    cursor: int
    participant_id: str
    participant_zone: str | None
    zone: str | None  # the zone whose calendar counts
    state: StreakState
    breaks_at: int  # the period at whose start it breaks


def page(
    connection: Connection, streak: Streak, wanted: AtRiskQuery
) -> tuple[Sequence[AtRisk], int | None]:
    """The next participants at risk, and the next cursor; None after the last.

    Inactive participants are left out: their writes are rejected, so they cannot save a streak. The
    page may hold fewer than the limit although more follow.
    """
    found: list[AtRisk] = []
    after = wanted.after
    for _ in range(_STATEMENTS):
        rows = _candidates(connection, streak, wanted, after)
        found += [one for row in rows if (one := _decided(row, streak, wanted))]
        if len(found) > wanted.limit:
            return found[: wanted.limit], found[wanted.limit - 1].cursor
        if len(rows) < _CANDIDATES and not (rows and rows[-1].nth == _SCANNED):
            return found, None
        after = rows[-1].participant_id
    return found, after


# A superset of those at risk; the rules decide on them. In any zone the current period is at most
# one away from that in UTC. A state walked under older rules has different grace. The last state
# scanned is always returned: it is the cursor.
_SELECT = """
    SELECT s.tenant_id, s.participant_id, s.streak_id, s.recorded::text AS recorded,
      s.current_count, s.longest_count, s.grace_remaining, s.revision, s.last_recorded_at,
      s.last_timezone, NULL AS place, s.is_watched, s.forgiveness::text, s.told_broken, s.nth,
      p.external_id, p.timezone, p.status
    FROM (
      SELECT *, row_number() OVER (ORDER BY participant_id) AS nth FROM streak_states
      WHERE tenant_id = :tenant_id AND streak_id = :streak_id AND participant_id > :after
      ORDER BY participant_id LIMIT :scanned
    ) s
    JOIN participants p ON p.tenant_id = s.tenant_id AND p.id = s.participant_id
    WHERE s.nth = :scanned OR CASE
      WHEN s.revision <> :revision
        THEN s.forgiveness IS NOT NULL OR :is_forgiving
          OR upper(s.recorded) BETWEEN :current - 1 - :grace_periods AND :current + 1
      WHEN s.current_count < :min_count THEN false
      WHEN s.forgiveness IS NOT NULL
        THEN CAST(s.forgiveness ->> 'breaks_at' AS int) BETWEEN :current AND :current + 2
      WHEN s.last_timezone IS NULL AND NOT :is_local
        THEN upper(s.recorded) + s.grace_remaining = :current
      ELSE upper(s.recorded) + s.grace_remaining BETWEEN :current - 1 AND :current + 1 END
    ORDER BY s.participant_id LIMIT :candidates
    """


def _candidates(
    connection: Connection, streak: Streak, wanted: AtRiskQuery, after: int
) -> Sequence[Any]:
    return connection.execute(
        sa.text(_SELECT),
        {
            "tenant_id": streak.tenant_id,
            "streak_id": streak.id,
            "after": after,
            "revision": streak.revision,
            "grace_periods": streak.rules.grace_periods,
            "is_forgiving": streak.rules.forgiveness is not None or bool(streak.outages),
            "min_count": wanted.min_count,
            "is_local": streak.boundary == "participant",
            "current": period_at(streak.cadence, wanted.now_us, None),
            "scanned": _SCANNED,
            "candidates": _CANDIDATES,
        },
    ).all()


def _decided(row: Any, streak: Streak, wanted: AtRiskQuery) -> AtRisk | None:
    """The candidate in a row, if by the rules it is at risk now."""
    if row.status != "ACTIVE":
        return None
    state = state_of_row(row, streak, row.timezone)
    zone = streak.zone(state.last_zone, row.timezone)
    now = live(streak, state, zone, period_at(streak.cadence, wanted.now_us, zone))
    if now.status != "at_risk" or now.count < wanted.min_count or now.breaks_at is None:
        return None
    return AtRisk(row.participant_id, row.external_id, row.timezone, zone, state, now.breaks_at)
