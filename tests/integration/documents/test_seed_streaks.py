"""The examples of the documentation's Streaks page, verbatim: same requests, same answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models.db import Engine, reading, transaction
from settings import Settings
from tests.calls import another_app, draining, make_streak, noon, post_batch, problem, tick
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

CAMPAIGN = """
-- Your analytics view that mirrors the participant streaks
SELECT participant_id, streak_code, current_count
FROM participant_streaks_view
WHERE is_at_risk = true AND current_count >= 7
"""

Send = Callable[..., TestResponse]


@pytest.fixture(params=["Authorization", "X-API-Key"])
def send(request: pytest.FixtureRequest, settings: Settings, account: Account) -> Iterator[Send]:
    """Send a request as the page shows it, with the key in either header, the body as text.

    The page's instants grow old: this server takes them however old they are.
    """
    prefix = "Bearer " if request.param == "Authorization" else ""
    key = {request.param: f"{prefix}{account.keys['live']}"}
    with another_app(settings, wait_seconds=10.0, tick_age_days_max=36_500) as app:

        def send(method: str, path: str, body: str | None = None) -> TestResponse:
            headers = key if body is None else key | {"Content-Type": "application/json"}
            return app.test_client().open(path, method=method, headers=headers, data=body)

        yield send


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
    detail = problem(send("POST", RECORD, TICK), 404, "streak_not_found")["detail"]
    assert detail == "Streak 'daily_login' not found"


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


# -- the four patterns: what their code sends and reads ----------------------------------------


def test_pattern_1_ticks_on_every_login_and_counts_the_day_once(
    send: Send, pipeline: Pipeline
) -> None:
    """`JSON.stringify({participant_id: userId, streak_code: "daily_login"})`, five times a day."""
    send("POST", "/api/v1/gamify/streaks", CREATE)
    body = '{"participant_id":"user_42","streak_code":"daily_login"}'
    with draining(pipeline):
        answers = [send("POST", RECORD, body).get_json() for _ in range(5)]
    assert {one["new_count"] for one in answers} == {1}
    assert [one["already_recorded"] for one in answers] == [False, True, True, True, True]


def test_pattern_2_finds_who_is_at_risk_with_a_count_worth_saving(
    send: Send, client: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    """The page's query, and our feed for those who have no database to ask."""
    make_streak(client)
    post_batch(
        client,
        *(tick("long", timestamp=noon(day)) for day in range(1, 24)),
        *(tick("short", timestamp=noon(day)) for day in range(1, 3)),
    )
    pipeline.drain()
    with transaction(engine) as session:
        setting = sa.text("SELECT set_config('unbroken.tenant', :tenant, true)")
        session.execute(setting, {"tenant": account.slug})
        rows = [tuple(row) for row in session.execute(sa.text(CAMPAIGN))]
    assert rows == [("long", "daily_login", 23)]
    feed = send("GET", "/api/v1/gamify/streaks/daily_login/at-risk?min_count=7").get_json()
    (item,) = feed["items"]
    assert (item["participant_id"], item["streak_code"], item["current_count"]) == rows[0]


def test_pattern_3_reads_the_fact_and_awards_a_badge_once(
    send: Send, client: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    """`event.payload.{streak_code, count}` and `event.participant_id`, then the award."""
    make_streak(client)
    badge = '{"code": "week_warrior", "name": "Week Warrior"}'
    assert send("POST", "/api/v1/gamify/admin/badges", badge).status_code == 201
    post_batch(client, *(tick(timestamp=noon(day)) for day in range(7, 0, -1)))
    pipeline.drain()
    with reading(engine) as session:
        mine = sa.text("SELECT body FROM facts WHERE tenant_id = :id ORDER BY sequence")
        texts = session.execute(mine, {"id": account.live.id}).scalars()
        events = [json.loads(text) for text in texts]
    assert {event["type"] for event in events} == {"behavior.streak_recorded"}
    assert {event["participant_id"] for event in events} == {"user_42"}
    assert {event["payload"]["streak_code"] for event in events} == {"daily_login"}
    assert [event["payload"]["count"] for event in events] == [1, 2, 3, 4, 5, 6, 7]
    award = '{"participant_id":"user_42","badge_code":"week_warrior"}'
    with draining(pipeline):
        answers = [send("POST", "/api/v1/gamify/badges/award", award) for _ in range(2)]
    assert [one.status_code for one in answers] == [200, 200]
    assert [one.get_json()["already_earned"] for one in answers] == [False, True]


@pytest.mark.parametrize("zone", ["Australia/Sydney", "America/Los_Angeles"])
def test_pattern_4_sends_an_instant_of_its_own_making_and_is_taken_at_its_word(
    send: Send, client: FlaskClient, pipeline: Pipeline, zone: str
) -> None:
    """`fromZonedTime(new Date(), localTimezone).toISOString()`: docs/time-zones.md on its days."""
    make_streak(client)
    sent = datetime.now(UTC).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    stamp = sent.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = f'{{"participant_id":"user_42","streak_code":"daily_login","timestamp":"{stamp}"}}'
    with draining(pipeline):
        response = send("POST", RECORD, body)
    assert response.status_code == 200
    assert response.get_json()["period_key"] == stamp[:10]


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
