"""Rejections: accepted writes that were not applied because of whom they are for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa

from models.db import Session, copy, copy_text, pairs, run


@dataclass(frozen=True, slots=True)
class Rejection:
    """One rejected write; without a participant when that person was erased."""

    tenant_id: int
    id: str
    participant_id: int | None
    code: str  # participant_inactive | participant_erased


_COLUMNS = ("tenant_id", "id", "participant_id", "code")


def append(session: Session, rejected: Iterable[Rejection]) -> None:
    """Keep rejections; raise IntegrityError when one of them is kept already."""
    lines = list(map(_line, rejected))
    if lines:
        copy(session, "rejections", _COLUMNS, lines)


def _line(one: Rejection) -> str:
    who = copy_text(None if one.participant_id is None else str(one.participant_id))
    return f"{one.tenant_id}\t{one.id}\t{who}\t{one.code}\n"


def answer(code: str) -> dict[str, str]:
    """What a waiting request is told instead of a result."""
    return {"rejected": code}


def find(session: Session, tenant_id: int, write_id: UUID) -> str | None:
    """Why a write was rejected, or None when it was not."""
    return session.execute(
        sa.text("SELECT code FROM rejections WHERE tenant_id = :tenant_id AND id = :id"),
        {"tenant_id": tenant_id, "id": str(write_id)},
    ).scalar_one_or_none()


def some(session: Session, keys: Sequence[tuple[int, str]]) -> dict[tuple[int, str], str]:
    """Those of some (tenant, write id) that were rejected, and why."""
    rows = run(
        session,
        "SELECT r.tenant_id, r.id::text, r.code FROM rejections r"
        " JOIN unnest(CAST(%(tenants)s AS int[]), CAST(%(ids)s AS uuid[])) AS k (tenant_id, id)"
        " USING (tenant_id, id)",
        pairs(keys),
    )
    return {(row[0], row[1]): row[2] for row in rows}
