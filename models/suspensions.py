"""Suspensions: which participants are not ACTIVE, so that their writes are refused."""

from __future__ import annotations

from collections.abc import Iterable

from models.db import Session, array, run


def suspended(session: Session, tenant_id: int, external_ids: Iterable[str]) -> set[str]:
    """Those of some external ids whose participants are suspended or closed."""
    rows = run(
        session,
        "SELECT external_id FROM participants WHERE tenant_id = %(tenant_id)s"
        " AND external_id = ANY(CAST(%(ids)s AS text[])) AND inactive_since IS NOT NULL",
        {"tenant_id": tenant_id, "ids": array(external_ids)},
    )
    return {row[0] for row in rows}
