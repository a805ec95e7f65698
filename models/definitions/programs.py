"""Programs: what participants are enrolled in (seed 003)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from models import clock, ids
from models.db import Connection, metadata
from models.errors import NotFound

programs = sa.Table(
    "programs",
    metadata,
    sa.Column("tenant_id", sa.Integer, primary_key=True),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("is_active", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
)


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


def create(connection: Connection, tenant_id: int, values: dict[str, Any]) -> Program:
    """Create a program."""
    now = clock.now()
    statement = sa.insert(programs).values(
        tenant_id=tenant_id,
        id=ids.uuid7(clock.to_us(now)),
        created_at=now,
        updated_at=now,
        **values,
    )
    return _program(connection.execute(statement.returning(programs)).one())


def by_id(connection: Connection, tenant_id: int, program_id: UUID) -> Program:
    """One program; raise NotFound when the tenant has none with that id."""
    row = connection.execute(sa.select(programs).where(_is(tenant_id, program_id))).one_or_none()
    if row is None:
        raise NotFound(str(program_id))
    return _program(row)


def page(
    connection: Connection, tenant_id: int, is_active: bool | None, window: tuple[int, int]
) -> tuple[list[Program], int]:
    """A page (limit, offset) of the tenant's programs, oldest first, and how many there are."""
    mine = sa.select(programs).where(programs.c.tenant_id == tenant_id)
    if is_active is not None:
        mine = mine.where(programs.c.is_active == is_active)
    limit, offset = window
    rows = connection.execute(mine.order_by(programs.c.id).limit(limit).offset(offset))
    total = connection.execute(sa.select(sa.func.count()).select_from(mine.subquery())).scalar_one()
    return [_program(row) for row in rows], total


def change(
    connection: Connection, tenant_id: int, program_id: UUID, values: dict[str, Any]
) -> Program:
    """Change a program; raise NotFound. Who is enrolled stays so when it is deactivated."""
    row = connection.execute(
        sa.update(programs)
        .where(_is(tenant_id, program_id))
        .values(updated_at=clock.now(), **values)
        .returning(programs)
    ).one_or_none()
    if row is None:
        raise NotFound(str(program_id))
    return _program(row)


# -- who is in them --------------------------------------------------------------------------


def enrol(connection: Connection, tenant_id: int, participant_id: int, program_id: UUID) -> None:
    """Enrol a participant; once is enough. The caller holds the participant's row lock."""
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
    return [UUID(str(one)) for one in rows.scalars()]


def _is(tenant_id: int, program_id: UUID) -> sa.ColumnElement[bool]:
    return sa.and_(programs.c.tenant_id == tenant_id, programs.c.id == program_id)


def _program(row: Any) -> Program:
    return Program(*row)
