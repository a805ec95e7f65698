"""The errors of Postgres: a closed list of types, distinguished by SQLSTATE only."""

from __future__ import annotations

import psycopg2
import sqlalchemy as sa


class DatabaseError(Exception):
    """Postgres did not do what was asked."""

    def __init__(self, text: str = "", orig: BaseException | None = None) -> None:
        super().__init__(text)
        self.orig = orig  # the driver's own error, if there is one


class DatabaseUnavailable(DatabaseError):
    """Postgres is down or going down; the statement is not at fault."""


class CommitUnknown(DatabaseUnavailable):
    """Postgres was asked to commit and did not answer: it may have committed."""


class Contended(DatabaseError):
    """Another transaction was in the way: a deadlock, a serialization failure, a lock not
    available. An immediate retry may succeed."""


class RowsMoved(Contended):
    """Rows were not where this transaction had read them."""


class PermissionDenied(DatabaseError):
    """The user may not do what the statement asks."""


class RefusedData(DatabaseError):
    """Postgres refused the values: a data exception or a broken constraint."""

    @property
    def constraint(self) -> str:
        """The name of the broken constraint; "" without one."""
        return getattr(getattr(self.orig, "diag", None), "constraint_name", None) or ""


class UniqueViolation(RefusedData):
    """A unique key refused a row: another transaction wrote it first."""


class ForeignKeyViolation(RefusedData):
    """A foreign key refused a row: the row that it refers to was deleted meanwhile."""


_BY_CODE: dict[str, type[DatabaseError]] = {
    "23503": ForeignKeyViolation,
    "23505": UniqueViolation,
    "40001": Contended,  # serialization failure
    "40P01": Contended,  # deadlock
    "42501": PermissionDenied,
    "55P03": Contended,  # lock not available
    "57014": DatabaseError,  # canceled, mostly by statement_timeout: the statement takes too long
}
_BY_CLASS: dict[str, type[DatabaseError]] = {
    "08": DatabaseUnavailable,  # connection
    "22": RefusedData,
    "23": RefusedData,
    "25": DatabaseUnavailable,  # read-only: a standby, or idle for too long
    "53": DatabaseUnavailable,  # no room, no memory, no connections
    "57": DatabaseUnavailable,  # shut down, or starting
    "58": DatabaseUnavailable,  # a failure of its system
}


def translated(error: BaseException) -> DatabaseError | None:
    """Our error for one of the driver's or of SQLAlchemy's pool; None for any other."""
    said = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if isinstance(said, psycopg2.Error):
        return _type_of(said)(str(said).strip(), said)
    if isinstance(error, sa.exc.TimeoutError):  # of the pool
        return DatabaseUnavailable(str(error), error)
    return None


def _type_of(said: psycopg2.Error) -> type[DatabaseError]:
    if isinstance(said, psycopg2.InterfaceError):  # the connection is closed
        return DatabaseUnavailable
    if said.pgcode is None:  # the driver's own: it lost the connection, or could not open one
        is_lost = isinstance(said, psycopg2.OperationalError)
        return DatabaseUnavailable if is_lost else DatabaseError
    by_class = _BY_CLASS.get(said.pgcode[:2], DatabaseError)
    return _BY_CODE.get(said.pgcode, by_class)
