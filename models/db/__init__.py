"""The database: engine, transactions (the only commit), bulk writing, and its errors."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from typing import Any

import psycopg2
import sqlalchemy as sa
from sqlalchemy import event

from models.db.errors import CommitUnknown as CommitUnknown
from models.db.errors import Contended as Contended
from models.db.errors import DatabaseError as DatabaseError
from models.db.errors import DatabaseUnavailable as DatabaseUnavailable
from models.db.errors import ForeignKeyViolation as ForeignKeyViolation
from models.db.errors import PermissionDenied as PermissionDenied
from models.db.errors import RefusedData as RefusedData
from models.db.errors import RowsMoved as RowsMoved
from models.db.errors import UniqueViolation as UniqueViolation
from models.db.errors import translated
from models.db.stall_guard import MARGIN_SECONDS, Watch, is_stale

Connection = sa.Connection  # SQLAlchemy's core: no ORM, no identity map
Engine = sa.Engine

metadata = sa.MetaData()

CONNECT_SECONDS = 3
ROWS_AT_ONCE = 1_000  # of a stream, held in memory
LOCK_SECONDS = 10  # longer than any batch takes; a lock held longer is a fault to report


def engine(
    url: str,
    *,
    timeout_ms: int,
    pool: int = 4,
    options: str = "",
    check: Callable[[Any], None] = lambda driver: None,
    before_use: Callable[[], None] = lambda: None,
) -> Engine:
    """An engine for any spelling of a Postgres URL; statements end after `timeout_ms`, or a second
    later when Postgres itself does not end them.

    `options` are more settings of its connections: `-c name=value`. `check` gets each new
    connection, once, and may raise a driver error. `before_use` is called before a connection is
    made and each time that one is taken, and may raise.
    """
    made = sa.create_engine(
        normalise(url),
        pool_size=pool,
        max_overflow=0,
        pool_timeout=timeout_ms / 1_000,
        hide_parameters=True,  # an error's text is logged; users' data must not be
        pool_pre_ping=False,  # it costs a round trip; broken connections are replaced on error
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "application_name": "unbroken",
            "options": f"-c statement_timeout={timeout_ms} -c lock_timeout={LOCK_SECONDS}s"
            f" -c idle_in_transaction_session_timeout=60s -c timezone=UTC -c jit=off"
            # The working set is in memory: a random page costs as much as a sequential one.
            f" -c random_page_cost=1.1 {options}",
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,
        },
    )
    watch = Watch(url, timeout_ms / 1_000)

    @event.listens_for(made, "do_connect")
    def connect(dialect: Any, record: Any, args: Any, kwargs: Any) -> Any:
        before_use()
        driver = watch.connect(*args, **kwargs)
        try:
            check(driver)
        except psycopg2.Error:
            driver.close()
            raise
        return driver

    @event.listens_for(made, "checkout")
    def look(driver: Any, record: Any, proxy: Any) -> None:
        before_use()
        if is_stale(driver):  # Postgres was restarted: so no request meets the dead connection
            raise sa.exc.InvalidatePoolError("the connection has ended")

    @event.listens_for(made, "handle_error")
    def translate(context: Any) -> None:
        error = translated(context.original_exception)
        if error is not None:
            raise error

    return made


# A pool's errors when it has no connection to give; the last, when a new connection ends at once.
NO_CONNECTION = (psycopg2.Error, sa.exc.TimeoutError, sa.exc.InvalidRequestError)


@contextmanager
def connected(engine: Engine, **options: Any) -> Iterator[Connection]:
    """A connection with options of SQLAlchemy's; raise DatabaseUnavailable without one."""
    try:
        connection = engine.connect().execution_options(**options)
    except NO_CONNECTION as error:
        raise translated(error) or DatabaseUnavailable(str(error), error) from error
    try:
        with connection:
            yield connection
    except psycopg2.Error as error:  # it was returned to the pool, and had ended
        raise translated(error) or error from error


def take_longer(connection: Connection, seconds: float) -> None:
    """Let the statements of this transaction take `seconds`; 0: without limit."""
    connection.execute(sa.text(f"SET LOCAL statement_timeout = {round(seconds * 1_000):d}"))
    driver: Any = connection.connection.driver_connection
    driver.patience_seconds = seconds + MARGIN_SECONDS if seconds else math.inf


def forbid_writes(connection: Connection) -> None:
    """Let this transaction read only: Postgres refuses every change in it."""
    run(connection, "SET TRANSACTION READ ONLY", {})


def replan(connection: Connection) -> None:
    """Discard this connection's cached plans: tables may have grown since."""
    run(connection, "DISCARD PLANS", {})


