"""The schema: migrations up to date, day partitions ahead, old days dropped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from models import db, ids, rows
from models.db import Engine, Session, transaction

DAYS_AHEAD = 14  # upkeep makes them daily; two weeks outlast a holiday with upkeep down
_MIGRATION_LOCK = 7_301_116  # any number, the same in every release: one migrates at a time
PARTITION_SECONDS = 60.0  # should a day's rows have to be moved
_PARTITION_LOCK = 7_301_117  # likewise for day partitions


@dataclass(frozen=True)
class Kept:
    """How many days of one partitioned table are kept."""

    table: str
    days: int


def kept(days: Mapping[str, int]) -> list[Kept]:
    """What is kept, by table."""
    return [Kept(table, count) for table, count in days.items()]


def migrate(engine: Engine) -> None:
    """Apply the migrations that are missing; several at once wait for one another."""
    with transaction(engine) as session:
        db.take_longer(session, 0)
        session.execute(sa.text("SET LOCAL lock_timeout = '60s'"))
        session.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
        config = _config()
        config.attributes["connection"] = session
        command.upgrade(config, "head")
        rows.permit(session)


def head() -> str:
    """The newest revision that this code knows."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def revision(session: Session) -> str | None:
    """The revision the database is at; None before the first migration."""
    if session.execute(sa.text("SELECT to_regclass('alembic_version')")).scalar() is None:
        return None
    return session.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def is_enough(session: Session) -> bool:
    """Whether this code can run on the schema: its own, or that of a newer release, which only
    adds (revisions are numbers of four digits). While an upgrade rolls, old processes serve on."""
    found = revision(session)
    return found is not None and found >= head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def ensure_partitions(engine: Engine, kept: list[Kept], now: datetime) -> None:
    """Make the day partitions from yesterday on that are missing, each in its own transaction."""
    for table in kept:
        for ahead in range(-1, DAYS_AHEAD + 1):
            with transaction(engine) as session:
                _create(session, table.table, now + timedelta(days=ahead))


def _create(session: Session, table: str, day: datetime) -> None:
    """Make one day's partition, unless it is there.

    1. One at a time: `migrate` and upkeep may be at it together.
    2. Rows that came before their day stand in the default partition: they move into the new table.
    3. Only then it becomes a partition: Postgres refuses a day that the default one holds rows of.
    """
    name = f"{table}_{day:%Y%m%d}"
    db.take_longer(session, PARTITION_SECONDS)
    session.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _PARTITION_LOCK})
    if session.execute(sa.text("SELECT to_regclass(:name)"), {"name": name}).scalar() is not None:
        return
    low, high = ids.floor(day), ids.floor(day + timedelta(days=1))
    key = session.execute(sa.text(_PARTITION_KEY), {"table": table}).scalar_one()
    for statement in (
        f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)",
        f"LOCK TABLE {table}_default",
        f"WITH moved AS (DELETE FROM {table}_default"  # noqa: S608 - our own names and UUIDs
        f" WHERE {key} >= '{low}' AND {key} < '{high}' RETURNING *)"
        f" INSERT INTO {name} SELECT * FROM moved",
        f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{low}') TO ('{high}')",
    ):
        session.execute(sa.text(statement))


_PARTITION_KEY = """
    SELECT a.attname FROM pg_partitioned_table p
    JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
    WHERE p.partrelid = to_regclass(:table)
"""


def now(engine: Engine) -> datetime:
    """What the clock of the database says."""
    with transaction(engine) as session:
        found: datetime = session.execute(sa.text("SELECT now()")).scalar_one()
        return found


def drop_partitions(engine: Engine, kept: list[Kept], now: datetime) -> list[str]:
    """Drop the days that are past keeping and return their names."""
    dropped = []
    for table in kept:
        oldest = f"{table.table}_{now - timedelta(days=table.days):%Y%m%d}"
        for name in _days(engine, table.table):
            if name < oldest:
                with transaction(engine) as session:
                    session.execute(sa.text(f"DROP TABLE IF EXISTS {name}"))
                dropped.append(name)
    return dropped


def _days(engine: Engine, table: str) -> list[str]:
    with transaction(engine) as session:
        found = session.execute(
            sa.text(
                "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
                " WHERE i.inhparent = to_regclass(:table) AND c.relname ~ '_[0-9]{8}$'"
                " ORDER BY c.relname"
            ),
            {"table": table},
        )
        return [row.relname for row in found]
