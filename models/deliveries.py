"""Deliveries: which fact is to reach which destination, by when, and every attempt at it.

What is pending stands in one small table of its own (a partition by status), whatever the fact's
age; recording the outcome moves the row to the day of its fact. A *lane* is the pending deliveries
of one destination: `deliveries_due` has them in order, so that one lane never stands before
another. A claim is a lease in a column that no index knows: it costs no index entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa

from models.db import Session

Status = Literal["pending", "delivered", "dead"]
LaneKey = tuple[int, UUID]  # tenant, webhook

FIRST_LANE: LaneKey = (0, UUID(int=0))  # before every lane: tenants count from 1
LANES_MAX = 1_000  # read at once; the caller goes on after the last one
_ALL_LANES = 1_000_000


@dataclass(frozen=True, slots=True)
class Lane:
    """A destination with something to claim, or one that is gone and has left something."""

    key: LaneKey
    is_orphan: bool


@dataclass(frozen=True, slots=True)
class Slots:
    """How many deliveries of one lane may be claimed."""

    key: LaneKey
    count: int


@dataclass(frozen=True, slots=True)
class Lease:
    """Whose the claimed rows are, from when and until when."""

    claim_id: UUID
    now: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that is ours to attempt until its lease ends."""

    tenant_id: int
    fact_id: UUID
    webhook_id: UUID
    claim_id: UUID
    attempts: int  # made so far
    place: str  # the row's address: it stands still while it is leased
    url: str
    secret: str  # encrypted
    body: str | None  # None: the fact is past its retention

    @property
    def lane(self) -> LaneKey:
        """The lane it was taken from."""
        return (self.tenant_id, self.webhook_id)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt, as it is logged."""

    id: UUID  # UUIDv7 of the instant it began
    number: int
    status_code: int | None
    error: str | None
    duration_ms: int
    remote_address: str | None
    response: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a claimed delivery."""

    delivery: Claimed
    status: Status
    next_attempt_at: datetime | None  # None unless pending
    attempt: Attempt | None  # None: nothing was attempted, and no attempt is counted


# The statistics of a queue are always wrong: it was empty when they were taken, or full. These
# leave the planner only plans that read an index in its order, whatever it believes.
_BY_INDEX = sa.text("""
SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;
SET LOCAL enable_sort = off; SET LOCAL enable_incremental_sort = off
""")
# A lost claim is no claim: the row is due as before. So its commit need not reach the disk.
_NOT_DURABLE = sa.text("SET LOCAL synchronous_commit = off")

# -- finding work ----------------------------------------------------------------------------

# A skip scan: one index probe for each destination with pending deliveries.
_LANES = sa.text("""
WITH RECURSIVE lanes AS (
  (SELECT tenant_id, webhook_id, 1 AS nth FROM deliveries_pending
   WHERE (tenant_id, webhook_id) > (:tenant_id, CAST(:webhook_id AS uuid))
   ORDER BY tenant_id, webhook_id LIMIT 1)
  UNION ALL
  SELECT next.tenant_id, next.webhook_id, lanes.nth + 1 FROM lanes CROSS JOIN LATERAL
  (SELECT tenant_id, webhook_id FROM deliveries_pending
   WHERE (tenant_id, webhook_id) > (lanes.tenant_id, lanes.webhook_id)
   ORDER BY tenant_id, webhook_id LIMIT 1) next
  WHERE lanes.nth < :limit
)
SELECT lanes.tenant_id, lanes.webhook_id, w.id IS NULL AS is_orphan,
       w.id IS NULL OR (w.is_enabled AND EXISTS (
         SELECT FROM deliveries_pending d
         WHERE d.tenant_id = lanes.tenant_id AND d.webhook_id = lanes.webhook_id
           AND d.next_attempt_at <= :now
           AND (d.leased_until IS NULL OR d.leased_until <= :now))) AS has_work
FROM lanes LEFT JOIN webhooks w ON w.tenant_id = lanes.tenant_id AND w.id = lanes.webhook_id
""")


