"""Ordered deliveries: of each participant only the first pending delivery may be leased.

An ordered destination's rows have a participant and a sequence. A pending first delivery blocks
only later deliveries of the same participant. Once it is delivered or exhausted, the next one is
first: no row changes for that.

Only a first delivery is ever leased, so at most one delivery of a participant is in flight, with
any number of deliverers. A participant's rows are written under its lock and so committed in the
order of their sequence: a reader of a row also sees every earlier pending one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from models.db import Connection
from models.delivery.deliveries import (
    BY_INDEX,
    DESTINATION,
    NOT_DURABLE,
    RETURNING,
    DestinationId,
    Lease,
    LeasedDelivery,
    LeaseShare,
    with_facts,
)

# Participants checked per lease, at an index probe each: a few milliseconds. When all of these wait
# for their next attempt, the next lease continues after them.
FIRST_PENDING_MAX = 1_000

# A skip scan over `deliveries_order`: one probe for each participant with something pending.
# Wants :now, :heads_max and a row `lane` (tenant_id, webhook_id, after).
FIRST_PENDING = """
WITH RECURSIVE heads AS (
  (SELECT participant_id, fact_id, next_attempt_at, leased_until, 1 AS nth
   FROM deliveries_pending
   WHERE tenant_id = lane.tenant_id AND webhook_id = lane.webhook_id
     AND participant_id > lane.after
   ORDER BY participant_id, sequence LIMIT 1)
  UNION ALL
  SELECT next.*, heads.nth + 1 FROM heads CROSS JOIN LATERAL
  (SELECT participant_id, fact_id, next_attempt_at, leased_until FROM deliveries_pending
   WHERE tenant_id = lane.tenant_id AND webhook_id = lane.webhook_id
     AND participant_id > heads.participant_id
   ORDER BY participant_id, sequence LIMIT 1) next
  WHERE heads.nth < :heads_max
)
SELECT participant_id, fact_id, nth,
       next_attempt_at <= :now AND (leased_until IS NULL OR leased_until <= :now) AS is_due
FROM heads
"""

_FIND = sa.text(f"""
SELECT lane.tenant_id, lane.webhook_id, head.participant_id, head.fact_id, head.is_due
FROM unnest(CAST(:tenant_ids AS integer[]), CAST(:webhook_ids AS uuid[]),
            CAST(:counts AS integer[]), CAST(:afters AS bigint[]))
     AS lane (tenant_id, webhook_id, count, after)
CROSS JOIN LATERAL (
  SELECT * FROM ({FIRST_PENDING}) looked_at WHERE is_due OR nth = :heads_max LIMIT lane.count) head
""")  # noqa: S608 - fragments of this file

_LEASE = sa.text(f"""
WITH due AS (
  SELECT d.ctid, wanted.is_probe, {DESTINATION}
  FROM unnest(CAST(:tenant_ids AS integer[]), CAST(:webhook_ids AS uuid[]),
              CAST(:fact_ids AS uuid[]), CAST(:probes AS boolean[]))
       AS wanted (tenant_id, webhook_id, fact_id, is_probe)
  JOIN webhooks w
    ON w.tenant_id = wanted.tenant_id AND w.id = wanted.webhook_id AND w.is_enabled
  LEFT JOIN webhook_health h ON h.tenant_id = w.tenant_id AND h.webhook_id = w.id
  CROSS JOIN LATERAL (
    SELECT ctid FROM deliveries_pending
    WHERE tenant_id = wanted.tenant_id AND fact_id = wanted.fact_id
      AND webhook_id = wanted.webhook_id
      AND next_attempt_at <= :now AND (leased_until IS NULL OR leased_until <= :now)
    FOR UPDATE SKIP LOCKED) d
  WHERE wanted.is_probe OR h.parked_until IS NULL
)
UPDATE deliveries_pending d SET leased_until = :until, claim_id = :claim_id
FROM due WHERE d.ctid = due.ctid {RETURNING}
""")  # noqa: S608 - fragments of models

After = Mapping[DestinationId, int]  # the participant after which to continue; 0: from the first


def lease_due(
    connection: Connection, slots: Sequence[LeaseShare], after: After, lease: Lease
) -> tuple[list[LeasedDelivery], After]:
    """Lease due first deliveries, round robin over the participants; return the next start too.

    1. Find first deliveries that are due and free, as of one snapshot.
    2. Lock them by their keys, skipping locked ones, and check again: a delivery leased or
       finished meanwhile is no longer free, or no longer pending.
    """
    connection.execute(BY_INDEX)
    connection.execute(NOT_DURABLE)
    found, reached = _find(connection, slots, after, lease)
    again = [
        replace(slot, count=slot.count - len(found[slot.key]))
        for slot in slots
        if after.get(slot.key) and not reached.get(slot.key)
    ]
    if again:  # at the end of the queue: continue from its beginning
        more, reached_again = _find(connection, again, {}, lease)
        reached |= reached_again
        for key, fact_ids in more.items():
            found[key] |= fact_ids
    return _lease(connection, slots, found, lease), reached


def _find(
    connection: Connection, slots: Sequence[LeaseShare], after: After, lease: Lease
) -> tuple[dict[DestinationId, set[UUID]], dict[DestinationId, int]]:
    """The due first deliveries of each queue; and the last participant checked, unless it was the
    queue's last."""
    values = {
        "tenant_ids": [slot.key[0] for slot in slots],
        "webhook_ids": [slot.key[1] for slot in slots],
        "counts": [slot.count for slot in slots],
        "afters": [after.get(slot.key, 0) for slot in slots],
        "now": lease.now,
        "heads_max": FIRST_PENDING_MAX,
    }
    rows: dict[DestinationId, list[Any]] = defaultdict(list)
    for row in connection.execute(_FIND, values):
        rows[row.tenant_id, row.webhook_id].append(row)
    found = {slot.key: {row.fact_id for row in rows[slot.key] if row.is_due} for slot in slots}
    reached = {
        slot.key: mine[-1].participant_id
        for slot in slots
        if (mine := rows[slot.key]) and (len(mine) == slot.count or not mine[-1].is_due)
    }
    return found, reached


def _lease(
    connection: Connection,
    slots: Sequence[LeaseShare],
    found: Mapping[DestinationId, set[UUID]],
    lease: Lease,
) -> list[LeasedDelivery]:
    wanted = [(slot, fact_id) for slot in slots for fact_id in found[slot.key]]
    if not wanted:
        return []
    rows = connection.execute(
        _LEASE,
        {
            "tenant_ids": [slot.key[0] for slot, _ in wanted],
            "webhook_ids": [slot.key[1] for slot, _ in wanted],
            "fact_ids": [fact_id for _, fact_id in wanted],
            "probes": [slot.is_probe for slot, _ in wanted],
            "claim_id": lease.claim_id,
            "now": lease.now,
            "until": lease.until,
        },
    ).all()
    return with_facts(connection, rows, lease)
