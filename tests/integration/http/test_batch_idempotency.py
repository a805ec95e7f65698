"""Idempotency-Key on batches: the same batch again has the first results, and no other effect."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models.db import Engine
from tests.calls import client_of, count, entries, make_badge, make_streak, noon, post_json
from tests.conftest import BASE, Account
from tests.pipeline import Pipeline
from workers.intake.client import Intake

pytestmark = pytest.mark.promise("P12")

KEY = {"Idempotency-Key": "batch-1"}
GOOD = {"participant_id": "user_42", "streak_code": "daily_login"}
BAD = {"participant_id": "user_42", "streak_code": "unknown"}


def post(client: FlaskClient, *ticks: Any, query: str = "") -> TestResponse:
    url = f"{BASE}/streaks/record/batch{query}"
    return post_json(client, url, {"ticks": list(ticks)}, KEY)


def test_the_same_batch_again_has_the_same_results_and_no_other_effect(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    make_streak(client)
    batch = [BAD, *({**GOOD, "timestamp": noon(day)} for day in range(5)), BAD, GOOD]
    first = post(client, *batch)
    pipeline.drain()
    again = post(client, *batch)
    assert first.status_code == again.status_code == 202
    assert again.get_json() == first.get_json()
    assert first.get_json()["accepted"] == 6
    pipeline.drain()
    assert count(engine, "ticks", account.live) == 6
    for one in again.get_json()["results"]:
        if "tick_id" in one:
            told = client.get(f"{BASE}/ticks/{one['tick_id']}").get_json()
            assert told["status"] == "applied"


@pytest.mark.parametrize("other", [("ticks", [GOOD, GOOD], ""), ("ticks", [GOOD], "?facts=false")])
def test_another_batch_under_the_same_key_is_a_conflict(
    client: FlaskClient, account: Account, redis_client: redis.Redis, other: Any
) -> None:
    make_streak(client)
    assert post(client, GOOD).status_code == 202
    answer = post(client, *other[1], query=other[2])
    assert (answer.status_code, answer.get_json()["code"]) == (409, "idempotency_conflict")
    assert entries(redis_client, account.live) == 1


def test_a_definition_changed_in_between_is_a_conflict_rather_than_a_lost_tick(
    client: FlaskClient,
) -> None:
    make_streak(client)
    assert post(client, GOOD, BAD).get_json()["accepted"] == 1
    make_streak(client, "unknown")
    assert post(client, GOOD, BAD).status_code == 409


def test_what_was_over_a_cap_is_over_it_again_and_may_come_under_another_key(
    app: Any, make_account: Any, redis_client: redis.Redis
) -> None:
    account = make_account(2)
    client = client_of(app, account.keys["live"])
    make_streak(client)
    ticks = [{**GOOD, "timestamp": noon(day)} for day in range(4)]
    first, again = post(client, *ticks).get_json(), post(client, *ticks).get_json()
    assert first == again
    assert (first["accepted"], first["rejected"]) == (2, 2)
    assert entries(redis_client, account.live) == 2


def test_somebody_suspended_by_mistake_of_redis_is_asked_to_come_again(
    client: FlaskClient, account: Account, redis_client: redis.Redis, app: Any
) -> None:
    make_streak(client)
    post(client, {**GOOD, "participant_id": "first"})
    intake: Intake = app.extensions["unbroken"].intake
    redis_client.delete(*redis_client.keys("*batch-1*"))
    intake.mark(account.live.id, "user_42", is_active=False)
    batch = [{**GOOD, "participant_id": "other"}, GOOD]
    first, again = post(client, *batch).get_json(), post(client, *batch).get_json()
    assert first["results"][1]["error"]["code"] == "unavailable"
    assert again == first
    assert (
        post_json(client, f"{BASE}/streaks/record/batch", {"ticks": [GOOD]}).get_json()["accepted"]
        == 1
    )


def test_awards_and_points_take_a_key_too(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    make_badge(client)
    for path, item in (
        ("badges/award/batch", {"participant_id": "a", "badge_code": "power_user"}),
        ("points/award-batch", {"participant_id": "a", "amount": 7}),
    ):
        headers = {"Idempotency-Key": path.replace("/", ".")}
        answers = [
            post_json(client, f"{BASE}/{path}", {"awards": [item]}, headers).get_json()
            for _ in range(2)
        ]
        assert answers[0] == answers[1]
    pipeline.drain()
    assert count(engine, "awards", account.live) == 1
    assert client.get(f"{BASE}/participants/a/points").get_json()["balance"] == 7