def lanes(
    session: Session, after: LaneKey, limit: int, now: datetime
) -> tuple[list[Lane], LaneKey]:
    """The lanes with work among the next `limit`, and after which one to go on next time."""
    rows = session.execute(
        _LANES, {"tenant_id": after[0], "webhook_id": after[1], "limit": limit, "now": now}
    ).all()
    found = [Lane((row.tenant_id, row.webhook_id), row.is_orphan) for row in rows if row.has_work]
    if len(rows) < limit:
        return found, FIRST_LANE
    return found, max((row.tenant_id, row.webhook_id) for row in rows)


def any_due(session: Session, now: datetime) -> bool:
    """Whether a deliverer would find work: something claimable, or left by a deleted one."""
    return bool(lanes(session, FIRST_LANE, _ALL_LANES, now)[0])


# -- claiming --------------------------------------------------------------------------------

_CLAIM = sa.text("""
WITH due AS (
  SELECT d.place, w.url, w.secret
  FROM unnest(CAST(:tenant_ids AS integer[]), CAST(:webhook_ids AS uuid[]),
              CAST(:counts AS integer[])) AS lane (tenant_id, webhook_id, count)
  JOIN webhooks w ON w.tenant_id = lane.tenant_id AND w.id = lane.webhook_id AND w.is_enabled
  CROSS JOIN LATERAL (
    SELECT ctid AS place FROM deliveries_pending
    WHERE tenant_id = lane.tenant_id AND webhook_id = lane.webhook_id AND next_attempt_at <= :now
      AND (leased_until IS NULL OR leased_until <= :now)
    ORDER BY next_attempt_at LIMIT lane.count FOR UPDATE SKIP LOCKED) d
)
UPDATE deliveries_pending d SET leased_until = :until, claim_id = :claim_id
FROM due WHERE d.ctid = due.place
RETURNING d.tenant_id, d.fact_id, d.webhook_id, d.attempts, CAST(d.ctid AS text) AS place,
          due.url, due.secret
""")


def claim(session: Session, slots: Sequence[Slots], lease: Lease) -> list[Claimed]:
    """Lease what is due of some lanes, earliest first in each, and return it with its facts.

    Rows that another deliverer is claiming are passed over, not waited for. The destination is
    read in the same statement: one that is disabled or deleted by now yields nothing.
    """
    session.execute(_BY_INDEX)
    session.execute(_NOT_DURABLE)
    rows = session.execute(
        _CLAIM,
        {
            "tenant_ids": [slot.key[0] for slot in slots],
            "webhook_ids": [slot.key[1] for slot in slots],
            "counts": [slot.count for slot in slots],
            "claim_id": lease.claim_id,
            "now": lease.now,
            "until": lease.until,
        },
    ).all()
    bodies = _bodies(session, [(row.tenant_id, row.fact_id) for row in rows])
    return [
        Claimed(
            tenant_id=row.tenant_id,
            fact_id=row.fact_id,
            webhook_id=row.webhook_id,
            claim_id=lease.claim_id,
            attempts=row.attempts,
            place=row.place,
            url=row.url,
            secret=row.secret,
            body=bodies.get((row.tenant_id, row.fact_id)),
        )
        for row in rows
    ]


# The bounds are sent as literals, so that the planner leaves out the other days' partitions.
_BODIES = sa.text("""
SELECT f.tenant_id, f.id, f.body
FROM unnest(CAST(:tenant_ids AS integer[]), CAST(:fact_ids AS uuid[])) AS wanted (tenant_id, id)
JOIN facts f ON f.tenant_id = wanted.tenant_id AND f.id = wanted.id
WHERE f.id >= :first AND f.id <= :last
""")


