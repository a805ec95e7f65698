"""Replays: the facts of a time range sent to a destination again, in portions, with progress."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa

from models import clock, ids
from models.db import Connection
from models.delivery import requeue
from models.delivery.delivery_log import floor
from models.errors import NotFound, TooMany

ReplayStatus = Literal["running", "done", "cancelled"]

RUNNING_MAX = 10  # of one tenant: each adds a portion to every round
KEYS_MAX = 1_000  # replays of one round
_REPLAYS_LOCK = 7_301_119  # with the tenant's id: a tenant begins one replay at a time


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """The facts to send again."""

    webhook_id: UUID
    since: datetime
    until: datetime  # exclusive
    event_types: list[str] | None  # None: all that the destination subscribes to
    only_missing: bool


@dataclass(frozen=True, slots=True)
class Replay:
    """A replay and its progress."""

    tenant_id: int
    id: UUID
    webhook_id: UUID
    since: datetime
    until: datetime
    event_types: list[str] | None
    only_missing: bool
    status: ReplayStatus
    position: UUID | None  # the last fact scanned
    seen: int
    queued: int
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class DeliveryKey:
    """The key of a replay, with its destination's."""

    tenant_id: int
    webhook_id: UUID
    id: UUID


@dataclass(frozen=True, slots=True)
class PastFacts:
    """A past fact, without its body."""

    id: UUID
    type: str
    participant_id: int | None
    sequence: int | None
    streak_code: str | None
    occurred_at: datetime


_COLUMNS = (
    "tenant_id, id, webhook_id, since, until, event_types, only_missing, status, position, seen,"
    " queued, created_at, finished_at"
)

# -- requesting ------------------------------------------------------------------------------

_CREATE = sa.text(f"""
INSERT INTO replays (tenant_id, id, webhook_id, since, until, event_types, only_missing, created_at)
VALUES (:tenant_id, :id, :webhook_id, :since, :until, :event_types, :only_missing, :now)
RETURNING {_COLUMNS}
""")  # noqa: S608 - names of this file


def create(connection: Connection, tenant_id: int, asked: ReplayRequest, now: datetime) -> Replay:
    """Begin a replay; raise TooMany when the tenant has the maximum number running."""
    connection.execute(
        sa.text("SELECT pg_advisory_xact_lock(:lock, :tenant_id)"),
        {"lock": _REPLAYS_LOCK, "tenant_id": tenant_id},
    )
    running = connection.execute(
        sa.text("SELECT count(*) FROM replays WHERE tenant_id = :id AND status = 'running'"),
        {"id": tenant_id},
    ).scalar_one()
    if running >= RUNNING_MAX:
        raise TooMany(str(RUNNING_MAX))
    row = connection.execute(
        _CREATE,
        {
            "tenant_id": tenant_id,
            "id": ids.uuid7(clock.to_us(now)),
            "webhook_id": asked.webhook_id,
            "since": asked.since,
            "until": asked.until,
            "event_types": asked.event_types,
            "only_missing": asked.only_missing,
            "now": now,
        },
    ).one()
    return _replay(row)


def by_id(connection: Connection, tenant_id: int, webhook_id: UUID, replay_id: UUID) -> Replay:
    """One replay; raise NotFound when that destination has none with that id."""
    row = connection.execute(
        sa.text(
            f"SELECT {_COLUMNS} FROM replays"  # noqa: S608 - names of this file
            " WHERE tenant_id = :tenant_id AND webhook_id = :webhook_id AND id = :id"
        ),
        {"tenant_id": tenant_id, "webhook_id": webhook_id, "id": replay_id},
    ).one_or_none()
    if row is None:
        raise NotFound(str(replay_id))
    return _replay(row)


def page(
    connection: Connection, tenant_id: int, webhook_id: UUID, window: tuple[int, int]
) -> tuple[list[Replay], int]:
    """A page (limit, offset) of a destination's replays, newest first, and how many it has."""
    mine = "FROM replays WHERE tenant_id = :tenant_id AND webhook_id = :webhook_id"
    values = {"tenant_id": tenant_id, "webhook_id": webhook_id}
    rows = connection.execute(
        sa.text(f"SELECT {_COLUMNS} {mine} ORDER BY id DESC LIMIT :limit OFFSET :offset"),
        values | {"limit": window[0], "offset": window[1]},
    )
    total = connection.execute(sa.text(f"SELECT count(*) {mine}"), values).scalar_one()
    return [_replay(row) for row in rows], total


