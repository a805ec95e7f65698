"""The current activity of a tenant's side, from a bounded number of rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from models import clock
from models.db import Connection

SECONDS = 120  # the period covered
STEP = 5  # seconds per point of the curve
ROWS_MAX = 50_000  # scanned; a busier tenant's curve is shorter, and its rate as accurate
PENDING_MAX = 10_000  # counted; more is shown as this number and more


@dataclass(frozen=True, slots=True)
class Overview:
    """Figures of the last two minutes, and the waiting work."""

    curve: Sequence[float]  # ticks a second, oldest first
    ticks_per_second: float  # over the whole curve
    facts: int  # in the same time
    delivered: int
    failed: int
    pending: int
    dead_letters: int


def read(connection: Connection, tenant_id: int, now: datetime) -> Overview:
    """Read once. Ids are UUIDv7: a time is a range of a primary key."""
    since = now - timedelta(seconds=SECONDS)
    seen = Counter(
        int((clock.to_us(now) // 1_000 - row.ms) / 1_000 / STEP)
        for row in connection.execute(_TICKS, _values(tenant_id, since))
    )
    points = [seen.get(nth, 0) / STEP for nth in range(SECONDS // STEP)][::-1]
    is_cut = seen.total() >= ROWS_MAX
    span = STEP * (max(seen, default=0) + 1) if is_cut else SECONDS
    counts = connection.execute(_COUNTS, _values(tenant_id, since)).one()
    return Overview(points, seen.total() / span, *counts)


_MS = "CAST(CAST('x' || replace(left(CAST(id AS text), 13), '-', '') AS bit(48)) AS bigint)"
_TICKS = sa.text(f"""
SELECT {_MS} AS ms FROM ticks WHERE tenant_id = :tenant_id AND id >= CAST(:first AS uuid)
ORDER BY id DESC LIMIT :rows
""")  # noqa: S608 - a fragment of this file
_COUNTS = sa.text("""
SELECT
  (SELECT count(*) FROM (SELECT FROM facts WHERE tenant_id = :tenant_id
    AND id >= CAST(:first AS uuid) LIMIT :rows) f),
  (SELECT count(*) FROM (SELECT FROM attempts WHERE tenant_id = :tenant_id
    AND id >= CAST(:first AS uuid) AND error IS NULL AND status_code BETWEEN 200 AND 299
    LIMIT :rows) a),
  (SELECT count(*) FROM (SELECT FROM attempts WHERE tenant_id = :tenant_id
    AND id >= CAST(:first AS uuid) AND NOT (error IS NULL AND status_code BETWEEN 200 AND 299)
    LIMIT :rows) b),
  (SELECT count(*) FROM (SELECT FROM deliveries WHERE tenant_id = :tenant_id
    AND status = 'pending' LIMIT :pending) d),
  (SELECT count(*) FROM (SELECT FROM dead_letters WHERE tenant_id = :tenant_id
    AND status = 'dead' LIMIT :pending) l)
""")


def _values(tenant_id: int, since: datetime) -> dict[str, int | str]:
    first = clock.to_us(since) // 1_000 << 80
    return {
        "tenant_id": tenant_id,
        "first": f"{first:032x}",
        "rows": ROWS_MAX,
        "pending": PENDING_MAX,
    }
