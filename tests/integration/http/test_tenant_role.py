"""The role under which requests reach the database: what it may do; nothing goes round it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from models.db import DatabaseError, Engine, reading, tenant_isolation, transaction
from models.errors import RoleMissing
from models.people import profile
from tests.conftest import Account
from tests.integration.sides import reachable, tables

ROOT = Path(__file__).parents[3]


@pytest.fixture
def guarded(app: Flask) -> Engine:
    """The engine that requests have."""
    engine: Engine = app.extensions["unbroken"].rows
    return engine


def test_it_guards_every_table_of_tenants(engine: Engine) -> None:
    statement = sa.text("""
        SELECT c.relname FROM pg_class c JOIN pg_policy p ON p.polrelid = c.oid
        WHERE c.relrowsecurity AND p.polcmd = '*' AND p.polroles = '{0}' AND p.polpermissive
        GROUP BY c.relname HAVING count(*) = 1
    """)
    with reading(engine) as session:
        found = {row.relname for row in session.execute(statement)}
    missing = tables(engine).keys() - found
    assert missing == set(), "a table with a tenant_id needs a policy: see migration 0005"


def test_it_reaches_no_table_that_is_not_guarded(engine: Engine) -> None:
    rights = ", ".join(
        f"has_table_privilege('{tenant_isolation.ROLE}', c.oid, '{right}') AS {right.lower()}"
        for right in ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE")
    )
    statement = sa.text(f"""
        SELECT c.relname, c.relrowsecurity, c.relispartition, {rights} FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    """)
    with reading(engine) as session:
        found = list(session.execute(statement))
    reached = [one for one in found if one.select or one.insert or one.update or one.delete]
    assert [one.relname for one in reached if not one.relrowsecurity] == []
    assert not [one.relname for one in found if one.truncate]  # no policy holds for that
    named = {one.relname for one in reached}
    assert "api_keys" not in named
    assert named >= reachable(engine).keys()
    [log] = [one for one in reached if one.relname == "audit_log"]
    assert (log.select, log.insert, log.update, log.delete) == (True, True, False, False)


def test_it_is_no_role_to_which_policies_do_not_apply(engine: Engine) -> None:
    statement = sa.text("SELECT * FROM pg_roles WHERE rolname = :name")
    with reading(engine) as session:
        role = session.execute(statement, {"name": tenant_isolation.ROLE}).one()
        owned = session.execute(
            sa.text("SELECT count(*) FROM pg_class WHERE relowner = CAST(:name AS regrole)"),
            {"name": tenant_isolation.ROLE},
        ).scalar_one()
    assert not (role.rolsuper or role.rolbypassrls or role.rolcanlogin or role.rolinherit)
    assert owned == 0


def test_it_does_not_reach_keys(guarded: Engine, account: Account) -> None:
    with (
        pytest.raises(DatabaseError, match="permission denied for table api_keys"),
        tenant_isolation.reading(guarded, account.live.id) as session,
    ):
        session.execute(sa.text("SELECT * FROM api_keys"))


def test_requests_reach_rows_in_no_other_way() -> None:
    """`models.db` opens sessions for everybody: of the API only these may."""
    # Who asks, and which keys there are; whether the servers answer; the exporter, which serves no
    # tenant.
    above_tenants = {
        "key_cache.py",
        "key_list.py",
        "health.py",
        "keys_and_audit.py",
        "prometheus.py",
    }
    for path in sorted((ROOT / "api").rglob("*.py")):
        if path.is_relative_to(ROOT / "api" / "cli"):
            continue  # commands of the operator
        text = path.read_text()
        for found in re.findall(r"^from models\.db import (.+)$", text, re.MULTILINE):
            names = set(re.split(r",\s*", found))
            if path.name not in above_tenants | {"app.py"}:
                assert not names & {"reading", "transaction", "engine"}, path.name
        if path.name not in above_tenants | {"app.py", "request_context.py"}:
            assert ".engine" not in text, path.name
        if path.name not in {"tenant_session.py", "app.py", "health.py"}:
            assert "tenant_isolation" not in text, path.name


def test_it_finds_rows_by_the_same_indexes_as_without_it(guarded: Engine, account: Account) -> None:
    text = profile._READ.text.replace("$1", str(account.live.id)).replace("$2", "'user_42'")
    with tenant_isolation.transaction(guarded, account.live.id) as session:
        session.execute(sa.text("SET LOCAL enable_seqscan = off"))  # the tables are small here
        found = session.execute(sa.text(f"EXPLAIN {text}")).scalars()
        plan = "\n".join(found)
    assert re.search(r"Index Cond: \(\(tenant_id = \d+\) AND \(external_id = ", plan), plan
    assert "One-Time Filter" in plan, plan  # the policy's comparison: once, before any row
    for table in ("participant_badges", "streak_states"):
        assert f"{table}_pkey" in plan, plan


def test_a_user_who_may_not_make_roles_is_told_who_has_to(engine: Engine) -> None:
    """Seen from a user without rights, to whom the role was not given."""
    with transaction(engine) as session:
        session.execute(sa.text("CREATE ROLE plain_user NOLOGIN"))
        session.execute(sa.text("GRANT CREATE ON SCHEMA public TO plain_user"))
        session.execute(sa.text("SET LOCAL ROLE plain_user"))
        with pytest.raises(RoleMissing, match="GRANT unbroken_tenant"):
            tenant_isolation.permit(session)
        session.rollback()
