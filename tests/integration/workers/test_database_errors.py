"""Errors of the database: each has one type, whichever way its statement went."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from models.db import (
    CommitUnknown,
    Connection,
    Contended,
    DatabaseError,
    DatabaseUnavailable,
    Engine,
    ForeignKeyViolation,
    PermissionDenied,
    RefusedData,
    RowsMoved,
    UniqueViolation,
    change,
    connected,
    copy,
    prepared,
    reading,
    run,
    transaction,
)
from models.db import engine as make_engine
from models.db.prepared import Prepared
from settings import Settings

TYPES: dict[str, type[DatabaseError]] = {
    "08006": DatabaseUnavailable,
    "25006": DatabaseUnavailable,  # a standby
    "25P03": DatabaseUnavailable,
    "53100": DatabaseUnavailable,  # the disk is full
    "53300": DatabaseUnavailable,
    "57P01": DatabaseUnavailable,
    "57P03": DatabaseUnavailable,
    "58030": DatabaseUnavailable,
    "40001": Contended,
    "40P01": Contended,
    "55P03": Contended,
    "23505": UniqueViolation,
    "23503": ForeignKeyViolation,
    "23514": RefusedData,
    "22003": RefusedData,
    "42501": PermissionDenied,
    "57014": DatabaseError,  # the statement took too long: this is no outage
    "42P01": DatabaseError,
    "XX000": DatabaseError,
}


def _execute(connection: Connection, statement: str) -> None:
    connection.execute(sa.text(statement))


def _run(connection: Connection, statement: str) -> None:
    run(connection, statement, {})


def _change(connection: Connection, statement: str) -> None:
    change(connection, statement, {}, 1)


@pytest.mark.parametrize("ask", [_execute, _run, _change])
@pytest.mark.parametrize("code", TYPES)
def test_an_sqlstate_has_one_type(
    engine: Engine, code: str, ask: Callable[[Connection, str], None]
) -> None:
    statement = f"DO $$ BEGIN RAISE 'so' USING ERRCODE = '{code}', CONSTRAINT = 'its_key'; END $$"
    with pytest.raises(DatabaseError) as caught, transaction(engine) as connection:
        ask(connection, statement)
    assert type(caught.value) is TYPES[code]
    assert str(caught.value).startswith("so")
    if isinstance(caught.value, RefusedData):
        assert caught.value.constraint == "its_key"


def test_a_copy_and_a_prepared_read_have_the_same_types(engine: Engine) -> None:
    with pytest.raises(RefusedData), transaction(engine) as connection:
        copy(connection, "tenants", ["id"], ["no number\n"])
    with pytest.raises(RefusedData):
        prepared.read(engine, Prepared("halves", "int", "SELECT 1 / $1"), [0], lambda _: "")


def test_a_row_that_is_there_names_its_constraint(engine: Engine) -> None:
    with transaction(engine) as connection:
        run(connection, "CREATE TEMP TABLE t (id int CONSTRAINT t_id UNIQUE)", {})
        run(connection, "INSERT INTO t VALUES (1)", {})
        with pytest.raises(UniqueViolation) as caught:
            connection.execute(sa.text("INSERT INTO t VALUES (1)"))
    assert caught.value.constraint == "t_id"


def test_rows_that_have_moved_are_a_matter_of_contention(engine: Engine) -> None:
    with pytest.raises(RowsMoved) as caught, transaction(engine) as connection:
        change(connection, "UPDATE tenants SET slug = slug WHERE false", {}, 1)
    assert isinstance(caught.value, Contended)


def test_an_unreachable_server_is_unavailable() -> None:
    elsewhere = make_engine("postgresql://nobody@127.0.0.1:1/nothing", timeout_ms=1_000)
    ways: list[Callable[[], Any]] = [
        lambda: connected(elsewhere).__enter__(),
        lambda: reading(elsewhere).__enter__(),
        lambda: transaction(elsewhere).__enter__(),
        lambda: prepared.read(elsewhere, Prepared("one", "int", "SELECT $1"), [1], lambda _: ""),
    ]
    for way in ways:
        with pytest.raises(DatabaseUnavailable) as caught:
            way()
        assert not isinstance(caught.value, CommitUnknown)


def test_a_pool_without_a_free_connection_is_unavailable(settings: Settings) -> None:
    narrow = make_engine(settings.database_url, timeout_ms=200, pool=1)
    with reading(narrow), pytest.raises(DatabaseUnavailable), reading(narrow):
        pass
    narrow.dispose()


def test_a_connection_that_was_ended_is_unavailable_and_replaced(engine: Engine) -> None:
    with pytest.raises(DatabaseUnavailable), transaction(engine) as connection:
        driver: Any = connection.connection.driver_connection
        driver.close()
        run(connection, "SELECT 1", {})
    with reading(engine) as connection:
        assert run(connection, "SELECT 1", {}) == [(1,)]


def test_what_is_no_fault_of_the_database_keeps_its_type(engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError), transaction(engine):
        _ = 1 / 0
    with pytest.raises(sa.exc.ObjectNotExecutableError), reading(engine) as connection:
        connection.execute("no statement")  # type: ignore[call-overload]
