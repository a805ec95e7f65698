"""Idempotency-Key on record: the same request again has the first result, and no other effect."""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient
from pydantic import create_model

from api.resources.activity import ticks
from models.db import Engine
from models.identity import tenants
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
from tests.conftest import BASE, Account
from tests.pipeline import Pipeline
from workers.intake import redis_keys

KEY = {"Idempotency-Key": "order-1"}
RECORD = f"{BASE}/streaks/record"


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
    first = client.post(
        RECORD,
        data='{"participant_id":"ann","streak_code":"daily_login","metadata":{"a":1,"b":2.5}}',
        content_type="application/json",
        headers=KEY,
    )
    again = client.post(
        RECORD,
        data=' {"metadata": {"b": 25e-1, "a": 1.0},\n "streak_code": "daily_\\u006cogin",'
        ' "participant_id": "ann"}',
        content_type="application/json",
        headers=KEY,
    )
    assert first.status_code == 202
    assert again.get_json() == first.get_json()
    pipeline.drain()


def test_a_body_that_is_nested_too_deeply_to_be_compared_is_refused(client: FlaskClient) -> None:
    make_streak(client)
    deep = "[" * 900 + "]" * 900
    body = f'{{"participant_id":"ann","streak_code":"daily_login","x":{deep}}}'
    headers = KEY | {"Content-Type": "application/json"}
    assert client.post(RECORD, data=body, headers=headers).status_code in (202, 400, 422)


# -- across an upgrade -----------------------------------------------------------------------


def test_a_release_with_one_more_optional_field_knows_an_honest_retry(
    client: FlaskClient, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_streak(client)
    first = post_tick(client, headers=KEY, metadata={"order": 7}).get_json()
    newer = create_model("TickBody", __base__=ticks.TickBody, added=(int | None, None))
    monkeypatch.setattr(ticks, "TickBody", newer)
    again = post_tick(client, headers=KEY, metadata={"order": 7})
    assert (again.status_code, again.get_json()) == (202, first)
    problem(post_tick(client, headers=KEY, metadata={"order": 8}), 409, "idempotency_conflict")
    pipeline.drain()


BEFORE = {
    "/streaks/record": (
        {"participant_id": "ann", "streak_code": "daily_login"},
        "TickBody(participant_id='ann', streak_code='daily_login', timestamp=None, timezone=None,"
        " metadata=None)",
    ),
    "/points/award": (
        {"participant_id": "ann", "amount": 5, "metadata": {"a": 1}},
        "points/awardPointsBody(participant_id='ann', amount=5, reason=None,"
        """ metadata='{"a":1}')""",
    ),
    "/streaks/record/batch": (
        {"ticks": [{"participant_id": "ann", "streak_code": "daily_login"}]},
        "ticks of tick, silent False"
        "([0], [{'participant_id': 'ann', 'streak_code': 'daily_login'}])",
    ),
}


@pytest.mark.parametrize("path", BEFORE)
def test_a_key_that_the_release_before_has_stored_is_known(
    path: str,
    client: FlaskClient,
    account: Account,
    redis_client: redis.Redis,
    pipeline: Pipeline,
) -> None:
    make_streak(client)
    body, text = BEFORE[path]
    headers = {"Prefer": "respond-async"}
    first = client.post(BASE + path, json=body, headers=headers).get_json()
    (write_id,) = re.findall(r"[0-9a-f-]{36}", str(first))[:1]
    number = redis_keys.stream_of(account.live.id)
    stored = f"{write_id} {hashlib.sha256(text.encode()).hexdigest()}"
    redis_client.set(redis_keys.idempotency(number, account.live.id, "order-1"), stored)
    again = client.post(BASE + path, json=body, headers=headers | KEY)
    assert (again.status_code, again.get_json()) == (202, first)
    assert entries(redis_client, account.live) == 1
    pipeline.drain()


# -- after an erasure ------------------------------------------------------------------------


@pytest.mark.parametrize("is_applied", [True, False])
def test_the_same_key_after_an_erasure_says_that_its_write_went_with_the_participant(
    is_applied: bool, client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    first = post_tick(client, "ann", KEY).get_json()
    if is_applied:
        pipeline.drain()
    client.delete(f"{BASE}/participants/ann")
    post_tick(client, "ann")  # a new one, of the same name
    refused = problem(post_tick(client, "ann", KEY), 409, "participant_erased")
    assert "'ann' was erased after this write was accepted" in refused["detail"]
    pipeline.drain()
    problem(post_tick(client, "ann", KEY), 409, "participant_erased")
    status = client.get(first["status_url"])
    if is_applied:
        problem(status, 404, "tick_not_found")
    else:
        assert status.get_json()["code"] == "participant_erased"
    assert post_tick(client, "ann", {"Idempotency-Key": "fresh"}).status_code == 202
    pipeline.drain()


def test_a_batch_under_the_same_key_after_an_erasure_refuses_the_items_that_are_gone(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    body = {"ticks": [{"participant_id": one, "streak_code": "daily_login"} for one in "ab"]}
    first = client.post(f"{RECORD}/batch", json=body, headers=KEY).get_json()
    pipeline.drain()
    assert client.delete(f"{BASE}/participants/a").status_code < 300
    again = client.post(f"{RECORD}/batch", json=body, headers=KEY).get_json()
    assert (again["accepted"], again["rejected"]) == (1, 1)
    assert again["results"][0]["error"]["code"] == "participant_erased"
    assert again["results"][1] == first["results"][1]


# -- side by side ----------------------------------------------------------------------------


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
