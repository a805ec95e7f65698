"""The feed of facts, in an order in which no fact appears behind a reader's cursor.

Transactions commit out of order, so neither a fact's time nor its id shows whether an earlier fact
is still to come. The feed's order is (transaction, id), and it shows only facts of transactions
older than every one in progress: any later commit comes after them.

A cursor is always that of a fact that was read. Its commit is on disk, so no later transaction, not
even after a crash of the server, can get a lower number. The horizon alone does not ensure that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from models.db import Connection, array, run
from models.errors import NotFound
from models.identity import participants

SCANNED_MAX = 10_000  # facts that one page scans, wanted or not: some 50 ms


@dataclass(frozen=True, slots=True)
class FeedCursor:
    """A fact's position in the feed."""

    xid: int  # the transaction that wrote it
    id: UUID


START = FeedCursor(0, UUID(int=0))  # before every fact


@dataclass(frozen=True, slots=True)
class FactQuery:
    """A filter for facts, and their maximum number; None: any."""

    limit: int
    types: Sequence[str] | None = None
    participant_id: str | None = None  # the tenant's id of the participant
    streak_code: str | None = None

    @property
    def is_any(self) -> bool:
        """Whether every fact is wanted."""
        return self.types is None and self.participant_id is None and self.streak_code is None


@dataclass(frozen=True, slots=True)
class FactPage:
    """The next facts' bodies as signed and sent, and the next cursor."""

    bodies: list[str]
    cursor: FeedCursor


# Read in its own statement, before the facts: what was finished then is visible later.
_HORIZON = sa.text("""
SELECT CAST(CAST(pg_snapshot_xmin(snapshot) AS text) AS bigint),
       CAST(CAST(pg_snapshot_xmax(snapshot) AS text) AS bigint)
FROM pg_current_snapshot() AS snapshot
""")

_LATEST = sa.text("""
SELECT CAST(CAST(xid AS text) AS bigint) AS xid, id FROM facts
WHERE tenant_id = :tenant_id AND xid < CAST(:horizon AS xid8)
ORDER BY facts.xid DESC, id DESC LIMIT 1
""")

_BEHIND = """
tenant_id = :tenant_id AND xid < CAST(:horizon AS xid8)
AND (xid, id) > (CAST(:xid AS xid8), CAST(:id AS uuid))
"""
# A participant's facts are few beside the tenant's: found by their own index, then sorted.
_OF_ONE = f"""
WITH facts AS MATERIALIZED (
  SELECT * FROM facts WHERE participant_id = :participant_id AND {_BEHIND})
"""  # noqa: S608 - fragments of this file
# The last fact scanned is always returned: it is the cursor.
_PAGE = f"""
SELECT CAST(CAST(f.xid AS text) AS bigint) AS xid, f.id, f.body, f.is_wanted FROM (
  SELECT xid, id, body,
    (CAST(:types AS text[]) IS NULL OR type = ANY(CAST(:types AS text[])))
    AND (CAST(:streak_code AS text) IS NULL OR streak_code IS NOT DISTINCT FROM :streak_code)
      AS is_wanted,
    lead(id) OVER (ORDER BY xid, id) IS NULL AS is_last
  FROM (SELECT * FROM facts WHERE {_BEHIND} ORDER BY xid, id LIMIT :scanned) looked_at
) f
WHERE f.is_wanted OR f.is_last ORDER BY f.xid, f.id LIMIT :limit
"""  # noqa: S608 - fragments of this file
_OF_ALL_PAGE, _OF_ONE_PAGE = sa.text(_PAGE), sa.text(_OF_ONE + _PAGE)


def latest(connection: Connection, tenant_id: int) -> FeedCursor:
    """The cursor of the newest fact in the feed: only later facts come after it."""
    horizon, _ = _horizon(connection)
    row = connection.execute(
        _LATEST, {"tenant_id": tenant_id, "horizon": str(horizon)}
    ).one_or_none()
    return START if row is None else FeedCursor(row.xid, row.id)


