"""Migrate a database, with one line per error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from api.cli.errors import CannotRun
from models import clock, db
from models.db import schema
from models.errors import RoleMissing
from settings import Settings

MIGRATION_TIMEOUT_MS = 60_000  # a migration removes the limit for itself


def bring_up_to_date(settings: Settings) -> str:
    """Apply the missing migrations, create the day partitions; return the revision."""
    with speaking_of_database(), _engine(settings) as engine:
        schema.migrate(engine)
        in_use = schema.ensure_partitions(engine, schema.kept(settings.retention_days), clock.now())
    for table in in_use:
        click.echo(f"{table} was in use: upkeep makes the days that are missing", err=True)
    return schema.head()


@contextmanager
def _engine(settings: Settings) -> Iterator[db.Engine]:
    engine = db.engine(settings.database_url, timeout_ms=MIGRATION_TIMEOUT_MS, pool=1)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def speaking_of_database() -> Iterator[None]:
    """Turn a missing database, or a URL without one, into a CannotRun."""
    try:
        yield
    except ValueError as error:
        raise CannotRun(f"DATABASE_URL cannot be used: {error}") from error
    except RoleMissing as error:
        raise CannotRun(str(error)) from error
    except db.Contended as error:
        raise CannotRun(
            "the tables are in use by a long transaction, so nothing was changed: end it"
            " (`unbroken doctor` shows it) and try again"
        ) from error
    except db.DatabaseUnavailable as error:
        reason = str(error).partition("\n")[0]
        raise CannotRun(f"cannot reach the database: {reason}") from error
