"""Profiles: what the API reads and writes of one participant, each in one statement."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from models import clock, deadlines, erasures, rows
from models.badges import Rarity
from models.db import Engine, Session, array, run
from models.prepared import Prepared
from models.rules.periods import Kind, period_at
from models.rules.streaks import Rules, Standing, live, walk
from models.streaks import parse_ranges
from models.tenants import Tenant

Status = Literal["ACTIVE", "SUSPENDED", "CLOSED"]  # seed 003


class Badge(NamedTuple):
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


@dataclass(frozen=True, slots=True)
class Profile:
    """A participant with everything that the profile shows of it."""

    id: int
    external_id: str
    display_name: str | None
    avatar_url: str | None
    attributes: str | None  # JSON as it was sent
    timezone: str | None
    status: Status
    tags: list[str]
    total_events: int
    first_seen_at: datetime | None
    last_seen_at: datetime | None
    created_at: datetime
    updated_at: datetime
    badges: list[Badge]  # those earned
    streaks: Summary | None  # None before the first tick of an active streak


@dataclass(frozen=True, slots=True)
class State:
    """The sections of a participant's state that are read from tables; empty where not wanted."""

    badges: list[Badge]
    streaks: Summary | None


# -- reading ---------------------------------------------------------------------------------

_COLUMNS = """p.id, p.external_id, p.display_name, p.avatar_url, p.attributes, p.timezone,
    p.status, p.tags, p.total_events, p.first_seen_at, p.last_seen_at, p.created_at, p.updated_at"""

# One JSON text a section rather than a row an entry: one row comes back, and one round trip does.
_BADGE = """json_agg(json_build_array(b.code, b.name, b.icon_url, b.rarity,
      CAST(extract(epoch FROM e.earned_at) * 1000000 AS bigint))
      ORDER BY b.display_order, b.code)::text"""

_EARNED = f"""(SELECT {_BADGE} FROM participant_badges e
    JOIN badges b ON b.tenant_id = e.tenant_id AND b.id = e.badge_id
    WHERE e.tenant_id = p.tenant_id AND e.participant_id = p.id)"""  # noqa: S608 - of this file

_VISIBLE = f"""(SELECT {_BADGE} FROM badges b
    LEFT JOIN participant_badges e
      ON e.tenant_id = b.tenant_id AND e.badge_id = b.id AND e.participant_id = p.id
    WHERE b.tenant_id = $1
      AND (e.badge_id IS NOT NULL OR (b.is_active AND NOT b.is_hidden)))"""  # noqa: S608 - as above

# The recorded periods themselves only where the rules have changed since the state was written.
_STREAKS = """(SELECT json_agg(json_build_array(d.period, d.grace_periods, d.reset_on_miss,
      COALESCE(s.last_timezone, CASE d.boundary WHEN 'participant' THEN p.timezone END),
      CAST(extract(epoch FROM s.last_recorded_at) * 1000000 AS bigint), upper(s.recorded) - 1,
      s.current_count, s.longest_count, s.grace_remaining,
      CASE WHEN s.revision <> d.revision THEN s.recorded::text END))::text
    FROM streak_states s
    JOIN streaks d ON d.tenant_id = s.tenant_id AND d.id = s.streak_id AND d.is_active
    WHERE s.tenant_id = p.tenant_id AND s.participant_id = p.id)"""

_ROW = f"{_COLUMNS}, {_EARNED}, {_STREAKS}"
_READ = Prepared(
    "profile", "int, text",
    f"SELECT {_ROW} FROM participants p WHERE p.tenant_id = $1 AND p.external_id = $2",  # noqa: S608
)  # fmt: skip


def read(engine: Engine, tenant_id: int, external_id: str) -> Profile | None:
    """A participant's whole profile in one statement; None when there is none."""
    found = rows.read(engine, tenant_id, _READ, (tenant_id, external_id))
    return _profile(found[0]) if found else None


