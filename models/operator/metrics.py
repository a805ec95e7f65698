"""The database's metrics for each scrape: few rows, by indexes, with a time-out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from models.db import Connection
from models.operator import diagnosis
from models.operator.diagnosis import Backlog


@dataclass(frozen=True, slots=True)
class DatabaseMetrics:
    """One reading of the database."""

    backlog: Backlog
    destinations: int  # enabled and not parked
    parked: int
    disabled: int
    dead_letters: dict[str, int]  # by kind
    schema: str


def read(connection: Connection, now: datetime) -> DatabaseMetrics:
    """Read once. Raises the database's error when it does not answer."""
    row: Any = connection.execute(_DESTINATIONS).one()
    dead_letters = connection.execute(_DEAD)
    return DatabaseMetrics(
        backlog=diagnosis.backlog(connection, now),
        destinations=row.closed,
        parked=row.parked,
        disabled=row.disabled,
        dead_letters={dead_letter.kind: dead_letter.dead_letters for dead_letter in dead_letters},
        schema=str(connection.execute(_SCHEMA).scalar_one()),
    )


_DESTINATIONS = sa.text("""
SELECT count(*) FILTER (WHERE w.is_enabled AND h.parked_until IS NULL) AS closed,
  count(*) FILTER (WHERE w.is_enabled AND h.parked_until IS NOT NULL) AS parked,
  count(*) FILTER (WHERE NOT w.is_enabled) AS disabled
FROM webhooks w
LEFT JOIN webhook_health h ON h.tenant_id = w.tenant_id AND h.webhook_id = w.id
""")
_DEAD = sa.text(
    "SELECT kind, count(*) AS dead_letters FROM dead_letters WHERE status = 'dead' GROUP BY kind"
)
_SCHEMA = sa.text("SELECT version_num FROM alembic_version")