def cancel(
    connection: Connection, tenant_id: int, webhook_id: UUID, replay_id: UUID, now: datetime
) -> Replay:
    """End a running replay; a finished one stays unchanged. What it queued is still sent.

    Raises NotFound.
    """
    connection.execute(
        sa.text(
            "UPDATE replays SET status = 'cancelled', finished_at = :now WHERE tenant_id = :tenant"
            " AND webhook_id = :webhook_id AND id = :id AND status = 'running'"
        ),
        {"now": now, "tenant": tenant_id, "webhook_id": webhook_id, "id": replay_id},
    )
    return by_id(connection, tenant_id, webhook_id, replay_id)


def purge(connection: Connection, before: datetime) -> int:
    """Delete every tenant's replays that ended before an instant; return how many."""
    return connection.execute(
        sa.text("DELETE FROM replays WHERE finished_at < :before"), {"before": before}
    ).rowcount


def _replay(row: Any) -> Replay:
    return Replay(**row._mapping)


# -- running ---------------------------------------------------------------------------------

# A replay begins once every transaction in progress at its request has ended: one of them may have
# read that the destination is disabled, and commit facts of the range without a delivery. Its
# first portion then sets `position`, so this is checked only before it.
_RUNNING = sa.text("""
SELECT r.tenant_id, r.webhook_id, r.id FROM replays r
JOIN webhooks w ON w.tenant_id = r.tenant_id AND w.id = r.webhook_id AND w.is_enabled
WHERE r.status = 'running' AND (
  r.position IS NOT NULL
  OR age(r.xmin) > age(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS xid)))
ORDER BY r.tenant_id, r.id LIMIT :limit
""")


def running(connection: Connection) -> list[DeliveryKey]:
    """The replays of all tenants that may continue; those of disabled destinations wait."""
    return [DeliveryKey(*row) for row in connection.execute(_RUNNING, {"limit": KEYS_MAX})]


_TAKE = sa.text(f"""
SELECT {_COLUMNS} FROM replays
WHERE tenant_id = :tenant_id AND webhook_id = :webhook_id AND id = :id AND status = 'running'
FOR UPDATE SKIP LOCKED
""")  # noqa: S608 - names of this file


def take(connection: Connection, key: DeliveryKey) -> Replay | None:
    """Lock a replay and its destination until the end of the transaction.

    None when it has ended, or when another process holds either and continues it.
    """
    if not requeue.hold(connection, key.tenant_id, key.webhook_id, is_waiting=False):
        return None
    row = connection.execute(
        _TAKE, {"tenant_id": key.tenant_id, "webhook_id": key.webhook_id, "id": key.id}
    ).one_or_none()
    return None if row is None else _replay(row)


# The bounds are sent as literals, so that the planner prunes the other days' partitions.
_NEXT = sa.text("""
SELECT id, type, participant_id, sequence, streak_code, occurred_at FROM facts
WHERE tenant_id = :tenant_id AND id > :position AND id >= :first AND id < :end
  AND occurred_at >= :since AND occurred_at < :until
ORDER BY id LIMIT :limit
""")
MILLISECOND_US = 1_000  # ids count in milliseconds


def next_facts(connection: Connection, replay: Replay, limit: int) -> list[PastFacts]:
    """The facts of the range after the replay's position, by id."""
    rows = connection.execute(
        _NEXT,
        {
            "tenant_id": replay.tenant_id,
            "position": replay.position or UUID(int=0),
            "first": floor(clock.to_us(replay.since)),
            "end": floor(clock.to_us(replay.until) + MILLISECOND_US),
            "since": replay.since,
            "until": replay.until,
            "limit": limit,
        },
    )
    return [PastFacts(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class ReplayStep:
    """The result of one portion."""

    position: UUID | None
    seen: int
    queued: int
    is_last: bool


def advance(connection: Connection, replay: Replay, step: ReplayStep, now: datetime) -> None:
    """Store a replay's progress, in the transaction that queued the deliveries."""
    connection.execute(
        sa.text(
            "UPDATE replays SET position = coalesce(:position, position), seen = seen + :seen,"
            " queued = queued + :queued, status = CASE WHEN :is_last THEN 'done' ELSE status END,"
            " finished_at = CASE WHEN :is_last THEN CAST(:now AS timestamptz) END"
            " WHERE tenant_id = :tenant_id AND id = :id"
        ),
        {
            "position": step.position,
            "seen": step.seen,
            "queued": step.queued,
            "is_last": step.is_last,
            "now": now,
            "tenant_id": replay.tenant_id,
            "id": replay.id,
        },
    )
