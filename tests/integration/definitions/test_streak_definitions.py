"""Streak definitions: created, read, changed and paused by admins, under both spellings."""

from __future__ import annotations

from flask.testing import FlaskClient

from tests.calls import (
    draining,
    make_streak,
    noon,
    post_tick,
    problem,
)
from tests.conftest import BASE
from tests.pipeline import Pipeline

# -- pages -----------------------------------------------------------------------------------


# -- bad input -------------------------------------------------------------------------------


def test_it_names_every_bad_field_at_once(client: FlaskClient) -> None:
    body = {"period": "hourly", "grace_periods": -1, "boundary": 1}
    response = client.post(f"{BASE}/streaks", json=body)
    names = ("code", "name", "period", "grace_periods", "boundary")
    document = problem(response, 422, "validation_error", *names)
    assert "hourly" not in response.text
    assert document["detail"] == "Invalid: code, name, period, grace_periods, boundary"


# -- what a change does to what was recorded -------------------------------------------------


def test_it_reads_what_was_recorded_under_the_changed_rules(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    with draining(pipeline):
        for day in (4, 2, 0):
            post_tick(client, headers={"Prefer": "wait=10"}, timestamp=noon(day))
        url = f"{BASE}/participants/user_42/streaks"
        assert client.get(url).get_json()["streaks"][0]["current_count"] == 1
        client.patch(f"{BASE}/streaks/daily_login", json={"grace_periods": 2})
        entry = client.get(url).get_json()["streaks"][0]
        assert (entry["current_count"], entry["grace_remaining"]) == (3, 0)
        client.patch(
            f"{BASE}/streaks/daily_login", json={"grace_periods": 0, "reset_on_miss": False}
        )
        answer = post_tick(client, headers={"Prefer": "wait=10"}, timestamp=noon(1)).get_json()
    assert (answer["outcome"], answer["new_count"]) == ("backfilled", 3)