def _state_read(badges: str, streaks: str) -> Prepared:
    """A statement that also finds nobody: then the badges are those that anybody may earn."""
    return Prepared(
        f"state_{badges}_{streaks}", "int, text",
        f"""SELECT {_VISIBLE if badges else "NULL"}, {_STREAKS if streaks else "NULL"}
        FROM (VALUES (1)) AS always (one)
        LEFT JOIN participants p ON p.tenant_id = $1 AND p.external_id = $2""",  # noqa: S608 - of this file
    )  # fmt: skip


# By which of the two sections are wanted.
_STATE_READS = {
    (badges, streaks): _state_read(badges, streaks)
    for badges in ("", "badges") for streaks in ("", "streaks")
}  # fmt: skip


def state(engine: Engine, tenant_id: int, external_id: str, sections: Sequence[str]) -> State:
    """The sections `badges` and `streaks`, as far as wanted, also of somebody never seen, in one
    statement. Badges are all that can be seen: earned, or active and not hidden."""
    wanted = tuple(one if one in sections else "" for one in ("badges", "streaks"))
    ((earned, states),) = rows.read(
        engine, tenant_id, _STATE_READS[wanted[0], wanted[1]], (tenant_id, external_id)
    )
    return State(_badges(earned), _summary(states))


def status(session: Session, tenant_id: int, external_id: str) -> str | None:
    """ACTIVE, SUSPENDED or CLOSED; None when there is no such participant."""
    rows = run(
        session,
        "SELECT status FROM participants"
        " WHERE tenant_id = %(tenant_id)s AND external_id = %(external_id)s",
        {"tenant_id": tenant_id, "external_id": external_id},
    )
    return rows[0][0] if rows else None


def status_held(session: Session, tenant_id: int, external_id: str) -> str | None:
    """As `status`; nobody else changes it before this transaction ends."""
    rows = run(
        session,
        "SELECT status FROM participants"
        " WHERE tenant_id = %(tenant_id)s AND external_id = %(external_id)s FOR UPDATE",
        {"tenant_id": tenant_id, "external_id": external_id},
    )
    return rows[0][0] if rows else None


def suspended(session: Session, tenant_id: int, external_ids: Iterable[str]) -> set[str]:
    """Those of some external ids whose participants are suspended or closed."""
    rows = run(
        session,
        "SELECT external_id FROM participants WHERE tenant_id = %(tenant_id)s"
        " AND external_id = ANY(CAST(%(ids)s AS text[])) AND inactive_since IS NOT NULL",
        {"tenant_id": tenant_id, "ids": array(external_ids)},
    )
    return {row[0] for row in rows}


def _profile(row: Any) -> Profile:
    values: list[Any] = [*row[:13], _badges(row[13]), _summary(row[14])]
    return Profile(*values)


def _badges(text: str | None) -> list[Badge]:
    return [Badge(*one) for one in json.loads(text)] if text else []


def _summary(text: str | None) -> Summary | None:
    """The best current and the best longest count over all states, and the latest instant."""
    if not text:
        return None
    now_us, current, longest, latest_us = clock.now_us(), 0, 0, 0
    for kind, grace, resets, zone, last_us, *walked in json.loads(text):
        rules = Rules(grace, resets)
        standing = _standing(rules, walked)
        current = max(current, _current(kind, zone, rules, standing, now_us))
        longest, latest_us = max(longest, standing.longest), max(latest_us, last_us)
    return Summary(current, longest, latest_us)


def _current(kind: Kind, zone: str | None, rules: Rules, standing: Standing, now_us: int) -> int:
    return live(standing, rules, period_at(kind, now_us, zone)).count


def _standing(rules: Rules, walked: list[Any]) -> Standing:
    """As stored, or walked afresh where the row tells the recorded periods."""
    *counts, recorded = walked
    return walk(parse_ranges(recorded), rules) if recorded else Standing(*counts)


# -- writing ---------------------------------------------------------------------------------

_FIELDS = ("display_name", "avatar_url", "attributes", "timezone", "tags", "status")
_MOVES_DEADLINES = {"timezone", "status"}

