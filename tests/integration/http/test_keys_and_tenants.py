"""Keys, scopes, modes and tenants: who gets in, and how soon a change holds in every process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient

from api.http.key_cache import READ_SECONDS
from models import clock
from models.db import Engine
from models.identity import tenants
from settings import Settings
from tests.calls import (
    another_app,
    client_of,
    entries,
    make_key,
    make_streak,
    operator_changes,
    post_tick,
    problem,
    revoke,
)
from tests.conftest import BASE, Account
from tests.pipeline import Pipeline

STREAKS = f"{BASE}/streaks"


# -- the two headers -------------------------------------------------------------------------


def test_it_takes_the_key_from_either_header_and_from_both(app: Flask, account: Account) -> None:
    key, client = account.keys["live"], app.test_client()
    for headers in (
        {"X-API-Key": key},
        {"Authorization": f"Bearer {key}"},
        {"Authorization": f"bearer  {key} "},
        {"X-API-Key": f" {key} ", "Authorization": f"Bearer {key}"},
        {"X-API-Key": key, "Authorization": "Basic dXNlcjpwYXNz"},
    ):
        assert client.get(STREAKS, headers=headers).status_code == 200


def test_it_refuses_two_different_keys_even_when_both_are_good(
    app: Flask, account: Account
) -> None:
    headers = {
        "X-API-Key": account.keys["live"],
        "Authorization": f"Bearer {account.keys['test']}",
    }
    problem(app.test_client().get(STREAKS, headers=headers), 401, "unauthorized")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": " "},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"X-API-Key": "x" * 46},
        {"X-API-Key": "bq_live_" + "é" * 38},
        {"X-API-Key": "bq_live_" + "0" * 10_000},
        {"X-API-Key": "bq_live_xxxxx"},
    ],
)
def test_it_refuses_what_is_no_key(app: Flask, headers: dict[str, str]) -> None:
    response = app.test_client().get(STREAKS, headers=headers)
    problem(response, 401, "unauthorized")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert not any(value and value in response.text for value in headers.values() if value.strip())


def test_it_refuses_a_mistyped_key_without_a_database_read(
    settings: Settings, account: Account, redis_client: redis.Redis
) -> None:
    key = account.keys["live"]
    mistyped = [key[:-1] + "?", key[:20] + ("a" if key[20] != "a" else "b") + key[21:], key[1:]]
    mistyped += [key.replace("live", "test"), key + "0", key.swapcase()]
    with another_app(settings, database_url="postgresql://nobody@127.0.0.1:1/none") as app:
        for wrong in mistyped:
            problem(client_of(app, wrong).get(STREAKS), 401, "unauthorized")
        problem(client_of(app, key).get(STREAKS), 503, "unavailable")


def test_it_refuses_a_well_formed_key_that_nobody_has(app: Flask) -> None:
    problem(client_of(app, tenants.new_key("live")).get(STREAKS), 401, "unauthorized")


# -- scopes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["admin", "gamify:admin"])
def test_it_lets_both_admin_scopes_manage(
    app: Flask, engine: Engine, account: Account, scope: str
) -> None:
    make_streak(client_of(app, make_key(engine, account.live, [scope])))


@pytest.mark.parametrize("scopes", [[], ["read"], ["ADMIN", "admin:gamify"]])
def test_it_lets_a_participant_key_record_and_read_but_not_manage(
    app: Flask, client: FlaskClient, engine: Engine, account: Account, scopes: list[str]
) -> None:
    make_streak(client)
    mine = client_of(app, make_key(engine, account.live, scopes))
    problem(mine.post(STREAKS, json={"code": "other", "name": "Other"}), 403, "forbidden")
    problem(mine.delete(f"{STREAKS}/daily_login"), 403, "forbidden")
    assert post_tick(mine).status_code == 202
    assert mine.get(f"{BASE}/participants/user_42/streaks").status_code == 200
    assert client.get(f"{STREAKS}/daily_login").get_json()["is_active"] is True


# -- modes and tenants -----------------------------------------------------------------------


def test_it_keeps_live_and_test_and_tenants_apart_under_the_same_names(
    app: Flask,
    account: Account,
    make_account: Callable[..., Account],
    pipeline: Pipeline,
) -> None:
    other = make_account()
    keys = [account.keys["live"], account.keys["test"], other.keys["live"]]
    clients = [client_of(app, key) for key in keys]
    for nth, client in enumerate(clients):
        make_streak(client, name=f"number {nth}")
        post_tick(client, timestamp=clock.to_text(clock.now_us()))
    post_tick(clients[0], timestamp=clock.to_text(clock.now_us() - 86_400_000_000))
    pipeline.drain()
    found = [client.get(f"{BASE}/participants/user_42/streaks").get_json() for client in clients]
    assert [[(one["name"], one["current_count"]) for one in each["streaks"]] for each in found] == [
        [("number 0", 2)],
        [("number 1", 1)],
        [("number 2", 1)],
    ]


def test_it_hides_the_definitions_of_the_other_mode(
    app: Flask, client: FlaskClient, account: Account
) -> None:
    make_streak(client)
    test = client_of(app, account.keys["test"])
    assert test.get(STREAKS).get_json()["items"] == []
    problem(test.get(f"{STREAKS}/daily_login"), 404, "streak_not_found")
    problem(test.patch(f"{STREAKS}/daily_login", json={"name": "x"}), 404, "streak_not_found")
    problem(test.delete(f"{STREAKS}/daily_login"), 404, "streak_not_found")
    problem(post_tick(test), 404, "streak_not_found")


# -- changes hold at once for writes ---------------------------------------------------------


@pytest.fixture
def other_app(settings: Settings, redis_client: redis.Redis) -> Iterator[Flask]:
    """A second API process, whose caches are its own."""
    with another_app(settings) as app:
        yield app


def test_it_refuses_a_revoked_key_at_once_for_writes_in_every_process(
    app: Flask, other_app: Flask, engine: Engine, account: Account, redis_client: redis.Redis
) -> None:
    make_streak(client_of(app, account.keys["live"]))
    key = make_key(engine, account.live, ["admin"])
    clients = [client_of(one, key) for one in (app, other_app)]
    assert [post_tick(client).status_code for client in clients] == [202, 202]
    revoke(app, account.live, key)
    for client in clients:
        problem(post_tick(client), 401, "unauthorized")
        problem(client.post(STREAKS, json={"code": "x", "name": "X"}), 401, "unauthorized")
    assert entries(redis_client, account.live) == 2


def test_it_refuses_the_writes_of_a_disabled_tenant_at_once_and_takes_them_again(
    app: Flask, other_app: Flask, account: Account, pipeline: Pipeline
) -> None:
    client, elsewhere = (client_of(one, account.keys["live"]) for one in (app, other_app))
    make_streak(client)
    assert post_tick(elsewhere).status_code == 202
    with operator_changes(app, *account.sides.values()) as session:
        tenants.change(session, account.slug, is_enabled=False)
    problem(post_tick(elsewhere), 403, "forbidden")
    problem(post_tick(client_of(other_app, account.keys["test"])), 403, "forbidden")
    with operator_changes(app, *account.sides.values()) as session:
        tenants.change(session, account.slug, is_enabled=True)
    assert post_tick(elsewhere).status_code == 202
    pipeline.drain()


def test_it_holds_a_change_of_a_definition_at_once_in_every_process(
    app: Flask, other_app: Flask, account: Account, pipeline: Pipeline
) -> None:
    client, elsewhere = (client_of(one, account.keys["live"]) for one in (app, other_app))
    problem(post_tick(elsewhere), 404, "streak_not_found")
    make_streak(client)
    assert post_tick(elsewhere).status_code == 202
    client.delete(f"{STREAKS}/daily_login")
    problem(post_tick(elsewhere), 404, "streak_not_found")
    client.patch(f"{STREAKS}/daily_login", json={"is_active": True})
    assert post_tick(elsewhere).status_code == 202
    pipeline.drain()


def test_it_keeps_writing_while_a_change_is_under_way_or_was_cut_off(
    app: Flask, other_app: Flask, account: Account, pipeline: Pipeline
) -> None:
    client, elsewhere = (client_of(one, account.keys["live"]) for one in (app, other_app))
    make_streak(client)
    with operator_changes(app, account.live):
        assert [post_tick(elsewhere).status_code for _ in range(3)] == [202] * 3
    assert post_tick(elsewhere).status_code == 202
    pipeline.drain()


def test_it_refuses_a_key_from_the_instant_it_expires(
    app: Flask, client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    make_streak(client)
    mine = client_of(app, make_key(engine, account.live, lives_s=4.0))
    assert post_tick(mine).status_code == 202
    time.sleep(4.0)
    problem(post_tick(mine), 401, "unauthorized")
    problem(mine.get(f"{BASE}/participants/user_42/streaks"), 401, "unauthorized")
    pipeline.drain()


def test_it_refuses_reads_within_five_seconds(
    app: Flask, other_app: Flask, engine: Engine, make_account: Callable[..., Account]
) -> None:
    revoked_of, disabled = make_account(), make_account()
    revoked = make_key(engine, revoked_of.live, ["admin"])
    clients = [client_of(other_app, key) for key in (revoked, disabled.keys["live"])]
    assert [client.get(STREAKS).status_code for client in clients] == [200, 200]
    revoke(app, revoked_of.live, revoked)
    with operator_changes(app, *disabled.sides.values()) as session:
        tenants.change(session, disabled.slug, is_enabled=False)
    assert READ_SECONDS < 5
    time.sleep(READ_SECONDS)
    for path in (f"{BASE}/participants/x/streaks", STREAKS):
        assert [client.head(path).status_code for client in clients] == [401, 403]
        assert [client.get(path).status_code for client in clients] == [401, 403]


def test_it_does_not_keep_a_key_anywhere(
    client: FlaskClient, account: Account, redis_client: redis.Redis, pipeline: Pipeline
) -> None:
    make_streak(client)
    post_tick(client)
    pipeline.drain()
    stored: Any = redis_client.keys("*")
    assert not any(account.keys["live"].encode() in name for name in stored)
