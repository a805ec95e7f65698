"""Merging: the rows of one participant become those of another (contract §7.3).

The caller holds both participants' rows, and the turn of `erasure.take_turn`: the ledgers of each
day are locked. A test compares the tables named here with the schema.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from models import clock
from models.db import Connection
from models.leaderboards import entries

# Only the participant's number changes: each row stays as it was answered and sent.
LEDGERS = (
    "ticks", "awards", "point_transactions", "tier_changes", "reward_claims", "streak_changes",
    "rejections", "pauses", "facts",
)  # fmt: skip
# Decided by workers/apply/merges.py, and written with the state.
DECIDED = ("streak_states", "streak_deadlines", "streak_progress")
# Both may have a row: it becomes one.
JOINED = ("challenge_progress", "participant_badges", "participant_programs", "streak_milestones")
# Leaderboards are read anew by their own process. Deliveries and attempts keep the order of their
# facts. A dead letter that is replayed names the alias.
LEFT = ("leaderboard_entries", "leaderboard_changes", "deliveries", "attempts", "dead_letters")


@dataclass(frozen=True, slots=True)
class Merger:
    """Which participant becomes an alias of which."""

    tenant_id: int
    merged_id: int
    into_id: int


@dataclass(frozen=True, slots=True)
class MergedProfile:
    """The survivor's row after its profile was completed."""

    ctid: str
    timezone: str | None
    tier_us: int | None  # since when it has its tier
    merged_tier_us: int | None  # since when the other had its


def transfer(connection: Connection, merger: Merger) -> None:
    """Move the ledgers, badges, milestones, challenges and programs."""
    values = _values(merger)
    for table in LEDGERS:
        connection.execute(_moves(table), values)
    for statement in (*_BADGES, *_MILESTONES, *_PROGRAMS):
        connection.execute(statement, values)
    entries.mark_changed(connection, merger.tenant_id, [merger.merged_id, merger.into_id])


def join_challenges(connection: Connection, merger: Merger) -> None:
    """Add up the progress in challenges, before the badges move: a badge of both counts once."""
    connection.execute(_CHALLENGES, _values(merger))


def join_states(connection: Connection, merger: Merger) -> dict[int, str]:
    """Move the states, except where both have one; return the addresses of those of the survivor,
    by streak."""
    values = _values(merger)
    connection.execute(_FORGET_DEADLINES, values)
    ctids = {row.streak_id: row.ctid for row in connection.execute(_PUBLISHED, values)}
    connection.execute(_FORGET_STATES, values)
    moved = connection.execute(_moves("streak_states", "RETURNING streak_id, ctid"), values)
    return ctids | {row.streak_id: row.ctid for row in moved}


def complete_profile(connection: Connection, merger: Merger) -> MergedProfile:
    """Give the survivor what its profile lacks, and the counts and instants of both."""
    values = _values(merger)
    texts: dict[int, str | None] = {
        row.id: row.attributes for row in connection.execute(_ATTRIBUTES, values)
    }
    merged, into = texts[merger.merged_id], texts[merger.into_id]
    row = connection.execute(_PROFILE, values | {"attributes": _both(merged, into)}).one()
    return MergedProfile(row.ctid, row.timezone, *map(_us, (row.tier_at, row.merged_tier_at)))


def make_alias(connection: Connection, merger: Merger) -> None:
    """Keep nothing of the merged participant but its id; its aliases become the survivor's."""
    connection.execute(_ALIAS, _values(merger))
    connection.execute(_ALIASES, _values(merger))


def _values(merger: Merger) -> dict[str, Any]:
    return {
        "tenant_id": merger.tenant_id, "merged_id": merger.merged_id, "into_id": merger.into_id
    }  # fmt: skip


def _us(instant: Any) -> int | None:
    return None if instant is None else clock.to_us(instant)


def _both(merged: str | None, into: str | None) -> str | None:
    """The attributes of both, as JSON; the survivor's win."""
    if merged is None or into is None:
        return merged if into is None else into
    return json.dumps(json.loads(merged) | json.loads(into), ensure_ascii=False)


_OF_MERGED = "WHERE tenant_id = :tenant_id AND participant_id = :merged_id"


def _moves(table: str, returning: str = "") -> sa.TextClause:
    return sa.text(f"UPDATE {table} SET participant_id = :into_id {_OF_MERGED} {returning}")  # noqa: S608 - a name of this file


_BOTH = """s.tenant_id = :tenant_id AND s.participant_id = :into_id
  AND m.tenant_id = :tenant_id AND m.participant_id = :merged_id AND m.streak_id = s.streak_id"""
_FORGET_DEADLINES = sa.text(f"DELETE FROM streak_deadlines {_OF_MERGED}")  # noqa: S608 - as above
_PUBLISHED = sa.text(f"""
UPDATE streak_states s SET told_at_risk = GREATEST(s.told_at_risk, m.told_at_risk),
  told_reminder = GREATEST(s.told_reminder, m.told_reminder),
  told_reminder_due_at = GREATEST(s.told_reminder_due_at, m.told_reminder_due_at)
FROM streak_states m WHERE {_BOTH} RETURNING s.streak_id, s.ctid
""")  # noqa: S608 - a fragment of this file
_FORGET_STATES = sa.text(f"DELETE FROM streak_states m USING streak_states s WHERE {_BOTH}")  # noqa: S608 - as above

