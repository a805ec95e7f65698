"""Restores of many streaks: jobs that run in portions, with their progress (contract §7.3)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa

from models import clock, ids
from models.db import Connection, run
from models.errors import AlreadyRunning, NotFound, TooMany
from models.rules.spans import Span
from models.streaks.states import STATE_COLUMNS, Streak, StreakState, state_of_row

RestoreStatus = Literal["running", "done", "cancelled"]

RUNNING_MAX = 10  # of one tenant: each adds a portion to every round
KEYS_MAX = 1_000  # restores of one round
_RESTORES_LOCK = 7_301_120  # with the tenant's id: a tenant begins one restore at a time


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """Whose streak to restore: of listed participants, or of those who lost it in a span."""

    streak_id: int
    is_preview: bool
    reason: str | None
    lost: Span | None
    participant_ids: Sequence[str] = ()  # external ids, without `lost`; each once
    idempotency_key: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class RestoreKey:
    """The key of a restore, and when it was requested."""

    tenant_id: int
    id: UUID
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Restore:
    """A restore and its progress."""

    tenant_id: int
    id: UUID
    streak_id: int
    is_preview: bool  # nothing is restored, only counted
    reason: str | None
    lost_unit: Literal["instant", "day"] | None
    lost_from: int | None
    lost_until: int | None
    status: RestoreStatus
    position: int  # the last participant that was looked at
    total: int  # participants to look at, as of the request
    scanned: int
    found: int  # with a break to restore
    restored: int
    nothing_to_restore: int  # listed, without a break
    refused: int
    fingerprint: str | None
    created_at: datetime
    finished_at: datetime | None

    @property
    def lost(self) -> Span | None:
        """The span; None: of listed participants."""
        if self.lost_unit is None or self.lost_from is None or self.lost_until is None:
            return None
        return Span(self.lost_unit, self.lost_from, self.lost_until)


_COLUMNS = (
    "tenant_id, id, streak_id, is_preview, reason, lost_unit, lost_from, lost_until, status,"
    " position, total, scanned, found, restored, nothing_to_restore, refused, fingerprint,"
    " created_at, finished_at"
)


def _restore(row: Any) -> Restore:
    return Restore(**row._mapping)


# -- requesting ------------------------------------------------------------------------------


def create(
    connection: Connection, tenant_id: int, asked: RestoreRequest, now: datetime
) -> tuple[Restore, bool]:
    """Begin a restore, or find the one of the same Idempotency-Key; return it, and whether it was
    there before.

    Raises TooMany when the tenant has the maximum number running, and AlreadyRunning when the
    streak has one that is no preview.
    """
    connection.execute(
        sa.text("SELECT pg_advisory_xact_lock(:lock, :tenant_id)"),
        {"lock": _RESTORES_LOCK, "tenant_id": tenant_id},
    )
    known = _of_key(connection, tenant_id, asked.idempotency_key)
    if known is not None:
        return known, True
    _check_room(connection, tenant_id, asked)
    return _insert(connection, tenant_id, asked, now), False


def _of_key(connection: Connection, tenant_id: int, key: str | None) -> Restore | None:
    if key is None:
        return None
    row = connection.execute(
        sa.text(
            f"SELECT {_COLUMNS} FROM streak_restores"  # noqa: S608 - names of this file
            " WHERE tenant_id = :tenant_id AND idempotency_key = :key"
        ),
        {"tenant_id": tenant_id, "key": key},
    ).one_or_none()
    return None if row is None else _restore(row)


def _check_room(connection: Connection, tenant_id: int, asked: RestoreRequest) -> None:
    running, same = connection.execute(
        sa.text(
            "SELECT count(*), count(*) FILTER (WHERE streak_id = :streak_id AND NOT is_preview)"
            " FROM streak_restores WHERE tenant_id = :tenant_id AND status = 'running'"
        ),
        {"tenant_id": tenant_id, "streak_id": asked.streak_id},
    ).one()
    if same and not asked.is_preview:
        raise AlreadyRunning(str(asked.streak_id))
    if running >= RUNNING_MAX:
        raise TooMany(str(RUNNING_MAX))


_CREATE = sa.text(f"""
INSERT INTO streak_restores (tenant_id, id, streak_id, is_preview, reason, lost_unit, lost_from,
  lost_until, participants, total, scanned, nothing_to_restore, idempotency_key, fingerprint,
  created_at)
VALUES (:tenant_id, :id, :streak_id, :is_preview, :reason, :lost_unit, :lost_from, :lost_until,
  CAST(:participants AS bigint[]), :total, :unknown, :unknown, :idempotency_key, :fingerprint, :now)
