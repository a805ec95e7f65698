"""Definitions: what admins define of every kind, kept and changed in the same way.

A definition has an id of its own and a code that is its tenant's; it is deactivated, never deleted:
what refers to it stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from uuid import UUID

import sqlalchemy as sa

from models import clock, ids
from models.db import Connection, IntegrityError, constraint_of
from models.errors import CodeTaken, NotFound

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Definitions(Generic[T]):
    """The definitions of one kind: a table whose key is (tenant_id, id)."""

    table: sa.Table
    make: Callable[[Any], T]  # of a row
    order: Sequence[sa.ColumnElement[Any]]  # in which they are listed
    conflicts: Mapping[str, type[Exception]] = field(default_factory=dict)  # by constraint

    def create(self, connection: Connection, tenant_id: int, values: Mapping[str, Any]) -> T:
        """Create one; raise CodeTaken when the tenant has one with that code, or what stands for
        another of the table's constraints."""
        now = clock.now()
        statement = sa.insert(self.table).values(
            tenant_id=tenant_id,
            id=ids.uuid7(clock.to_us(now)),
            created_at=now,
            updated_at=now,
            **values,
        )
        try:
            return self.make(connection.execute(statement.returning(self.table)).one())
        except IntegrityError as error:
            raise self._conflict(error, CodeTaken)(values["code"]) from error

    def by_id(self, connection: Connection, tenant_id: int, number: UUID) -> T:
        """One of them; raise NotFound when the tenant has none with that id."""
        row = connection.execute(self._mine(tenant_id).where(self._is(number))).one_or_none()
        if row is None:
            raise NotFound(str(number))
        return self.make(row)

    def page(
        self,
        connection: Connection,
        tenant_id: int,
        is_active: bool | None,
        window: tuple[int, int],
    ) -> tuple[list[T], int]:
        """A page (limit, offset) of a tenant's, and how many there are."""
        mine = self._mine(tenant_id)
        if is_active is not None:
            mine = mine.where(self.table.c.is_active == is_active)
        limit, offset = window
        rows = connection.execute(mine.order_by(*self.order).limit(limit).offset(offset))
        total = connection.execute(sa.select(sa.func.count()).select_from(mine.subquery()))
        return [self.make(row) for row in rows], total.scalar_one()

    def all_of(self, connection: Connection, tenant_id: int) -> list[T]:
        """Every one of a tenant's, inactive ones included, in order."""
        rows = connection.execute(self._mine(tenant_id).order_by(*self.order))
        return [self.make(row) for row in rows]

    def revise(
        self, connection: Connection, tenant_id: int, number: UUID, values: Mapping[str, Any]
    ) -> T:
        """Change one; raise NotFound, or what stands for one of the table's constraints."""
        statement = (
            sa.update(self.table)
            .where(self.table.c.tenant_id == tenant_id, self._is(number))
            .values(updated_at=clock.now(), **values)
            .returning(self.table)
        )
        try:
            row = connection.execute(statement).one_or_none()
        except IntegrityError as error:
            raise self._conflict(error, None)(str(number)) from error
        if row is None:
            raise NotFound(str(number))
        return self.make(row)

    def _mine(self, tenant_id: int) -> sa.Select[Any]:
        return sa.select(self.table).where(self.table.c.tenant_id == tenant_id)

    def _is(self, number: UUID) -> sa.ColumnElement[bool]:
        return self.table.c.id == number

    def _conflict(
        self, error: IntegrityError, otherwise: type[Exception] | None
    ) -> type[Exception]:
        found = self.conflicts.get(constraint_of(error), otherwise)
        if found is None:
            raise error
        return found