_BADGES = (
    sa.text(f"""
INSERT INTO participant_badges AS e (tenant_id, participant_id, badge_id, award_id, earned_at,
  metadata)
SELECT tenant_id, :into_id, badge_id, award_id, earned_at, metadata
FROM participant_badges {_OF_MERGED}
ON CONFLICT (tenant_id, participant_id, badge_id) DO UPDATE SET
  award_id = EXCLUDED.award_id, earned_at = EXCLUDED.earned_at, metadata = EXCLUDED.metadata
WHERE EXCLUDED.earned_at < e.earned_at
"""),  # noqa: S608 - a fragment of this file
    sa.text(f"DELETE FROM participant_badges {_OF_MERGED}"),  # noqa: S608 - as above
)
_MILESTONES = (
    sa.text(f"""
INSERT INTO streak_milestones (tenant_id, participant_id, streak_id, count, period, tick_id)
SELECT tenant_id, :into_id, streak_id, count, period, tick_id FROM streak_milestones {_OF_MERGED}
ON CONFLICT DO NOTHING
"""),  # noqa: S608 - a fragment of this file
    sa.text(f"DELETE FROM streak_milestones {_OF_MERGED}"),  # noqa: S608 - as above
)
_PROGRAMS = (
    sa.text(f"""
INSERT INTO participant_programs AS e (tenant_id, participant_id, program_id, enrolled_at)
SELECT tenant_id, :into_id, program_id, enrolled_at FROM participant_programs {_OF_MERGED}
ON CONFLICT (tenant_id, participant_id, program_id)
  DO UPDATE SET enrolled_at = LEAST(e.enrolled_at, EXCLUDED.enrolled_at)
"""),  # noqa: S608 - a fragment of this file
    sa.text(f"DELETE FROM participant_programs {_OF_MERGED}"),  # noqa: S608 - as above
)
_CHALLENGES = sa.text(f"""
WITH moved AS (
  DELETE FROM challenge_progress {_OF_MERGED}
  RETURNING tenant_id, challenge_id, progress, completed_at),
doubled AS (
  SELECT b.code FROM participant_badges s
  JOIN participant_badges m ON m.tenant_id = s.tenant_id AND m.participant_id = :merged_id
    AND m.badge_id = s.badge_id
  JOIN badges b ON b.tenant_id = s.tenant_id AND b.id = s.badge_id
  WHERE s.tenant_id = :tenant_id AND s.participant_id = :into_id)
INSERT INTO challenge_progress AS g
  (tenant_id, participant_id, challenge_id, progress, completed_at, updated_at)
SELECT tenant_id, :into_id, challenge_id, progress, completed_at, now() FROM moved
ON CONFLICT (tenant_id, participant_id, challenge_id) DO UPDATE SET
  progress = (SELECT CASE c.objective ->> 'type'
      WHEN 'count' THEN GREATEST(g.progress, EXCLUDED.progress)
      WHEN 'badges' THEN g.progress + EXCLUDED.progress - LEAST(g.progress, EXCLUDED.progress,
        (SELECT count(*) FROM doubled WHERE c.objective -> 'badge_codes' IS NULL
          OR CAST(c.objective -> 'badge_codes' AS jsonb) ? doubled.code))
      ELSE g.progress + EXCLUDED.progress END
    FROM challenges c WHERE c.tenant_id = g.tenant_id AND c.id = g.challenge_id),
  completed_at = LEAST(g.completed_at, EXCLUDED.completed_at), updated_at = now()
""")  # noqa: S608 - a fragment of this file

_ATTRIBUTES = sa.text("""
SELECT id, attributes FROM participants
WHERE tenant_id = :tenant_id AND id IN (:merged_id, :into_id)
""")
_PROFILE = sa.text("""
UPDATE participants p SET
  display_name = COALESCE(p.display_name, m.display_name),
  avatar_url = COALESCE(p.avatar_url, m.avatar_url),
  timezone = COALESCE(p.timezone, m.timezone),
  attributes = :attributes,
  tags = p.tags || ARRAY(SELECT tag FROM unnest(m.tags) AS tag WHERE tag <> ALL(p.tags)),
  total_events = p.total_events + m.total_events,
  opening_earned = CASE WHEN num_nonnulls(p.opening_earned, m.opening_earned) > 0
    THEN COALESCE(p.opening_earned, 0) + COALESCE(m.opening_earned, 0) END,
  opening_spent = CASE WHEN num_nonnulls(p.opening_spent, m.opening_spent) > 0
    THEN COALESCE(p.opening_spent, 0) + COALESCE(m.opening_spent, 0) END,
  first_seen_at = LEAST(p.first_seen_at, m.first_seen_at),
  last_seen_at = GREATEST(p.last_seen_at, m.last_seen_at),
  created_at = LEAST(p.created_at, m.created_at), updated_at = now()
FROM participants m
WHERE p.tenant_id = :tenant_id AND p.id = :into_id
  AND m.tenant_id = :tenant_id AND m.id = :merged_id
RETURNING p.ctid, p.timezone, p.tier_achieved_at AS tier_at, m.tier_achieved_at AS merged_tier_at
""")
_ALIAS = sa.text("""
UPDATE participants SET merged_into = :into_id, display_name = NULL, avatar_url = NULL,
  attributes = NULL, timezone = NULL, tags = '{}', total_events = 0, first_seen_at = NULL,
  last_seen_at = NULL, points_earned = 0, points_spent = 0, rewards_claimed = 0, tier_id = NULL,
  tier_achieved_at = NULL, opening_earned = NULL, opening_spent = NULL, has_pauses = false
WHERE tenant_id = :tenant_id AND id = :merged_id
""")
_ALIASES = sa.text("""
UPDATE participants SET merged_into = :into_id
WHERE tenant_id = :tenant_id AND merged_into = :merged_id
""")
