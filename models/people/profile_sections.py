"""The sections of a participant's profile and state: how each is read, and its content.

A section is one JSON text in the participant's row rather than rows of its own: a read returns one
row in one round trip.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from models import clock
from models.definitions.badges import Rarity
from models.ledgers.points import PointsBalance
from models.rules.periods import Cadence, cadence_of, period_at
from models.rules.streaks import Live, Ranges, Rules, StreakTotals, live, walk
from models.streaks import terms
from models.streaks.extras import Extras, decode
from models.streaks.forgiveness import forgiveness_of, ranges_in
from models.streaks.states import parse_ranges


class ProfileBadge(NamedTuple):
    """A badge as a participant's summary shows it."""

    code: str
    name: str
    icon_url: str | None
    rarity: Rarity
    earned_us: int | None  # microseconds since 1970; None while it is not earned


@dataclass(frozen=True, slots=True)
class Summary:
    """All of a participant's streaks in three figures, as of now (contract §3.4)."""

    current: int
    longest: int
    last_us: int  # the latest instant of any tick, in microseconds


class Placed(NamedTuple):
    """A participant's tier."""

    tier_id: str
    achieved_us: int


class ChallengeCounts(NamedTuple):
    """How many challenges are in progress, and how many were completed."""

    active: int
    completed: int


@dataclass(frozen=True, slots=True)
class Sections:
    """The sections of a participant's state; empty where not wanted."""

    points: PointsBalance
    rewards_claimed: int
    placed: Placed | None
    badges: list[ProfileBadge]
    streaks: Summary | None
    challenges: ChallengeCounts


# -- reads: p is the participant -------------------------------------------------------------

_BADGE = """json_agg(json_build_array(b.code, b.name, b.icon_url, b.rarity,
      CAST(extract(epoch FROM e.earned_at) * 1000000 AS bigint))
      ORDER BY b.display_order, b.code)::text"""

EARNED = f"""(SELECT {_BADGE} FROM participant_badges e
    JOIN badges b ON b.tenant_id = e.tenant_id AND b.id = e.badge_id
    WHERE e.tenant_id = p.tenant_id AND e.participant_id = p.id)"""  # noqa: S608 - of this file

VISIBLE = f"""(SELECT {_BADGE} FROM badges b
    LEFT JOIN participant_badges e
      ON e.tenant_id = b.tenant_id AND e.badge_id = b.id AND e.participant_id = p.id
    WHERE b.tenant_id = $1
      AND (e.badge_id IS NOT NULL OR (b.is_active AND NOT b.is_hidden)))"""  # noqa: S608 - as above

# The recorded periods are read only where the rules have changed since the state was written, and
# with forgiveness.
STREAKS = """(SELECT json_agg(json_build_array(d.period, d.grace_periods, d.reset_on_miss,
      COALESCE(s.last_timezone, CASE d.boundary WHEN 'participant' THEN p.timezone END),
      CAST(extract(epoch FROM s.last_recorded_at) * 1000000 AS bigint), upper(s.recorded) - 1,
      s.current_count, s.longest_count, s.grace_remaining,
      CASE WHEN s.revision <> d.revision THEN s.recorded::text END,
      CASE WHEN COALESCE(s.forgiveness, d.forgiveness, d.outages) IS NOT NULL THEN
        json_build_array(s.recorded::text, s.forgiveness::text, d.forgiveness, d.holidays,
          d.outages)
      END))::text
    FROM streak_states s
    JOIN streaks d ON d.tenant_id = s.tenant_id AND d.id = s.streak_id AND d.is_active
    WHERE s.tenant_id = p.tenant_id AND s.participant_id = p.id)"""

CHALLENGES = """(SELECT json_build_array(
      count(*) FILTER (WHERE g.completed_at IS NULL AND c.is_active
        AND (c.starts_at IS NULL OR c.starts_at <= now())
        AND (c.ends_at IS NULL OR now() < c.ends_at)),
      count(g.completed_at))::text
    FROM challenge_progress g
    JOIN challenges c ON c.tenant_id = g.tenant_id AND c.id = g.challenge_id
    WHERE g.tenant_id = p.tenant_id AND g.participant_id = p.id)"""

# -- contents --------------------------------------------------------------------------------


def badges(text: str | None) -> list[ProfileBadge]:
    return [ProfileBadge(*load) for load in json.loads(text)] if text else []


def summary(text: str | None) -> Summary | None:
    """The best current and the best longest count over all states, and the latest instant."""
    if not text:
        return None
    now_us, current, longest, latest_us = clock.now_us(), 0, 0, 0
    for kind, grace, resets, zone, last_us, *walked, forgiving in json.loads(text):
        cadence = cadence_of(kind, forgiving and forgiving[2])
        rules, period = Rules(grace, resets), period_at(cadence, now_us, zone)
        if forgiving is None:
            totals = _totals(rules, walked)
            now = live(totals, rules, period)
        else:
            totals, now = _forgiven(cadence, rules, zone, forgiving, period)
        current = max(current, now.count)
        longest, latest_us = max(longest, totals.longest), max(latest_us, last_us)
    return Summary(current, longest, latest_us)


@dataclass(frozen=True, slots=True)
class _Definition:
    """What decides on a state, of a definition."""

    cadence: Cadence
    rules: Rules
    outages: Ranges


@dataclass(slots=True)
class _State:
    """What a walk reads and sets."""

    ranges: Ranges
    totals: StreakTotals
    extras: Extras | None


def _forgiven(
    cadence: Cadence, plain: Rules, zone: str | None, stored: list[Any], period: int
) -> tuple[StreakTotals, Live]:
    """A state with forgiveness, walked again: seldom, and a walk takes some microseconds."""
    recorded, extras, fields, holidays, outages = stored
    rules = replace(plain, forgiveness=forgiveness_of(cadence, fields, ranges_in(holidays)))
    definition = _Definition(cadence, rules, ranges_in(outages))
    own = None if extras is None else decode(extras)
    state = _State(parse_ranges(recorded), StreakTotals(None, 0, 0, 0), own)
    terms.rewalk(definition, state, zone)
    return state.totals, terms.live(definition, state, zone, period)


def _totals(rules: Rules, walked: list[Any]) -> StreakTotals:
    """As stored, or walked again where the row has the recorded periods."""
    *counts, recorded = walked
    return walk(parse_ranges(recorded), rules) if recorded else StreakTotals(*counts)


def placed(tier_id: str | None, achieved_at: datetime | None) -> Placed | None:
    """The participant's tier, or None."""
    if tier_id is None or achieved_at is None:
        return None
    return Placed(tier_id, clock.to_us(achieved_at))


def challenges(text: str | None) -> ChallengeCounts:
    """The numbers in progress and completed."""
    return ChallengeCounts(*json.loads(text)) if text else ChallengeCounts(0, 0)
