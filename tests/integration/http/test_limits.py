"""Caps on the writes of a participant, a key, a tenant: exact however they come; the bound of the
intake."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.cli.local.proc import wait_until
from models.db import Engine
from models.identity import tenants
from settings import Settings
from tests.calls import (
    another_app,
    cap_key,
    cap_tenant,
    client_of,
    count,
    entries,
    make_badge,
    make_key,
    make_streak,
    post_award,
    post_batch,
    post_tick,
    problem,
    tick,
)
from tests.conftest import Account
from tests.pipeline import Pipeline
from workers.intake.client import Intake

pytestmark = pytest.mark.promise("P6", "P20")

CODE = "RATE_LIMIT_PARTICIPANT_EXCEEDED"


def rate(response: TestResponse) -> tuple[int, int] | None:
    """Limit and remaining as the headers tell them; None when they do not."""
    found = response.headers
    if "X-RateLimit-Limit" not in found:
        return None
    assert all(len(found.getlist(f"X-RateLimit-{one}")) == 1 for one in ("Limit", "Reset"))
    assert 1 <= int(found["X-RateLimit-Reset"]) <= 60
    return int(found["X-RateLimit-Limit"]), int(found["X-RateLimit-Remaining"])


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
    make_badge(client_of(app, account.keys["live"]))
    with another_app(settings) as other, ThreadPoolExecutor(8) as pool:
        clients = [client_of(one, account.keys["live"]) for one in (app, other) * 10]
        calls = [(post, one) for one in clients for post in (post_tick, post_award)]
        answers = list(pool.map(lambda call: call[0](call[1], "user_42").status_code, calls))
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
        cap_tenant(app, account, participant_writes_per_minute=5)
        response = post_tick(client)
        assert (response.status_code, rate(response)) == (202, (5, 2))
        cap_tenant(app, account, participant_writes_per_minute=1)
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


def test_it_tells_how_the_caps_stand_also_when_it_refuses_before_it_counts(
    app: Flask, make_account: Callable[..., Account]
) -> None:
    account = make_account(writes_per_minute=5)
    client = client_of(app, account.keys["live"])
    make_streak(client)
    post_tick(client)
    unknown = post_tick(client, streak_code="nobody_made_this")
    problem(unknown, 404, "streak_not_found")
    assert rate(unknown) == (5, 4)
    too_old = post_tick(client, timestamp="2001-01-01T00:00:00Z")
    problem(too_old, 422, "timestamp_out_of_range", "timestamp")
    assert rate(too_old) == (5, 4)
    cap_tenant(app, account, writes_per_minute=9)
    assert rate(post_tick(client)) == (5, 3)
    nameless = post_tick(client, "")
    problem(nameless, 422, "validation_error", "participant_id")
    assert rate(nameless) == (9, 8)  # the participant's own cap needs a participant


def test_it_charges_a_repeated_request_once_and_tells_what_is_left(
    app: Flask, make_account: Callable[..., Account], pipeline: Pipeline
) -> None:
    client = capped(app, make_account, 2)
    headers = {"Idempotency-Key": "once"}
    answers = [post_tick(client, headers=headers) for _ in range(3)]
    assert [(one.status_code, rate(one)) for one in answers] == [(202, (2, 1))] * 3
    conflict = post_tick(client, headers=headers, timezone="UTC")
    problem(conflict, 409, "idempotency_conflict")
    assert rate(conflict) == (2, 1)
    assert rate(post_tick(client)) == (2, 0)
    assert (post_tick(client, headers=headers).status_code, post_tick(client).status_code) == (
        202, 429,
    )  # fmt: skip
    pipeline.drain()


# -- caps on keys and tenants ----------------------------------------------------------------


def test_it_caps_a_key_in_every_process_and_no_other_key(
    app: Flask,
    settings: Settings,
    account: Account,
    engine: Engine,
    redis_client: redis.Redis,
    pipeline: Pipeline,
) -> None:
    make_streak(client_of(app, account.keys["live"]))
    key = make_key(engine, account.live)
    cap_key(app, account.live, key, 25)
    with another_app(settings) as other, ThreadPoolExecutor(8) as pool:
        clients = [client_of(one, key) for one in (app, other) * 20]
        people = [f"user_{number}" for number in range(40)]
        answers = list(pool.map(post_tick, clients, people))
        statuses = [one.status_code for one in answers]
        assert (statuses.count(202), statuses.count(429)) == (25, 15)
        assert entries(redis_client, account.live) == 25
        assert sorted(left for one in answers if (left := rate(one)))[15:] == [
            (25, left) for left in range(25)
        ]
        refused = post_tick(client_of(other, key), "somebody")
        document = problem(refused, 429, "RATE_LIMIT_KEY_EXCEEDED")
        assert document["detail"].startswith("At most 25 writes a minute with this key.")
        assert refused.headers["Retry-After"] == refused.headers["X-RateLimit-Reset"]
        assert post_tick(client_of(other, account.keys["live"])).status_code == 202
        cap_key(app, account.live, key, 26)
        assert rate(post_tick(client_of(other, key))) == (26, 0)
        cap_key(app, account.live, key, 0)
        assert rate(post_tick(client_of(other, key))) is None
    pipeline.drain()


def test_it_caps_a_tenant_over_all_its_keys_and_each_mode_alone(
    app: Flask, account: Account, engine: Engine, pipeline: Pipeline
) -> None:
    cap_tenant(app, account, writes_per_minute=3)
    for mode in tenants.MODES:
        make_streak(client_of(app, account.keys[mode]))
    live = [client_of(app, account.keys["live"]), client_of(app, make_key(engine, account.live))]
    answers = [post_tick(live[number % 2], f"user_{number}") for number in range(4)]
    assert [rate(one) for one in answers] == [(3, 2), (3, 1), (3, 0), (3, 0)]
    problem(answers[3], 429, "RATE_LIMIT_TENANT_EXCEEDED")
    assert rate(post_tick(client_of(app, account.keys["test"]))) == (3, 2)
    pipeline.drain()


def test_it_names_the_first_cap_that_refuses_and_charges_no_other(
    app: Flask, make_account: Callable[..., Account], pipeline: Pipeline
) -> None:
    account = make_account(2)
    client = client_of(app, account.keys["live"])
    make_streak(client)
    cap_tenant(app, account, writes_per_minute=5)
    cap_key(app, account.live, account.keys["live"], 4)
    people = ["a", "a", "a", {}, "b", "b", "b", "c"]
    results = post_batch(client, *(tick(one) for one in people)).get_json()["results"]
    key_code, tenant_code = "RATE_LIMIT_KEY_EXCEEDED", "RATE_LIMIT_TENANT_EXCEEDED"
    codes = [one["error"]["code"] if "error" in one else "ok" for one in results]
    assert codes == ["ok", "ok", CODE, "validation_error", "ok", "ok", key_code, key_code]
    cap_key(app, account.live, account.keys["live"], 6)
    assert rate(post_tick(client, "c")) == (5, 0)
    problem(post_tick(client, "c"), 429, tenant_code)
    cap_tenant(app, account, writes_per_minute=6)
    assert rate(post_tick(client, "c")) == (6, 0)
    pipeline.drain()


def test_it_tells_after_a_batch_how_the_tightest_cap_stands(
    app: Flask, make_account: Callable[..., Account], pipeline: Pipeline
) -> None:
    account = make_account(9)
    client = client_of(app, account.keys["live"])
    make_streak(client)
    assert rate(post_batch(client, tick("a"), tick("a"), tick("b"))) == (9, 7)
    cap_tenant(app, account, writes_per_minute=4)
    assert rate(post_batch(client, tick("c"), tick("d"))) == (4, 2)
    assert rate(post_batch(client, {})) == (4, 2)
    pipeline.drain()


# -- participants who are not active ---------------------------------------------------------


def test_it_refuses_the_writes_of_an_inactive_participant_and_charges_nothing(
    app: Flask, make_account: Callable[..., Account], redis_client: redis.Redis, pipeline: Pipeline
) -> None:
    account = make_account(5)
    client = client_of(app, account.keys["live"])
    make_streak(client)
    make_badge(client)
    post_tick(client, "user_42", headers={"Idempotency-Key": "before"})
    status(client, "user_42", "SUSPENDED")
    for post in (post_tick, post_award):
        refused = post(client, "user_42")
        document = problem(refused, 409, "participant_inactive")
        assert document["detail"].startswith("Participant 'user_42' is not active: ")
        assert rate(refused) == (5, 4)
    results = post_batch(client, tick("user_42"), tick("b")).get_json()["results"]
    assert results[0]["error"]["code"] == "participant_inactive"
    assert "tick_id" in results[1]
    assert post_tick(client, headers={"Idempotency-Key": "before"}).status_code == 202
    assert entries(redis_client, account.live) == 2
    status(client, "user_42", "ACTIVE")
    assert rate(post_tick(client, "user_42")) == (5, 3)
    pipeline.drain()


def status(client: FlaskClient, participant_id: str, wanted: str) -> None:
    body = {"external_id": participant_id, "status": wanted}
    assert client.post("/v1/participants", json=body).status_code in (200, 201)


def test_it_lets_in_who_is_active_after_all(
    app: Flask, make_account: Callable[..., Account], redis_client: redis.Redis, pipeline: Pipeline
) -> None:
    account = make_account(9)
    client = client_of(app, account.keys["live"])
    make_streak(client)
    status(client, "gone", "CLOSED")
    intake: Intake = app.extensions["unbroken"].intake
    for one in ("a", "b"):  # told to Redis by a process that died before it took it back
        intake.mark(account.live.id, one, is_active=False)
    assert rate(post_tick(client, "a")) == (9, 8)
    intake.mark(account.live.id, "a", is_active=False)
    people = ["gone", "a", "b", "c", "a", "gone"]
    results = post_batch(client, *(tick(one) for one in people)).get_json()["results"]
    codes = [one["error"]["code"] if "error" in one else "ok" for one in results]
    refused = "participant_inactive"
    assert codes == [refused, "ok", "ok", "ok", "ok", refused]
    assert entries(redis_client, account.live) == 5
    assert rate(post_tick(client, "a")) == (9, 5)
    pipeline.drain()
    assert count(pipeline.engine, "ticks", account.live) == 6


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
        assert {full.headers["Retry-After"], too_many.headers["Retry-After"]} <= {"1", "2", "3"}
        assert entries(redis_client, account.live) == 3
        pipeline.drain()
        assert wait_until(
            lambda: post_tick(client, headers={"Idempotency-Key": "k"}).status_code == 202, 10
        )
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
