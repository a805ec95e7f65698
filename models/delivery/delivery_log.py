"""The delivery log: lists for a destination's operator, newest first.

No index orders a destination's finished deliveries: one would cost an entry for each delivery, for
pages that a person reads only after a fault. So a page scans the tenant's newest rows, a bounded
number at a time, and may be short although more follow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa

from models import clock, ids
from models.db import Connection
from models.delivery.deliveries import DeliveryStatus
from models.errors import NotFound
from models.identity import aliases

OutcomeKind = Literal["ok", "failed"]

SCANNED_MAX = 5_000  # rows of one statement, whether or not they are wanted
STATEMENTS_MAX = 10  # of one page: then it ends, even if it is short
LOG_MAX = 100  # attempts shown with one delivery: the newest; ten are made unless it is sent again
SKEW = timedelta(hours=1)  # the most that the clocks of facts and attempts may differ

_NEVER = UUID(int=(1 << 128) - 1)  # after every id


@dataclass(frozen=True, slots=True)
class DestinationRef:
    """A destination of a tenant."""

    tenant_id: int
    webhook_id: UUID


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """From an instant (inclusive) to another (exclusive), in microseconds; None: unbounded."""

    since_us: int | None = None
    until_us: int | None = None

    @property
    def first(self) -> UUID:
        """The smallest id of an instant in it."""
        return floor(self.since_us or 0)

    @property
    def end(self) -> UUID:
        """The smallest id after it."""
        return _NEVER if self.until_us is None else floor(self.until_us)


def floor(instant_us: int) -> UUID:
    """The smallest UUIDv7 of an instant's millisecond."""
    milliseconds = min(max(instant_us, 0) // 1_000, (1 << 48) - 1)
    return UUID(int=milliseconds << 80)


@dataclass(frozen=True, slots=True)
class LogCursor:
    """The end of a page: a row's key, whose destination may be another one."""

    id: UUID
    webhook_id: UUID


START = LogCursor(_NEVER, _NEVER)  # before the newest


@dataclass(frozen=True, slots=True)
class WantedDeliveries:
    """A filter for deliveries, and their maximum number; None: any."""

    limit: int
    after: LogCursor = START
    span: TimeSpan = TimeSpan()
    status: DeliveryStatus | None = None
    types: Sequence[str] | None = None
    participant_id: str | None = None  # the tenant's id of the participant


@dataclass(frozen=True, slots=True)
class WantedAttempts:
    """A filter for attempts, and their maximum number; None: any."""

    limit: int
    after: LogCursor = START
    span: TimeSpan = TimeSpan()
    outcome: OutcomeKind | None = None


@dataclass(frozen=True, slots=True)
class Logged:
    """One attempt."""

    id: UUID  # UUIDv7 of the instant it began
    fact_id: UUID
    number: int
    status_code: int | None
    error: str | None
    duration_ms: int
    remote_address: str | None
    response: str | None

    @property
    def outcome(self) -> OutcomeKind:
        """Whether the receiver accepted the fact."""
        is_ok = self.error is None and 200 <= (self.status_code or 0) < 300
        return "ok" if is_ok else "failed"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery, its fact, and the last attempt at it."""

    fact_id: UUID
    type: str | None  # None: the fact is past its retention
    participant_id: str | None  # the tenant's id of the participant
    status: DeliveryStatus
    attempts: int
    next_attempt_at: datetime
    occurred_at: datetime
    last: Logged | None


# Statistics of a new day are always wrong: only plans that read indexes in their order.
_BY_INDEX = sa.text("""
SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off
""")

# -- deliveries ------------------------------------------------------------------------------

# The last row scanned is always returned: it is the cursor.
_DELIVERIES = sa.text("""
SELECT * FROM (
  SELECT d.*, f.type, f.occurred_at, p.external_id,
    d.is_candidate AND (CAST(:types AS text[]) IS NULL OR f.type = ANY(CAST(:types AS text[])))
      AND (CAST(:participant AS text) IS NULL OR p.external_id IS NOT DISTINCT FROM :participant)
      AS is_wanted
  FROM (
    SELECT fact_id, webhook_id, status, attempts, next_attempt_at,
           lead(fact_id) OVER (ORDER BY fact_id DESC, webhook_id DESC) IS NULL AS is_last,
           webhook_id = :webhook_id
             AND (CAST(:status AS text) IS NULL OR status = :status) AS is_candidate
    FROM (SELECT * FROM deliveries
          WHERE tenant_id = :tenant_id AND fact_id >= :first AND fact_id < :end
            AND (fact_id, webhook_id) < (CAST(:after_id AS uuid), CAST(:after_webhook AS uuid))
          ORDER BY fact_id DESC, webhook_id DESC LIMIT :scanned) looked_at
  ) d
  LEFT JOIN facts f ON f.tenant_id = :tenant_id AND f.id = d.fact_id
  LEFT JOIN participants p ON p.tenant_id = f.tenant_id AND p.id = f.participant_id
  WHERE d.is_candidate OR d.is_last
) one
WHERE is_wanted OR is_last ORDER BY fact_id DESC, webhook_id DESC LIMIT :limit
""")


def deliveries(
    connection: Connection, destination: DestinationRef, wanted: WantedDeliveries
) -> tuple[list[Delivery], LogCursor | None]:
    """A destination's deliveries, newest fact first, and the next cursor, if any."""
    values = {
        "status": wanted.status,
        "types": None if wanted.types is None else list(wanted.types),
        "participant": _current(connection, destination, wanted.participant_id),
    }
    rows, cursor = _scan(connection, _DELIVERIES, destination, wanted, values)
    lasts = _lasts(connection, destination, [row.fact_id for row in rows])
    return [_delivery(row, lasts.get(row.fact_id)) for row in rows], cursor


def _current(connection: Connection, destination: DestinationRef, name: str | None) -> str | None:
    """The id of the participant that a wanted id counts for."""
    if name is None:
        return None
    return aliases.current(connection, destination.tenant_id, [name])[name]


_ONE = sa.text("""
SELECT d.fact_id, d.status, d.attempts, d.next_attempt_at, f.type, f.occurred_at, f.body,
       p.external_id
FROM deliveries d
LEFT JOIN facts f ON f.tenant_id = d.tenant_id AND f.id = d.fact_id AND f.id = :fact_id
LEFT JOIN participants p ON p.tenant_id = f.tenant_id AND p.id = f.participant_id
WHERE d.tenant_id = :tenant_id AND d.fact_id = :fact_id AND d.webhook_id = :webhook_id
ORDER BY d.status = 'pending' DESC LIMIT 1
""")


def delivery(
    connection: Connection, destination: DestinationRef, fact_id: UUID
) -> tuple[Delivery, str | None, list[Logged]]:
    """A delivery, the body that is sent, and the newest attempts, oldest first.

    Raises NotFound when the destination has no delivery of that fact.
    """
    connection.execute(_BY_INDEX)
    row = connection.execute(
        _ONE,
        {
            "tenant_id": destination.tenant_id,
            "webhook_id": destination.webhook_id,
            "fact_id": fact_id,
        },
    ).one_or_none()
    if row is None:
        raise NotFound(str(fact_id))
    found = connection.execute(
        _ATTEMPTS_OF_ONE, _of_facts(destination, [fact_id]) | {"limit": LOG_MAX}
    )
    made = [_logged(row) for row in found][::-1]
    return _delivery(row, made[-1] if made else None), row.body, made


def _delivery(row: Any, last: Logged | None) -> Delivery:
    return Delivery(
        row.fact_id,
        row.type,
        row.external_id,
        row.status,
        row.attempts,
        row.next_attempt_at,
        row.occurred_at or clock.from_us(ids.issued_at_us(row.fact_id)),
        last,
    )


# -- attempts --------------------------------------------------------------------------------

_LOGGED = "id, fact_id, number, status_code, error, duration_ms, remote_address, response"
_IS_OK = "(error IS NULL AND coalesce(status_code, 0) BETWEEN 200 AND 299)"

_ATTEMPTS = sa.text(f"""
SELECT {_LOGGED}, webhook_id, is_last, is_wanted FROM (
  SELECT *, lead(id) OVER (ORDER BY id DESC) IS NULL AS is_last,
         webhook_id = :webhook_id AND (CAST(:is_ok AS boolean) IS NULL OR {_IS_OK} = :is_ok)
           AS is_wanted
  FROM (SELECT * FROM attempts
        WHERE tenant_id = :tenant_id AND id >= :first AND id < :end AND id < :after_id
        ORDER BY id DESC LIMIT :scanned) looked_at
) a
WHERE is_wanted OR is_last ORDER BY id DESC LIMIT :limit
""")  # noqa: S608 - fragments of this file

# An attempt is made after its fact: the days before the first fact hold no attempts.
_OF_FACTS = """
FROM attempts WHERE tenant_id = :tenant_id AND webhook_id = :webhook_id
  AND fact_id = ANY(CAST(:fact_ids AS uuid[])) AND id >= :first
"""
_ATTEMPTS_OF_ONE = sa.text(f"SELECT {_LOGGED} {_OF_FACTS} ORDER BY id DESC LIMIT :limit")
_LASTS = sa.text(f"SELECT DISTINCT ON (fact_id) {_LOGGED} {_OF_FACTS} ORDER BY fact_id, id DESC")


def attempts(
    connection: Connection, destination: DestinationRef, wanted: WantedAttempts
) -> tuple[list[Logged], LogCursor | None]:
    """The attempts at a destination, newest first, and the next cursor, if any."""
    values = {"is_ok": None if wanted.outcome is None else wanted.outcome == "ok"}
    rows, cursor = _scan(connection, _ATTEMPTS, destination, wanted, values)
    return [_logged(row) for row in rows], cursor


def _lasts(
    connection: Connection, destination: DestinationRef, fact_ids: Sequence[UUID]
) -> dict[UUID, Logged]:
    if not fact_ids:
        return {}
    rows = connection.execute(_LASTS, _of_facts(destination, fact_ids))
    return {row.fact_id: _logged(row) for row in rows}


def _of_facts(destination: DestinationRef, fact_ids: Sequence[UUID]) -> dict[str, Any]:
    earliest = clock.from_us(ids.issued_at_us(min(fact_ids))) - SKEW
    return {
        "tenant_id": destination.tenant_id,
        "webhook_id": destination.webhook_id,
        "fact_ids": list(fact_ids),
        "first": floor(clock.to_us(earliest)),
    }


def _logged(row: Any) -> Logged:
    return Logged(*row[:8])  # the columns of _LOGGED come first


# -- bounded scans ---------------------------------------------------------------------------


def _scan(
    connection: Connection,
    statement: sa.TextClause,
    destination: DestinationRef,
    wanted: WantedDeliveries | WantedAttempts,
    values: Mapping[str, Any],
) -> tuple[list[Any], LogCursor | None]:
    """The wanted rows of a page, and its end unless no rows are left."""
    connection.execute(_BY_INDEX)
    found: list[Any] = []
    cursor = wanted.after
    for _ in range(STATEMENTS_MAX):
        limit = wanted.limit - len(found)
        bounds = {
            "tenant_id": destination.tenant_id,
            "webhook_id": destination.webhook_id,
            "first": wanted.span.first,
            "end": wanted.span.end,
            "after_id": cursor.id,
            "after_webhook": cursor.webhook_id,
            "scanned": SCANNED_MAX,
            "limit": limit,
        }
        rows = connection.execute(statement, {**values, **bounds}).all()
        found += [row for row in rows if row.is_wanted]
        if not rows:
            return found, None
        cursor = _cursor(rows[-1])
        if len(found) == wanted.limit:
            return found, cursor
    return found, cursor


def _cursor(row: Any) -> LogCursor:
    """The key of a row; for an attempt it is the id alone."""
    return LogCursor(getattr(row, "id", row.fact_id), row.webhook_id)
