"""Idempotency-Key on record: the same request again has the first result, and no other effect."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient

from models import tenants
from models.db import Engine
from settings import Settings
from tests.calls import (
    another_app,
    assert_nothing_stored,
    client_of,
    count,
    draining,
    entries,
    make_streak,
    noon,
    post_tick,
    problem,
)
from tests.conftest import Account
from tests.pipeline import Pipeline

KEY = {"Idempotency-Key": "order-1"}


def test_it_answers_the_first_result_to_the_same_request_again(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    make_streak(client)
    headers = KEY | {"Prefer": "wait=10"}
    with draining(pipeline):
        first = post_tick(client, headers=headers, timestamp=noon(1))
        post_tick(client, headers={"Prefer": "wait=10"}, timestamp=noon(0))
        again = post_tick(client, headers=headers, timestamp=noon(1))
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.get_json() == first.get_json()
    assert count(engine, "ticks", account.live) == 2


def test_it_answers_the_first_id_while_the_tick_is_on_its_way(
    client: FlaskClient, account: Account, redis_client: redis.Redis, pipeline: Pipeline
) -> None:
    make_streak(client)
    answers = [post_tick(client, headers=KEY).get_json() for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert entries(redis_client, account.live) == 1
    pipeline.drain()
    response = post_tick(client, headers=KEY | {"Prefer": "respond-async"})
    assert (response.status_code, response.get_json()) == (202, answers[0])
    assert response.headers["Preference-Applied"] == "respond-async"


def test_it_waits_for_the_tick_of_the_first_request(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    tick_id = post_tick(client, headers=KEY).get_json()["tick_id"]
    with draining(pipeline):
        again = post_tick(client, headers=KEY | {"Prefer": "wait=10"})
    assert (again.status_code, again.get_json()["tick_id"]) == (200, tick_id)


@pytest.mark.parametrize(
    "other",
    [
        {"participant_id": "user_43"},
        {"streak_code": "other"},
        {"timestamp": noon(1)},
        {"timezone": "UTC"},
        {"metadata": {}},
    ],
)
def test_it_refuses_the_key_with_another_body(
    client: FlaskClient,
    account: Account,
    redis_client: redis.Redis,
    pipeline: Pipeline,
    other: dict[str, Any],
) -> None:
    make_streak(client)
    make_streak(client, "other")
    post_tick(client, headers=KEY)
    problem(post_tick(client, headers=KEY, **other), 409, "idempotency_conflict")
    assert entries(redis_client, account.live) == 1
    pipeline.drain()


def test_it_compares_what_a_body_says_and_not_how_it_is_written(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    day = noon(1)[:10]
    first = post_tick(client, headers=KEY, timestamp=f"{day}T12:00:00Z").get_json()
    again = post_tick(client, headers=KEY, timestamp=f"{day}T14:00:00.000+02:00", x=1).get_json()
    assert again == first
    pipeline.drain()


def test_it_makes_one_tick_of_requests_at_the_same_moment(
    settings: Settings,
    app: Flask,
    account: Account,
    engine: Engine,
    redis_client: redis.Redis,
    pipeline: Pipeline,
) -> None:
    make_streak(client_of(app, account.keys["live"]))
    headers = KEY | {"Prefer": "wait=10"}
    with (
        another_app(settings) as other,
        draining(pipeline),
        ThreadPoolExecutor(8) as pool,
    ):
        clients = [client_of(one, account.keys["live"]) for one in (app, other) * 8]
        answers = list(pool.map(lambda one: post_tick(one, headers=headers), clients))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert count(engine, "ticks", account.live) == 1


def test_it_keeps_the_keys_of_tenants_and_modes_apart(
    app: Flask, account: Account, redis_client: redis.Redis, pipeline: Pipeline
) -> None:
    for mode in tenants.MODES:
        client = client_of(app, account.keys[mode])
        make_streak(client)
        assert post_tick(client, headers=KEY, metadata={"mode": mode}).status_code == 202
    pipeline.drain()


@pytest.mark.parametrize("key", ["", " ", "a b", "a/b", "é", "a,b", "x" * 256, "１"])
def test_it_refuses_a_key_of_other_characters(
    client: FlaskClient,
    account: Account,
    engine: Engine,
    redis_client: redis.Redis,
    key: str,
) -> None:
    make_streak(client)
    headers = {"Idempotency-Key": key.encode().decode("latin-1")}
    response = post_tick(client, headers=headers)
    problem(response, 422, "validation_error", "Idempotency-Key")
    assert_nothing_stored(redis_client, engine, account.live)


def test_it_takes_every_character_that_is_allowed(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    for key in ("a", "A-Z_0:9.", "x" * 255):
        assert post_tick(client, headers={"Idempotency-Key": key}).status_code == 202
    pipeline.drain()


def test_it_forgets_a_key_whose_request_was_refused(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    assert post_tick(client, "", headers=KEY).status_code == 422
    assert post_tick(client, streak_code="never_made", headers=KEY).status_code == 404
    assert post_tick(client, headers=KEY).status_code == 202
    pipeline.drain()
