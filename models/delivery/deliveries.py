"""Deliveries: which fact goes to which destination, by when, and every attempt at it.

Pending deliveries are in one small table (a partition by status), whatever the fact's age;
recording the outcome moves the row to the day of its fact. A *queue* holds the pending deliveries
of one destination: `deliveries_due` has them in order, so that no queue blocks another. Those with
a participant go in the participant's order instead (`models.delivery.ordered`). A lease is written
to a column without an index, so that it costs no index entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa

from models.db import Connection

DeliveryStatus = Literal["pending", "delivered", "dead"]
DestinationId = tuple[int, UUID]  # tenant, webhook

DisableReason = Literal["gone", "asked", "failing"]  # why we disable a destination


@dataclass(frozen=True, slots=True)
class LeaseShare:
    """How many deliveries of one queue may be leased."""

    key: DestinationId
    count: int
    is_probe: bool = False  # its destination is parked: this delivery tests whether it is back


@dataclass(frozen=True, slots=True)
class Lease:
    """The owner of the leased rows, and the lease's beginning and end."""

    claim_id: UUID
    now: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class LeasedDelivery:
    """A delivery that we may attempt until its lease ends."""

    tenant_id: int
    fact_id: UUID
    webhook_id: UUID
    claim_id: UUID
    attempts: int  # made so far
    ctid: str  # the row's address: it does not change during the lease
    url: str
    secret: str  # encrypted
    body: str | None  # None: the fact is past its retention
    previous_secret: str | None = None  # encrypted; signs too until previous_until
    previous_until: datetime | None = None
    signing_key: str | None = None  # encrypted; None: no v1a signature
    retry_seconds: Sequence[int] | None = None  # None: the default schedule
    is_probe: bool = False
    participant_id: int | None = None  # its next delivery waits for this one

    @property
    def destination_id(self) -> DestinationId:
        """The queue it was taken from."""
        return (self.tenant_id, self.webhook_id)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt, as logged."""

    id: UUID  # UUIDv7 of the instant it began
    number: int
    status_code: int | None
    error: str | None
    duration_ms: int
    remote_address: str | None
    response: str | None


@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """The outcome of a leased delivery."""

    delivery: LeasedDelivery
    status: DeliveryStatus
    next_attempt_at: datetime | None  # None unless pending
    attempt: Attempt | None  # None: no attempt was made or counted
    is_counted: bool = True  # False: the attempt is logged, but uses up none
    disables: DisableReason | None = None  # the receiver wants nothing more at all


# The statistics of a queue are always wrong: it was empty when they were taken, or full. These
# settings leave the planner only plans that read an index in its order.
BY_INDEX = sa.text("""
SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;
SET LOCAL enable_sort = off; SET LOCAL enable_incremental_sort = off
""")
# A lost lease does no harm: the row is due as before. So its commit need not reach the disk.
NOT_DURABLE = sa.text("SET LOCAL synchronous_commit = off")

# -- leasing ---------------------------------------------------------------------------------

# The columns that a lease returns, of a row `d` and its destination `due`.
RETURNING = """
RETURNING d.tenant_id, d.fact_id, d.webhook_id, d.attempts, d.participant_id,
          CAST(d.ctid AS text) AS ctid, due.is_probe, due.url, due.secret, due.previous_secret,
          due.previous_until, due.signing_key, due.retry_seconds
"""
DESTINATION = """
  w.url, w.secret, w.previous_secret, w.previous_until, w.signing_key, w.retry_seconds
