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

from models import ids
from models.db import Engine, Session, transaction

DAYS_AHEAD = 14  # upkeep makes them daily; two weeks outlast a holiday with upkeep down
_MIGRATION_LOCK = 7_301_116  # any number, the same in every release: one migrates at a time


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
        session.execute(sa.text("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '60s'"))
        session.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
        config = _config()
        config.attributes["connection"] = session
        command.upgrade(config, "head")


def head() -> str:
    """The newest revision that this code knows."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def revision(session: Session) -> str | None:
    """The revision the database is at; None before the first migration."""
    if session.execute(sa.text("SELECT to_regclass('alembic_version')")).scalar() is None:
        return None
    return session.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


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
    name = f"{table}_{day:%Y%m%d}"
    if session.execute(sa.text("SELECT to_regclass(:name)"), {"name": name}).scalar() is not None:
        return
    low, high = ids.floor(day), ids.floor(day + timedelta(days=1))
    session.execute(
        sa.text(
            f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF {table}"
            f" FOR VALUES FROM ('{low}') TO ('{high}')"
        )
    )


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
