"""Destination queues: which destinations have deliveries to lease, and with what limits."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from models.db import Connection
from models.delivery.deliveries import BY_INDEX, DestinationId
from models.delivery.ordered import FIRST_PENDING, FIRST_PENDING_MAX

FIRST_DESTINATION: DestinationId = (0, UUID(int=0))  # before every queue: tenants count from 1
QUEUES_MAX = 1_000  # read at once; the caller continues after the last one
_ALL_QUEUES = 1_000_000


@dataclass(frozen=True, slots=True)
class DestinationQueue:
    """A destination with deliveries to lease, or a deleted one with deliveries left."""

    key: DestinationId
    is_orphan: bool = False
    has_loose: bool = True  # deliveries that may go in any order
    has_ordered: bool = False  # a participant's next delivery, for an ordered destination
    is_parked: bool = False  # its parking time is over: one delivery tests whether it is back
    in_flight_max: int | None = None
    rate_per_second: int | None = None

    @property
    def is_gated(self) -> bool:
        """Whether a lease must first pass its gate (`destination_health.gates`)."""
        return self.is_parked or self.rate_per_second is not None


def _skip_scan(name: str, which: str) -> str:
    """One index probe for each destination with pending deliveries of a kind."""
    return f"""
{name} AS (
  (SELECT tenant_id, webhook_id, 1 AS nth FROM deliveries_pending
   WHERE (tenant_id, webhook_id) > (:tenant_id, CAST(:webhook_id AS uuid))
     AND participant_id {which}
   ORDER BY tenant_id, webhook_id LIMIT 1)
  UNION ALL
  SELECT next.tenant_id, next.webhook_id, {name}.nth + 1 FROM {name} CROSS JOIN LATERAL
  (SELECT tenant_id, webhook_id FROM deliveries_pending
   WHERE (tenant_id, webhook_id) > ({name}.tenant_id, {name}.webhook_id)
     AND participant_id {which}
   ORDER BY tenant_id, webhook_id LIMIT 1) next
  WHERE {name}.nth < :limit
)"""  # noqa: S608 - our own words


_QUEUES = sa.text(f"""
WITH RECURSIVE {_skip_scan("loose", "IS NULL")}, {_skip_scan("ordered", "IS NOT NULL")},
both_kinds AS (
  SELECT tenant_id, webhook_id, true AS is_loose FROM loose
  UNION ALL SELECT tenant_id, webhook_id, false FROM ordered
), found AS (
  SELECT tenant_id, webhook_id, bool_or(is_loose) AS is_loose,
         bool_or(NOT is_loose) AS is_ordered
  FROM both_kinds GROUP BY tenant_id, webhook_id ORDER BY tenant_id, webhook_id LIMIT :limit
)
SELECT lane.tenant_id, lane.webhook_id, w.id IS NULL AS is_orphan, w.in_flight_max,
       w.rate_per_second, h.parked_until IS NOT NULL AS is_parked,
       door.is_open AND lane.is_loose AND EXISTS (
         SELECT FROM deliveries_pending d
         WHERE d.tenant_id = lane.tenant_id AND d.webhook_id = lane.webhook_id
           AND d.participant_id IS NULL AND d.next_attempt_at <= :now
           AND (d.leased_until IS NULL OR d.leased_until <= :now)) AS has_loose,
       door.is_open AND lane.is_ordered AND EXISTS (
         SELECT FROM ({FIRST_PENDING}) looked_at WHERE is_due OR nth = :heads_max) AS has_ordered
FROM (SELECT *, 0 AS after FROM found) lane
LEFT JOIN webhooks w ON w.tenant_id = lane.tenant_id AND w.id = lane.webhook_id
LEFT JOIN webhook_health h ON h.tenant_id = w.tenant_id AND h.webhook_id = w.id
CROSS JOIN LATERAL (
  SELECT coalesce(w.is_enabled AND coalesce(h.parked_until <= :now, true), false) AS is_open) door
""")  # noqa: S608 - fragments of models


def queues(
    connection: Connection, after: DestinationId, limit: int, now: datetime
) -> tuple[list[DestinationQueue], DestinationId]:
    """The queues with work among the next `limit`, and the destination to continue after.

    A parked destination has none until its next probe. Expects a transaction.
    """
    connection.execute(BY_INDEX)
    rows = connection.execute(
        _QUEUES,
        {
            "tenant_id": after[0],
            "webhook_id": after[1],
            "limit": limit,
            "now": now,
            "heads_max": FIRST_PENDING_MAX,
        },
    ).all()
    found = [
        DestinationQueue(
            key=(row.tenant_id, row.webhook_id),
            is_orphan=row.is_orphan,
            has_loose=row.has_loose,
            has_ordered=row.has_ordered,
            is_parked=row.is_parked,
            in_flight_max=row.in_flight_max,
            rate_per_second=row.rate_per_second,
        )
        for row in rows
        if row.is_orphan or row.has_loose or row.has_ordered
    ]
    if len(rows) < limit:
        return found, FIRST_DESTINATION
    return found, max((row.tenant_id, row.webhook_id) for row in rows)


def any_due(connection: Connection, now: datetime) -> bool:
    """Whether a deliverer would find work: due deliveries, or those of a deleted destination."""
    return bool(queues(connection, FIRST_DESTINATION, _ALL_QUEUES, now)[0])


_FAILING = sa.text("""
SELECT h.tenant_id, h.webhook_id FROM webhook_health h
JOIN unnest(CAST(:tenant_ids AS integer[]), CAST(:webhook_ids AS uuid[]))
  AS k (tenant_id, webhook_id) ON h.tenant_id = k.tenant_id AND h.webhook_id = k.webhook_id
WHERE h.failures > 0
""")


def failing(connection: Connection, keys: Collection[DestinationId]) -> set[DestinationId]:
    """The destinations, among some, that have failed since their last success."""
    tenant_ids, webhook_ids = zip(*keys, strict=True)
    values = {"tenant_ids": list(tenant_ids), "webhook_ids": list(webhook_ids)}
    return {(row.tenant_id, row.webhook_id) for row in connection.execute(_FAILING, values)}
