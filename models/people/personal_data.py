"""One participant's data: everything that its erasure deletes, section by section.

`SECTIONS` names the tables of each section; a test compares them with the schema and with what
`models.people.erasure` deletes. Names replace internal numbers, and an instant is RFC 3339 with
`Z`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import sqlalchemy as sa

from models import clock, ids
from models.db import Connection, stream
from models.identity import aliases
from models.identity.participants import ID_OF
from models.ledgers.milestones import UNKNOWN_PERIOD
from models.rules.periods import cadence_of, key_of
from models.rules.targets import shown
from models.streaks import states

ROWS_AT_ONCE = 1_000  # facts, held in memory
_JSON = frozenset({"attributes", "metadata", "body"})  # columns of JSON text

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Subject:
    """A participant whose data is read; the reader's transaction holds its row."""

    tenant_id: int
    id: int
    external_id: str
    aliases: Sequence[str] = ()  # external ids that were merged into it


@dataclass(frozen=True, slots=True)
class Section:
    """One list of the export."""

    name: str
    tables: tuple[str, ...]  # the tables whose rows it shows
    rows: Callable[[Connection, Subject], Iterator[Row]]


_HOLD = sa.text(f"""
SELECT id, external_id FROM participants WHERE tenant_id = :tenant_id AND id = {ID_OF}
FOR KEY SHARE
""")  # noqa: S608 - a constant


def hold(connection: Connection, tenant_id: int, external_id: str) -> Subject | None:
    """The participant that an id counts for, or None. An erasure waits for this transaction,
    batches do not.

    In a snapshot this raises Contended when an erasure came first.
    """
    connection.execute(_BY_INDEX)
    values = {"tenant_id": tenant_id, "external_id": external_id}
    found = connection.execute(_HOLD, values).one_or_none()
    if found is None:
        return None
    names = aliases.of(connection, tenant_id, found.id)
    return Subject(tenant_id, found.id, found.external_id, names)


# As for an erasure: the statistics of a new day are always wrong.
_BY_INDEX = sa.text("SET LOCAL enable_seqscan = off")

_PROFILE = sa.text("""
SELECT p.display_name, p.avatar_url, p.attributes, p.timezone, p.status, p.tags, p.inactive_since,
  p.total_events, p.points_earned AS total_earned, p.points_spent AS total_spent,
  p.points_earned - p.points_spent AS balance, p.opening_earned, p.opening_spent,
  p.rewards_claimed, t.code AS tier_code,
  p.tier_achieved_at, p.first_seen_at, p.last_seen_at, p.created_at, p.updated_at
FROM participants p
LEFT JOIN tiers t ON t.tenant_id = p.tenant_id AND t.id = p.tier_id
WHERE p.tenant_id = :tenant_id AND p.id = :participant_id
""")


def profile(connection: Connection, subject: Subject) -> Row:
    """The participant's own row."""
    row = plain(connection.execute(_PROFILE, _values(subject)).one())
    return row | {"aliases": list(subject.aliases)}


# -- lists -----------------------------------------------------------------------------------


def _list(name: str, tables: tuple[str, ...], statement: str) -> Section:
    """A section read by one statement, with the names of its columns."""

    def rows(connection: Connection, subject: Subject) -> Iterator[Row]:
        return map(plain, stream(connection, statement, _values(subject)))

    return Section(name, tables, rows)


_MINE = "WHERE w.tenant_id = :tenant_id AND w.participant_id = :participant_id"

