"""Profiles: the API's reads and writes of one participant, each in one statement."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from models.db import Connection, Engine, array, run, tenant_isolation
from models.db.prepared import Prepared
from models.identity import aliases
from models.identity.participants import ID_OF_PLAIN
from models.identity.tenants import Tenant
from models.leaderboards import entries
from models.ledgers.points import PointsBalance
from models.people import erasure, profile_sections
from models.people.profile_sections import Placed, ProfileBadge, Sections, Summary
from models.streaks import deadlines

ParticipantStatus = Literal["ACTIVE", "SUSPENDED", "CLOSED"]  # seed 003


@dataclass(frozen=True, slots=True)
class Profile:
    """A participant with everything that its profile shows."""

    id: int
    external_id: str
    display_name: str | None
    avatar_url: str | None
    attributes: str | None  # JSON as sent
    timezone: str | None
    status: ParticipantStatus
    tags: list[str]
    total_events: int
    first_seen_at: datetime | None
    last_seen_at: datetime | None
    created_at: datetime
    updated_at: datetime
    points: PointsBalance
    rewards_claimed: int
    badges: list[ProfileBadge]  # those earned
    streaks: Summary | None  # None before the first tick of an active streak
    placed: Placed | None  # None: in no tier


# -- reading ---------------------------------------------------------------------------------

_COLUMNS = """p.id, p.external_id, p.display_name, p.avatar_url, p.attributes, p.timezone,
    p.status, p.tags, p.total_events, p.first_seen_at, p.last_seen_at, p.created_at, p.updated_at"""
_HAS = "p.points_earned, p.points_spent, p.rewards_claimed, p.tier_id::text, p.tier_achieved_at"

_ROW = f"{_COLUMNS}, {_HAS}, {profile_sections.EARNED}, {profile_sections.STREAKS}"
_ID = """(SELECT COALESCE(a.merged_into, a.id) FROM participants a
    WHERE a.tenant_id = $1 AND a.external_id = $2)"""
_READ = Prepared(
    "profile", "int, text",
    f"SELECT {_ROW} FROM participants p WHERE p.tenant_id = $1 AND p.id = {_ID}",  # noqa: S608
)  # fmt: skip


def read(engine: Engine, tenant_id: int, external_id: str) -> Profile | None:
    """A participant's whole profile in one statement; None without the participant."""
    found = tenant_isolation.read(engine, tenant_id, _READ, (tenant_id, external_id))
    return _profile(found[0]) if found else None


_READS = {
    "badges": profile_sections.VISIBLE,
    "streaks": profile_sections.STREAKS,
    "challenges": profile_sections.CHALLENGES,
}


def _state_read(wanted: tuple[str, ...]) -> Prepared:
    """A statement that also serves an unknown participant, whose badges are those it may earn."""
    reads = ", ".join(
        expression if name in wanted else "NULL" for name, expression in _READS.items()
    )
    return Prepared(
        f"state_{'_'.join(wanted)}", "int, text",
        f"""SELECT {_HAS}, p.external_id, {reads}
        FROM (VALUES (1)) AS always (one)
        LEFT JOIN participants p ON p.tenant_id = $1 AND p.id = {_ID}""",  # noqa: S608 - of this file
    )  # fmt: skip


# By the wanted sections that read another table.
_STATE_READS = {
    wanted: _state_read(wanted)
    for count in range(len(_READS) + 1)
    for wanted in itertools.combinations(_READS, count)
}


def state(
    engine: Engine, tenant_id: int, external_id: str, wanted: Sequence[str]
) -> tuple[str, Sections]:
    """The wanted sections, even of an unknown participant, in one statement, with the external id:
    an alias has its survivor's. Badges are all visible ones: earned, or active and not hidden."""
    statement = _STATE_READS[tuple(section for section in _READS if section in wanted)]
    ((earned, spent, claimed, tier_id, achieved_at, known, *texts),) = tenant_isolation.read(
        engine, tenant_id, statement, (tenant_id, external_id)
    )
    badges, streaks, challenges = texts
    return known or external_id, Sections(
        points=PointsBalance(earned or 0, spent or 0),
        rewards_claimed=claimed or 0,
        placed=profile_sections.placed(tier_id, achieved_at),
        badges=profile_sections.badges(badges),
        streaks=profile_sections.summary(streaks),
        challenges=profile_sections.challenges(challenges),
    )


def status(connection: Connection, tenant_id: int, external_id: str) -> str | None:
    """ACTIVE, SUSPENDED or CLOSED; None without the participant."""
    rows = run(
        connection,
        "SELECT status FROM participants"  # noqa: S608 - a constant
        f" WHERE tenant_id = %(tenant_id)s AND id = {ID_OF_PLAIN}",
        {"tenant_id": tenant_id, "external_id": external_id},
    )
    return rows[0][0] if rows else None


def status_held(connection: Connection, tenant_id: int, external_id: str) -> str | None:
    """As `status`; no other transaction changes it before this one ends."""
    rows = run(
        connection,
        "SELECT status FROM participants"  # noqa: S608 - a constant
        f" WHERE tenant_id = %(tenant_id)s AND id = {ID_OF_PLAIN} FOR UPDATE",
        {"tenant_id": tenant_id, "external_id": external_id},
    )
    return rows[0][0] if rows else None


