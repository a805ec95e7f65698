"""The health of destinations: the breaker's rows, and the gates of throttled and parked ones.

A healthy, unthrottled destination has no row, or a row that never changes. Health is always locked
before its destination.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from models.db import Connection
from models.delivery.deliveries import DestinationId, DisableReason


@dataclass(frozen=True, slots=True)
class BreakerState:
    """The breaker's data about a destination."""

    failures: int = 0  # in a row
    failing_since: datetime | None = None  # the first of them
    parked_until: datetime | None = None  # not tried before then; None: not parked
    is_failure_published: bool = False  # the other destinations have the fact that it fails
    last_failure: str | None = None  # the error of the last failed attempt


@dataclass(frozen=True, slots=True)
class DestinationHealth:
    """A destination and its health, locked."""

    description: str | None
    is_enabled: bool
    health: BreakerState


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate that leases must pass, locked."""

    parked_until: datetime | None
    next_free_at: datetime | None  # sends are used up to this instant; None: none yet


def _arrays(keys: Sequence[DestinationId]) -> dict[str, Any]:
    return {"tenant_ids": [key[0] for key in keys], "webhook_ids": [key[1] for key in keys]}


_KEYS = """
unnest(CAST(:tenant_ids AS integer[]), CAST(:webhook_ids AS uuid[])) AS k (tenant_id, webhook_id)
"""

# The destination is locked against deletion only: a deleted one gets no row.
_ENSURE = sa.text(f"""
INSERT INTO webhook_health (tenant_id, webhook_id)
SELECT w.tenant_id, w.id FROM {_KEYS}
JOIN webhooks w ON w.tenant_id = k.tenant_id AND w.id = k.webhook_id
WHERE NOT EXISTS (
  SELECT FROM webhook_health h WHERE h.tenant_id = w.tenant_id AND h.webhook_id = w.id)
FOR KEY SHARE OF w
ON CONFLICT DO NOTHING
""")  # noqa: S608 - fragments of this file


# -- gates -----------------------------------------------------------------------------------

_GATES = sa.text(f"""
SELECT h.tenant_id, h.webhook_id, h.parked_until, h.next_free_at
FROM webhook_health h JOIN {_KEYS} ON h.tenant_id = k.tenant_id AND h.webhook_id = k.webhook_id
FOR UPDATE OF h SKIP LOCKED
""")  # noqa: S608 - fragments of this file


def gates(connection: Connection, keys: Sequence[DestinationId]) -> dict[DestinationId, Gate]:
    """The gates of some destinations, locked until this lease is committed.

    Gates that another deliverer holds are missing: they are not waited for.
    """
    connection.execute(_ENSURE, _arrays(keys))
    rows = connection.execute(_GATES, _arrays(keys))
    return {
        (row.tenant_id, row.webhook_id): Gate(row.parked_until, row.next_free_at) for row in rows
    }


_PASS = sa.text("""
UPDATE webhook_health h SET parked_until = k.parked_until, next_free_at = k.next_free_at
FROM unnest(CAST(:tenant_ids AS integer[]), CAST(:webhook_ids AS uuid[]),
            CAST(:parked AS timestamptz[]), CAST(:free AS timestamptz[]))
     AS k (tenant_id, webhook_id, parked_until, next_free_at)
WHERE h.tenant_id = k.tenant_id AND h.webhook_id = k.webhook_id
""")


def pass_gates(connection: Connection, passed: Mapping[DestinationId, Gate]) -> None:
    """Write the gates after a lease."""
    if passed:
        values = _arrays(list(passed)) | {
            "parked": [gate.parked_until for gate in passed.values()],
            "free": [gate.next_free_at for gate in passed.values()],
        }
        connection.execute(_PASS, values)


# -- the breaker -----------------------------------------------------------------------------

_LOCK = sa.text(f"""
SELECT h.tenant_id, h.webhook_id, h.failures, h.failing_since, h.parked_until, h.is_told,
       h.last_failure, w.description, w.is_enabled
FROM webhook_health h
JOIN {_KEYS} ON h.tenant_id = k.tenant_id AND h.webhook_id = k.webhook_id
JOIN webhooks w ON w.tenant_id = h.tenant_id AND w.id = h.webhook_id
ORDER BY h.tenant_id, h.webhook_id
FOR UPDATE OF h
""")  # noqa: S608 - fragments of this file


def lock(
    connection: Connection, keys: Sequence[DestinationId]
) -> dict[DestinationId, DestinationHealth]:
    """Lock the health of some destinations, in key order; deleted ones are missing."""
    connection.execute(_ENSURE, _arrays(sorted(keys)))
    rows = connection.execute(_LOCK, _arrays(sorted(keys)))
    return {
        (row.tenant_id, row.webhook_id): DestinationHealth(
            row.description,
            row.is_enabled,
            BreakerState(
                row.failures, row.failing_since, row.parked_until, row.is_told, row.last_failure
            ),
        )
        for row in rows
    }


_WRITE = sa.text("""
UPDATE webhook_health SET failures = :failures, failing_since = :failing_since,
  parked_until = :parked_until, is_told = :is_told, last_failure = :last_failure
WHERE tenant_id = :tenant_id AND webhook_id = :webhook_id
""")


def write(connection: Connection, key: DestinationId, health: BreakerState) -> None:
    """Write the health of a destination that is locked."""
    values = {
        "failures": health.failures,
        "failing_since": health.failing_since,
        "parked_until": health.parked_until,
        "is_told": health.is_failure_published,
        "last_failure": health.last_failure,
    }
    connection.execute(_WRITE, values | {"tenant_id": key[0], "webhook_id": key[1]})


_PROBE_NOW = sa.text("""
UPDATE webhook_health SET parked_until = :now
WHERE tenant_id = :tenant_id AND webhook_id = :webhook_id AND parked_until > :now
""")


def probe_now(connection: Connection, key: DestinationId, now: datetime) -> bool:
    """Let one delivery try a parked destination at once; False when it is not parked.

    It stays parked until that delivery succeeds: then all waiting deliveries are sent, and a fact
    says that it has recovered. Call it before the destination is locked.
    """
    values = {"tenant_id": key[0], "webhook_id": key[1], "now": now}
    return connection.execute(_PROBE_NOW, values).rowcount > 0


_DISABLE = sa.text("""
UPDATE webhooks SET is_enabled = false, disabled_reason = :reason, updated_at = :now
WHERE tenant_id = :tenant_id AND id = :webhook_id AND is_enabled
""")


def disable(
    connection: Connection, key: DestinationId, reason: DisableReason, now: datetime
) -> bool:
    """Disable a destination; False when it was disabled already, perhaps by its owner."""
    values = {"tenant_id": key[0], "webhook_id": key[1], "reason": reason, "now": now}
    return connection.execute(_DISABLE, values).rowcount > 0
