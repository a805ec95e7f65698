"""Tenant isolation: for a request, Postgres shows and changes the rows of one tenant only.

Every statement names its tenant in a condition. Row-level security enforces it even if a statement
omits the condition: requests connect under a role that sees only the tenant last set on its
connection. Workers and the command line work for all tenants, as the owner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg2
import sqlalchemy as sa

from models import db
from models.db import Connection, Engine, prepared, run
from models.db.prepared import Prepared
from models.errors import RoleMissing

ROLE = "unbroken_tenant"
_SETTING = "unbroken.tenant_id"  # the policies of migration 0005 compare with it
_NOBODY = -1  # no row has this id; 0 is for rows of no single tenant


class RoleNotTaken(psycopg2.OperationalError):
    """A request's connection does not run as the role: it would see every tenant's rows."""


def engine(
    url: str, *, timeout_ms: int, pool: int, before_use: Callable[[], None] = lambda: None
) -> Engine:
    """An engine whose connections see no row until a tenant is set.

    A connection that did not become the role is refused with RoleNotTaken: PgBouncer drops the
    options of a connection where `ignore_startup_parameters` names them.
    """
    options = f"-c role={ROLE} -c {_SETTING}={_NOBODY}"
    return db.engine(
        url,
        timeout_ms=timeout_ms,
        pool=pool,
        options=options,
        check=_check,
        before_use=before_use,
    )


def _check(driver: Any) -> None:
    """Check in one round trip that a new connection runs as the role and sees no tenant yet."""
    driver.autocommit = True
    with driver.cursor() as cursor:
        cursor.execute(f"SELECT current_user, current_setting('{_SETTING}', true)")
        user, tenant = cursor.fetchone()
    driver.autocommit = False
    if (user, tenant) != (ROLE, str(_NOBODY)):
        raise RoleNotTaken(
            f"requests would run as {user}, not as {ROLE}: a pooler in between drops the options"
            " of connections (ignore_startup_parameters). Let DATABASE_URL lead to Postgres itself"
        )


def is_role_taken(engine: Engine) -> bool:
    """Whether connections of this engine run as the role; raises DatabaseError for other faults."""
    try:
        with db.connected(engine):
            return True
    except db.DatabaseError as error:
        if isinstance(error.orig, RoleNotTaken):
            return False
        raise


@contextmanager
def reading(engine: Engine, tenant_id: int) -> Iterator[Connection]:
    """A connection that reads a tenant's rows without a transaction."""
    with db.reading(engine) as connection:
        becoming = _becoming(connection.info, tenant_id)
        if becoming:
            run(connection, becoming, {})
            connection.info[_SETTING] = tenant_id
        yield connection


@contextmanager
def transaction(engine: Engine, tenant_id: int) -> Iterator[Connection]:
    """A transaction on a tenant's rows: committed when the block ends, rolled back when it raises.

    It sets the tenant for the transaction only: a roll-back would undo a session's setting, unknown
    to the connection's next user.
    """
    with db.transaction(engine) as connection:
        run(connection, f"SET LOCAL {_SETTING} = {tenant_id:d}", {})
        yield connection


@contextmanager
def snapshot(engine: Engine, tenant_id: int) -> Iterator[Connection]:
    """A transaction that reads a tenant's rows as of one moment; committed when the block ends,
    rolled back when it raises."""
    repeatable = db.connected(engine, isolation_level="REPEATABLE READ")
    with repeatable as connection, connection.begin():
        run(connection, f"SET LOCAL {_SETTING} = {tenant_id:d}", {})
        yield connection


def read(engine: Engine, tenant_id: int, statement: Prepared, values: Sequence[Any]) -> list[Any]:
    """The rows of a prepared statement, in one round trip whatever the connection's last tenant."""

    def begin(info: dict[Any, Any]) -> str:
        becoming = _becoming(info, tenant_id)
        info[_SETTING] = tenant_id
        return f"{becoming};" if becoming else ""

    return prepared.read(engine, statement, values, begin)


def _becoming(info: dict[Any, Any], tenant_id: int) -> str:
    """The statement that sets a connection's tenant; "" when it is set already."""
    return "" if info.get(_SETTING) == tenant_id else f"SET {_SETTING} = {tenant_id:d}"


def permit(connection: Connection) -> None:
    """Create the role where it is missing, and grant it the tables; again after each migration.

    Roles belong to the server, not to the database: a backup does not hold them. Raises RoleMissing
    when the user may not create one.
    """
    name = {"role": ROLE}
    try:
        if not run(connection, "SELECT 1 FROM pg_roles WHERE rolname = %(role)s", name):
            connection.execute(sa.text(_MAKE))
        if not run(
            connection, "SELECT 1 WHERE pg_has_role(current_user, %(role)s, 'MEMBER')", name
        ):
            connection.execute(sa.text(f"GRANT {ROLE} TO CURRENT_USER"))
    except db.PermissionDenied as error:
        raise RoleMissing(_ASK) from error
    for table in [row.relname for row in connection.execute(sa.text(_GUARDED))]:
        rights = _RIGHTS.get(table, "SELECT, INSERT, UPDATE, DELETE")
        connection.execute(sa.text(f"GRANT {rights} ON {table} TO {ROLE}"))
    for sequence in connection.execute(sa.text(_SEQUENCES)).scalars():
        connection.execute(sa.text(f"GRANT USAGE ON SEQUENCE {sequence} TO {ROLE}"))


# Another database of the same server may be migrating at this moment.
_MAKE = f"""
DO $$ BEGIN
  CREATE ROLE {ROLE} NOLOGIN NOINHERIT;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$
"""
_ASK = (
    "the database's user may not make roles. Let an administrator run, once for the server, "
    f"CREATE ROLE {ROLE} NOLOGIN NOINHERIT; and GRANT {ROLE} TO the user of DATABASE_URL; "
    "then migrate again"
)
_RIGHTS = {"audit_log": "SELECT, INSERT"}  # audit entries are never changed

# The sequences of defaults; an identity column needs none.
_SEQUENCES = """
    SELECT c.relname FROM pg_class c
    WHERE c.relkind = 'S' AND c.relnamespace = 'public'::regnamespace
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'i')
    ORDER BY 1
"""

# A partition is reached only through its table, which has the policies. Keys belong to no tenant.
_GUARDED = """
    SELECT relname FROM pg_class
    WHERE relrowsecurity AND relnamespace = 'public'::regnamespace AND relname <> 'api_keys'
    ORDER BY relname
"""