_PROGRAMS = f"""
SELECT d.id::text AS program_id, d.name, w.enrolled_at FROM participant_programs w
JOIN programs d ON d.tenant_id = w.tenant_id AND d.id = w.program_id
{_MINE} ORDER BY w.enrolled_at, d.id
"""  # noqa: S608 - a fragment of this file
_STATES = f"""
SELECT {states.STATE_COLUMNS}, l.due_at AS review_at, p.timezone AS participant_timezone
FROM streak_states s
JOIN participants p ON p.tenant_id = s.tenant_id AND p.id = s.participant_id
LEFT JOIN streak_deadlines l ON l.tenant_id = s.tenant_id
  AND l.participant_id = s.participant_id AND l.streak_id = s.streak_id
WHERE s.tenant_id = :tenant_id AND s.participant_id = :participant_id ORDER BY s.streak_id
"""  # noqa: S608 - a constant of this package
_MILESTONES = f"""
SELECT d.code AS streak_code, d.period AS kind, d.forgiveness,
  w.count, w.period, w.tick_id::text AS tick_id
FROM streak_milestones w JOIN streaks d ON d.tenant_id = w.tenant_id AND d.id = w.streak_id
{_MINE} ORDER BY d.code, w.count, w.period
"""  # noqa: S608 - a fragment of this file
_PROGRESS = f"""
SELECT d.code AS streak_code, d.period AS kind, d.forgiveness, w.period, w.value, w.days,
  w.last_recorded_at, w.last_timezone
FROM streak_progress w JOIN streaks d ON d.tenant_id = w.tenant_id AND d.id = w.streak_id
{_MINE} ORDER BY d.code, w.period
"""  # noqa: S608 - a fragment of this file
_TICKS = f"""
SELECT w.id AS accepted_at, w.id::text AS tick_id, d.code AS streak_code, d.period AS kind,
  d.forgiveness, w.period, w.occurred_at AS timestamp, w.timezone, w.metadata, w.value,
  w.progress, w.outcome, w.new_count,
  w.previous_count, w.longest_count, w.is_new_record, w.grace_remaining
FROM ticks w JOIN streaks d ON d.tenant_id = w.tenant_id AND d.id = w.streak_id
{_MINE} ORDER BY w.id
"""  # noqa: S608 - a fragment of this file
_BADGES = f"""
SELECT d.code AS badge_code, d.name AS badge_name, w.earned_at, w.award_id::text AS award_id,
  w.metadata
FROM participant_badges w JOIN badges d ON d.tenant_id = w.tenant_id AND d.id = w.badge_id
{_MINE} ORDER BY w.earned_at, d.code
"""  # noqa: S608 - a fragment of this file
_AWARDS = f"""
SELECT w.id AS accepted_at, w.id::text AS award_id, d.code AS badge_code, w.earned_at,
  w.already_earned
FROM awards w JOIN badges d ON d.tenant_id = w.tenant_id AND d.id = w.badge_id
{_MINE} ORDER BY w.id
"""  # noqa: S608 - a fragment of this file
_POINTS = f"""
SELECT w.id AS accepted_at, w.id::text AS transaction_id, w.kind,
  CASE WHEN w.credit = 'available' THEN w.amount ELSE -w.amount END AS amount, w.balance_after,
  w.debit, w.credit, w.source, w.reason, w.metadata, d.code AS tier_code
FROM point_transactions w LEFT JOIN tiers d ON d.tenant_id = w.tenant_id AND d.id = w.tier_id
{_MINE} ORDER BY COALESCE(w.sequence, 0), w.id
"""  # noqa: S608 - a fragment of this file
_TIER_CHANGES = f"""
SELECT w.id AS achieved_at, d.code AS tier_code, o.code AS previous_code, w.source, w.reason,
  w.metadata
FROM tier_changes w JOIN tiers d ON d.tenant_id = w.tenant_id AND d.id = w.tier_id
LEFT JOIN tiers o ON o.tenant_id = w.tenant_id AND o.id = w.previous_tier_id
{_MINE} ORDER BY COALESCE(w.sequence, 0), w.id
"""  # noqa: S608 - a fragment of this file
_REDEMPTIONS = f"""
SELECT w.id AS claimed_at, w.id::text AS claim_id, d.code AS reward_code, d.name AS reward_name,
  w.points_deducted, w.balance_after, w.metadata
FROM reward_claims w JOIN rewards d ON d.tenant_id = w.tenant_id AND d.id = w.reward_id
{_MINE} ORDER BY COALESCE(w.sequence, 0), w.id
"""  # noqa: S608 - a fragment of this file
_CHALLENGES = f"""
SELECT d.code AS challenge_code, d.name AS challenge_name, w.progress, d.target, w.completed_at,
  w.updated_at
FROM challenge_progress w
JOIN challenges d ON d.tenant_id = w.tenant_id AND d.id = w.challenge_id
{_MINE} ORDER BY d.code
"""  # noqa: S608 - a fragment of this file
_LEADERBOARDS = """
SELECT d.code AS leaderboard_code, d.name AS leaderboard_name, e.score, e.reached_at,
  c.participant_id IS NOT NULL AS is_to_be_updated
FROM leaderboards d
LEFT JOIN leaderboard_entries e ON e.tenant_id = d.tenant_id AND e.leaderboard_id = d.id
  AND e.participant_id = :participant_id
LEFT JOIN leaderboard_changes c ON c.tenant_id = d.tenant_id AND c.leaderboard_id = d.id
  AND c.participant_id = :participant_id
WHERE d.tenant_id = :tenant_id AND COALESCE(e.participant_id, c.participant_id) IS NOT NULL
ORDER BY d.code
"""
_STREAK_CHANGES = f"""
SELECT w.id AS accepted_at, w.id::text AS change_id, w.kind, d.code AS streak_code, w.reason,
  w.details
FROM streak_changes w LEFT JOIN streaks d ON d.tenant_id = w.tenant_id AND d.id = w.streak_id
{_MINE} ORDER BY w.sequence
"""  # noqa: S608 - a fragment of this file
_PAUSES = f"""
SELECT w.id::text AS pause_id, w.created_at, (DATE '1970-01-01' + w.first_day)::text AS "from",
  (DATE '1970-01-01' + w.last_day)::text AS "to", w.reason,
  (SELECT json_agg(d.code ORDER BY d.code) FROM streaks d
   WHERE d.tenant_id = w.tenant_id AND d.id = ANY(w.streak_ids)) AS streak_codes
FROM pauses w {_MINE} ORDER BY w.first_day, w.id
"""  # noqa: S608 - a fragment of this file
_REJECTIONS = f"""
SELECT w.id AS accepted_at, w.id::text AS write_id, w.code, w.detail FROM rejections w
{_MINE} ORDER BY w.id
"""  # noqa: S608 - a fragment of this file
_FACTS = f"SELECT w.body FROM facts w {_MINE} ORDER BY w.sequence"  # noqa: S608 - as above


