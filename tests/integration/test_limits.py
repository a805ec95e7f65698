"""The cap on a participant's writes, exact however they come, and the bound of the intake."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import redis
from flask import Flask
from flask.testing import FlaskClient

from models import tenants
from settings import Settings
from tests.calls import (
    another_app,
    client_of,
    count,
    entries,
    make_streak,
    operator_changes,
    post_batch,
    post_tick,
    problem,
    tick,
)
from tests.conftest import Account
from tests.pipeline import Pipeline

CODE = "RATE_LIMIT_PARTICIPANT_EXCEEDED"


def capped(app: Flask, make_account: Callable[..., Account], cap: int) -> FlaskClient:
    client = client_of(app, make_account(cap).keys["live"])
    make_streak(client)
    return client


def test_it_counts_down_and_then_refuses_until_the_minute_is_over(
    app: Flask, make_account: Callable[..., Account], pipeline: Pipeline
) -> None:
    client = capped(app, make_account, 3)
    for left in ("2", "1", "0"):
        response = post_tick(client)
        assert response.status_code == 202
        assert response.headers["X-RateLimit-Limit"] == "3"
        assert response.headers["X-RateLimit-Remaining"] == left
        assert 1 <= int(response.headers["X-RateLimit-Reset"]) <= 60
    refused = post_tick(client)
    problem(refused, 429, CODE)
    assert refused.headers["X-RateLimit-Limit"] == "3"
    assert refused.headers["X-RateLimit-Remaining"] == "0"
    assert refused.headers["Retry-After"] == refused.headers["X-RateLimit-Reset"]
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    pipeline.drain()


def test_it_counts_each_participant_alone(
    app: Flask, make_account: Callable[..., Account], pipeline: Pipeline
) -> None:
    client = capped(app, make_account, 1)
    assert [post_tick(client, one).status_code for one in ("a", "b", "a", "A")] == [
        202, 202, 429, 202,
    ]  # fmt: skip
    pipeline.drain()


def test_it_counts_each_mode_alone(
    app: Flask, make_account: Callable[..., Account], pipeline: Pipeline
) -> None:
    account = make_account(1)
    for mode in tenants.MODES:
        client = client_of(app, account.keys[mode])
        make_streak(client)
        assert [post_tick(client).status_code for _ in range(2)] == [202, 429]
    pipeline.drain()


def test_it_is_exact_across_processes(
    app: Flask,
    settings: Settings,
    make_account: Callable[..., Account],
    redis_client: redis.Redis,
    pipeline: Pipeline,
) -> None:
    account = make_account(25)
    make_streak(client_of(app, account.keys["live"]))
    with another_app(settings) as other, ThreadPoolExecutor(8) as pool:
        clients = [client_of(one, account.keys["live"]) for one in (app, other) * 20]
        answers = list(pool.map(lambda one: post_tick(one).status_code, clients))
    assert (answers.count(202), answers.count(429)) == (25, 15)
    assert entries(redis_client, account.live) == 25
    pipeline.drain()


def test_it_is_exact_inside_a_batch_and_an_items_own_error(
    app: Flask,
    make_account: Callable[..., Account],
    redis_client: redis.Redis,
    pipeline: Pipeline,
) -> None:
    account = make_account(3)
    client = client_of(app, account.keys["live"])
    make_streak(client)
    post_tick(client, "a")
    ids: list[Any] = ["a", "b", "a", {}, "a", "b", "a"]
    response = post_batch(client, *(tick(one) for one in ids))
    assert response.status_code == 202
    results = response.get_json()["results"]
    codes = [one["error"]["code"] if "error" in one else "ok" for one in results]
    assert codes == ["ok", "ok", "ok", "validation_error", CODE, "ok", CODE]
    assert response.get_json()["rejected"] == 3
    assert entries(redis_client, account.live) == 5
    pipeline.drain()


def test_it_sends_no_such_headers_where_no_cap_applies(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    for response in (post_tick(client), post_batch(client, tick())):
        assert not [name for name, _ in response.headers if name.startswith("X-RateLimit")]
    pipeline.drain()


def test_it_holds_a_changed_cap_at_once_in_every_process(
    app: Flask,
    settings: Settings,
    make_account: Callable[..., Account],
    pipeline: Pipeline,
) -> None:
    account = make_account(2)
    make_streak(client_of(app, account.keys["live"]))
    with another_app(settings) as other:
        client = client_of(other, account.keys["live"])
        assert [post_tick(client).status_code for _ in range(3)] == [202, 202, 429]
        with operator_changes(app, *account.sides.values()) as session:
            tenants.change(session, account.slug, participant_writes_per_minute=5)
        response = post_tick(client)
        assert (response.status_code, response.headers["X-RateLimit-Limit"]) == (202, "5")
        with operator_changes(app, *account.sides.values()) as session:
            tenants.change(session, account.slug, participant_writes_per_minute=1)
        assert post_tick(client).status_code == 429
    pipeline.drain()


def test_it_does_not_charge_what_it_refuses(
    app: Flask, make_account: Callable[..., Account], pipeline: Pipeline
) -> None:
    client = capped(app, make_account, 1)
    assert post_tick(client, streak_code="never_made").status_code == 404
    assert post_tick(client, timestamp="yesterday").status_code == 422
    assert post_tick(client).status_code == 202
    pipeline.drain()


def test_it_charges_a_repeated_request_once(
    app: Flask, make_account: Callable[..., Account], pipeline: Pipeline
) -> None:
    client = capped(app, make_account, 1)
    headers = {"Idempotency-Key": "once"}
    assert [post_tick(client, headers=headers).status_code for _ in range(3)] == [202] * 3
    pipeline.drain()


# -- the bound of the intake -----------------------------------------------------------------


def test_it_says_overloaded_when_the_intake_is_full_and_accepts_nothing(
    settings: Settings, account: Account, redis_client: redis.Redis, pipeline: Pipeline
) -> None:
    with another_app(settings, intake_entries_max=3) as app:
        client = client_of(app, account.keys["live"])
        make_streak(client)
        assert post_batch(client, tick(), tick()).status_code == 202
        too_many = post_batch(client, tick(), tick())
        problem(too_many, 503, "overloaded")
        assert entries(redis_client, account.live) == 2
        assert post_tick(client).status_code == 202
        full = post_tick(client, headers={"Prefer": "wait=10", "Idempotency-Key": "k"})
        problem(full, 503, "overloaded")
        assert {full.headers["Retry-After"], too_many.headers["Retry-After"]} == {"1"}
        assert entries(redis_client, account.live) == 3
        pipeline.drain()
        assert post_tick(client, headers={"Idempotency-Key": "k"}).status_code == 202
    pipeline.drain()


def test_it_applies_exactly_what_it_accepted(
    app: Flask, make_account: Callable[..., Account], pipeline: Pipeline
) -> None:
    account = make_account(2)
    client = client_of(app, account.keys["live"])
    make_streak(client)
    post_batch(client, *(tick() for _ in range(5)))
    pipeline.drain()
    assert count(pipeline.engine, "ticks", account.live) == 2
