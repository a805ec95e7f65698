"""Health, and what the API still does while a server is away."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
import redis
import sqlalchemy as sa
from flask import Flask

from models.db import Engine, schema, transaction
from settings import Settings
from tests.calls import (
    another_app,
    assert_nothing_stored,
    client_of,
    count,
    entries,
    make_streak,
    post_batch,
    post_tick,
    problem,
    tick,
)
from tests.conftest import BASE, Account
from tests.integration.batches import ROOT
from tests.pipeline import Pipeline

NO_REDIS = "redis://127.0.0.1:1/0"
NO_POSTGRES = "postgresql://nobody@127.0.0.1:1/none"


def test_it_is_alive_and_ready_without_a_key(app: Flask) -> None:
    client = app.test_client()
    for path in ("/livez", "/readyz"):
        response = client.get(path)
        assert (response.status_code, response.get_json()["status"]) == (200, "ok")
        assert response.headers["X-Request-Id"]
    assert client.get("/readyz").get_json()["checks"] == {"redis": "ok", "postgres": "ok"}


@pytest.mark.parametrize(
    ("missing", "checks"),
    [
        ({"redis_url": NO_REDIS}, {"redis": "unavailable", "postgres": "ok"}),
        ({"database_url": NO_POSTGRES}, {"redis": "ok", "postgres": "unavailable"}),
    ],
)
def test_it_is_alive_but_not_ready_while_a_server_is_away(
    settings: Settings,
    engine: Engine,
    redis_client: redis.Redis,
    missing: dict[str, str],
    checks: dict[str, str],
) -> None:
    with another_app(settings, **missing) as app:
        client = app.test_client()
        assert client.get("/livez").status_code == 200
        response = client.get("/readyz")
        assert (response.status_code, response.get_json()["checks"]) == (503, checks)
        assert response.headers["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("missing", "status", "state"),
    [({"redis_url": NO_REDIS}, 200, "ok"), ({"database_url": NO_POSTGRES}, 503, "unavailable")],
)
def test_reads_are_possible_while_redis_is_away_and_a_probe_can_ask_for_that(
    settings: Settings, missing: dict[str, str], status: int, state: str
) -> None:
    with another_app(settings, **missing) as app:
        response = app.test_client().get("/readyz/postgres")
        assert (response.status_code, response.get_json()["checks"]) == (
            status,
            {"postgres": state},
        )
        assert response.headers.get("Retry-After") == (None if status == 200 else "1")


@contextmanager
def schema_at(engine: Engine, revision: str) -> Iterator[None]:
    """The schema says that it is of another release."""
    change = sa.text("UPDATE alembic_version SET version_num = :to")
    with transaction(engine) as session:
        head = session.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one()
        session.execute(change, {"to": revision})
    try:
        yield
    finally:
        with transaction(engine) as session:
            session.execute(change, {"to": head})


def test_it_is_not_ready_on_an_older_schema(engine: Engine, app: Flask) -> None:
    with schema_at(engine, "0000"):
        response = app.test_client().get("/readyz")
        of_postgres = app.test_client().get("/readyz/postgres")
        assert of_postgres.status_code == response.status_code
    assert response.status_code == 503
    assert response.get_json()["checks"]["postgres"] == "migrations missing"


def test_it_stays_ready_on_a_newer_schema_while_an_upgrade_rolls(
    engine: Engine, app: Flask
) -> None:
    with schema_at(engine, "9999"):
        response = app.test_client().get("/readyz")
        of_postgres = app.test_client().get("/readyz/postgres")
        assert of_postgres.status_code == response.status_code
    assert (response.status_code, response.get_json()["checks"]["postgres"]) == (200, "ok")


def test_revisions_are_in_the_order_of_their_names() -> None:
    folder = ROOT / "models" / "migrations" / "versions"
    names = sorted(path.name for path in folder.glob("*.py") if path.name != "__init__.py")
    assert [name[:4] for name in names] == [f"{nth:04}" for nth in range(1, len(names) + 1)]
    assert schema.head() == names[-1][:4]


@contextmanager
def silent_redis() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


def test_it_accepts_no_write_while_redis_is_away(
    settings: Settings,
    app: Flask,
    account: Account,
    engine: Engine,
    redis_client: redis.Redis,
) -> None:
    make_streak(client_of(app, account.keys["live"]))
    with silent_redis() as silent:
        for url in (NO_REDIS, silent):
            with another_app(settings, redis_url=url, redis_timeout_ms=50) as away:
                client = client_of(away, account.keys["live"])
                for response in (
                    post_tick(client, headers={"Prefer": "wait=10"}),
                    post_tick(client, headers={"Idempotency-Key": "k"}),
                    post_batch(client, tick()),
                    post_tick(client, streak_code="never_made"),
                    client.post(f"{BASE}/streaks", json={"code": "x", "name": "X"}),
                    client.delete(f"{BASE}/streaks/daily_login"),
                ):
                    problem(response, 503, "unavailable")
                    assert response.headers["Retry-After"] == "1"
    assert_nothing_stored(redis_client, engine, account.live)
    assert count(engine, "streaks", account.live) == 1


def test_it_still_reads_while_redis_is_away(
    settings: Settings, app: Flask, account: Account, pipeline: Pipeline
) -> None:
    client = client_of(app, account.keys["live"])
    make_streak(client)
    url = post_tick(client).get_json()["status_url"]
    pipeline.drain()
    with another_app(settings, redis_url=NO_REDIS) as away:
        client = client_of(away, account.keys["live"])
        for path in (url, f"{BASE}/participants/user_42/streaks", f"{BASE}/streaks"):
            assert client.get(path).status_code == 200


def test_it_finds_out_that_redis_is_back_with_the_next_write(
    settings: Settings, app: Flask, account: Account, pipeline: Pipeline, tmp_path: Path
) -> None:
    make_streak(client_of(app, account.keys["live"]))
    link = tmp_path / "r"
    with another_app(settings, redis_url=f"unix://{link}") as away:
        client = client_of(away, account.keys["live"])
        problem(post_tick(client), 503, "unavailable")
        assert client.get(f"{BASE}/streaks").status_code == 200
        problem(post_tick(client), 503, "unavailable")
        link.symlink_to(settings.redis_url.removeprefix("unix://"))
        assert post_tick(client).status_code == 202
    pipeline.drain()


@contextmanager
def postgres_through(path: Path, settings: Settings) -> Iterator[str]:
    """The address of Postgres through a link of our own, that we may cut."""
    head, _, folder = settings.database_url.partition("host=")
    path.symlink_to(unquote(folder), target_is_directory=True)
    yield f"{head}host={quote(str(path), safe='')}"


def test_it_accepts_writes_and_refuses_reads_while_postgres_is_away(
    settings: Settings,
    app: Flask,
    account: Account,
    redis_client: redis.Redis,
    pipeline: Pipeline,
    tmp_path: Path,
) -> None:
    link = tmp_path / "p"
    make_streak(client_of(app, account.keys["live"]))
    with (
        postgres_through(link, settings) as url,
        another_app(settings, database_url=url) as away,
    ):
        client = client_of(away, account.keys["live"])
        status_url = post_tick(client).get_json()["status_url"]
        link.unlink()
        away.extensions["unbroken"].engine.dispose()
        away.extensions["unbroken"].rows.dispose()
        assert post_tick(client, headers={"Idempotency-Key": "k"}).status_code == 202
        assert post_batch(client, tick(), tick()).status_code == 202
        again = post_tick(client, headers={"Idempotency-Key": "k", "Prefer": "wait=1"})
        assert again.status_code == 202
        for response in (
            client.get(status_url),
            client.get(f"{BASE}/participants/user_42/streaks"),
            client.get(f"{BASE}/streaks"),
            client.post(f"{BASE}/streaks", json={"code": "x", "name": "X"}),
            post_tick(client_of(away, account.keys["test"])),
        ):
            problem(response, 503, "unavailable")
            assert response.headers["Retry-After"] == "1"
    assert entries(redis_client, account.live) == 4
    pipeline.drain()
    assert count(pipeline.engine, "ticks", account.live) == 4