def _states(connection: Connection, subject: Subject) -> Iterator[Row]:
    """Each streak with the set of recorded periods: the first and last key of each run."""
    definitions = {
        streak.id: streak for streak in states.definitions.all_of(connection, subject.tenant_id)
    }
    for row in stream(connection, _STATES, _values(subject)):
        streak = definitions[row.streak_id]
        state, cadence = states.state_of_row(row, streak, row.participant_timezone), streak.cadence
        yield {
            "streak_code": streak.code,
            "streak_name": streak.name,
            "period": streak.period,
            "count": state.totals.count,
            "longest_count": state.totals.longest,
            "grace_remaining": state.totals.grace_remaining,
            "last_recorded_at": clock.to_text(state.last_recorded_us),
            "timezone": row.last_timezone,
            "review_at": _value("review_at", row.review_at),
            "recorded": [
                [key_of(cadence, first), key_of(cadence, end - 1)] for first, end in state.ranges
            ],
        }


def _milestones(connection: Connection, subject: Subject) -> Iterator[Row]:
    """The counts reached, each with its period; null where that was not recorded."""
    for row in map(plain, stream(connection, _MILESTONES, _values(subject))):
        row["period_key"] = _period_key(row)
        yield row


def _period_key(row: Row) -> str | None:
    """The key of a row's period, in place of the columns that say which it is."""
    cadence, period = cadence_of(row.pop("kind"), row.pop("forgiveness")), row.pop("period")
    return None if period == UNKNOWN_PERIOD else key_of(cadence, period)


def _ticks(connection: Connection, subject: Subject) -> Iterator[Row]:
    for row in map(plain, stream(connection, _TICKS, _values(subject))):
        row["period_key"] = _period_key(row)
        for name in ("value", "progress"):
            row[name] = None if row[name] is None else shown(row[name])
        yield row


def _progress(connection: Connection, subject: Subject) -> Iterator[Row]:
    for row in map(plain, stream(connection, _PROGRESS, _values(subject))):
        row["period_key"] = _period_key(row)
        yield row | {"value": shown(row["value"])}


def _facts(connection: Connection, subject: Subject) -> Iterator[Row]:
    """The facts as sent."""
    return (json.loads(row.body) for row in stream(connection, _FACTS, _values(subject)))