"""

_LEASE = sa.text(f"""
WITH due AS (
  SELECT d.ctid, lane.is_probe, {DESTINATION}
  FROM unnest(CAST(:tenant_ids AS integer[]), CAST(:webhook_ids AS uuid[]),
              CAST(:counts AS integer[]), CAST(:probes AS boolean[]))
       AS lane (tenant_id, webhook_id, count, is_probe)
  JOIN webhooks w ON w.tenant_id = lane.tenant_id AND w.id = lane.webhook_id AND w.is_enabled
  LEFT JOIN webhook_health h ON h.tenant_id = w.tenant_id AND h.webhook_id = w.id
  CROSS JOIN LATERAL (
    SELECT ctid FROM deliveries_pending
    WHERE tenant_id = lane.tenant_id AND webhook_id = lane.webhook_id AND participant_id IS NULL
      AND next_attempt_at <= :now AND (leased_until IS NULL OR leased_until <= :now)
    ORDER BY next_attempt_at LIMIT lane.count FOR UPDATE SKIP LOCKED) d
  WHERE lane.is_probe OR h.parked_until IS NULL
)
UPDATE deliveries_pending d SET leased_until = :until, claim_id = :claim_id
FROM due WHERE d.ctid = due.ctid {RETURNING}
""")  # noqa: S608 - fragments of this file


def lease_due(
    connection: Connection, slots: Sequence[LeaseShare], lease: Lease
) -> list[LeasedDelivery]:
    """Lease the due deliveries of some queues, earliest first in each, with their facts.

    Rows that another deliverer is leasing are skipped, not waited for. The same statement reads the
    destination: one now disabled, deleted or parked yields nothing. Ordered deliveries are leased
    by `models.delivery.ordered`.
    """
    connection.execute(BY_INDEX)
    connection.execute(NOT_DURABLE)
    rows = connection.execute(
        _LEASE,
        {
            "tenant_ids": [slot.key[0] for slot in slots],
            "webhook_ids": [slot.key[1] for slot in slots],
            "counts": [slot.count for slot in slots],
            "probes": [slot.is_probe for slot in slots],
            "claim_id": lease.claim_id,
            "now": lease.now,
            "until": lease.until,
        },
    ).all()
    return with_facts(connection, rows, lease)


def with_facts(connection: Connection, rows: Sequence[Any], lease: Lease) -> list[LeasedDelivery]:
    """The rows that a lease returned (`RETURNING`), with the facts to send."""
    bodies = _bodies(connection, [(row.tenant_id, row.fact_id) for row in rows])
    return [
        LeasedDelivery(
            claim_id=lease.claim_id,
            body=bodies.get((row.tenant_id, row.fact_id)),
            **row._mapping,
        )
        for row in rows
    ]


# The bounds are sent as literals, so that the planner prunes the other days' partitions.
_BODIES = sa.text("""
SELECT f.tenant_id, f.id, f.body
FROM unnest(CAST(:tenant_ids AS integer[]), CAST(:fact_ids AS uuid[])) AS wanted (tenant_id, id)
JOIN facts f ON f.tenant_id = wanted.tenant_id AND f.id = wanted.id
WHERE f.id >= :first AND f.id <= :last
""")


def _bodies(
    connection: Connection, wanted: Sequence[tuple[int, UUID]]
) -> dict[tuple[int, UUID], str]:
    if not wanted:
        return {}
    keys = sorted(set(wanted))  # several destinations want the same fact
    fact_ids = [fact_id for _, fact_id in keys]
    rows = connection.execute(
        _BODIES,
        {
            "tenant_ids": [tenant_id for tenant_id, _ in keys],
            "fact_ids": fact_ids,
            "first": min(fact_ids),
            "last": max(fact_ids),
        },
    )
    return {(row.tenant_id, row.id): row.body for row in rows}


# -- recording -------------------------------------------------------------------------------

_OUTCOME = """
  SELECT * FROM unnest(
    CAST(:tenant_ids AS integer[]), CAST(:fact_ids AS uuid[]), CAST(:webhook_ids AS uuid[]),
    CAST(:claim_ids AS uuid[]), CAST(:ctids AS tid[]), CAST(:statuses AS text[]),
    CAST(:nexts AS timestamptz[]), CAST(:attempt_ids AS uuid[]), CAST(:numbers AS integer[]),
    CAST(:status_codes AS integer[]), CAST(:errors AS text[]), CAST(:durations AS integer[]),
    CAST(:remotes AS text[]), CAST(:responses AS text[]), CAST(:counted AS integer[])
  ) AS o (tenant_id, fact_id, webhook_id, claim_id, ctid, status, next_attempt_at,
          attempt_id, number, status_code, error, duration_ms, remote_address, response, attempts)
"""
_LOG = """
  INSERT INTO attempts (tenant_id, id, fact_id, webhook_id, number, status_code, error,
                        duration_ms, remote_address, response)
  SELECT tenant_id, attempt_id, fact_id, webhook_id, number, status_code, error,
         duration_ms, remote_address, response
