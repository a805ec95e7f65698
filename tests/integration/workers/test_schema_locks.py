"""What changes tables waits for nobody's transaction for long: batches wait behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import TypeVar

import pytest
import sqlalchemy as sa
from alembic import command

from api.cli.local.embedded import Urls
from api.cli.local.proc import wait_until
from models import clock
from models.db import Connection, Contended, Engine, reading, schema, take_longer, transaction
from models.db.schema import DAYS_AHEAD, Kept
from tests.integration.workers.test_ledger import days_of
from tests.integration.workers.test_schema import fresh_database

LONG_AGO = datetime(2019, 5, 1, tzinfo=clock.now().tzinfo)
PATIENCE_SECONDS = 30.0
T = TypeVar("T")
TABLES = ["ticks", "facts", "attempts"]


def open_reader(engine: Engine, table: str, exits: ExitStack) -> Connection:
    """A transaction that has read a table, all of its days, and goes on."""
    session = exits.enter_context(transaction(engine))
    session.execute(sa.text(f"SELECT FROM {table} LIMIT 1"))
    return session


def beside_a_batch(engine: Engine, table: str, work: Callable[[], T]) -> T:
    """Do work that waits for a lock; a batch that comes meanwhile does not wait long."""
    with ThreadPoolExecutor() as threads:
        working = threads.submit(work)
        assert wait_until(lambda: working.done() or is_somebody_waiting(engine), PATIENCE_SECONDS)
        batch(engine, table)
        return working.result()


def batch(engine: Engine, table: str) -> None:
    """What a batch locks to read and write a table."""
    with transaction(engine) as session:
        take_longer(session, 5)
        session.execute(sa.text(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE"))


@pytest.fixture(params=TABLES)
def table(request: pytest.FixtureRequest, engine: Engine) -> Iterator[str]:
    """A table without days of long ago, afterwards too."""
    name: str = request.param
    yield name
    schema.drop_partitions(engine, [Kept(name, 400)], clock.now())


def test_a_day_in_use_is_dropped_another_time(engine: Engine, table: str) -> None:
    assert schema.ensure_partitions(engine, [Kept(table, 1)], LONG_AGO) == []
    kept, now = [Kept(table, 1)], LONG_AGO + timedelta(days=DAYS_AHEAD + 2)
    with ExitStack() as exits:
        open_reader(engine, table, exits)
        dropped = beside_a_batch(engine, table, lambda: schema.drop_partitions(engine, kept, now))
        assert (dropped.names, dropped.left) == ([], [table])
    dropped = schema.drop_partitions(engine, kept, now)
    assert (len(dropped.names), dropped.left) == (DAYS_AHEAD + 2, [])


def test_a_day_is_made_another_time_while_the_table_is_in_use(engine: Engine, table: str) -> None:
    with ExitStack() as exits:
        open_reader(engine, table, exits)
        kept = [Kept(table, 1)]
        assert beside_a_batch(
            engine, table, lambda: schema.ensure_partitions(engine, kept, LONG_AGO)
        ) == [table]
        assert not {name for name in days_of(engine, table) if "_2019" in name}
    assert schema.ensure_partitions(engine, [Kept(table, 1)], LONG_AGO) == []
    assert len([name for name in days_of(engine, table) if "_2019" in name]) == DAYS_AHEAD + 2


_WAITING = sa.text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


def test_a_migration_lets_others_pass_while_a_table_is_in_use(servers: Urls) -> None:
    """Of the last release's schema; it is done once the long transaction has ended."""
    with fresh_database(servers, "in_use") as engine, ThreadPoolExecutor() as threads:
        migrate_to(engine, "0005")
        with ExitStack() as exits:
            open_reader(engine, "participants, ticks, facts, streak_states, tenants", exits)
            migrating = threads.submit(schema.migrate, engine)
            assert wait_until(lambda: is_somebody_waiting(engine), PATIENCE_SECONDS)
            batch(engine, "participants")
            assert not migrating.done()
        migrating.result(PATIENCE_SECONDS)
        with reading(engine) as session:
            assert schema.revision(session) == schema.head()


def migrate_to(engine: Engine, revision: str) -> None:
    with transaction(engine) as session:
        config = schema._config()
        config.attributes["connection"] = session
        command.upgrade(config, revision)


def is_somebody_waiting(engine: Engine) -> bool:
    with reading(engine) as session:
        return bool(session.execute(_WAITING).scalar_one())


def test_a_migration_gives_up_when_a_table_stays_in_use(
    servers: Urls, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MIGRATION_SECONDS", "MIGRATION_LOCK_SECONDS", "PAUSE_SECONDS"):
        monkeypatch.setattr(schema, name, 0.2)
    with fresh_database(servers, "stays_in_use") as engine, ExitStack() as exits:
        migrate_to(engine, "0005")
        open_reader(engine, "participants", exits)
        with pytest.raises(Contended):
            schema.migrate(engine)
        with reading(engine) as session:
            assert schema.revision(session) == "0005"