def suspended(connection: Connection, tenant_id: int, external_ids: Iterable[str]) -> set[str]:
    """The external ids, among some, whose participants are suspended or closed."""
    rows = run(
        connection,
        "SELECT external_id FROM participants WHERE tenant_id = %(tenant_id)s"
        " AND external_id = ANY(CAST(%(ids)s AS text[])) AND inactive_since IS NOT NULL",
        {"tenant_id": tenant_id, "ids": array(external_ids)},
    )
    return {row[0] for row in rows}


def _profile(row: Any) -> Profile:
    values: list[Any] = [*row[:13], PointsBalance(row[13], row[14]), row[15]]
    values += [profile_sections.badges(row[18]), profile_sections.summary(row[19])]
    values += [profile_sections.placed(row[16], row[17])]
    return Profile(*values)


# -- writing ---------------------------------------------------------------------------------

_FIELDS = ("display_name", "avatar_url", "attributes", "timezone", "tags", "status")
_MOVES_DEADLINES = {"timezone", "status"}

# The first instant stays when a participant goes from one inactive status to another.
_SINCE = """inactive_since = CASE WHEN %(status)s = 'ACTIVE' THEN NULL
    ELSE COALESCE(p.inactive_since, now()) END"""


def upsert(
    connection: Connection, tenant: Tenant, external_id: str, values: Mapping[str, Any]
) -> tuple[Profile, bool] | None:
    """Create a participant or change the given values, and read it back in the same statement; also
    return whether it was created. None when it is inactive, unless a status is given.

    When several requests create one participant at once, the unique key lets one insert; the others
    wait for it and change its row.
    """
    statement = _upsert_statement(_given(values))
    rows = run(connection, statement, _arguments(tenant.id, external_id, values))
    if not rows:
        survivor = aliases.current(connection, tenant.id, [external_id])[external_id]
        return None if survivor == external_id else upsert(connection, tenant, survivor, values)
    profile, is_new = _profile(rows[0]), bool(rows[0][-1])
    if is_new:
        _mark_erased(connection, tenant, profile)
    elif values.keys() & _MOVES_DEADLINES:
        deadlines.look_again(connection, tenant.id, profile.id)
    if "status" in values:
        entries.mark_changed(connection, tenant.id, [profile.id])
    return profile, is_new


def _upsert_statement(names: list[str]) -> str:
    """`xmax` is 0 in a row never locked or replaced: this statement inserted it."""
    columns, places = ["tenant_id", "external_id", *names], [f"%({name})s" for name in names]
    if "status" in names:
        columns.append("inactive_since")
        places.append("CASE WHEN %(status)s <> 'ACTIVE' THEN now() END")
    return f"""WITH p AS (
        INSERT INTO participants AS p ({", ".join(columns)})
        VALUES ({", ".join(["%(tenant_id)s", "%(external_id)s", *places])})
        ON CONFLICT (tenant_id, external_id) DO UPDATE SET {_sets(names)}
        WHERE p.merged_into IS NULL{_only_active(names)} RETURNING p.*, p.xmax = 0 AS is_new)
        SELECT {_ROW}, p.is_new FROM p"""  # noqa: S608 - names of this file


def _mark_erased(connection: Connection, tenant: Tenant, created: Profile) -> None:
    """Store on a new row when the earlier holder of its external id was erased, if there was one.

    In a statement after the insert: the insert may have waited for an erasure to commit, whose
    tombstone it cannot see itself (models/people/erasure.py).
    """
    erased_at = erasure.last(connection, tenant, created.external_id)
    if erased_at is None:
        return
    run(
        connection,
        "UPDATE participants SET erased_at = %(erased_at)s"
        " WHERE tenant_id = %(tenant_id)s AND id = %(id)s",
        {"tenant_id": tenant.id, "id": created.id, "erased_at": erased_at},
    )


def change(
    connection: Connection, tenant_id: int, external_id: str, values: Mapping[str, Any]
) -> Profile | None:
    """Change the given values of an active participant and read it back in the same statement; None
    without the participant or when it is inactive."""
    statement = f"""WITH p AS (
        UPDATE participants AS p SET {_sets(_given(values))}
        WHERE p.tenant_id = %(tenant_id)s AND p.id = {ID_OF_PLAIN} AND p.status = 'ACTIVE'
        RETURNING p.*)
        SELECT {_ROW} FROM p"""  # noqa: S608 - names of this file
    rows = run(connection, statement, _arguments(tenant_id, external_id, values))
    if rows and values.keys() & _MOVES_DEADLINES:
        deadlines.look_again(connection, tenant_id, rows[0][0])
    return _profile(rows[0]) if rows else None


def _given(values: Mapping[str, Any]) -> list[str]:
    """The columns of the given values, from the closed list: statements are built from them."""
    return [name for name in _FIELDS if name in values]


def _sets(names: list[str]) -> str:
    """The assignments of an update; without columns the row is locked and returned unchanged."""
    sets = [f"{name} = %({name})s" for name in names]
    if "status" in names:
        sets.append(_SINCE)
    return ", ".join([*sets, "updated_at = now()"] if sets else ["status = p.status"])


def _only_active(names: list[str]) -> str:
    return "" if "status" in names else " AND p.status = 'ACTIVE'"


def _arguments(tenant_id: int, external_id: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {"tenant_id": tenant_id, "external_id": external_id, **values}
