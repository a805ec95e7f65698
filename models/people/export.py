"""A tenant's data, row after row, for export: one snapshot, streamed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from models import clock
from models.db import Connection, stream
from models.ledgers.ticks import NOT_RETRACTED
from models.people.personal_data import plain
from models.rules.periods import FIRST_ZONE, LAST_ZONE, cadence_of, key_of, period_at
from models.rules.targets import shown
from models.streaks import states as streaks

_PARTICIPANTS = """
    SELECT p.external_id AS participant_id, p.display_name, p.avatar_url, p.attributes, p.timezone,
      p.status, p.tags,
      coalesce((SELECT json_agg(json_build_object('name', d.name, 'enrolled_at',
         to_char(e.enrolled_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
         ORDER BY e.enrolled_at, d.id)
       FROM participant_programs e
       JOIN programs d ON d.tenant_id = e.tenant_id AND d.id = e.program_id
       WHERE e.tenant_id = p.tenant_id AND e.participant_id = p.id), '[]') AS programs,
      p.total_events, p.points_earned, p.points_spent, p.first_seen_at, p.last_seen_at, p.created_at
    FROM participants p WHERE p.tenant_id = :tenant_id AND p.merged_into IS NULL ORDER BY p.id
"""
_BALANCES = """
    SELECT p.external_id AS participant_id, p.points_earned AS total_earned,
      p.points_spent AS total_spent, p.points_earned - p.points_spent AS balance,
      t.code AS tier_code, p.tier_achieved_at
    FROM participants p LEFT JOIN tiers t ON t.tenant_id = p.tenant_id AND t.id = p.tier_id
    WHERE p.tenant_id = :tenant_id AND (p.points_earned > 0 OR p.tier_id IS NOT NULL)
    ORDER BY p.id
"""
_AWARDS = """
    SELECT p.external_id AS participant_id, d.code AS badge_code, e.earned_at, e.metadata,
      e.award_id::text AS award_id
    FROM participant_badges e
    JOIN participants p ON p.tenant_id = e.tenant_id AND p.id = e.participant_id
    JOIN badges d ON d.tenant_id = e.tenant_id AND d.id = e.badge_id
    WHERE e.tenant_id = :tenant_id ORDER BY e.participant_id, e.badge_id
"""
_REDEMPTIONS = """
    SELECT p.external_id AS participant_id, d.code AS reward_code, c.id AS claimed_at,
      c.points_deducted, c.balance_after, c.metadata, c.id::text AS claim_id
    FROM reward_claims c
    JOIN participants p ON p.tenant_id = c.tenant_id AND p.id = c.participant_id
    JOIN rewards d ON d.tenant_id = c.tenant_id AND d.id = c.reward_id
    WHERE c.tenant_id = :tenant_id ORDER BY c.id
"""
_CHALLENGES = """
    SELECT p.external_id AS participant_id, d.code AS challenge_code, g.progress, g.completed_at,
      d.target, g.updated_at
    FROM challenge_progress g
    JOIN participants p ON p.tenant_id = g.tenant_id AND p.id = g.participant_id
    JOIN challenges d ON d.tenant_id = g.tenant_id AND d.id = g.challenge_id
    WHERE g.tenant_id = :tenant_id ORDER BY g.participant_id, g.challenge_id
"""
_STATES = f"""
    SELECT {streaks.STATE_COLUMNS}, p.external_id, p.timezone AS participant_timezone
    FROM streak_states s
    JOIN participants p ON p.tenant_id = s.tenant_id AND p.id = s.participant_id
    WHERE s.tenant_id = :tenant_id ORDER BY s.participant_id, s.streak_id
"""  # noqa: S608 - a constant of this package
_TICKS = f"""
    SELECT w.id, p.external_id, d.code, d.period AS kind, d.forgiveness, w.period, w.occurred_at,
      w.timezone, w.metadata, w.value, w.outcome, w.new_count,
      p.timezone AS participant_timezone, d.boundary
    FROM ticks w
    JOIN participants p ON p.tenant_id = w.tenant_id AND p.id = w.participant_id
    JOIN streaks d ON d.tenant_id = w.tenant_id AND d.id = w.streak_id
    WHERE w.tenant_id = :tenant_id AND {NOT_RETRACTED} ORDER BY w.id
"""  # noqa: S608 - a constant of this package


def participants(connection: Connection, tenant_id: int) -> Iterator[dict[str, Any]]:
    """All participants but aliases, in the order in which they were created."""
    return map(plain, stream(connection, _PARTICIPANTS, {"tenant_id": tenant_id}))


def balances(connection: Connection, tenant_id: int) -> Iterator[dict[str, Any]]:
    """The participants that ever had points, or are in a tier."""
    return map(plain, stream(connection, _BALANCES, {"tenant_id": tenant_id}))


def awards(connection: Connection, tenant_id: int) -> Iterator[dict[str, Any]]:
    """The earned badges, with their instants."""
    return map(plain, stream(connection, _AWARDS, {"tenant_id": tenant_id}))


def redemptions(connection: Connection, tenant_id: int) -> Iterator[dict[str, Any]]:
    """All redemptions, in the order of acceptance."""
    return map(plain, stream(connection, _REDEMPTIONS, {"tenant_id": tenant_id}))


def challenges(connection: Connection, tenant_id: int) -> Iterator[dict[str, Any]]:
    """Each participant's progress in the challenges begun."""
    return map(plain, stream(connection, _CHALLENGES, {"tenant_id": tenant_id}))


def states(connection: Connection, tenant_id: int) -> Iterator[dict[str, Any]]:
    """Every state, with the recorded periods that determine it: `recorded` holds the first and the
    last key of each run."""
    definitions = {
        streak.id: streak for streak in streaks.definitions.all_of(connection, tenant_id)
    }
    for row in stream(connection, _STATES, {"tenant_id": tenant_id}):
        streak = definitions[row.streak_id]
        state = streaks.state_of_row(row, streak, row.participant_timezone)
        yield {
            "participant_id": row.external_id,
            "streak_code": streak.code,
            "period": streak.period,
            "count": state.totals.count,
            "longest_count": state.totals.longest,
            "grace_remaining": state.totals.grace_remaining,
            "last_recorded_at": clock.to_text(state.last_recorded_us),
            "recorded": [
                [key_of(streak.cadence, first), key_of(streak.cadence, end - 1)]
                for first, end in state.ranges
            ],
        }


def ticks(connection: Connection, tenant_id: int) -> Iterator[dict[str, Any]]:
    """The ledger, within its retention, in the order of acceptance, without what was retracted;
    `unbroken import` reads it."""
    for row in stream(connection, _TICKS, {"tenant_id": tenant_id}):
        yield {
            "participant_id": row.external_id,
            "streak_code": row.code,
            "timestamp": clock.isoformat_or_none(row.occurred_at),
            "timezone": row.timezone,
            "counted_timezone": _counted_timezone(row),
            "metadata": _json(row.metadata),
            "value": None if row.value is None else shown(row.value),
            "tick_id": str(row.id),
            "period_key": key_of(cadence_of(row.kind, row.forgiveness), row.period),
            "outcome": row.outcome,
            "new_count": row.new_count,
        }


# Where no known zone puts that day, the participant has moved since: the first or the last zone has
# the day.


def _counted_timezone(row: Any) -> str:
    """A zone by whose calendar the tick falls into the period that it counted for."""
    local = (row.participant_timezone, "UTC")
    known = local if row.boundary == "participant" else reversed(local)
    instant_us = clock.to_us(row.occurred_at)
    cadence = cadence_of(row.kind, row.forgiveness)
    for zone in filter(None, (row.timezone, *known, FIRST_ZONE, LAST_ZONE)):
        if period_at(cadence, instant_us, zone) == row.period:
            return str(zone)
    raise ValueError(f"tick {row.id} is in a period that no calendar has at its instant")


def _json(text: str | None) -> Mapping[str, Any] | None:
    return None if text is None else json.loads(text)
