"""Past facts, made due again at a destination.

A finished delivery is *moved* back to pending, never copied: the key of a delivery holds its
status, so a second row of the same fact could not be finished beside the first. A process that
moves or adds deliveries of facts already committed holds the destination's row, so that only one
does; deliverers do not wait for it. The lock on the fact keeps out an erasure of its participant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa

from models.db import Connection
from models.errors import NotFound


@dataclass(frozen=True, slots=True)
class Target:
    """The destination of past facts; its row is held (`hold`)."""

    tenant_id: int
    webhook_id: UUID
    is_ordered: bool


# Statistics of a new day are always wrong: only plans that read indexes in their order.
_BY_INDEX = sa.text("""
SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off
""")
# Deliverers read the destination without a lock; its changes wait for us, or we for them.
_HOLD = sa.text(
    "SELECT 1 FROM webhooks WHERE tenant_id = :tenant_id AND id = :id FOR NO KEY UPDATE"
)
_HOLD_IF_FREE = sa.text(f"{_HOLD.text} SKIP LOCKED")


def hold(connection: Connection, tenant_id: int, webhook_id: UUID, *, is_waiting: bool) -> bool:
    """Be the only process that sends past facts to a destination; False when it is deleted, or when
    another process holds it and we do not wait."""
    statement = _HOLD if is_waiting else _HOLD_IF_FREE
    row = connection.execute(statement, {"tenant_id": tenant_id, "id": webhook_id}).one_or_none()
    return row is not None


_WAITING = """
SELECT FROM deliveries_pending WHERE tenant_id = :tenant_id AND webhook_id = :webhook_id
  AND participant_id IS {} LIMIT :limit
"""  # an index each
_PENDING = sa.text(
    f"SELECT count(*) FROM ({_WAITING.format('NULL')}) a"  # noqa: S608 - fragments of this file
    f" UNION ALL SELECT count(*) FROM ({_WAITING.format('NOT NULL')}) b"
)


def pending(connection: Connection, tenant_id: int, webhook_id: UUID, limit: int) -> int:
    """How many deliveries wait for a destination; each kind is counted up to a limit."""
    connection.execute(_BY_INDEX)
    values = {"tenant_id": tenant_id, "webhook_id": webhook_id, "limit": limit}
    return sum(connection.execute(_PENDING, values).scalars())


_KEEP = sa.text("""
SELECT id, participant_id, sequence FROM facts
WHERE tenant_id = :tenant_id AND id = ANY(CAST(:fact_ids AS uuid[])) AND id BETWEEN :first AND :last
ORDER BY id FOR KEY SHARE
""")
_WANTED = """
  SELECT * FROM unnest(CAST(:fact_ids AS uuid[]), CAST(:participants AS bigint[]),
                       CAST(:sequences AS bigint[])) AS w (fact_id, participant_id, sequence)
"""
_MOVE = sa.text(f"""
UPDATE deliveries d
SET status = 'pending', attempts = 0, next_attempt_at = :now, leased_until = NULL, claim_id = NULL,
    participant_id = w.participant_id, sequence = w.sequence
FROM ({_WANTED}) w
WHERE d.tenant_id = :tenant_id AND d.fact_id = w.fact_id AND d.webhook_id = :webhook_id
  AND d.status = ANY(CAST(:statuses AS text[])) AND d.fact_id BETWEEN :first AND :last
""")  # noqa: S608 - fragments of this file
_ADD = sa.text(f"""
INSERT INTO deliveries (tenant_id, fact_id, webhook_id, next_attempt_at, participant_id, sequence)
SELECT :tenant_id, w.fact_id, :webhook_id, :now, w.participant_id, w.sequence FROM ({_WANTED}) w
WHERE NOT EXISTS (SELECT FROM deliveries d WHERE d.tenant_id = :tenant_id
  AND d.fact_id = w.fact_id AND d.webhook_id = :webhook_id AND d.fact_id BETWEEN :first AND :last)
""")  # noqa: S608 - fragments of this file


def queue(
    connection: Connection,
    target: Target,
    fact_ids: Sequence[UUID],
    now: datetime,
    *,
    only_missing: bool,
) -> int:
    """Make facts due at a destination, on a fresh schedule; return how many were not due already.

    Pending deliveries stay as they are; so do delivered ones when only the missing are wanted.
    Facts erased meanwhile are skipped.
    """
    if not fact_ids:
        return 0
    bounds = {"tenant_id": target.tenant_id, "first": min(fact_ids), "last": max(fact_ids)}
    connection.execute(_BY_INDEX)
    kept = connection.execute(_KEEP, bounds | {"fact_ids": list(fact_ids)}).all()
    values = bounds | {
        "webhook_id": target.webhook_id,
        "now": now,
        "fact_ids": [row.id for row in kept],
        "participants": [row.participant_id if target.is_ordered else None for row in kept],
        "sequences": [row.sequence if target.is_ordered else None for row in kept],
        "statuses": ["dead"] if only_missing else ["delivered", "dead"],
    }
    moved = connection.execute(_MOVE, values).rowcount
    return moved + connection.execute(_ADD, values).rowcount


_HURRY = sa.text("""
UPDATE deliveries_pending SET attempts = 0, next_attempt_at = :now
WHERE tenant_id = :tenant_id AND fact_id = :fact_id AND webhook_id = :webhook_id
  AND (leased_until IS NULL OR leased_until <= :now)
""")


def resend(connection: Connection, target: Target, fact_id: UUID, now: datetime) -> None:
    """Make one fact due at a destination at once, whatever its last outcome; the caller holds the
    destination. A delivery in flight is left to that attempt.

    Raises NotFound when the tenant has no such fact.
    """
    found = connection.execute(
        sa.text("SELECT 1 FROM facts WHERE tenant_id = :tenant_id AND id = :id"),
        {"tenant_id": target.tenant_id, "id": fact_id},
    ).one_or_none()
    if found is None:
        raise NotFound(str(fact_id))
    if queue(connection, target, [fact_id], now, only_missing=False):
        return
    values = {"tenant_id": target.tenant_id, "webhook_id": target.webhook_id}
    if not connection.execute(_HURRY, values | {"fact_id": fact_id, "now": now}).rowcount:
        queue(
            connection, target, [fact_id], now, only_missing=False
        )  # finished just now, or in flight


_HASTEN = (
    sa.text("""
UPDATE deliveries SET
  next_attempt_at = CASE WHEN next_attempt_at > :now THEN next_attempt_at - CAST(:step AS interval)
                    ELSE next_attempt_at END,
  leased_until = CASE WHEN leased_until > :now THEN leased_until - CAST(:step AS interval)
                 ELSE leased_until END
WHERE status = 'pending' AND (next_attempt_at > :now OR leased_until > :now)
"""),
    sa.text("""
UPDATE webhook_health SET
  parked_until = CASE WHEN parked_until > :now THEN parked_until - CAST(:step AS interval)
                 ELSE parked_until END,
  next_free_at = CASE WHEN next_free_at > :now THEN next_free_at - CAST(:step AS interval)
                 ELSE next_free_at END
WHERE parked_until > :now OR next_free_at > :now
"""),
)


def hasten(connection: Connection, now: datetime, step: timedelta) -> None:
    """Bring forward by `step` every instant after `now` for which a delivery waits.

    For all tenants: when the clock that set the instants was set back.
    """
    for statement in _HASTEN:
        connection.execute(statement, {"now": now, "step": step})
