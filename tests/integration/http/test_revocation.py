"""What was taken away is gone: for writes at once in every process, for reads within 5 seconds."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.cli.local import process_specs
from api.cli.local.data_dir import Data
from api.cli.ports import free_port
from api.http.key_cache import READ_SECONDS
from api.openapi.routes import Route, routes
from models.db import Engine
from models.identity import tenants
from models.identity.tenants import Tenant
from settings import Settings
from tests.calls import (
    another_app,
    client_of,
    count,
    entries,
    make_key,
    make_streak,
    operator_changes,
    post_tick,
    problem,
    revoke,
)
from tests.conftest import BASE, Account
from tests.integration.documented import APP, OPERATIONS
from tests.integration.sides import whole_world
from tests.pipeline import Pipeline

ROOT = Path(__file__).parents[3]
CLOSED = [one for one in routes(APP) if not one.is_public]
WRITES = [one for one in CLOSED if one.method != "GET"]
READS = [one for one in CLOSED if one.method == "GET"]
EXAMPLES = {(one.method, one.path): one for one in OPERATIONS}
STREAKS = f"{BASE}/streaks"

Taken = Callable[[Flask, Account, str], None]


@pytest.fixture
def other_app(settings: Settings, engine: Engine, redis_client: redis.Redis) -> Iterator[Flask]:
    """A second API process, whose caches are its own."""
    with another_app(settings) as app:
        yield app


def send(client: FlaskClient, route: Route, values: dict[str, str]) -> TestResponse:
    return EXAMPLES[route.method, route.path].send(client, values)


# -- what can be taken away ------------------------------------------------------------------


def its_key(app: Flask, account: Account, key: str) -> None:
    revoke(app, account.live, key)


def the_tenant(app: Flask, account: Account, key: str) -> None:
    with operator_changes(app, *account.sides.values()) as session:
        tenants.change(session, account.slug, is_enabled=False)


def its_scope(app: Flask, account: Account, key: str) -> None:
    with operator_changes(app, account.live) as session:
        session.execute(
            sa.text("UPDATE api_keys SET scopes = '{}' WHERE sha256 = :digest"),
            {"digest": tenants.hash_key(key)},
        )


REFUSED: dict[Taken, tuple[int, str]] = {
    its_key: (401, "unauthorized"),
    the_tenant: (403, "forbidden"),
    its_scope: (403, "forbidden"),
}


@pytest.mark.parametrize("taken", REFUSED, ids=lambda one: one.__name__)
def test_it_holds_for_every_write_at_once_in_a_process_that_was_told_nothing(
    taken: Taken,
    app: Flask,
    other_app: Flask,
    engine: Engine,
    account: Account,
    pipeline: Pipeline,
) -> None:
    values = whole_world(client_of(app, account.keys["live"]), pipeline, account.live.id)
    before = stored(engine, pipeline, account.live)
    for route in WRITES:
        if taken is its_scope and not route.is_for_admins:
            continue
        key = make_key(engine, account.live, ["admin"])
        client = client_of(other_app, key)
        assert client.get(STREAKS).status_code == 200  # it knows the key now
        taken(app, account, key)
        problem(send(client, route, values), *REFUSED[taken])
        with operator_changes(app, *account.sides.values()) as session:
            tenants.change(session, account.slug, is_enabled=True)
    assert stored(engine, pipeline, account.live) == before


def stored(engine: Engine, pipeline: Pipeline, side: Tenant) -> list[int]:
    names = ("participants", "streaks", "badges", "programs", "webhooks", "replays", "audit_log")
    return [entries(pipeline.client, side), *(count(engine, name, side) for name in names)]


def test_it_holds_for_every_read_within_five_seconds(
    app: Flask,
    other_app: Flask,
    engine: Engine,
    make_account: Callable[..., Account],
    pipeline: Pipeline,
) -> None:
    assert READ_SECONDS < 5
    lost: list[tuple[Taken, FlaskClient, dict[str, str]]] = []
    for taken in REFUSED:
        account = make_account()
        values = whole_world(client_of(app, account.keys["live"]), pipeline, account.live.id)
        key = make_key(engine, account.live, ["admin"])
        client = client_of(other_app, key)
        assert client.get(STREAKS).status_code == 200
        taken(app, account, key)
        lost.append((taken, client, values))
    time.sleep(READ_SECONDS)
    for taken, client, values in lost:
        for route in READS:
            if taken is its_scope and not route.is_for_admins:
                assert send(client, route, values).status_code == 200
            else:
                problem(send(client, route, values), *REFUSED[taken])


def test_a_key_that_expires_is_refused_everywhere_from_that_instant(
    app: Flask, other_app: Flask, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    values = whole_world(client_of(app, account.keys["live"]), pipeline, account.live.id)
    key = make_key(engine, account.live, ["admin"], lives_s=3.0)
    clients = [client_of(one, key) for one in (app, other_app)]
    assert [client.get(STREAKS).status_code for client in clients] == [200, 200]
    time.sleep(3.0)
    for client in clients:
        for route in CLOSED:
            problem(send(client, route, values), 401, "unauthorized")


# -- what was under way ----------------------------------------------------------------------


def test_a_write_that_was_accepted_is_applied_and_answered_although_its_key_goes_meanwhile(
    settings: Settings,
    app: Flask,
    engine: Engine,
    account: Account,
    pipeline: Pipeline,
    redis_client: redis.Redis,
) -> None:
    make_streak(client_of(app, account.keys["live"]))
    key = make_key(engine, account.live)
    answers: list[TestResponse] = []
    with another_app(settings, wait_seconds=10.0) as waiting:
        client = client_of(waiting, key)
        thread = threading.Thread(target=lambda: answers.append(post_tick(client)))
        thread.start()
        until(lambda: entries(redis_client, account.live) == 1)
        revoke(app, account.live, key)
        pipeline.drain()
        thread.join(20)
        [answered] = answers
        assert answered.status_code == 200, answered.text
        problem(post_tick(client_of(waiting, key)), 401, "unauthorized")
    assert count(engine, "ticks", account.live) == 1


def until(is_so: Callable[[], bool]) -> None:
    ends = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_an_open_connection_is_no_longer_served(
    app: Flask, engine: Engine, account: Account, settings: Settings
) -> None:
    make_streak(client_of(app, account.keys["live"]))
    key = make_key(engine, account.live)
    body = json.dumps({"participant_id": "user_42", "streak_code": "daily_login"})
    headers = {
        "X-API-Key": key,
        "Content-Type": "application/json",
        "Prefer": "respond-async",
    }
    statuses, sockets = [], set()
    with serving(settings) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        for turn in range(3):
            if turn == 2:
                revoke(app, account.live, key)
            connection.request("POST", f"{STREAKS}/record", body, headers)
            answered = connection.getresponse()
            answered.read()
            statuses.append(answered.status)
            sockets.add(connection.sock)
        connection.close()
    assert statuses == [202, 202, 401]
    assert len(sockets) == 1 and None not in sockets, "it was not one connection"


@contextmanager
def serving(settings: Settings) -> Iterator[int]:
    """The API as its own processes; yields its port."""
    port = free_port("127.0.0.1", 0)
    urls = {"DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url}
    role = process_specs.ours(process_specs.ProcessPlan("127.0.0.1", port, 1, 1), Data(ROOT))[-1]
    process = subprocess.Popen(role.argv, cwd=ROOT, env={**os.environ, **urls})
    try:
        until(lambda: is_listening(port))
        yield port
    finally:
        process.terminate()
        process.wait(30)


def is_listening(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False
