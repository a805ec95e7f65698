"""Behind a PgBouncer that drops the options of connections, nothing is served."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from flask import Flask

from api.app import create_app
from api.cli.main import main
from models.db import DatabaseUnavailable, tenant_isolation
from settings import Settings
from tests.bench.process import free_port
from tests.conftest import BASE, Account
from tests.debian import listening, program
from tests.links import Link, target_of

CONFIG = """
[databases]
unbroken = host=127.0.0.1 port={postgres} dbname=unbroken user=unbroken
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
ignore_startup_parameters = extra_float_digits,options
"""


@contextmanager
def pgbouncer(settings: Settings, mode: str) -> Iterator[str]:
    """The URL of one in front of the test's Postgres."""
    folder = Path(tempfile.mkdtemp())
    port, config = free_port(), folder / "pgbouncer.ini"
    with Link(target_of(settings.database_url, 5432)) as link:
        config.write_text(CONFIG.format(postgres=link.port, port=port, mode=mode))
        argv = [program("pgbouncer"), str(config)]
        if os.getuid() == 0:  # it refuses to be root
            argv[1:1] = ["-u", pwd.getpwnam("nobody").pw_name]
        with listening(argv, port, folder / "log"):
            yield f"postgresql://unbroken@127.0.0.1:{port}/unbroken"
    shutil.rmtree(folder)


@pytest.fixture(scope="module", params=["session", "transaction"])
def pooled(
    request: pytest.FixtureRequest, settings: Settings, engine: object
) -> Iterator[Settings]:
    """Settings whose database is behind one."""
    with pgbouncer(settings, request.param) as url:
        yield replace(settings, database_url=url)


@pytest.fixture
def app(pooled: Settings) -> Iterator[Flask]:
    """The API behind it."""
    made = create_app(pooled)
    yield made
    made.extensions["unbroken"].close()


def test_a_connection_that_did_not_become_the_role_is_refused(
    pooled: Settings, account: Account
) -> None:
    guarded = tenant_isolation.engine(pooled.database_url, timeout_ms=5_000, pool=1)
    for open_rows in (tenant_isolation.reading, tenant_isolation.transaction):
        with pytest.raises(DatabaseUnavailable) as caught, open_rows(guarded, account.live.id):
            pass
        assert isinstance(caught.value.orig, tenant_isolation.RoleNotTaken)
    assert not tenant_isolation.is_role_taken(guarded)
    guarded.dispose()


def test_the_api_is_not_ready_and_serves_nothing(
    app: Flask, account: Account, redis_client: object
) -> None:
    client = app.test_client()
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.get_json()["checks"] == {"redis": "ok", "postgres": "tenant role not taken"}
    headers = {"X-API-Key": account.keys["live"]}
    for path in ("/streaks", "/participants/x", "/participants/x/streaks"):
        answer = client.get(BASE + path, headers=headers)
        assert (answer.status_code, answer.get_json()["code"]) == (503, "unavailable"), path


def test_doctor_says_so(pooled: Settings) -> None:
    env = {"DATABASE_URL": pooled.database_url, "REDIS_URL": pooled.redis_url}
    done = CliRunner().invoke(main, ["doctor", "--json"], env=env)
    checks = {one["check"]: one for one in json.loads(done.stdout)["checks"]}
    found = checks["role of requests"]
    assert (done.exit_code, found["state"]) == (1, "failed")
    assert "ignore_startup_parameters" in found["advice"]


def test_a_connection_to_postgres_itself_is_checked_once(
    settings: Settings, engine: object, account: Account
) -> None:
    guarded = tenant_isolation.engine(settings.database_url, timeout_ms=5_000, pool=1)
    assert tenant_isolation.is_role_taken(guarded)
    guarded.dispose()