RETURNING {_COLUMNS}
""")  # noqa: S608 - names of this file


def _insert(
    connection: Connection, tenant_id: int, asked: RestoreRequest, now: datetime
) -> Restore:
    """Participants that are not known are looked at already: they have no streak."""
    lost = asked.lost
    known = None if lost else _numbers(connection, tenant_id, asked.participant_ids)
    listed = len(asked.participant_ids)
    values = {
        "tenant_id": tenant_id,
        "id": ids.uuid7(clock.to_us(now)),
        "streak_id": asked.streak_id,
        "is_preview": asked.is_preview,
        "reason": asked.reason,
        "lost_unit": lost.unit if lost else None,
        "lost_from": lost.start if lost else None,
        "lost_until": lost.end if lost else None,
        "participants": known,
        "total": listed if known is not None else _states(connection, tenant_id, asked.streak_id),
        "unknown": 0 if known is None else listed - len(known),
        "idempotency_key": asked.idempotency_key,
        "fingerprint": asked.fingerprint,
        "now": now,
    }
    return _restore(connection.execute(_CREATE, values).one())


def _numbers(connection: Connection, tenant_id: int, external_ids: Sequence[str]) -> list[int]:
    statement = sa.text(
        "SELECT DISTINCT coalesce(merged_into, id) AS number FROM participants"
        " WHERE tenant_id = :tenant_id AND external_id = ANY(CAST(:external_ids AS text[]))"
        " ORDER BY number"
    )
    values = {"tenant_id": tenant_id, "external_ids": list(external_ids)}
    return list(connection.execute(statement, values).scalars())


def _states(connection: Connection, tenant_id: int, streak_id: int) -> int:
    statement = sa.text(
        "SELECT count(*) FROM streak_states WHERE tenant_id = :tenant_id AND streak_id = :streak_id"
    )
    values = {"tenant_id": tenant_id, "streak_id": streak_id}
    return int(connection.execute(statement, values).scalar_one())


def by_id(connection: Connection, tenant_id: int, streak_id: int, restore_id: UUID) -> Restore:
    """One restore of a streak; raise NotFound."""
    row = connection.execute(
        sa.text(
            f"SELECT {_COLUMNS} FROM streak_restores"  # noqa: S608 - names of this file
            " WHERE tenant_id = :tenant_id AND streak_id = :streak_id AND id = :id"
        ),
        {"tenant_id": tenant_id, "streak_id": streak_id, "id": restore_id},
    ).one_or_none()
    if row is None:
        raise NotFound(str(restore_id))
    return _restore(row)


def page(
    connection: Connection, tenant_id: int, streak_id: int, window: tuple[int, int]
) -> tuple[list[Restore], int]:
    """A page (limit, offset) of a streak's restores, newest first, and how many it has."""
    mine = "FROM streak_restores WHERE tenant_id = :tenant_id AND streak_id = :streak_id"
    values = {"tenant_id": tenant_id, "streak_id": streak_id}
    rows = connection.execute(
        sa.text(f"SELECT {_COLUMNS} {mine} ORDER BY id DESC LIMIT :limit OFFSET :offset"),
        values | {"limit": window[0], "offset": window[1]},
    )
    total = connection.execute(sa.text(f"SELECT count(*) {mine}"), values).scalar_one()
    return [_restore(row) for row in rows], total


def cancel(
    connection: Connection, tenant_id: int, streak_id: int, restore_id: UUID, now: datetime
) -> Restore:
    """End a running restore; a finished one stays unchanged. Restored streaks stay restored.

    Raises NotFound.
    """
    connection.execute(
        sa.text(
            "UPDATE streak_restores SET status = 'cancelled', finished_at = :now,"
            " participants = CASE WHEN participants IS NOT NULL THEN CAST('{}' AS bigint[]) END"
            " WHERE tenant_id = :tenant_id AND streak_id = :streak_id AND id = :id"
            " AND status = 'running'"
        ),
        {"now": now, "tenant_id": tenant_id, "streak_id": streak_id, "id": restore_id},
    )
    return by_id(connection, tenant_id, streak_id, restore_id)


def purge(connection: Connection, before: datetime) -> int:
    """Delete every tenant's restores that ended before an instant; return how many."""
    return connection.execute(
        sa.text("DELETE FROM streak_restores WHERE finished_at < :before"), {"before": before}
    ).rowcount


# -- running ---------------------------------------------------------------------------------


