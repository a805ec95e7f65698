"""Profiles from elsewhere; see models/people/imports.py."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from models import clock
from models.db import Connection
from models.identity.tenants import Tenant
from models.people import profile as profiles
from models.people.imports import ImportResult, RowRefusal


@dataclass(frozen=True, slots=True)
class Seen:
    """When a participant was first known, first seen and last seen elsewhere, in microseconds."""

    id: int
    created_us: int | None
    first_us: int | None
    last_us: int | None


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A participant's enrolment in a program, by its name, with its instant."""

    name: str
    enrolled_us: int | None = None


@dataclass(frozen=True, slots=True)
class ImportedProfile:
    """A participant's profile from elsewhere."""

    participant_id: str
    values: Mapping[str, Any] = field(default_factory=dict)  # the given columns
    programs: Sequence[Enrolment] = ()
    created_us: int | None = None
    first_us: int | None = None
    last_us: int | None = None


def write(
    connection: Connection, tenant: Tenant, items: Sequence[ImportedProfile]
) -> list[ImportResult]:
    """Write profiles in the order of their ids, as batches lock them; results in that of the rows.

    Columns not given stay. An inactive participant is changed only where a status is given.
    """
    known = _programs(connection, tenant.id)
    results: dict[int, ImportResult] = {}
    seen = []
    for index in sorted(range(len(items)), key=lambda index: items[index].participant_id):
        found = _write_one(connection, tenant, items[index], known)
        if isinstance(found, Seen):
            seen.append(found)
            results[index] = "imported"
        else:
            results[index] = found
    if seen:
        _widen(connection, tenant.id, seen)
    return [results[index] for index in range(len(items))]


def _write_one(
    connection: Connection, tenant: Tenant, item: ImportedProfile, known: Mapping[str, list[str]]
) -> Seen | RowRefusal:
    for program in item.programs:
        named = known.get(program.name, [])
        if len(named) != 1:
            many = "there are several of that name" if named else "not found"
            return RowRefusal("program_not_found", f"Program '{program.name}': {many}")
    written = profiles.upsert(connection, tenant, item.participant_id, item.values)
    if written is None:
        detail = f"Participant '{item.participant_id}' is not active: give its status too"
        return RowRefusal("participant_inactive", detail)
    profile = written[0]
    for program in item.programs:
        _enrol(connection, tenant.id, profile.id, known[program.name][0], program)
    return Seen(profile.id, item.created_us, item.first_us, item.last_us)


def _programs(connection: Connection, tenant_id: int) -> dict[str, list[str]]:
    """The active programs by name: ids differ between services, names do not."""
    rows = connection.execute(
        sa.text("SELECT name, id::text FROM programs WHERE tenant_id = :tenant_id AND is_active"),
        {"tenant_id": tenant_id},
    )
    found: dict[str, list[str]] = {}
    for name, program_id in rows:
        found.setdefault(name, []).append(program_id)
    return found


_ENROL = sa.text("""
INSERT INTO participant_programs AS e (tenant_id, participant_id, program_id, enrolled_at)
VALUES (:tenant_id, :participant_id, CAST(:program_id AS uuid), :enrolled_at)
ON CONFLICT (tenant_id, participant_id, program_id)
  DO UPDATE SET enrolled_at = LEAST(e.enrolled_at, EXCLUDED.enrolled_at)
""")


def _enrol(
    connection: Connection,
    tenant_id: int,
    participant_id: int,
    program_id: str,
    enrolment: Enrolment,
) -> None:
    at = clock.now() if enrolment.enrolled_us is None else clock.from_us(enrolment.enrolled_us)
    values = {"tenant_id": tenant_id, "participant_id": participant_id}
    connection.execute(_ENROL, values | {"program_id": program_id, "enrolled_at": at})


_SEEN = sa.text("""
UPDATE participants p SET created_at = LEAST(p.created_at, k.created_at),
  first_seen_at = LEAST(p.first_seen_at, k.first_at),
  last_seen_at = GREATEST(p.last_seen_at, k.last_at)
FROM json_to_recordset(CAST(:rows AS json))
  AS k (id bigint, created_at timestamptz, first_at timestamptz, last_at timestamptz)
WHERE p.tenant_id = :tenant_id AND p.id = k.id
""")


def _widen(connection: Connection, tenant_id: int, seen: Sequence[Seen]) -> None:
    """Extend the participants' first and last instants beyond those that this service saw."""
    rows = [
        {
            "id": row.id, "created_at": clock.to_text_or_none(row.created_us),
            "first_at": clock.to_text_or_none(row.first_us),
            "last_at": clock.to_text_or_none(row.last_us),
        }
        for row in seen
    ]  # fmt: skip
    connection.execute(_SEEN, {"tenant_id": tenant_id, "rows": json.dumps(rows)})
