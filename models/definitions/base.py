"""Definitions: what admins define of every kind, kept and changed in the same way.

A definition has its own id and a code unique in its tenant. It is deactivated, never deleted, so
that references to it stay valid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

import sqlalchemy as sa

from models import clock, ids
from models.db import Connection, UniqueViolation, metadata, paged
from models.errors import CodeTaken, NotFound

D = TypeVar("D")


def definition_table(name: str, *columns: sa.Column[Any], has_code: bool = True) -> sa.Table:
    """A table of definitions: the columns that kinds share, and those of the kind."""
    code = (sa.Column("code", sa.Text, nullable=False),) if has_code else ()
    return sa.Table(
        name,
        metadata,
        sa.Column("tenant_id", sa.Integer, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        *code,
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text),
        *columns,
        sa.Column("is_active", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CodedDefinition:
    """The fields that definitions with a code share; a kind adds its own."""

    tenant_id: int
    id: UUID
    code: str
    name: str
    description: str | None
    is_active: bool
    created_at: datetime
    updated_at: datetime


def of_columns(kind: Callable[..., D]) -> Callable[[Any], D]:
    """A function that makes a definition of a row with the columns that its fields name."""
    return lambda row: kind(**row._mapping)


class Definition(Protocol):
    """A definition of any kind."""

    @property
    def tenant_id(self) -> int:
        """The tenant that owns it."""

    @property
    def id(self) -> UUID | int:
        """The key that other rows refer to."""


T = TypeVar("T", bound=Definition)


@dataclass(frozen=True, slots=True)
class Definitions(Generic[T]):
    """The definitions of one kind: a table whose key is (tenant_id, id)."""

    table: sa.Table
    make: Callable[[Any], T]  # of a row
    order: Sequence[sa.ColumnElement[Any]]  # in which they are listed
    conflicts: Mapping[str, type[Exception]] = field(default_factory=dict)  # by constraint

    def create(self, connection: Connection, tenant_id: int, values: Mapping[str, Any]) -> T:
        """Create one; raise CodeTaken when the tenant has one with that code, or the error of
        another constraint of the table."""
        now = clock.now()
        given = {"tenant_id": tenant_id, "created_at": now, "updated_at": now, **values}
        if self.table.c.id.identity is None:
            given["id"] = ids.uuid7(clock.to_us(now))
        statement = sa.insert(self.table).values(given).returning(self.table)
        try:
            return self.make(connection.execute(statement).one())
        except UniqueViolation as error:
            raise self._conflict(error, CodeTaken)(values["code"]) from error

    def by_id(self, connection: Connection, tenant_id: int, number: UUID) -> T:
        """The definition of an id; raise NotFound when the tenant has none."""
        return self._only(connection, tenant_id, self.table.c.id == number, str(number))

    def by_code(self, connection: Connection, tenant_id: int, code: str) -> T:
        """The definition of a code, active or not; raise NotFound when the tenant has none."""
        return self._only(connection, tenant_id, self.table.c.code == code, code)

    def page(
        self,
        connection: Connection,
        tenant_id: int,
        wanted: Mapping[str, Any],
        window: tuple[int, int],
    ) -> tuple[list[T], int]:
        """A page (limit, offset) of a tenant's definitions, and how many there are; `wanted` are
        values by column, None for any."""
        c = self.table.c
        conditions = [c[name] == value for name, value in wanted.items() if value is not None]
        mine = self._mine(tenant_id).where(*conditions)
        rows, total = paged(connection, mine, self.order, window)
        return [self.make(row) for row in rows], total

    def all_of(self, connection: Connection, tenant_id: int) -> list[T]:
        """All definitions of a tenant, inactive ones included, in order."""
        rows = connection.execute(self._mine(tenant_id).order_by(*self.order))
        return [self.make(row) for row in rows]

    def revise(self, connection: Connection, before: T, values: Mapping[str, Any]) -> T:
        """Change one; raise NotFound, or the error of a constraint of the table."""
        c = self.table.c
        statement = (
            sa.update(self.table)
            .where(c.tenant_id == before.tenant_id, c.id == before.id)
            .values(updated_at=clock.now(), **values)
            .returning(self.table)
        )
        try:
            row = connection.execute(statement).one_or_none()
        except UniqueViolation as error:
            raise self._conflict(error, None)(str(before.id)) from error
        return self._found(row, str(before.id))

    def _mine(self, tenant_id: int) -> sa.Select[Any]:
        return sa.select(self.table).where(self.table.c.tenant_id == tenant_id)

    def _only(
        self, connection: Connection, tenant_id: int, condition: sa.ColumnElement[bool], name: str
    ) -> T:
        row = connection.execute(self._mine(tenant_id).where(condition)).one_or_none()
        return self._found(row, name)

    def _found(self, row: Any, name: str) -> T:
        if row is None:
            raise NotFound(name)
        return self.make(row)

    def _conflict(
        self, error: UniqueViolation, otherwise: type[Exception] | None
    ) -> type[Exception]:
        found = self.conflicts.get(error.constraint, otherwise)
        if found is None:
            raise error
        return found