def running(connection: Connection) -> list[RestoreKey]:
    """The running restores of all tenants."""
    statement = (
        "SELECT tenant_id, id, created_at FROM streak_restores WHERE status = 'running'"
        " ORDER BY tenant_id, id LIMIT :limit"
    )
    return [RestoreKey(*row) for row in connection.execute(sa.text(statement), {"limit": KEYS_MAX})]


def take(connection: Connection, key: RestoreKey) -> Restore | None:
    """Lock a restore until the end of the transaction; None when it has ended, or when another
    process holds it and continues it."""
    row = connection.execute(
        sa.text(
            f"SELECT {_COLUMNS} FROM streak_restores"  # noqa: S608 - names of this file
            " WHERE tenant_id = :tenant_id AND id = :id AND status = 'running'"
            " FOR UPDATE SKIP LOCKED"
        ),
        {"tenant_id": key.tenant_id, "id": key.id},
    ).one_or_none()
    return None if row is None else _restore(row)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A participant to look at."""

    participant_id: int
    external_id: str | None  # None: erased meanwhile
    timezone: str | None
    is_active: bool
    state: StreakState | None  # None: no tick yet, or of a zone that this release does not know


# Statistics of tables whose rows change all day are always wrong: only the indexes are right.
_BY_INDEX = (
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off;"
    " SET LOCAL enable_mergejoin = off"
)
_LISTED = """
    SELECT n AS participant_id FROM streak_restores r, unnest(r.participants) n
    WHERE r.tenant_id = %(tenant_id)s AND r.id = CAST(%(id)s AS uuid) AND n > %(position)s
    ORDER BY n LIMIT %(limit)s
    """
_OF_STREAK = """
    SELECT n.participant_id FROM streak_states n
    WHERE n.tenant_id = %(tenant_id)s AND n.streak_id = %(streak_id)s
      AND n.participant_id > %(position)s
    ORDER BY n.participant_id LIMIT %(limit)s
    """
_NEXT = f"""
    SELECT {STATE_COLUMNS}, k.participant_id, p.external_id, p.timezone,
      p.inactive_since IS NULL
    FROM ({{}}) k
    LEFT JOIN participants p ON p.tenant_id = %(tenant_id)s AND p.id = k.participant_id
    LEFT JOIN streak_states s ON s.tenant_id = %(tenant_id)s
      AND s.participant_id = k.participant_id AND s.streak_id = %(streak_id)s
    ORDER BY k.participant_id
    """  # noqa: S608 - column names of models/streaks/states.py
_STATE_COLUMNS = 14


def next_some(
    connection: Connection, restore: Restore, streak: Streak, limit: int
) -> list[Candidate]:
    """The next participants after the restore's position, without a lock."""
    run(connection, _BY_INDEX, {})
    values = {
        "tenant_id": restore.tenant_id,
        "id": str(restore.id),
        "streak_id": streak.id,
        "position": restore.position,
        "limit": limit,
    }
    statement = _NEXT.format(_LISTED if restore.lost is None else _OF_STREAK)
    return [_candidate(row, streak) for row in run(connection, statement, values)]


def _candidate(row: Any, streak: Streak) -> Candidate:
    participant_id, external_id, zone, is_active = row[_STATE_COLUMNS : _STATE_COLUMNS + 4]
    state = None
    if row[0] is not None:
        with suppress(LookupError, ValueError):
            state = state_of_row(row, streak, zone)
    return Candidate(participant_id, external_id, zone, bool(is_active), state)


@dataclass(frozen=True, slots=True)
class RestoreStep:
    """The result of one portion."""

    position: int
    is_last: bool
    scanned: int = 0
    found: int = 0
    restored: int = 0
    nothing_to_restore: int = 0
    refused: int = 0


def advance(connection: Connection, restore: Restore, step: RestoreStep, now: datetime) -> None:
    """Store a restore's progress, in the transaction that restored the streaks."""
    values = asdict(step) | {"now": now, "tenant_id": restore.tenant_id, "id": restore.id}
    connection.execute(_ADVANCE, values)


_ADVANCE = sa.text("""
UPDATE streak_restores SET position = :position, scanned = scanned + :scanned,
  found = found + :found, restored = restored + :restored,
  nothing_to_restore = nothing_to_restore + :nothing_to_restore, refused = refused + :refused,
  status = CASE WHEN :is_last THEN 'done' ELSE status END,
  finished_at = CASE WHEN :is_last THEN CAST(:now AS timestamptz) END,
  participants = CASE WHEN :is_last AND participants IS NOT NULL THEN CAST('{}' AS bigint[])
                 ELSE participants END
WHERE tenant_id = :tenant_id AND id = :id
""")
