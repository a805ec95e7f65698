"""Awarding badges: the waiting answer, batches, refusals, and what becomes of an award."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models import clock
from models.db import Engine, transaction
from models.identity.tenants import Tenant
from settings import Settings
from tests.calls import (
    another_app,
    assert_nothing_stored,
    award,
    client_of,
    count,
    draining,
    entries,
    instant,
    make_badge,
    make_streak,
    post_award,
    post_awards,
    post_json,
    post_tick,
    problem,
)
from tests.conftest import BASE, Account
from tests.pipeline import Pipeline

WAIT = {"Prefer": "wait=10"}
ANSWER = [
    "participant_id",
    "badge_code",
    "badge_name",
    "icon",
    "rarity",
    "earned_at",
    "already_earned",
    "award_id",
]


def suspend(engine: Engine, side: Tenant, participant_id: str) -> None:
    """As a database says it in which the early answer in Redis was lost."""
    with transaction(engine) as session:
        session.execute(
            sa.text(
                "INSERT INTO participants (tenant_id, external_id, status, inactive_since)"
                " VALUES (:tenant_id, :external_id, 'SUSPENDED', now())"
            ),
            {"tenant_id": side.id, "external_id": participant_id},
        )


# -- one -------------------------------------------------------------------------------------


def test_it_waits_for_the_worker_and_answers_the_documented_fields_in_order(
    settings: Settings, account: Account, pipeline: Pipeline
) -> None:
    icon = "https://cdn.example.com/badges/power.png"
    before = clock.now_us()
    with another_app(settings, wait_seconds=10.0) as app, draining(pipeline):
        client = client_of(app, account.keys["live"])
        make_badge(client, icon_url=icon, rarity="rare")
        response = post_award(client, metadata={"trigger": "10th_login"})
    assert response.status_code == 200, response.text
    answer = response.get_json()
    assert list(answer) == ANSWER
    assert before <= instant(answer["earned_at"]) <= clock.now_us()
    assert answer | {"earned_at": "", "award_id": ""} == {
        "participant_id": "user_123",
        "badge_code": "power_user",
        "badge_name": "Power User",
        "icon": icon,
        "rarity": "rare",
        "earned_at": "",
        "already_earned": False,
        "award_id": "",
    }
    assert "Preference-Applied" not in response.headers
    assert "Location" not in response.headers


def test_it_answers_the_first_award_again_whatever_the_idempotency_key(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    make_badge(client)
    keys = ["k", "k", "another", "not a key!"]
    with draining(pipeline):
        answers = [post_award(client, headers=WAIT | {"Idempotency-Key": key}) for key in keys]
    assert {(one.status_code, one.headers["Preference-Applied"]) for one in answers} == {
        (200, "wait=10")
    }
    found: list[Any] = [one.json for one in answers]
    assert [one["already_earned"] for one in found] == [False, True, True, True]
    assert len({one["earned_at"] for one in found}) == 1
    assert len({one["award_id"] for one in found}) == 4
    assert count(engine, "participant_badges", account.live) == 1


def test_it_applies_what_it_answered_202_to(client: FlaskClient, pipeline: Pipeline) -> None:
    make_badge(client)
    response = post_award(client, headers={"Prefer": "respond-async"})
    assert response.status_code == 202
    accepted = response.get_json()
    assert list(accepted) == ["award_id", "status", "status_url"]
    assert accepted["status"] == "accepted"
    assert response.headers["Location"] == accepted["status_url"]
    assert response.headers["Preference-Applied"] == "respond-async"
    url, award_id = accepted["status_url"], accepted["award_id"]
    assert url == f"{BASE}/awards/{award_id}"
    before = client.get(url).get_json()
    assert before == {"award_id": award_id, "status": "accepted", "result": None}
    pipeline.drain()
    after = client.get(url).get_json()
    assert list(after) == ["award_id", "status", "result"]
    assert after["status"] == "applied"
    assert list(after["result"]) == ANSWER
    assert after["result"]["award_id"] == award_id


# -- many ------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_lines", [False, True])
def test_it_lets_no_bad_item_of_a_batch_spoil_the_others(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline, as_lines: bool
) -> None:
    make_badge(client)
    bad = [None, {}, award(""), award(badge_code="never_made"), award(metadata=[])]
    posted = [award("first"), *bad, award("first"), award("last")]
    response = batch(client, posted, as_lines)
    assert response.status_code == 202, response.text
    document = response.get_json()
    assert list(document) == ["results", "accepted", "rejected"]
    assert (document["accepted"], document["rejected"]) == (3, 5)
    results = document["results"]
    assert [one["index"] for one in results] == list(range(8))
    assert [one["error"]["code"] if "error" in one else "ok" for one in results] == [
        "ok", *["validation_error"] * 3, "badge_not_found", "validation_error", "ok", "ok",
    ]  # fmt: skip
    pipeline.drain()
    found = [client.get(f"{BASE}/awards/{results[nth]['award_id']}").json for nth in (0, 6, 7)]
    told = [
        one and (one["result"]["participant_id"], one["result"]["already_earned"]) for one in found
    ]
    assert told == [("first", False), ("first", True), ("last", False)]
    assert count(engine, "participant_badges", account.live) == 2


def batch(client: FlaskClient, posted: list[Any], as_lines: bool) -> TestResponse:
    if not as_lines:
        return post_awards(client, *posted)
    text = "\n".join(json.dumps(one) for one in posted)
    url = f"{BASE}/badges/award/batch"
    return client.post(url, data=text, content_type="application/x-ndjson")


def test_it_takes_a_thousand_awards_and_not_one_more(
    client: FlaskClient, account: Account, redis_client: redis.Redis, pipeline: Pipeline
) -> None:
    make_badge(client)
    posted = [award(f"user_{nth}") for nth in range(1_001)]
    problem(post_awards(client, *posted), 422, "validation_error", "awards")
    url = f"{BASE}/badges/award/batch"
    problem(
        post_json(client, url, {"ticks": posted[:1]}), 422, "validation_error", "awards", "ticks"
    )
    assert entries(redis_client, account.live) == 0
    assert post_awards(client, *posted[:1_000]).get_json()["accepted"] == 1_000
    pipeline.drain()


# -- refusals --------------------------------------------------------------------------------


def test_it_refuses_an_unknown_and_an_inactive_badge_before_anything_is_queued(
    client: FlaskClient, account: Account, redis_client: redis.Redis, engine: Engine
) -> None:
    made = make_badge(client, "paused")
    client.delete(f"{BASE}/admin/badges/{made['id']}")
    for code in ("paused", "never_made"):
        document = problem(post_award(client, badge_code=code), 404, "badge_not_found")
        assert document["detail"] == f"Badge '{code}' not found"
    assert_nothing_stored(redis_client, engine, account.live)


def test_it_knows_a_badge_that_was_made_or_paused_a_moment_ago_elsewhere(
    app: Flask, client: FlaskClient, account: Account, settings: Settings, pipeline: Pipeline
) -> None:
    with another_app(settings) as other:
        elsewhere = client_of(other, account.keys["live"])
        assert post_award(elsewhere).status_code == 404
        made = make_badge(client)
        assert post_award(elsewhere).status_code == 202
        client.delete(f"{BASE}/admin/badges/{made['id']}")
        assert post_award(elsewhere).status_code == 404
    pipeline.drain()


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"participant_id": None}, "participant_id"),
        ({"participant_id": ""}, "participant_id"),
        ({"participant_id": 7}, "participant_id"),
        ({"participant_id": "x" * 256}, "participant_id"),
        ({"participant_id": "a\u0000b"}, "participant_id"),
        ({"participant_id": "half an emoji \ud83d"}, "participant_id"),
        ({"badge_code": None}, "badge_code"),
        ({"badge_code": ""}, "badge_code"),
        ({"badge_code": "x" * 51}, "badge_code"),
        ({"badge_code": "a b"}, "badge_code"),
        ({"badge_code": ["power_user"]}, "badge_code"),
        ({"metadata": "x"}, "metadata"),
        ({"metadata": [1]}, "metadata"),
        ({"metadata": {"a": "x" * 16_400}}, "metadata"),
        ({"metadata": {"a": "\udc00"}}, "metadata"),
        ({"metadata": {"a\u0000": 1}}, "metadata"),
        ({"metadata": {"a": 10**400}}, "metadata"),
    ],
)
def test_it_names_the_field_of_bad_input_and_stores_nothing(
    client: FlaskClient,
    account: Account,
    redis_client: redis.Redis,
    engine: Engine,
    values: dict[str, Any],
    field: str,
) -> None:
    make_badge(client)
    response = post_json(client, f"{BASE}/badges/award", award() | values)
    document = problem(response, 422, "validation_error", field)
    assert "half an emoji" not in json.dumps(document)
    assert_nothing_stored(redis_client, engine, account.live)


@pytest.mark.parametrize("body", ["[]", "null", "7", '"x"'])
def test_it_wants_an_object(client: FlaskClient, body: str) -> None:
    response = client.post(f"{BASE}/badges/award", data=body, content_type="application/json")
    problem(response, 422, "validation_error", "body")


# -- rejected by the worker ------------------------------------------------------------------


def test_it_tells_whoever_waits_that_the_worker_rejected_the_write(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    make_badge(client)
    make_streak(client)
    suspend(engine, account.live, "gone")
    with draining(pipeline):
        for answer in (post_award(client, "gone", WAIT), post_tick(client, "gone", WAIT)):
            document = problem(answer, 409, "participant_inactive")
            assert document["detail"].startswith("Participant 'gone' is not active: ")
        key = WAIT | {"Idempotency-Key": "same"}
        answers = [post_tick(client, "gone", key) for _ in range(2)]
    assert [one.status_code for one in answers] == [409, 409]
    assert count(engine, "awards", account.live) == count(engine, "ticks", account.live) == 0


@pytest.mark.parametrize(("noun", "post"), [("award", post_award), ("tick", post_tick)])
def test_it_tells_later_that_a_write_was_rejected(
    client: FlaskClient,
    engine: Engine,
    account: Account,
    pipeline: Pipeline,
    noun: str,
    post: Callable[..., TestResponse],
) -> None:
    make_badge(client)
    make_streak(client)
    suspend(engine, account.live, "gone")
    accepted = post(client, "gone").get_json()
    pipeline.drain()
    assert client.get(accepted["status_url"]).get_json() == {
        f"{noun}_id": accepted[f"{noun}_id"],
        "status": "rejected",
        "result": None,
        "code": "participant_inactive",
    }


# -- what became of one ----------------------------------------------------------------------


def test_it_tells_of_an_award_that_could_not_be_applied(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    make_badge(client)
    url = post_award(client).get_json()["status_url"]
    with transaction(engine) as session:
        statement = sa.text("DELETE FROM badges WHERE tenant_id = :tenant_id")
        session.execute(statement, {"tenant_id": account.live.id})
    replace(pipeline, settings=replace(pipeline.settings, entry_tries_max=1)).drain()
    found = client.get(url).get_json()
    assert (found["status"], found["result"]) == ("dead", None)
    problem(client.get(url.replace("/awards/", "/ticks/")), 404, "tick_not_found")


def test_it_keeps_awards_and_ticks_apart(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    make_badge(client)
    make_streak(client)
    suspend(engine, account.live, "gone")
    ids = [
        (post_award(client, one).get_json(), post_tick(client, one).get_json())
        for one in ("gone", "here")
    ]
    for _ in range(2):  # accepted, then applied or rejected
        for awarded, ticked in ids:
            wrong = client.get(f"{BASE}/ticks/{awarded['award_id']}")
            problem(wrong, 404, "tick_not_found")
            problem(client.get(f"{BASE}/awards/{ticked['tick_id']}"), 404, "award_not_found")
        pipeline.drain()


def test_it_shows_an_award_to_no_other_tenant_and_no_other_mode(
    app: Flask,
    client: FlaskClient,
    account: Account,
    make_account: Callable[..., Account],
    pipeline: Pipeline,
) -> None:
    make_badge(client)
    url = post_award(client).get_json()["status_url"]
    others = [client_of(app, account.keys["test"]), client_of(app, make_account().keys["live"])]
    for _ in range(2):  # accepted, then applied
        for other in others:
            problem(other.get(url), 404, "award_not_found")
        pipeline.drain()
