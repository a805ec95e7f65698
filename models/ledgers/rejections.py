"""Rejections: accepted writes that were not applied because of their participant's state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from models.db import Connection, copy, copy_text, pairs, run


@dataclass(frozen=True, slots=True)
class Rejection:
    """One rejected write; without a participant when it was erased."""

    tenant_id: int
    id: str
    participant_id: int | None
    code: str  # one of api/http/problems.py: participant_inactive, insufficient_points, …
    detail: str | None = None  # an explanation for the caller, beside the code


_COLUMNS = ("tenant_id", "id", "participant_id", "code", "detail")


def append(connection: Connection, rejected: Iterable[Rejection]) -> None:
    """Keep rejections; raise UniqueViolation when one of them is kept already."""
    lines = list(map(_line, rejected))
    if lines:
        copy(connection, "rejections", _COLUMNS, lines)


def _line(rejection: Rejection) -> str:
    participant_id = copy_text(
        None if rejection.participant_id is None else str(rejection.participant_id)
    )
    code, detail = rejection.code, copy_text(rejection.detail)
    return f"{rejection.tenant_id}\t{rejection.id}\t{participant_id}\t{code}\t{detail}\n"


@dataclass(frozen=True, slots=True)
class RejectedWrite:
    """The reason why a write was rejected."""

    code: str
    detail: str | None = None

    def answer(self) -> dict[str, Any]:
        """The answer to a waiting request in place of a result."""
        more = {"detail": self.detail} if self.detail else {}
        return {"rejected": self.code} | more


def find(connection: Connection, tenant_id: int, write_id: UUID) -> RejectedWrite | None:
    """The rejection of a write, or None."""
    row = connection.execute(
        sa.text("SELECT code, detail FROM rejections WHERE tenant_id = :tenant_id AND id = :id"),
        {"tenant_id": tenant_id, "id": str(write_id)},
    ).one_or_none()
    return None if row is None else RejectedWrite(*row)


def some(
    connection: Connection, keys: Sequence[tuple[int, str]]
) -> dict[tuple[int, str], RejectedWrite]:
    """The rejections of some (tenant, write id).

    The bounds are sent as literals, so that the planner prunes the other days' partitions.
    """
    ids = sorted(write_id for _, write_id in keys)
    rows = run(
        connection,
        "SELECT r.tenant_id, r.id::text, r.code, r.detail FROM rejections r"
        " JOIN unnest(CAST(%(tenants)s AS int[]), CAST(%(ids)s AS uuid[])) AS k (tenant_id, id)"
        " USING (tenant_id, id)"
        " WHERE r.id BETWEEN CAST(%(first)s AS uuid) AND CAST(%(last)s AS uuid)",
        pairs(keys) | {"first": ids[0], "last": ids[-1]},
    )
    return {(row[0], row[1]): RejectedWrite(row[2], row[3]) for row in rows}
