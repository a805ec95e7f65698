"""Programs: participants enrol in them (seed 003)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from models.db import Connection
from models.definitions.base import Definitions, definition_table, of_columns

programs = definition_table("programs", has_code=False)


@dataclass(frozen=True, slots=True)
class Program:
    """A program of one side (live or test) of a tenant."""

    tenant_id: int
    id: UUID
    name: str
    description: str | None
    is_active: bool
    created_at: datetime
    updated_at: datetime


definitions = Definitions(programs, of_columns(Program), (programs.c.id,))


# -- enrolments ------------------------------------------------------------------------------


def enrol(connection: Connection, tenant_id: int, participant_id: int, program_id: UUID) -> None:
    """Enrol a participant, once. The caller holds the participant's row lock."""
    connection.execute(
        sa.text(
            "INSERT INTO participant_programs (tenant_id, participant_id, program_id)"
            " VALUES (:tenant_id, :participant_id, CAST(:program_id AS uuid))"
            " ON CONFLICT DO NOTHING"
        ),
        {"tenant_id": tenant_id, "participant_id": participant_id, "program_id": str(program_id)},
    )


def of_participant(connection: Connection, tenant_id: int, participant_id: int) -> list[UUID]:
    """The programs that a participant is enrolled in, in the order of enrolment."""
    rows = connection.execute(
        sa.text(
            "SELECT program_id FROM participant_programs"
            " WHERE tenant_id = :tenant_id AND participant_id = :participant_id"
            " ORDER BY enrolled_at, program_id"
        ),
        {"tenant_id": tenant_id, "participant_id": participant_id},
    )
    return [UUID(str(program_id)) for program_id in rows.scalars()]
