"""Reads that a connection plans once: planning the widest takes four times its run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from models.db import NO_CONNECTION, DatabaseUnavailable, Engine
from models.db.errors import translated


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement with `$1`, `$2` … for values, under its own name."""

    name: str
    types: str  # of the values: `int, text`
    text: str


def read(
    engine: Engine,
    statement: Prepared,
    values: Sequence[Any],
    begin: Callable[[dict[Any, Any]], str],
) -> list[Any]:
    """The rows of a statement, read without a transaction in one round trip (in two the first
    time on a connection).

    `begin` gets what is known of the connection and returns a statement to run first, or "".

    It bypasses SQLAlchemy's sessions, which take longer than Postgres does. Raises a
    DatabaseError. A connection that raised is not used again, so its record of its prepared
    statements is always right.
    """
    try:
        connection = engine.raw_connection()
    except NO_CONNECTION as error:
        raise translated(error) or DatabaseUnavailable(str(error), error) from error
    try:
        driver: Any = connection.driver_connection
        if driver.isolation_level is not None:  # set by a session: it would be sent every time
            driver.isolation_level = None
        driver.autocommit = True
        rows = _run(driver, begin(connection.info), connection.info, statement, values)
        driver.autocommit = False
    except Exception as error:
        connection.invalidate()
        raise translated(error) or error from error
    connection.close()
    return rows


def _run(
    driver: Any, first: str, known: Any, statement: Prepared, values: Sequence[Any]
) -> list[Any]:
    with driver.cursor() as cursor:
        if statement.name not in known:
            cursor.execute(f"PREPARE {statement.name} ({statement.types}) AS {statement.text}")
            known[statement.name] = True
        places = ", ".join(["%s"] * len(values))
        cursor.execute(f"{first} EXECUTE {statement.name} ({places})", values)
        rows: list[Any] = cursor.fetchall()
        return rows
