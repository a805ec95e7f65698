"""Batches with facts=false: states and ledgers are written, and nobody is told (docs/import.md)."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from models.db import Engine, transaction
from models.identity import tenants
from tests.calls import count, make_badge, make_streak, noon, post_award, post_json, post_tick
from tests.conftest import BASE, Account
from tests.integration.batches import sequences
from tests.pipeline import Pipeline
from workers.maintenance.leaderboards import LeaderboardUpdater

pytestmark = pytest.mark.promise("P12")

BATCH = f"{BASE}/streaks/record/batch"


def ticks_of(*days: int, participant_id: str = "user_42") -> list[dict[str, str]]:
    return [
        {"participant_id": participant_id, "streak_code": "daily_login", "timestamp": noon(day)}
        for day in days
    ]


def test_a_silent_history_has_its_state_and_no_fact_and_takes_no_number(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    make_badge(client, "week_warrior")
    make_streak(client, milestones=[{"count": 3, "badge_code": "week_warrior", "points": 10}])
    hook = {"url": "http://127.0.0.1:9/x", "event_types": ["*"]}
    assert post_json(client, f"{BASE}/admin/webhooks", hook).status_code == 201
    answer = post_json(client, f"{BATCH}?facts=false", {"ticks": ticks_of(4, 3, 2, 1)})
    assert (answer.status_code, answer.get_json()["accepted"]) == (202, 4)
    pipeline.drain()
    profile = client.get(f"{BASE}/participants/user_42").get_json()
    assert profile["streaks"]["longest"] == 4
    assert [badge["code"] for badge in profile["badges"]] == ["week_warrior"]
    assert profile["points"]["balance"] == 10
    assert count(engine, "ticks", account.live) == 4
    assert count(engine, "facts", account.live) == 0
    assert count(engine, "deliveries", account.live) == 0
    post_tick(client, timestamp=noon(0))
    pipeline.drain()
    assert list(sequences(engine, account.live.id).values()) == [[1]]


def test_silent_and_told_writes_of_one_person_in_one_batch_of_the_drain_leave_no_gap(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    make_streak(client)
    make_badge(client)
    post_tick(client, timestamp=noon(5))
    post_json(client, f"{BATCH}?facts=false", {"ticks": ticks_of(4, 3)})
    post_tick(client, timestamp=noon(2))
    silent = {"awards": [{"participant_id": "user_42", "badge_code": "power_user"}]}
    post_json(client, f"{BASE}/badges/award/batch?facts=false", silent)
    moved = {"awards": [{"participant_id": "user_42", "amount": 5}]}
    post_json(client, f"{BASE}/points/award-batch?facts=false", moved)
    post_award(client, "user_42")
    pipeline.drain()
    assert list(sequences(engine, account.live.id).values()) == [[1, 2]]
    assert client.get(f"{BASE}/participants/user_42").get_json()["points"]["balance"] == 5


def test_leaderboards_count_what_nobody_was_told_of(
    client: FlaskClient, engine: Engine, pipeline: Pipeline
) -> None:
    board = {"code": "board", "name": "Board", "metric": "points", "window_days": 30}
    assert post_json(client, f"{BASE}/admin/leaderboards", board).status_code == 201
    LeaderboardUpdater(engine, 90).run(20)
    moved = {"awards": [{"participant_id": "user_42", "amount": 5}]}
    post_json(client, f"{BASE}/points/award-batch?facts=false", moved)
    pipeline.drain()
    LeaderboardUpdater(engine, 90).run(20)
    shown = client.get(f"{BASE}/leaderboards/board").get_json()
    assert [one["participant_id"] for one in shown["entries"]] == ["user_42"]


def test_only_an_admin_key_may_be_silent_and_only_in_these_words(
    client: FlaskClient, engine: Engine, account: Account
) -> None:
    make_streak(client)
    with transaction(engine) as session:
        plain = tenants.create_key(session, account.live, [])[1]
    body = {"ticks": ticks_of(1)}
    refused = client.post(f"{BATCH}?facts=false", json=body, headers={"X-API-Key": plain})
    assert (refused.status_code, refused.get_json()["code"]) == (403, "forbidden")
    assert post_json(client, f"{BATCH}?facts=no", body).status_code == 422
    assert post_json(client, f"{BATCH}?facts=true", body).status_code == 202
