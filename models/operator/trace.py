"""The effects of one write: its facts, their deliveries, and the attempts at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from models import clock, ids
from models.db import Connection
from models.delivery.delivery_log import SKEW, floor

FACTS_MAX = 100  # of one write: a tick, its milestones, and their prizes
ROWS_MAX = 1_000  # deliveries, and attempts at them


@dataclass(frozen=True, slots=True)
class TracedFact:
    """A fact that names the write."""

    id: UUID
    type: str
    sequence: int


@dataclass(frozen=True, slots=True)
class TracedDelivery:
    """The delivery of a fact to a destination, and its state."""

    fact_id: UUID
    webhook_id: UUID
    status: str
    attempts: int
    next_attempt_at: datetime


@dataclass(frozen=True, slots=True)
class TracedAttempt:
    """One attempt."""

    id: UUID
    fact_id: UUID
    webhook_id: UUID
    number: int
    status_code: int | None
    error: str | None
    duration_ms: int


def facts(connection: Connection, participant: tuple[int, int], write_id: UUID) -> list[TracedFact]:
    """The facts about a participant (tenant, internal id) that name a write, oldest first."""
    values = {
        "tenant_id": participant[0],
        "participant_id": participant[1],
        "first": _first(write_id),
        "write_id": str(write_id),
        "limit": FACTS_MAX,
    }
    return [
        TracedFact(row.id, row.type, row.sequence) for row in connection.execute(_FACTS, values)
    ]


_FACTS = sa.text("""
SELECT id, type, sequence FROM facts
WHERE tenant_id = :tenant_id AND participant_id = :participant_id AND id >= :first
  AND position(:write_id IN body) > 0
ORDER BY sequence LIMIT :limit
""")


def deliveries(
    connection: Connection, tenant_id: int, fact_ids: Sequence[UUID]
) -> list[TracedDelivery]:
    """The deliveries of some facts, with their states."""
    if not fact_ids:
        return []
    rows = connection.execute(_DELIVERIES, _of(tenant_id, fact_ids))
    return [TracedDelivery(*row) for row in rows]


_DELIVERIES = sa.text("""
SELECT fact_id, webhook_id, status, attempts, next_attempt_at FROM deliveries
WHERE tenant_id = :tenant_id AND fact_id = ANY(CAST(:fact_ids AS uuid[]))
ORDER BY fact_id, webhook_id LIMIT :limit
""")


def attempts(
    connection: Connection, tenant_id: int, fact_ids: Sequence[UUID]
) -> list[TracedAttempt]:
    """The attempts at some facts that are still kept, oldest first."""
    if not fact_ids:
        return []
    values = _of(tenant_id, fact_ids) | {"first": _first(min(fact_ids))}
    return [TracedAttempt(*row) for row in connection.execute(_ATTEMPTS, values)]


_ATTEMPTS = sa.text("""
SELECT id, fact_id, webhook_id, number, status_code, error, duration_ms FROM attempts
WHERE tenant_id = :tenant_id AND fact_id = ANY(CAST(:fact_ids AS uuid[])) AND id >= :first
ORDER BY id LIMIT :limit
""")


def _of(tenant_id: int, fact_ids: Sequence[UUID]) -> dict[str, object]:
    return {"tenant_id": tenant_id, "fact_ids": list(fact_ids), "limit": ROWS_MAX}


def _first(of: UUID) -> UUID:
    """The bound of the partitions: no effect of a row is in an earlier one."""
    return floor(clock.to_us(clock.from_us(ids.issued_at_us(of)) - SKEW))
