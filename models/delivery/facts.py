"""Facts as they are read: the feed, in an order in which nothing turns up behind a reader.

Transactions commit out of order, so neither a fact's time nor its id says whether an earlier one
is still to come. The feed's order is (transaction, id), and it shows only what was written by
transactions older than every one under way: whatever commits later stands behind.

A place in the feed is always that of a fact that was read. Its commit is on disk, so no
transaction to come, not even after a crash of the server, can be given a lower number; of the bare
horizon that could not be said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from models.db import Connection
from models.errors import NotFound
from models.identity import participants

SCANNED_MAX = 10_000  # facts that one page looks at, whether or not they are wanted: some 50 ms


@dataclass(frozen=True, slots=True)
class FeedCursor:
    """A fact's place in the feed."""

    xid: int  # the transaction that wrote it
    id: UUID


START = FeedCursor(0, UUID(int=0))  # before every fact


@dataclass(frozen=True, slots=True)
class FactQuery:
    """Which facts, and how many of them at most; None: any."""

    limit: int
    types: Sequence[str] | None = None
    participant_id: str | None = None  # as the tenant names the participant
    streak_code: str | None = None

    @property
    def is_any(self) -> bool:
        """Whether every fact is wanted."""
        return self.types is None and self.participant_id is None and self.streak_code is None


@dataclass(frozen=True, slots=True)
class FactPage:
    """The next facts' bodies as they are signed and sent, and the place to go on after."""

    bodies: list[str]
    cursor: FeedCursor


# To be read by a statement of its own, before the facts: what was finished then is visible later.
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
# A participant's facts are few beside the tenant's: found by their own index, then put in order.
_OF_ONE = f"""
WITH facts AS MATERIALIZED (
  SELECT * FROM facts WHERE participant_id = :participant_id AND {_BEHIND})
"""  # noqa: S608 - fragments of this file
# The last fact looked at is returned in any case: it says where to go on.
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
    """The place of the newest fact that the feed shows: only what comes stands behind it."""
    horizon, _ = _horizon(connection)
    row = connection.execute(
        _LATEST, {"tenant_id": tenant_id, "horizon": str(horizon)}
    ).one_or_none()
    return START if row is None else FeedCursor(row.xid, row.id)


def page(connection: Connection, tenant_id: int, after: FeedCursor, wanted: FactQuery) -> FactPage:
    """The tenant's next facts behind a place.

    There may be fewer than the limit although more follow. Raises NotFound for a place that this
    database has not come to: it is another one's, or one older than the place.
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
    """Whom the next facts are about, and the place to go on after."""

    participant_ids: set[int]
    cursor: FeedCursor
    is_all: bool  # whether nothing stands behind the place now


_TOUCHED = sa.text(f"""
SELECT CAST(CAST(xid AS text) AS bigint) AS xid, id, participant_id, type, streak_code
FROM facts WHERE {_BEHIND} ORDER BY facts.xid, id LIMIT :limit
""")  # noqa: S608 - a fragment of this file


def touched(
    connection: Connection, tenant_id: int, after: FeedCursor, wanted: FactQuery
) -> Touched:
    """Of a tenant's next `wanted.limit` facts behind a place, the participants of those wanted."""
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
    """Before which transaction all are finished, and which one is the next to begin."""
    row: Any = connection.execute(_HORIZON).one()
    return row[0], row[1]
