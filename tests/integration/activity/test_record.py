"""Recording one tick: the waiting answer, what may be preferred, what becomes of a tick."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from models import clock, ids
from models.db import Engine, reading, transaction
from settings import Settings
from tests.calls import (
    another_app,
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

ANSWER = [
    "streak_code",
    "new_count",
    "longest_count",
    "is_new_record",
    "already_recorded",
    "participant_id",
    "tick_id",
    "outcome",
    "previous_count",
    "grace_remaining",
    "period_key",
]
DAY_US = 86_400_000_000


# -- waiting ---------------------------------------------------------------------------------


def test_it_waits_for_the_worker_and_answers_the_documented_fields_in_order(
    settings: Settings, account: Account, pipeline: Pipeline
) -> None:
    with another_app(settings, wait_seconds=10.0) as app, draining(pipeline):
        client = client_of(app, account.keys["live"])
        make_streak(client, grace_periods=1)
        response = post_tick(client, timestamp=noon(0))
    assert response.status_code == 200
    answer = response.get_json()
    assert list(answer) == ANSWER
    assert answer | {"tick_id": ""} == {
        "streak_code": "daily_login",
        "new_count": 1,
        "longest_count": 1,
        "is_new_record": True,
        "already_recorded": False,
        "participant_id": "user_42",
        "tick_id": "",
        "outcome": "started",
        "previous_count": 0,
        "grace_remaining": 1,
        "period_key": noon(0)[:10],
    }
    assert "Preference-Applied" not in response.headers
    assert "Location" not in response.headers


def test_it_tells_every_outcome(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    posted = [20, 19, 19, 10, 18, 9]
    wait = {"Prefer": "wait=10"}
    with draining(pipeline):
        answers = [post_tick(client, headers=wait, timestamp=noon(day)).json for day in posted]
    told = [
        (one["outcome"], one["previous_count"], one["new_count"], one["already_recorded"])
        for one in answers
        if one
    ]
    assert told == [
        ("started", 0, 1, False),
        ("extended", 1, 2, False),
        ("repeated", 2, 2, True),
        ("reset", 2, 1, False),
        ("backfilled", 1, 1, False),
        ("extended", 1, 2, False),
    ]


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        ("wait=10", "wait=10"),
        ('wait="10"', "wait=10"),
        ("WAIT = 9 ; strict", "wait=9"),
        ("wait=86400", "wait=10"),  # N ≤ 10
        ("wait=9, wait=0", "wait=9"),
        ("respond-async, wait=10", "wait=10"),  # answered in time, so not asynchronously
    ],
)
def test_it_waits_as_long_as_is_preferred(
    client: FlaskClient, pipeline: Pipeline, prefer: str, applied: str
) -> None:
    make_streak(client)
    with draining(pipeline):
        response = post_tick(client, headers={"Prefer": prefer})
    assert (response.status_code, response.headers["Preference-Applied"]) == (200, applied)


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        ("respond-async", "respond-async"),
        ("Respond-Async", "respond-async"),
        ("handling=lenient, respond-async; x=1", "respond-async"),
        ("respond-async, wait=0", "respond-async"),
        ("respond-async, wait=1", "respond-async"),  # the wait ran out
        ("wait=0", "wait=0"),
        ("wait=1", "wait=1"),
        ("return=minimal", None),
        ("wait=-1", None),
        ("wait=soon", None),
        ("wait=0.5", None),
        ("wait=", None),
        ("wait=１", None),
        (",;=,", None),
        ("x" * 5_000, None),
    ],
)
def test_it_accepts_without_an_answer(
    client: FlaskClient, prefer: str, applied: str | None
) -> None:
    make_streak(client)
    response = post_tick(client, headers={"Prefer": prefer.encode().decode("latin-1")})
    assert response.status_code == 202
    assert response.headers.get("Preference-Applied") == applied


def test_it_says_202_when_no_place_to_wait_in_is_free(
    settings: Settings, account: Account, redis_client: redis.Redis
) -> None:
    with another_app(settings, api_waiters_max=0) as app:
        client = client_of(app, account.keys["live"])
        make_streak(client)
        response = post_tick(client, headers={"Prefer": "wait=10"})
    assert response.status_code == 202
    assert "Preference-Applied" not in response.headers
    assert entries(redis_client, account.live) == 1


def test_it_says_202_at_once_when_the_backlog_outlasts_the_wait(
    settings: Settings, account: Account, redis_client: redis.Redis
) -> None:
    with another_app(settings, wait_backlog_max=0) as app:
        client = client_of(app, account.keys["live"])
        make_streak(client)
        post_tick(client)
        response = post_tick(client, headers={"Prefer": "wait=10"})
    assert response.status_code == 202
    assert entries(redis_client, account.live) == 2


def test_it_applies_what_it_answered_202_to(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    response = post_tick(client, headers={"Prefer": "respond-async"})
    accepted = response.get_json()
    assert list(accepted) == ["tick_id", "status", "status_url"]
    assert accepted["status"] == "accepted"
    assert response.headers["Location"] == accepted["status_url"]
    before = client.get(accepted["status_url"])
    assert before.get_json() == {
        "tick_id": accepted["tick_id"],
        "status": "accepted",
        "result": None,
    }
    pipeline.drain()
    after = client.get(accepted["status_url"]).get_json()
    assert list(after) == ["tick_id", "status", "result"]
    assert after["status"] == "applied"
    assert list(after["result"]) == ANSWER
    assert after["result"]["tick_id"] == accepted["tick_id"]


# -- what is recorded ------------------------------------------------------------------------


def test_it_stamps_a_tick_without_a_timestamp_once_at_the_api(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    make_streak(client)
    before = clock.now_us()
    post_tick(client)
    after = clock.now_us()
    pipeline.drain()
    with reading(engine) as session:
        statement = sa.text("SELECT occurred_at FROM ticks WHERE tenant_id = :tenant_id")
        found = session.execute(statement, {"tenant_id": account.live.id}).scalar_one()
    assert before <= clock.to_us(found) <= after


def test_it_keeps_the_zone_and_the_metadata_in_the_ledger_as_sent(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    make_streak(client)
    metadata = {"b": [1, 2.5, None, True], "a": {"tab\t": 'quo"te\\', "é": "👩‍🚀"}}
    post_tick(client, timezone="Australia/Sydney", metadata=metadata, timestamp=noon(3))
    pipeline.drain()
    with reading(engine) as session:
        row = session.execute(
            sa.text("SELECT timezone, metadata FROM ticks WHERE tenant_id = :tenant_id"),
            {"tenant_id": account.live.id},
        ).one()
    assert row.timezone == "Australia/Sydney"
    assert row.metadata == '{"b":[1,2.5,null,true],"a":{"tab\\t":"quo\\"te\\\\","é":"👩‍🚀"}}'


def test_it_counts_the_day_of_the_ticks_own_zone(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    instant = noon(3)[:10] + "T20:00:00Z"  # the next morning in Sydney
    with draining(pipeline):
        answer = post_tick(
            client,
            headers={"Prefer": "wait=10"},
            timestamp=instant,
            timezone="Australia/Sydney",
        ).get_json()
    assert answer["period_key"] == noon(2)[:10]


# -- refusals --------------------------------------------------------------------------------


def test_it_refuses_an_unknown_and_a_paused_streak_before_anything_is_queued(
    client: FlaskClient, account: Account, redis_client: redis.Redis, engine: Engine
) -> None:
    make_streak(client, "paused", is_active=False)
    for code in ("paused", "never_made"):
        document = problem(post_tick(client, streak_code=code), 404, "streak_not_found")
        assert document["detail"] == f"Streak '{code}' not found"
    assert entries(redis_client, account.live) == 0
    assert count(engine, "participants", account.live) == 0


# -- what became of one ----------------------------------------------------------------------


def test_it_tells_of_a_tick_that_could_not_be_applied(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    make_streak(client)
    url = post_tick(client).get_json()["status_url"]
    with transaction(engine) as session:
        session.execute(
            sa.text("DELETE FROM streaks WHERE tenant_id = :tenant_id"),
            {"tenant_id": account.live.id},
        )
    once = replace(pipeline, settings=replace(pipeline.settings, entry_tries_max=1))
    once.drain()
    found = client.get(url).get_json()
    assert (found["status"], found["result"]) == ("dead", None)


def test_it_does_not_know_a_tick_that_nobody_posted(client: FlaskClient) -> None:
    for text in (str(uuid4()), str(ids.uuid7(clock.now_us())), "x", "1", "%F0%9F%98%80"):
        problem(client.get(f"{BASE}/ticks/{text}"), 404, "tick_not_found")


def test_it_knows_an_id_in_one_spelling_only(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    tick_id = post_tick(client).get_json()["tick_id"]
    pipeline.drain()
    spelled = (tick_id.upper(), tick_id.replace("-", ""), f"{{{tick_id}}}", f"urn:uuid:{tick_id}")
    for text in spelled:
        problem(client.get(f"{BASE}/ticks/{text}"), 404, "tick_not_found")


def test_it_shows_a_tick_to_no_other_tenant_and_no_other_mode(
    app: Flask,
    client: FlaskClient,
    account: Account,
    make_account: Callable[..., Account],
    pipeline: Pipeline,
) -> None:
    make_streak(client)
    tick_id = post_tick(client).get_json()["tick_id"]
    others = [client_of(app, account.keys["test"]), client_of(app, make_account().keys["live"])]
    unknown = str(uuid4())

    def told(other: FlaskClient, text: str) -> dict[str, object]:
        document = problem(other.get(f"{BASE}/ticks/{text}"), 404, "tick_not_found")
        del document["request_id"]
        return document | {"detail": document["detail"].replace(text, "")}

    for _ in range(2):  # accepted, then applied
        for other in others:
            assert told(other, tick_id) == told(other, unknown)
        pipeline.drain()


def test_it_takes_no_tick_older_than_the_ledger_for_one_on_its_way(
    client: FlaskClient, account: Account, settings: Settings
) -> None:
    def status(days_ago: int) -> int:
        issued_us = clock.now_us() - days_ago * DAY_US
        tick_id = next(ids.issue(issued_us, account.live.tick_secret))
        return client.get(f"{BASE}/ticks/{tick_id}").status_code

    make_streak(client)
    assert status(0) == 404  # nothing is on its way
    post_tick(client)
    assert status(0) == 200
    assert status(settings.ticks_days + 1) == 404


# -- the request's name ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "is_kept"),
    [("req-1.A:b_c", True), ("x" * 128, True), ("x" * 129, False), ("a b", False), ("é", False)],
)
def test_it_takes_over_a_request_id_when_it_is_sane(
    client: FlaskClient, given: str, is_kept: bool
) -> None:
    answers = [
        client.get(f"{BASE}{path}", headers={"X-Request-Id": given})
        for path in ("/streaks", "/nowhere")
    ]
    for answer in answers:
        assert (answer.headers["X-Request-Id"] == given) is is_kept
        assert len(answer.headers["X-Request-Id"]) > 4