"""

_RECORD = sa.text(f"""
WITH outcome AS ({_OUTCOME}), settled AS (
  UPDATE deliveries d
  SET status = o.status, attempts = o.attempts,
      next_attempt_at = coalesce(o.next_attempt_at, d.next_attempt_at),
      leased_until = NULL, claim_id = NULL
  FROM outcome o
  WHERE d.status = 'pending' AND d.ctid = o.ctid
    AND d.claim_id = o.claim_id AND d.fact_id = o.fact_id AND d.webhook_id = o.webhook_id
  RETURNING o.*
), logged AS (
  {_LOG} FROM settled WHERE attempt_id IS NOT NULL
  ON CONFLICT DO NOTHING  -- recorded before, by a commit whose answer was lost
)
SELECT count(*) FROM settled
""")  # noqa: S608 - fragments of this file

# An attempt is logged only under the lock of its delivery: while its participant is being erased,
# this waits, finds no delivery and logs nothing.
_LOG_LOST = sa.text(f"""
WITH outcome AS ({_OUTCOME}), known AS (
  SELECT o.* FROM outcome o JOIN deliveries d
    ON d.tenant_id = o.tenant_id AND d.fact_id = o.fact_id AND d.webhook_id = o.webhook_id
  WHERE o.attempt_id IS NOT NULL AND d.fact_id BETWEEN :first AND :last
  FOR KEY SHARE OF d
)
{_LOG} FROM known ON CONFLICT DO NOTHING  -- logged with its outcome
""")  # noqa: S608 - fragments of this file


def record(connection: Connection, outcomes: Sequence[AttemptOutcome]) -> int:
    """Log the attempts and store the outcomes; return how many deliveries were still ours.

    A delivery that another deliverer leased after our lease ended keeps that lease. Our attempt is
    logged all the same: it was made. Nothing is logged for a delivery deleted meanwhile by its
    participant's erasure.
    """
    if not outcomes:
        return 0
    connection.execute(BY_INDEX)
    columns = _columns(outcomes)
    settled: int = connection.execute(_RECORD, columns).scalar_one()
    if settled < len(outcomes):
        fact_ids = columns["fact_ids"]
        connection.execute(_LOG_LOST, columns | {"first": min(fact_ids), "last": max(fact_ids)})
    return settled


def _columns(outcomes: Sequence[AttemptOutcome]) -> dict[str, list[Any]]:
    deliveries = [outcome.delivery for outcome in outcomes]
    attempts = [outcome.attempt for outcome in outcomes]
    return {
        "tenant_ids": [delivery.tenant_id for delivery in deliveries],
        "fact_ids": [delivery.fact_id for delivery in deliveries],
        "webhook_ids": [delivery.webhook_id for delivery in deliveries],
        "claim_ids": [delivery.claim_id for delivery in deliveries],
        "ctids": [delivery.ctid for delivery in deliveries],
        "statuses": [outcome.status for outcome in outcomes],
        "nexts": [outcome.next_attempt_at for outcome in outcomes],
        "attempt_ids": [attempt and attempt.id for attempt in attempts],
        "numbers": [attempt and attempt.number for attempt in attempts],
        "status_codes": [attempt and attempt.status_code for attempt in attempts],
        "errors": [attempt and attempt.error for attempt in attempts],
        "durations": [attempt and attempt.duration_ms for attempt in attempts],
        "remotes": [attempt and attempt.remote_address for attempt in attempts],
        "responses": [attempt and attempt.response for attempt in attempts],
        "counted": [_counted(outcome) for outcome in outcomes],
    }


def _counted(outcome: AttemptOutcome) -> int:
    attempt = outcome.attempt
    return attempt.number if attempt and outcome.is_counted else outcome.delivery.attempts


_EXHAUST = """
UPDATE deliveries SET status = 'dead', leased_until = NULL, claim_id = NULL
WHERE status = 'pending' AND ctid IN (
  SELECT ctid FROM deliveries_pending d
  WHERE tenant_id = :tenant_id AND webhook_id = :webhook_id AND participant_id IS {}
    AND NOT EXISTS (SELECT FROM webhooks w WHERE w.tenant_id = d.tenant_id AND w.id = d.webhook_id)
  LIMIT :limit FOR UPDATE SKIP LOCKED)
"""
_EXHAUST_EACH = (
    sa.text(_EXHAUST.format("NULL")),
    sa.text(_EXHAUST.format("NOT NULL")),
)  # an index each


def exhaust_orphans(connection: Connection, destination_id: DestinationId, limit: int) -> int:
    """Mark a deleted destination's deliveries exhausted, `limit` of each kind; return how many."""
    values = {"tenant_id": destination_id[0], "webhook_id": destination_id[1], "limit": limit}
    return sum(connection.execute(statement, values).rowcount for statement in _EXHAUST_EACH)


# -- the log ---------------------------------------------------------------------------------


def attempts(connection: Connection, tenant_id: int, fact_id: UUID) -> list[Attempt]:
    """Every attempt at a fact, at all of the tenant's destinations, in order."""
    rows = connection.execute(
        sa.text(
            "SELECT id, number, status_code, error, duration_ms, remote_address, response"
            " FROM attempts WHERE tenant_id = :tenant_id AND fact_id = :fact_id ORDER BY id"
        ),
        {"tenant_id": tenant_id, "fact_id": fact_id},
    )
    return [Attempt(*row) for row in rows]
