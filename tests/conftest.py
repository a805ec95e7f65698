"""What every test stands on: real Postgres and Redis, started once, and a tenant of its own."""

from __future__ import annotations

import itertools
import os
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

from api.app import create_app, open_context
from api.cli.local.embedded import Urls, embedded
from models import clock
from models.db import Engine, schema, transaction
from models.db import engine as make_engine
from models.identity import tenants
from models.identity.tenants import Mode, Tenant
from settings import Settings
from tests.pipeline import Pipeline

# Tests start about a thousand processes: each would compile every module again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

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


@pytest.fixture
def app(
    shared_app: Flask, settings: Settings, engine: Engine, redis_client: redis.Redis
) -> Iterator[Flask]:
    """The API on the test servers, its connections and memories a test's own; its waits are short,
    since drains run when a test says so."""
    context = open_context(replace(settings, wait_seconds=0.0))
    shared_app.extensions["unbroken"] = context
    yield shared_app
    context.close()


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
