"""The examples of the documentation's Streaks page, verbatim: same requests, same answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.calls import draining, make_streak, noon, post_batch, problem, tick
from tests.conftest import Account
from tests.pipeline import Pipeline

RECORD = "/api/v1/gamify/streaks/record"
STREAKS = "/api/v1/gamify/participants/user_42/streaks"
CREATE = (
    """{ "code": "daily_login", "name": "Daily Login", "period": "daily", "grace_periods": 1 }"""
)
DEFINITION = """{
"code": "daily_login",
"name": "Daily Login",
"description": "Log in every day to keep the streak alive.",
"period": "daily",
"grace_periods": 1,
"reset_on_miss": true,
"is_active": true
}"""
TICK = """{
"participant_id": "user_42",
"streak_code": "daily_login",
"timestamp": "2026-05-23T08:15:00Z"
}"""
DAY_ONE = """{
"streak_code": "daily_login",
"new_count": 1,
"longest_count": 1,
"is_new_record": true,
"already_recorded": false
}"""
SAME_DAY = """{
"streak_code": "daily_login",
"new_count": 1,
"longest_count": 1,
"is_new_record": false,
"already_recorded": true
}"""
NEXT_DAY = """{
"streak_code": "daily_login",
"new_count": 2,
"longest_count": 2,
"is_new_record": true,
"already_recorded": false
}"""

Send = Callable[..., TestResponse]


@pytest.fixture
def send(app: Flask, account: Account) -> Send:
    """Send a request as the page shows it: the key as a bearer, the body as text."""

    def send(method: str, path: str, body: str | None = None, wait: int = 10) -> TestResponse:
        headers = {"Authorization": f"Bearer {account.keys['live']}", "Prefer": f"wait={wait}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        return app.test_client().open(path, method=method, headers=headers, data=body)

    return send


def documented(response: TestResponse, example: str) -> None:
    """The answer begins with the documented fields, in their order, with their values."""
    expected: dict[str, Any] = json.loads(example)
    answer = response.get_json()
    assert list(answer)[: len(expected)] == list(expected)
    assert {name: answer[name] for name in expected} == expected


def test_it_records_day_one_the_same_day_again_and_the_next_day(
    send: Send, pipeline: Pipeline
) -> None:
    assert send("POST", "/api/v1/gamify/streaks", CREATE).status_code == 201
    with draining(pipeline):
        for text, example in (
            (TICK, DAY_ONE),
            (TICK, SAME_DAY),
            (TICK.replace("05-23", "05-24"), NEXT_DAY),
        ):
            response = send("POST", RECORD, text)
            assert response.status_code == 200
            documented(response, example)


def test_it_records_at_the_servers_time_without_a_timestamp(send: Send, pipeline: Pipeline) -> None:
    send("POST", "/api/v1/gamify/streaks", CREATE)
    with draining(pipeline):
        body = '{"participant_id": "user_42", "streak_code": "daily_login"}'
        answer = send("POST", RECORD, body).get_json()
    assert answer["period_key"] == datetime.now(UTC).date().isoformat()


def test_it_manages_definitions_as_shown(send: Send) -> None:
    base = "/api/v1/gamify/streaks"
    created = send("POST", base, CREATE)
    assert created.status_code == 201
    documented(created, CREATE.replace('"period"', '"description": null, "period"'))
    changed = send("PATCH", f"{base}/daily_login", '{ "grace_periods": 2 }')
    assert (changed.status_code, changed.get_json()["grace_periods"]) == (200, 2)
    assert send("GET", f"{base}/daily_login").get_json() == changed.get_json()
    assert send("GET", base).get_json()["items"] == [changed.get_json()]
    deleted = send("DELETE", f"{base}/daily_login")
    assert deleted.get_json() == {"message": "Streak deactivated"}
    problem(send("POST", RECORD, TICK), 404, "streak_not_found")


def test_it_returns_a_definition_in_the_documented_shape(send: Send) -> None:
    documented(send("POST", "/api/v1/gamify/streaks", DEFINITION), DEFINITION)
    documented(send("GET", "/api/v1/gamify/streaks/daily_login"), DEFINITION)


def test_it_lists_all_streaks_of_a_participant(
    send: Send, client: FlaskClient, pipeline: Pipeline
) -> None:
    """The page's numbers: 7 of at best 21, and 3 weeks at risk of at best 12."""
    make_streak(client)
    make_streak(client, "weekly_workout", name="Weekly Workout", period="weekly")
    days = [*range(60, 39, -1), *range(6, -1, -1)]
    weeks = [*range(24, 12, -1), 3, 2, 1]
    post_batch(
        client,
        *(tick(timestamp=noon(day)) for day in days),
        *(tick(timestamp=noon(7 * week), streak_code="weekly_workout") for week in weeks),
    )
    pipeline.drain()
    response = send("GET", STREAKS)
    assert response.status_code == 200
    body = response.get_json()
    assert list(body) == ["participant_id", "streaks"]
    daily, weekly = body["streaks"]
    assert dict(list(daily.items())[:7]) == {
        "code": "daily_login",
        "name": "Daily Login",
        "current_count": 7,
        "longest_count": 21,
        "last_recorded_at": noon(0),
        "is_at_risk": False,
        "period": "daily",
    }
    assert dict(list(weekly.items())[:7]) == {
        "code": "weekly_workout",
        "name": "Weekly Workout",
        "current_count": 3,
        "longest_count": 12,
        "last_recorded_at": noon(7),
        "is_at_risk": True,
        "period": "weekly",
    }


def test_it_is_no_new_record_below_the_longest(
    send: Send, client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    days = [*range(60, 39, -1), *range(7, 1, -1)]
    post_batch(client, *(tick(timestamp=noon(day)) for day in days))
    pipeline.drain()
    with draining(pipeline):
        response = send("POST", RECORD, json.dumps(tick(timestamp=noon(1))))
    example = {"streak_code": "daily_login", "new_count": 7, "longest_count": 21}
    example |= {"is_new_record": False, "already_recorded": False}
    documented(response, json.dumps(example))


def test_it_extends_within_grace_and_resets_beyond_it(
    send: Send, client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, grace_periods=1)
    with draining(pipeline):
        counts = [
            send("POST", RECORD, json.dumps(tick(timestamp=noon(day)))).get_json()["new_count"]
            for day in (10, 9, 7, 5)
        ]
    assert counts == [1, 2, 3, 1]


def test_it_takes_the_instants_of_the_time_zone_recipe(
    send: Send, client: FlaskClient, pipeline: Pipeline
) -> None:
    """The recipe sends up to 14 hours ahead, with the milliseconds of `toISOString`."""
    make_streak(client)
    ahead = datetime.fromtimestamp(datetime.now(UTC).timestamp() + 14 * 3_600 - 60, UTC)
    stamp = ahead.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    with draining(pipeline):
        response = send("POST", RECORD, json.dumps(tick(timestamp=stamp)))
    assert response.status_code == 200
    assert response.get_json()["period_key"] == stamp[:10]