# -- deliveries of the facts -----------------------------------------------------------------

_FACT_IDS = f"SELECT w.id FROM facts w {_MINE} ORDER BY w.id"  # noqa: S608 - as above
# The bounds let the planner prune the other days' partitions.
_DELIVERIES = sa.text("""
SELECT w.fact_id, w.webhook_id::text AS webhook_id, d.url, w.status, w.attempts, w.next_attempt_at
FROM deliveries w LEFT JOIN webhooks d ON d.tenant_id = w.tenant_id AND d.id = w.webhook_id
WHERE w.tenant_id = :tenant_id AND w.fact_id = ANY(CAST(:fact_ids AS uuid[]))
  AND w.fact_id BETWEEN :first AND :last ORDER BY w.fact_id, w.webhook_id
""")
_ATTEMPTS = sa.text("""
SELECT w.id AS attempted_at, w.fact_id, w.webhook_id::text AS webhook_id, d.url, w.number,
  w.status_code, w.error, w.duration_ms, w.remote_address, w.response
FROM attempts w LEFT JOIN webhooks d ON d.tenant_id = w.tenant_id AND d.id = w.webhook_id
WHERE w.tenant_id = :tenant_id AND w.fact_id = ANY(CAST(:fact_ids AS uuid[])) ORDER BY w.id
""")


def _of_facts(statement: sa.TextClause) -> Callable[[Connection, Subject], Iterator[Row]]:
    """The rows of a statement about the facts, `ROWS_AT_ONCE` facts at a time."""

    def rows(connection: Connection, subject: Subject) -> Iterator[Row]:
        fact_ids = (row.id for row in stream(connection, _FACT_IDS, _values(subject)))
        while some := list(islice(fact_ids, ROWS_AT_ONCE)):
            bounds = {"fact_ids": some, "first": some[0], "last": some[-1]}
            for row in connection.execute(statement, _values(subject) | bounds):
                yield _sent(row)

    return rows


def _sent(row: Any) -> Row:
    """The destination as scheme and host only: a URL may hold a password."""
    made = plain(row)
    made["fact_id"] = f"evt_{row.fact_id.hex}"
    url = made.pop("url")
    parts = urlsplit(url or "")
    made["destination"] = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if url else None
    return made


SECTIONS = (
    _list("programs", ("participant_programs",), _PROGRAMS),
    Section("streaks", ("streak_states", "streak_deadlines"), _states),
    Section("milestones", ("streak_milestones",), _milestones),
    Section("progress", ("streak_progress",), _progress),
    Section("ticks", ("ticks",), _ticks),
    _list("badges", ("participant_badges",), _BADGES),
    _list("awards", ("awards",), _AWARDS),
    _list("points_transactions", ("point_transactions",), _POINTS),
    _list("tier_changes", ("tier_changes",), _TIER_CHANGES),
    _list("claims", ("reward_claims",), _REDEMPTIONS),
    _list("streak_changes", ("streak_changes",), _STREAK_CHANGES),
    _list("pauses", ("pauses",), _PAUSES),
    _list("challenges", ("challenge_progress",), _CHALLENGES),
    _list("leaderboards", ("leaderboard_entries", "leaderboard_changes"), _LEADERBOARDS),
    Section("facts", ("facts",), _facts),
    Section("deliveries", ("deliveries",), _of_facts(_DELIVERIES)),
    Section("attempts", ("attempts",), _of_facts(_ATTEMPTS)),
    _list("rejections", ("rejections",), _REJECTIONS),
)


# -- rows ------------------------------------------------------------------------------------


def _values(subject: Subject) -> dict[str, Any]:
    return {"tenant_id": subject.tenant_id, "participant_id": subject.id}


def plain(row: Any) -> Row:
    """A row in JSON's types, by the names of its columns."""
    values: Mapping[str, Any] = row._asdict()
    return {name: _value(name, value) for name, value in values.items()}


def _value(name: str, value: Any) -> Any:
    """A value in JSON's types. A UUIDv7 in a column of an instant becomes that instant."""
    if isinstance(value, datetime):
        return clock.isoformat(value)
    if isinstance(value, UUID):
        return clock.to_text(ids.issued_at_us(value))
    if name in _JSON and value is not None:
        return json.loads(value)
    return value
