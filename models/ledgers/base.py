"""Ledgers: the results of accepted writes of one kind, found by their ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, get_args
from uuid import UUID

import sqlalchemy as sa

from models.db import Connection, pairs

F = TypeVar("F")

WriteKind = Literal["tick", "award", "points", "assignment", "claim", "streak_change"]
WRITE_KINDS: tuple[WriteKind, ...] = get_args(WriteKind)

_SOME = (
    "JOIN unnest(CAST(:tenants AS int[]), CAST(:ids AS uuid[])) AS k (tenant_id, id)"
    " ON w.tenant_id = k.tenant_id AND w.id = k.id"
)


@dataclass(frozen=True, slots=True)
class Ledger(Generic[F]):
    """A ledger, and the statement that reads its rows with names instead of numbers.

    In `select` the ledger is `w`, and its columns `tenant_id` and `id` have these names.
    """

    select: str
    make: Callable[[Any], F]  # of a row
    condition: str = "true"  # the rows that are answers to writes

    def find(self, connection: Connection, tenant_id: int, write_id: UUID) -> F | None:
        """The result of a write, or None."""
        statement = sa.text(
            f"{self.select} WHERE w.tenant_id = :tenant_id AND w.id = :id AND {self.condition}"
        )
        values = {"tenant_id": tenant_id, "id": str(write_id)}
        row = connection.execute(statement, values).one_or_none()
        return None if row is None else self.make(row)

    def some(
        self, connection: Connection, keys: Sequence[tuple[int, str]]
    ) -> dict[tuple[int, str], F]:
        """The results of some (tenant, id) that the ledger holds."""
        statement = sa.text(f"{self.select} {_SOME} WHERE {self.condition}")
        rows = connection.execute(statement, pairs(keys))
        return {(row.tenant_id, str(row.id)): self.make(row) for row in rows}
