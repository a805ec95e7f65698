"""Retractions: a tick or a period is as if it had never been recorded."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models.db import Engine
from tests.calls import client_of, count, make_key, make_streak, noon, post_json, post_tick, problem
from tests.conftest import BASE, Account
from tests.integration.earning import facts_of
from tests.integration.mending import (
    applied,
    day,
    history_of,
    of,
    record_days,
    refused,
    streak_of,
)
from tests.pipeline import Pipeline


def test_a_retracted_tick_takes_its_period_out(
    client: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    make_streak(client)
    ids = record_days(client, pipeline, 2, 1, 0)
    result = applied(client, pipeline, client.delete(f"{BASE}/ticks/{ids[1]}?reason=A+mistake"))
    assert (result["kind"], result["tick_id"]) == ("tick_retracted", ids[1])
    assert (result["period_key"], result["is_period_removed"]) == (day(1), True)
    assert result["streaks"][0] == {
        "streak_code": "daily_login", "count": 1, "previous_count": 3, "longest_count": 1
    }  # fmt: skip
    assert list(history_of(client).values()) == ["recorded", "missed", "recorded"]
    told = facts_of(engine, account.live.id)[-1]
    assert told["type"] == "behavior.streak_repaired"
    assert (told["payload"]["cause"], told["payload"]["reason"]) == ("retraction", "A mistake")


def test_a_period_stays_while_another_tick_holds_it(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    first, second = record_days(client, pipeline, 0, 0)
    result = applied(client, pipeline, client.delete(f"{BASE}/ticks/{first}"))
    assert not result["is_period_removed"]
    assert streak_of(client)["current_count"] == 1
    result = applied(client, pipeline, client.delete(f"{BASE}/ticks/{second}"))
    assert result["is_period_removed"]


def test_a_period_stays_while_a_repair_holds_it(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    [tick_id] = record_days(client, pipeline, 0)
    body = {"periods": [day(0)], "as": "recorded"}
    applied(client, pipeline, post_json(client, f"{of()}/repair", body))
    assert not applied(client, pipeline, client.delete(f"{BASE}/ticks/{tick_id}"))[
        "is_period_removed"
    ]
    applied(client, pipeline, client.delete(f"{of()}/periods/{day(0)}"))
    assert client.get(f"{BASE}/participants/user_42/streaks").get_json()["streaks"] == []


def test_retracting_twice_is_refused(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    ids = record_days(client, pipeline, 1, 0)
    applied(client, pipeline, client.delete(f"{BASE}/ticks/{ids[0]}"))
    again = client.delete(f"{BASE}/ticks/{ids[0]}")
    assert refused(client, pipeline, again) == "already_retracted"
    applied(client, pipeline, client.delete(f"{of()}/periods/{day(0)}"))
    again = client.delete(f"{BASE}/ticks/{ids[1]}")
    assert refused(client, pipeline, again) == "already_retracted"


def test_a_retracted_period_takes_all_its_ticks(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    record_days(client, pipeline, 1, 0, 0)
    result = applied(client, pipeline, client.delete(f"{of()}/periods/{day(0)}"))
    assert (result["kind"], result["is_period_removed"]) == ("period_retracted", True)
    assert streak_of(client)["last_recorded_at"] == noon(1)
    again = client.delete(f"{of()}/periods/{day(0)}")
    assert refused(client, pipeline, again) == "period_not_recorded"


def test_a_period_is_recorded_again_after_its_retraction(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    record_days(client, pipeline, 1, 0)
    applied(client, pipeline, client.delete(f"{of()}/periods/{day(0)}"))
    [again] = record_days(client, pipeline, 0)
    assert streak_of(client)["current_count"] == 2
    applied(client, pipeline, client.delete(f"{BASE}/ticks/{again}"))
    assert streak_of(client)["current_count"] == 1


def test_the_last_tick_takes_the_streak_with_it_and_a_new_one_begins_with_its_pauses(
    client: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    make_streak(client)
    [tick_id] = record_days(client, pipeline, 3)
    body = {"periods": [day(2), day(1)]}
    applied(client, pipeline, post_json(client, f"{of()}/repair", body))
    applied(client, pipeline, client.delete(f"{BASE}/ticks/{tick_id}"))
    for table in ("streak_states", "streak_deadlines"):
        assert count(engine, table, account.live) == 0
    record_days(client, pipeline, 3, 0)
    assert streak_of(client)["current_count"] == 2


def test_a_tick_and_its_retraction_in_one_batch_are_applied_in_their_order(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    record_days(client, pipeline, 1)
    post_tick(client, timestamp=noon(0))
    accepted = client.delete(f"{of()}/periods/{day(0)}")
    post_tick(client, timestamp=noon(0))
    result = applied(client, pipeline, accepted)
    assert result["streaks"][0]["previous_count"] == 2
    assert streak_of(client)["current_count"] == 2


def test_a_tick_that_waits_is_not_retracted_yet(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    tick_id = post_tick(client).get_json()["tick_id"]
    problem(client.delete(f"{BASE}/ticks/{tick_id}"), 409, "tick_not_applied")
    pipeline.drain()
    applied(client, pipeline, client.delete(f"{BASE}/ticks/{tick_id}"))


@pytest.mark.parametrize("tick_id", ["x", "9d9a8c31-b1e8-41da-9063-d117255a2b38"])
def test_an_unknown_tick_is_not_retracted(client: FlaskClient, tick_id: str) -> None:
    problem(client.delete(f"{BASE}/ticks/{tick_id}"), 404, "tick_not_found")


def test_a_key_of_another_calendar_is_refused(client: FlaskClient) -> None:
    make_streak(client)
    for key in ("2026-W21", "2026-13", "yesterday", "2026-02-30"):
        problem(client.delete(f"{of()}/periods/{key}"), 422, "validation_error", "period_key")


def test_what_was_never_recorded_is_not_retracted(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    assert refused(client, pipeline, client.delete(f"{of()}/periods/{day(0)}")) == (
        "streak_not_started"
    )
    record_days(client, pipeline, 1)
    assert refused(client, pipeline, client.delete(f"{of()}/periods/{day(0)}")) == (
        "period_not_recorded"
    )


def test_only_an_admin_key_of_the_same_side_may_retract(
    app: Flask, client: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    make_streak(client)
    [tick_id] = record_days(client, pipeline, 0)
    plain = client_of(app, make_key(engine, account.live))
    problem(plain.delete(f"{BASE}/ticks/{tick_id}"), 403, "forbidden")
    other = client_of(app, account.keys["test"])
    problem(other.delete(f"{BASE}/ticks/{tick_id}"), 404, "tick_not_found")