def _bodies(session: Session, wanted: Sequence[tuple[int, UUID]]) -> dict[tuple[int, UUID], str]:
    if not wanted:
        return {}
    keys = sorted(set(wanted))  # several destinations want the same fact
    fact_ids = [fact_id for _, fact_id in keys]
    rows = session.execute(
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
    CAST(:claim_ids AS uuid[]), CAST(:places AS tid[]), CAST(:statuses AS text[]),
    CAST(:nexts AS timestamptz[]), CAST(:attempt_ids AS uuid[]), CAST(:numbers AS integer[]),
    CAST(:status_codes AS integer[]), CAST(:errors AS text[]), CAST(:durations AS integer[]),
    CAST(:remotes AS text[]), CAST(:responses AS text[])
  ) AS o (tenant_id, fact_id, webhook_id, claim_id, place, status, next_attempt_at,
          attempt_id, number, status_code, error, duration_ms, remote_address, response)
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
  SET status = o.status, attempts = coalesce(o.number, d.attempts),
      next_attempt_at = coalesce(o.next_attempt_at, d.next_attempt_at),
      leased_until = NULL, claim_id = NULL
  FROM outcome o
  WHERE d.status = 'pending' AND d.ctid = o.place
    AND d.claim_id = o.claim_id AND d.fact_id = o.fact_id AND d.webhook_id = o.webhook_id
  RETURNING o.*
), logged AS (
  {_LOG} FROM settled WHERE attempt_id IS NOT NULL
  ON CONFLICT DO NOTHING  -- recorded before, by a commit whose answer was lost
)
SELECT count(*) FROM settled
""")  # noqa: S608 - fragments of this file

# An attempt is logged only under the lock of its delivery: when its participant is being erased,
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


def record(session: Session, outcomes: Sequence[Outcome]) -> int:
    """Log the attempts and settle the deliveries; return how many were still ours.

    One whose lease ended and that somebody else has claimed since is left to them. Its attempt is
    logged all the same: it was made. Of one that is gone, because its participant was erased
    meanwhile, nothing is logged.
    """
    if not outcomes:
        return 0
    session.execute(_BY_INDEX)
    columns = _columns(outcomes)
    settled: int = session.execute(_RECORD, columns).scalar_one()
    if settled < len(outcomes):
        fact_ids = columns["fact_ids"]
        session.execute(_LOG_LOST, columns | {"first": min(fact_ids), "last": max(fact_ids)})
    return settled


def _columns(outcomes: Sequence[Outcome]) -> dict[str, list[Any]]:
    deliveries = [outcome.delivery for outcome in outcomes]
    attempts = [outcome.attempt for outcome in outcomes]
    return {
        "tenant_ids": [one.tenant_id for one in deliveries],
        "fact_ids": [one.fact_id for one in deliveries],
        "webhook_ids": [one.webhook_id for one in deliveries],
        "claim_ids": [one.claim_id for one in deliveries],
        "places": [one.place for one in deliveries],
        "statuses": [outcome.status for outcome in outcomes],
        "nexts": [outcome.next_attempt_at for outcome in outcomes],
        "attempt_ids": [one and one.id for one in attempts],
        "numbers": [one and one.number for one in attempts],
        "status_codes": [one and one.status_code for one in attempts],
        "errors": [one and one.error for one in attempts],
        "durations": [one and one.duration_ms for one in attempts],
        "remotes": [one and one.remote_address for one in attempts],
        "responses": [one and one.response for one in attempts],
    }


_BURY = sa.text("""
UPDATE deliveries SET status = 'dead', leased_until = NULL, claim_id = NULL
WHERE status = 'pending' AND ctid IN (
  SELECT ctid FROM deliveries_pending d
  WHERE tenant_id = :tenant_id AND webhook_id = :webhook_id
    AND NOT EXISTS (SELECT FROM webhooks w WHERE w.tenant_id = d.tenant_id AND w.id = d.webhook_id)
  LIMIT :limit FOR UPDATE SKIP LOCKED)
""")


def bury(session: Session, lane: LaneKey, limit: int) -> int:
    """Mark dead what a deleted destination has left, at most `limit`; return how many."""
    tenant_id, webhook_id = lane
    return session.execute(
        _BURY, {"tenant_id": tenant_id, "webhook_id": webhook_id, "limit": limit}
    ).rowcount


# -- the log ---------------------------------------------------------------------------------


def attempts(session: Session, tenant_id: int, fact_id: UUID) -> list[Attempt]:
    """Every attempt at a fact, at all of the tenant's destinations, in order."""
    rows = session.execute(
        sa.text(
            "SELECT id, number, status_code, error, duration_ms, remote_address, response"
            " FROM attempts WHERE tenant_id = :tenant_id AND fact_id = :fact_id ORDER BY id"
        ),
        {"tenant_id": tenant_id, "fact_id": fact_id},
    )
    return [Attempt(*row) for row in rows]
