"""What every test stands on: real Postgres and Redis, started once, and a tenant of its own."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import redis
from cryptography.fernet import Fernet
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from sqlalchemy.pool import QueuePool

from api.app import create_app, open_context
from api.cli.local.embedded import Urls, embedded
from api.http.failed_key_throttle import Throttle
from api.http.key_cache import Directory
from api.http.key_list import KeyList
from api.http.load_shedding import Memory
from api.http.prefer import Waiters
from api.http.request_context import AppContext, Slots
from models import clock
from models.db import Engine, schema, transaction
from models.db import engine as make_engine
from models.identity import tenants
from models.identity.tenants import Mode, Tenant
from settings import Settings
from tests.pipeline import Pipeline
from workers.intake.client import IntakeSettings, open_intake

# Tests start about a thousand processes: each would compile every module again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell that starts the tests in the background ignores Ctrl-C for them, and so for the commands
# that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is, not whether the code is right.
hypothesis_settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("unhurried")

BASE = "/api/v1/gamify"
_slugs = itertools.count(1)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Urls]:
    """Postgres and Redis for the whole run."""
    path: Path = tmp_path_factory.mktemp("s")
    with embedded(path) as urls:
        yield urls


@pytest.fixture(scope="session")
def settings(servers: Urls) -> Settings:
    """The settings of a production process, on those servers."""
    return Settings(
        database_url=servers.database_url,
        redis_url=servers.redis_url,
        secret_keys=Fernet.generate_key().decode(),
        webhook_allow_cidrs="127.0.0.0/8,::1/128",
        webhook_allow_http=True,
        webhook_ports="*",
        failed_keys_per_minute=0,  # tests send thousands: test_throttle.py sets a limit
    )


@pytest.fixture(scope="session")
def engine(settings: Settings) -> Iterator[Engine]:
    """A migrated database."""
    engine = make_engine(settings.database_url, timeout_ms=30_000, pool=16)
    schema.migrate(engine)
    schema.ensure_partitions(engine, schema.kept(settings.retention_days), clock.now())
    yield engine
    engine.dispose()


@pytest.fixture
def redis_client(servers: Urls) -> Iterator[redis.Redis]:
    """An empty Redis."""
    with redis.Redis.from_url(servers.redis_url, protocol=2) as client:
        client.flushdb()
        yield client


@dataclass(frozen=True)
class Account:
    """A fresh tenant: both sides of it and an admin key of each."""

    slug: str
    sides: dict[Mode, Tenant]
    keys: dict[Mode, str]

    @property
    def live(self) -> Tenant:
        """The live side."""
        return self.sides["live"]


@pytest.fixture
def make_account(engine: Engine) -> Callable[..., Account]:
    """Make tenants; without a cap on writes unless one is given."""

    def make(writes_per_minute: int = 0) -> Account:
        slug = f"t{os.getpid()}-{next(_slugs)}"
        with transaction(engine) as session:
            sides = tenants.create(session, slug, writes_per_minute)
            keys = {
                mode: tenants.create_key(session, side, ["admin"])[1]
                for mode, side in sides.items()
            }
        return Account(slug, sides, keys)

    return make


@pytest.fixture
def account(make_account: Callable[..., Account]) -> Account:
    """A fresh tenant."""
    return make_account()


@pytest.fixture(scope="session")
def shared_app(settings: Settings) -> Flask:
    """The API, made once: to make its routes takes longer than most tests."""
    app = create_app(settings)
    app.extensions["unbroken"].close()
    return app


@pytest.fixture(scope="session")
def api_context(settings: Settings, engine: Engine) -> Iterator[AppContext]:
    """The connections of the API: what an engine has compiled and a connection prepared is kept.
    Its waits are short, since drains run when a test says so."""
    context = open_context(replace(settings, wait_seconds=0.0))
    yield context
    context.close()


@pytest.fixture
def app(
    shared_app: Flask, api_context: AppContext, settings: Settings, redis_client: redis.Redis
) -> Iterator[Flask]:
    """The API on the test servers, its memories a test's own."""
    context = restarted(api_context, settings)
    shared_app.extensions["unbroken"] = context
    yield shared_app
    context.intake.close()
    for engine in (context.engine, context.rows):
        assert isinstance(engine.pool, QueuePool)
        if engine.pool.checkedout():
            engine.dispose()  # a thread of this test still has a connection


def restarted(context: AppContext, settings: Settings) -> AppContext:
    """The API as after a start, on the same connections to Postgres."""
    intake = open_intake(settings.of(IntakeSettings))
    return replace(
        context,
        intake=intake,
        directory=Directory(context.engine, intake),
        waiters=Waiters(settings.api_waiters_max),
        memory=Memory(probe_seconds=settings.redis_timeout_ms / 1_000),
        throttle=Throttle(settings.failed_keys_per_minute),
        key_list=KeyList(context.engine),
        slots=Slots(),
    )


@pytest.fixture
def client(app: Flask, account: Account) -> FlaskClient:
    """A client with the account's live admin key."""
    client = app.test_client()
    client.environ_base["HTTP_X_API_KEY"] = account.keys["live"]
    return client


@pytest.fixture
def pipeline(settings: Settings, engine: Engine, redis_client: redis.Redis) -> Pipeline:
    """The workers, run by hand."""
    return Pipeline(settings, engine, redis_client)
