"""The running service's database and Redis, for operator commands."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

from click import get_current_context
from click.core import ParameterSource

from api.cli.errors import CannotRun, NotThere
from api.cli.local import data_dir
from api.cli.local.data_dir import Data
from api.cli.local.database import speaking_of_database
from api.cli.local.up import read_settings
from api.cli.program_name import program
from models import db
from models.db import Connection, schema
from models.errors import NotFound, TenantExists
from settings import Settings
from workers.intake.client import Intake, IntakeSettings, Unavailable, open_intake

_TIMEOUT_MS = 15_000


@dataclass(frozen=True)
class Service:
    """Connections to a running service."""

    engine: db.Engine
    intake: Intake
    ticks_days: int  # how long the ledgers keep a write

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction to read, or to add rows that no process has cached."""
        with db.transaction(self.engine) as connection:
            yield connection

    @contextmanager
    def changing(self, tenant_ids: Sequence[int]) -> Iterator[Connection]:
        """A transaction whose changes are in force for the next write in every process."""
        with self.intake.changing(tenant_ids), db.transaction(self.engine) as connection:
            yield connection


@contextmanager
def service(path: Path) -> Iterator[Service]:
    """The service of a data folder or of the two URLs; each error becomes one line."""
    settings = find(path)
    with speaking_of_database():
        engine = db.engine(settings.database_url, timeout_ms=_TIMEOUT_MS, pool=1)
        intake = open_intake(settings.of(IntakeSettings))
        try:
            _check_schema(engine)
            yield Service(engine, intake, settings.ticks_days)
        except NotFound as error:
            raise NotThere(str(error)) from error
        except TenantExists as error:
            raise CannotRun(f"Tenant '{error}' exists already") from error
        except Unavailable as error:
            raise CannotRun("Redis does not answer: nothing was changed") from error
        finally:
            intake.close()
            engine.dispose()


def _check_schema(engine: db.Engine) -> None:
    with db.reading(engine) as connection:
        if schema.revision(connection) is None:
            raise CannotRun(f"the database is empty: run `{program()} migrate` first")


def find(path: Path) -> Settings:
    """The settings with both URLs: from the given --data, else the environment, else .unbroken.

    Raises CannotRun with advice on what to start or set.
    """
    return locate(path)[0]


def locate(path: Path) -> tuple[Settings, str]:
    """The same settings, and the source of the two URLs."""
    settings = read_settings(os.environ)
    if not _is_given() and settings.database_url and settings.redis_url:
        return settings, "the environment"
    folder = Data(path.absolute().resolve())
    found = data_dir.running(folder)
    if found is None:
        raise CannotRun(f"{data_dir.nothing_runs(folder)}, or set DATABASE_URL and REDIS_URL")
    known = {field.name for field in fields(Settings)}
    own = {name: value for name, value in found.items() if name in known}
    return replace(settings, **own), f"`up` on {folder.root}"


def _is_given() -> bool:
    return get_current_context().get_parameter_source("path") is not ParameterSource.DEFAULT