def normalise(url: str) -> str:
    """Spell a Postgres URL for SQLAlchemy and psycopg2, whatever driver it named."""
    scheme, separator, rest = url.partition("://")
    if not separator or not re.fullmatch(r"postgres(ql)?(\+\w+)?", scheme):
        raise ValueError("DATABASE_URL must begin with postgresql://")
    if rest.partition("?")[0].count("@") > 1:  # the end of a password would be read as a host
        raise ValueError(
            "percent-encode the @ in its password (%40), or give the password apart,"
            " in DATABASE_PASSWORD or DATABASE_PASSWORD_FILE"
        )
    return f"postgresql+psycopg2://{rest}"


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """A transaction: committed when the block ends, rolled back when it raises.

    Raises CommitUnknown when Postgres went away during the commit itself.
    """
    is_committing = False
    try:
        with connected(engine) as connection, connection.begin():
            yield connection
            is_committing = True
    except DatabaseUnavailable as error:
        if is_committing:
            raise CommitUnknown("Postgres did not answer a commit", error.orig) from error
        raise


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection that reads without a transaction: one round trip a statement."""
    with connected(engine, isolation_level="AUTOCOMMIT") as connection:
        yield connection


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A transaction that reads, for any length of time, the state at its start."""
    with connected(engine, isolation_level="REPEATABLE READ") as connection:
        take_longer(connection, 0)
        yield connection


def paged(
    connection: Connection,
    rows: sa.Select[Any],
    order: Iterable[sa.ColumnElement[Any]],
    window: tuple[int, int],
) -> tuple[list[sa.Row[Any]], int]:
    """A page (limit, offset) of some rows in order, and how many there are in all."""
    limit, offset = window
    found = connection.execute(rows.order_by(*order).limit(limit).offset(offset))
    total = connection.execute(sa.select(sa.func.count()).select_from(rows.subquery()))
    return list(found), total.scalar_one()


def stream(connection: Connection, statement: str, values: Mapping[str, Any]) -> Iterator[Any]:
    """Rows by a server-side cursor, in the caller's transaction; memory does not grow with them."""
    yield from connection.execute(
        sa.text(statement),
        values,
        execution_options={"stream_results": True, "yield_per": ROWS_AT_ONCE},
    )


def run(connection: Connection, statement: str, values: Mapping[str, Any]) -> list[Any]:
    """Run a statement of the hot path (`%(name)s` for values) and return its rows, if any.

    It calls the driver directly: SQLAlchemy's own work on a small statement takes longer than
    Postgres' (0.13 of 0.35 ms). Raises a DatabaseError.
    """
    with _cursor(connection) as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def _cursor(connection: Connection) -> Iterator[Any]:
    """A driver cursor whose errors are translated."""
    try:
        cursor: Any = connection.connection.cursor()
        with cursor:
            yield cursor
    except psycopg2.Error as error:
        raise translated(error) or error from error


def change(connection: Connection, statement: str, values: Mapping[str, Any], rows: int) -> None:
    """Run a statement of the hot path that changes rows by their ctid.

    A ctid is as good as a key while the row is locked. Raises RowsMoved when fewer rows than
    expected were there: another transaction wrote without the lock, and the batch must be retried.
    """
    with _cursor(connection) as cursor:
        cursor.execute(statement, values)
        changed = cursor.rowcount
    if changed != rows:
        raise RowsMoved(f"{changed} of {rows} rows were where they had been read")


def copy(connection: Connection, table: str, columns: Sequence[str], lines: Iterable[str]) -> None:
    """Append rows by COPY; each line is made by `copy_line`.

    Raises UniqueViolation as any insert does; the transaction must then be rolled back.
    """
    statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN"
    with _cursor(connection) as cursor:
        cursor.copy_expert(statement, StringIO("".join(lines)))


_SPECIAL = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def copy_text(text: str | None) -> str:
    """A text value in COPY's text format."""
    return "\\N" if text is None else text.translate(_SPECIAL)


def array(values: Iterable[str | int | None]) -> str:
    """An array as one literal in Postgres' spelling, to be CAST: cheaper to send and to parse than
    one literal per element (13 → 7 ms for 1,000 rows of 6 columns)."""
    return "{" + ",".join(map(_element, values)) + "}"


def pairs(keys: Iterable[tuple[int, str]]) -> dict[str, str]:
    """Some (tenant, id) as the arrays `tenants` and `ids`."""
    tenants, ids = zip(*keys, strict=True)
    return {"tenants": array(tenants), "ids": array(ids)}


def _element(value: str | int | None) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(value)
    if "\\" in value or '"' in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'
