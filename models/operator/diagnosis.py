"""A database's figures about its own health: values, no verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa

from models.db import Connection, take_longer
from models.db.tenant_isolation import ROLE

COUNTED_MAX = 100_000  # of due deliveries: a larger number is not counted exactly


@dataclass(frozen=True, slots=True)
class Server:
    """A database server and our limits in it, whatever the schema."""

    version: int  # 180000 is 18.0
    encoding: str
    settings: dict[str, str]  # fsync, synchronous_commit, full_page_writes
    now: datetime
    connections_max: int  # available to us: less those reserved for superusers
    connections_used: int
    locks: int  # available to all transactions together
    prepared: int  # prepared transactions: they hold the feed back until they are ended by hand


@dataclass(frozen=True, slots=True)
class Long:
    """A transaction that has been open for long."""

    pid: int
    seconds: int
    application: str
    is_writing: bool  # a writing one holds the feed of facts back


@dataclass(frozen=True, slots=True)
class Guard:
    """Row-level security: the role of requests, and our own rights over it."""

    is_there: bool
    is_ours: bool  # we may become it
    ungranted: list[str]  # tables that it cannot read and write
    hidden: list[str]  # tables of which we ourselves see only some rows: neither owner nor exempt


@dataclass(frozen=True, slots=True)
class Backlog:
    """The work that waits in the database."""

    due: int  # deliveries that could be sent now; at most COUNTED_MAX are counted
    oldest_due: datetime | None
    disabled: int  # destinations that are disabled, for any reason
    failing: int  # destinations that are parked for failing
    dead_letters: int


def server(connection: Connection) -> Server:
    """Version, durability, limits, clock."""
    row: Any = connection.execute(_SERVER).one()
    names = ("fsync", "synchronous_commit", "full_page_writes")
    return Server(
        version=row.version,
        encoding=row.encoding,
        settings={name: getattr(row, name) for name in names},
        now=row.now,
        connections_max=row.connections_max,
        connections_used=row.connections_used,
        locks=row.locks,
        prepared=row.prepared,
    )


_SERVER = sa.text("""
SELECT current_setting('server_version_num')::int AS version,
  current_setting('server_encoding') AS encoding,
  current_setting('fsync') AS fsync,
  current_setting('synchronous_commit') AS synchronous_commit,
  current_setting('full_page_writes') AS full_page_writes,
  clock_timestamp() AS now,
  current_setting('max_connections')::int
    - current_setting('superuser_reserved_connections')::int AS connections_max,
  (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')
    AS connections_used,
  current_setting('max_locks_per_transaction')::int
    * (current_setting('max_connections')::int
       + current_setting('max_prepared_transactions')::int) AS locks,
  (SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()) AS prepared
""")


def long_transactions(connection: Connection, seconds: int) -> list[Long]:
    """Transactions in this database that have been open for longer, the oldest first."""
    rows = connection.execute(_LONG, {"seconds": seconds})
    return [Long(row.pid, row.seconds, row.application_name or "?", row.writes) for row in rows]


_LONG = sa.text("""
SELECT pid, application_name, backend_xid IS NOT NULL AS writes,
  extract(epoch FROM clock_timestamp() - xact_start)::int AS seconds
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
  AND clock_timestamp() - xact_start > make_interval(secs => :seconds)
ORDER BY xact_start
""")


def guard(connection: Connection) -> Guard:
    """The role of requests, and its rights."""
    row: Any = connection.execute(_ROLE, {"role": ROLE}).one()
    ungranted = connection.execute(_UNGRANTED, {"role": ROLE}).scalars() if row.is_there else ()
    return Guard(row.is_there, row.is_ours, list(ungranted), list(connection.scalars(_HIDDEN)))


_ROLE = sa.text("""
SELECT count(*) > 0 AS is_there,
  coalesce(bool_or(pg_has_role(current_user, oid, 'MEMBER')), false) AS is_ours
FROM pg_roles WHERE rolname = :role
""")
_TABLES = "relrowsecurity AND relnamespace = 'public'::regnamespace"
# As granted by models/db/tenant_isolation.py: audit entries are never changed.
_UNGRANTED = sa.text(f"""
SELECT relname FROM pg_class
WHERE {_TABLES} AND relname <> 'api_keys' AND NOT (
  has_table_privilege(:role, oid, 'SELECT') AND has_table_privilege(:role, oid, 'INSERT')
  AND (relname = 'audit_log' OR has_table_privilege(:role, oid, 'UPDATE')
       AND has_table_privilege(:role, oid, 'DELETE')))
ORDER BY relname
""")  # noqa: S608 - fragments of this file
_HIDDEN = sa.text(f"""
SELECT relname FROM pg_class WHERE {_TABLES} AND row_security_active(oid) ORDER BY relname
""")  # noqa: S608 - fragments of this file


def days(connection: Connection, table: str) -> list[date]:
    """The days for which a table has a partition, in order."""
    rows = connection.execute(_DAYS, {"table": table})
    return [datetime.strptime(row.day, "%Y%m%d").date() for row in rows]  # noqa: DTZ007 - a day


_DAYS = sa.text("""
SELECT right(c.relname, 8) AS day FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = to_regclass(:table) AND c.relname ~ '_[0-9]{8}$' ORDER BY 1
""")


def strays(connection: Connection, tables: Sequence[str]) -> list[str]:
    """The tables, among some, with rows outside the partition of their day."""
    questions = [f"EXISTS (SELECT FROM {table}_default) AS {table}" for table in tables]
    row: Any = connection.execute(sa.text(f"SELECT {', '.join(questions)}")).one()
    return [table for table in tables if getattr(row, table)]


def backlog(connection: Connection, now: datetime) -> Backlog:
    """The waiting work: deliveries, failing destinations, dead letters."""
    row: Any = connection.execute(_BACKLOG, {"now": now, "most": COUNTED_MAX}).one()
    return Backlog(row.due, row.oldest_due, row.disabled, row.failing, row.dead_letters)


# Deliveries of a disabled or parked destination are not due: they wait for it.
_BACKLOG = sa.text("""
WITH due AS (
  SELECT d.next_attempt_at FROM deliveries_pending d
  JOIN webhooks w ON w.tenant_id = d.tenant_id AND w.id = d.webhook_id AND w.is_enabled
  LEFT JOIN webhook_health h ON h.tenant_id = d.tenant_id AND h.webhook_id = d.webhook_id
  WHERE d.next_attempt_at <= :now AND (h.parked_until IS NULL OR h.parked_until <= :now)
  LIMIT :most)
SELECT (SELECT count(*) FROM due) AS due,
  (SELECT min(next_attempt_at) FROM due) AS oldest_due,
  (SELECT count(*) FROM webhooks WHERE NOT is_enabled) AS disabled,
  (SELECT count(*) FROM webhook_health WHERE parked_until IS NOT NULL) AS failing,
  (SELECT count(*) FROM dead_letters WHERE status = 'dead') AS dead_letters
""")


# -- after a restore -------------------------------------------------------------------------

# Only each tenant's last fact in the order of the feed, by its index.
_AHEAD = sa.text("""
SELECT count(*) FROM tenants t CROSS JOIN LATERAL (
  SELECT xid FROM facts f WHERE f.tenant_id = t.id ORDER BY f.xid DESC LIMIT 1) newest
WHERE newest.xid >= pg_snapshot_xmax(pg_current_snapshot())
""")


def tenants_ahead(connection: Connection) -> int:
    """How many tenants have facts of transactions that this server has not reached.

    Another server wrote them: a backup was restored. The feed does not show them.
    """
    return int(connection.execute(_AHEAD).scalar_one())


def renumber_facts(connection: Connection) -> int:
    """Give every fact the number of a transaction long past; return how many there were.

    From then on their order in the feed is that of their ids. Earlier cursors become invalid:
    readers begin again.
    """
    take_longer(connection, 0)
    return connection.execute(sa.text("UPDATE facts SET xid = '3' WHERE xid <> '3'")).rowcount