# Kept at the first instant while a participant goes from one inactive status to another.
_SINCE = """inactive_since = CASE WHEN %(status)s = 'ACTIVE' THEN NULL
    ELSE COALESCE(p.inactive_since, now()) END"""


def upsert(
    session: Session, tenant: Tenant, external_id: str, values: Mapping[str, Any]
) -> tuple[Profile, bool] | None:
    """Create a participant or change what is given of it, and read it back in the same statement;
    whether it was created. None when it is not active, unless a status is given.

    Of several who create one participant at once the unique key lets one insert; the others wait
    for it and change its row.
    """
    statement = _upsert_statement(_given(values))
    rows = run(session, statement, _arguments(tenant.id, external_id, values))
    if not rows:
        return None
    profile, is_new = _profile(rows[0]), bool(rows[0][15])
    if is_new:
        _mark_erased(session, tenant, profile)
    elif values.keys() & _MOVES_DEADLINES:
        deadlines.look_again(session, tenant.id, profile.id)
    return profile, is_new


def _upsert_statement(names: list[str]) -> str:
    """`xmax` is 0 in a row that nobody has locked or replaced: one inserted by this statement."""
    columns, places = ["tenant_id", "external_id", *names], [f"%({name})s" for name in names]
    if "status" in names:
        columns.append("inactive_since")
        places.append("CASE WHEN %(status)s <> 'ACTIVE' THEN now() END")
    return f"""WITH p AS (
        INSERT INTO participants AS p ({", ".join(columns)})
        VALUES ({", ".join(["%(tenant_id)s", "%(external_id)s", *places])})
        ON CONFLICT (tenant_id, external_id) DO UPDATE SET {_sets(names)}
        {_only_active(names)} RETURNING p.*, p.xmax = 0 AS is_new)
        SELECT {_ROW}, p.is_new FROM p"""  # noqa: S608 - names of this file


def _mark_erased(session: Session, tenant: Tenant, created: Profile) -> None:
    """Note on a new row when whoever had its external id before was erased, if anybody had it.

    A statement after the insert: the insert may have waited for an erasure to commit, whose
    tombstone it cannot see itself (models/erasures.py).
    """
    erased_at = erasures.last(session, tenant, created.external_id)
    if erased_at is None:
        return
    run(
        session,
        "UPDATE participants SET erased_at = %(erased_at)s"
        " WHERE tenant_id = %(tenant_id)s AND id = %(id)s",
        {"tenant_id": tenant.id, "id": created.id, "erased_at": erased_at},
    )


def change(
    session: Session, tenant_id: int, external_id: str, values: Mapping[str, Any]
) -> Profile | None:
    """Change what is given of an active participant and read it back in the same statement; None
    when there is no such participant or it is not active."""
    statement = f"""WITH p AS (
        UPDATE participants AS p SET {_sets(_given(values))}
        WHERE p.tenant_id = %(tenant_id)s AND p.external_id = %(external_id)s
          AND p.status = 'ACTIVE'
        RETURNING p.*)
        SELECT {_ROW} FROM p"""  # noqa: S608 - names of this file
    rows = run(session, statement, _arguments(tenant_id, external_id, values))
    if rows and values.keys() & _MOVES_DEADLINES:
        deadlines.look_again(session, tenant_id, rows[0][0])
    return _profile(rows[0]) if rows else None


def _given(values: Mapping[str, Any]) -> list[str]:
    """The columns that values name, from the closed list: statements are made of them."""
    return [name for name in _FIELDS if name in values]


def _sets(names: list[str]) -> str:
    """What an update sets; without names a row is locked and returned as it is."""
    sets = [f"{name} = %({name})s" for name in names]
    if "status" in names:
        sets.append(_SINCE)
    return ", ".join([*sets, "updated_at = now()"] if sets else ["status = p.status"])


def _only_active(names: list[str]) -> str:
    return "" if "status" in names else "WHERE p.status = 'ACTIVE'"


def _arguments(tenant_id: int, external_id: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {"tenant_id": tenant_id, "external_id": external_id, **values}
