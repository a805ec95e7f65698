"""The schema: migrations up to date, day partitions ahead, old days dropped."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from models import db, ids
from models.db import Connection, Engine, tenant_isolation, transaction

DAYS_AHEAD = 14  # upkeep creates them daily; two weeks outlast a holiday with upkeep down
MIGRATION_SECONDS = 60.0  # how long it waits for other migrations, and for tables in use
MIGRATION_LOCK_SECONDS = 2.0  # of one try: writes wait behind it
PAUSE_SECONDS = 1.0  # before a retry: waiting writes go first
# Of creating or dropping a partition: batches wait behind it. It is retried in an hour.
PARTITION_LOCK_SECONDS = 0.25
_MIGRATION_LOCK = 7_301_116  # any number, the same in every release: one migration at a time
PARTITION_SECONDS = 60.0  # should a day's rows have to be moved
_PARTITION_LOCK = 7_301_117  # likewise for day partitions


@dataclass(frozen=True)
class Kept:
    """How many days of one partitioned table are kept."""

    table: str
    days: int


def kept(days: Mapping[str, int]) -> list[Kept]:
    """The retention, by table."""
    return [Kept(table, count) for table, count in days.items()]


def migrate(engine: Engine) -> None:
    """Apply the missing migrations; concurrent calls wait for one another.

    A migration that waits for a table blocks all later users of it. So it gives up soon, lets them
    pass, and is retried as a whole: it is one transaction.
    """
    ends = time.monotonic() + MIGRATION_SECONDS
    while not _is_migrated(engine, ends):
        time.sleep(PAUSE_SECONDS)


def _is_migrated(engine: Engine, ends: float) -> bool:
    try:
        with transaction(engine) as connection:
            _migrate(connection)
    except db.Contended:
        if time.monotonic() > ends:
            raise
        return False
    return True


def _migrate(connection: Connection) -> None:
    db.take_longer(connection, 0)
    _wait_for_locks(connection, MIGRATION_SECONDS)
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
    _wait_for_locks(connection, MIGRATION_LOCK_SECONDS)
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    tenant_isolation.permit(connection)


def _wait_for_locks(connection: Connection, seconds: float) -> None:
    """Set how long the statements of this transaction wait for a lock from now on."""
    connection.execute(sa.text(f"SET LOCAL lock_timeout = {round(seconds * 1_000):d}"))


def head() -> str:
    """The newest revision that this code knows."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def revision(connection: Connection) -> str | None:
    """The revision the database is at; None before the first migration."""
    if connection.execute(sa.text("SELECT to_regclass('alembic_version')")).scalar() is None:
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def is_enough(connection: Connection) -> bool:
    """Whether this code can run on the schema: its own, or a newer release's, which only adds
    (revisions are four-digit numbers). During a rolling upgrade old processes keep serving."""
    found = revision(connection)
    return found is not None and found >= head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[1] / "migrations"))
    return config


def ensure_partitions(engine: Engine, kept: list[Kept], now: datetime) -> list[str]:
    """Create the missing day partitions from yesterday on, each in its own transaction.

    Returns the tables in use, which still lack some.
    """
    left: list[str] = []
    for table in kept:
        with _unless_in_use(table.table, left):
            for ahead in range(-1, DAYS_AHEAD + 1):
                with transaction(engine) as connection:
                    _create(connection, table.table, now + timedelta(days=ahead))
    return left


@contextmanager
def _unless_in_use(table: str, left: list[str]) -> Iterator[None]:
    """Leave the block when a lock is not available soon, and note the table."""
    try:
        yield
    except db.Contended:
        left.append(table)


def _create(connection: Connection, table: str, day: datetime) -> None:
    """Create one day's partition, unless it exists.

    1. One at a time: `migrate` and upkeep may both do it.
    2. Rows that came before their partition are in the default one: they move into the new table.
    3. Only then it becomes a partition: Postgres refuses a day with rows in the default one.
    """
    name = f"{table}_{day:%Y%m%d}"
    db.take_longer(connection, PARTITION_SECONDS)
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _PARTITION_LOCK})
    if (
        connection.execute(sa.text("SELECT to_regclass(:name)"), {"name": name}).scalar()
        is not None
    ):
        return
    _wait_for_locks(connection, PARTITION_LOCK_SECONDS)
    low, high = ids.floor(day), ids.floor(day + timedelta(days=1))
    key = connection.execute(sa.text(_PARTITION_KEY), {"table": table}).scalar_one()
    for statement in (
        f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)",
        f"LOCK TABLE {table}_default",
        f"WITH moved AS (DELETE FROM {table}_default"  # noqa: S608 - our own names and UUIDs
        f" WHERE {key} >= '{low}' AND {key} < '{high}' RETURNING *)"
        f" INSERT INTO {name} SELECT * FROM moved",
        f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{low}') TO ('{high}')",
    ):
        connection.execute(sa.text(statement))


_PARTITION_KEY = """
    SELECT a.attname FROM pg_partitioned_table p
    JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
    WHERE p.partrelid = to_regclass(:table)
"""


def now(engine: Engine) -> datetime:
    """The time by the database's clock."""
    with transaction(engine) as connection:
        found: datetime = connection.execute(sa.text("SELECT now()")).scalar_one()
        return found


@dataclass(frozen=True)
class Dropped:
    """The result of dropping expired days."""

    names: list[str]
    left: list[str]  # tables in use: some of their expired days are still there


def drop_partitions(engine: Engine, kept: list[Kept], now: datetime) -> Dropped:
    """Drop the expired days, the oldest first, each in its own transaction."""
    dropped = Dropped([], [])
    for table in kept:
        oldest = f"{table.table}_{now - timedelta(days=table.days):%Y%m%d}"
        with _unless_in_use(table.table, dropped.left):
            for name in _days(engine, table.table):
                if name < oldest:
                    with transaction(engine) as connection:
                        _wait_for_locks(connection, PARTITION_LOCK_SECONDS)
                        connection.execute(sa.text(f"DROP TABLE IF EXISTS {name}"))
                    dropped.names.append(name)
    return dropped


def _days(engine: Engine, table: str) -> list[str]:
    with transaction(engine) as connection:
        found = connection.execute(
            sa.text(
                "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
                " WHERE i.inhparent = to_regclass(:table) AND c.relname ~ '_[0-9]{8}$'"
                " ORDER BY c.relname"
            ),
            {"table": table},
        )
        return [row.relname for row in found]