_LATEST_OF_STREAKS = """
SELECT k.tenant_id, k.participant_id, k.streak_code, f.id
FROM unnest(CAST(%(tenants)s AS int[]), CAST(%(participants)s AS bigint[]),
  CAST(%(codes)s AS text[])) AS k (tenant_id, participant_id, streak_code)
CROSS JOIN LATERAL (
  SELECT id FROM facts
  WHERE tenant_id = k.tenant_id AND participant_id = k.participant_id
    AND type = %(type)s AND streak_code = k.streak_code
  ORDER BY sequence DESC LIMIT 1
) f
"""
StreakSubject = tuple[int, int, str]  # tenant, participant, code of the streak


def latest_ids(
    connection: Connection, fact_type: str, subjects: Sequence[StreakSubject]
) -> dict[StreakSubject, UUID]:
    """The ids of the latest facts of a type about some streaks, as far as facts are kept."""
    if not subjects:
        return {}
    tenants, participant_ids, codes = zip(*subjects, strict=True)
    values = {
        "type": fact_type,
        "tenants": array(tenants),
        "participants": array(participant_ids),
        "codes": array(codes),
    }
    rows = run(connection, _LATEST_OF_STREAKS, values)
    return {(row[0], row[1], row[2]): UUID(str(row[3])) for row in rows}


def page(connection: Connection, tenant_id: int, after: FeedCursor, wanted: FactQuery) -> FactPage:
    """The tenant's next facts after a cursor.

    There may be fewer than the limit although more follow. Raises NotFound for a cursor that this
    database has not reached: it is another database's, or this one was restored from before it.
    """
    horizon, newest = _horizon(connection)
    if after.xid >= newest:
        raise NotFound(str(after))
    participant = None
    if wanted.participant_id is not None:
        known = participants.find(connection, tenant_id, wanted.participant_id)
        if known is None:
            return FactPage([], after)
        participant = known.id
    rows = connection.execute(
        _OF_ALL_PAGE if participant is None else _OF_ONE_PAGE,
        {
            "tenant_id": tenant_id,
            "horizon": str(horizon),
            "xid": str(after.xid),
            "id": after.id,
            "types": None if wanted.types is None else list(wanted.types),
            "streak_code": wanted.streak_code,
            "participant_id": participant,
            "scanned": wanted.limit if wanted.is_any else SCANNED_MAX,
            "limit": wanted.limit,
        },
    ).all()
    cursor = FeedCursor(rows[-1].xid, rows[-1].id) if rows else after
    return FactPage([row.body for row in rows if row.is_wanted], cursor)


@dataclass(frozen=True, slots=True)
class Touched:
    """The participants of the next facts, and the next cursor."""

    participant_ids: set[int]
    cursor: FeedCursor
    is_all: bool  # whether no fact follows the cursor now


_TOUCHED = sa.text(f"""
SELECT CAST(CAST(xid AS text) AS bigint) AS xid, id, participant_id, type, streak_code
FROM facts WHERE {_BEHIND} ORDER BY facts.xid, id LIMIT :limit
""")  # noqa: S608 - a fragment of this file


def touched(
    connection: Connection, tenant_id: int, after: FeedCursor, wanted: FactQuery
) -> Touched:
    """The participants of the wanted facts among a tenant's next `wanted.limit` after a cursor."""
    horizon, _ = _horizon(connection)
    values = {
        "tenant_id": tenant_id,
        "horizon": str(horizon),
        "xid": str(after.xid),
        "id": after.id,
        "limit": wanted.limit,
    }
    rows = connection.execute(_TOUCHED, values).all()
    participant_ids = {
        row.participant_id
        for row in rows
        if row.participant_id is not None
        and (wanted.types is None or row.type in wanted.types)
        and (wanted.streak_code is None or row.streak_code == wanted.streak_code)
    }
    cursor = FeedCursor(rows[-1].xid, rows[-1].id) if rows else after
    return Touched(participant_ids, cursor, len(rows) < wanted.limit)


def _horizon(connection: Connection) -> tuple[int, int]:
    """The transaction before which all are finished, and the next one to begin."""
    row: Any = connection.execute(_HORIZON).one()
    return row[0], row[1]
