"""Pauses: days of a participant are protected, whatever comes first, the pause or the tick."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models.db import Engine
from settings import Settings
from tests.calls import client_of, count, make_key, make_streak, post_json, post_tick, problem
from tests.conftest import BASE, Account
from tests.integration.earning import facts_of, waiting
from tests.integration.mending import (
    WHO,
    applied,
    day,
    history_of,
    pause,
    record_days,
    settled,
    streak_of,
)
from tests.pipeline import Pipeline

PAUSES = f"{BASE}/participants/{WHO}/pauses"


def test_a_pause_brings_back_a_streak_that_its_days_broke(
    client: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    make_streak(client)
    record_days(client, pipeline, 6, 5, 4)
    assert streak_of(client)["current_count"] == 0
    result = applied(client, pipeline, pause(client, 3, 1, reason="Hospital"))
    assert result["streaks"] == [
        {"streak_code": "daily_login", "count": 3, "previous_count": 0, "longest_count": 3}
    ]
    assert (result["kind"], result["reason"], result["from"]) == ("pause", "Hospital", day(3))
    assert streak_of(client)["current_count"] == 3
    assert list(history_of(client).values()) == ["recorded"] * 3 + ["pause"] * 3 + ["pending"]
    [repaired] = [
        one["payload"] for one in facts_of(engine, account.live.id)
        if one["type"] == "behavior.streak_repaired"
    ]  # fmt: skip
    assert (repaired["count"], repaired["previous_count"]) == (3, 0)
    assert (repaired["cause"], repaired["reason"]) == ("pause", "Hospital")


def test_a_pause_from_before_the_first_tick_holds_for_it(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    assert applied(client, pipeline, pause(client, 3, 1))["streaks"] == []
    record_days(client, pipeline, 4, 0)
    assert streak_of(client)["current_count"] == 2
    assert not streak_of(client)["is_perfect"]


def test_a_removed_pause_is_as_if_it_had_never_been(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    record_days(client, pipeline, 4, 3, 0)
    made = applied(client, pipeline, pause(client, 2, 1))
    assert streak_of(client)["current_count"] == 3
    removed = client.delete(f"{PAUSES}/{made['pause_id']}?reason=by+mistake")
    result = applied(client, pipeline, removed)
    assert (result["kind"], result["reason"]) == ("pause_removed", "by mistake")
    assert result["streaks"][0]["count"] == 1
    assert streak_of(client)["current_count"] == 1
    assert client.get(PAUSES).get_json()["items"] == []
    problem(client.delete(f"{PAUSES}/{made['pause_id']}"), 404, "pause_not_found")


def test_of_two_removals_that_wait_one_is_refused(client: FlaskClient, pipeline: Pipeline) -> None:
    made = pause(client, 2, 1).get_json()["streak_change_id"]
    first, second = (client.delete(f"{PAUSES}/{made}") for _ in range(2))
    applied(client, pipeline, first)
    found = client.get(second.get_json()["status_url"]).get_json()
    assert (found["status"], found["code"]) == ("rejected", "pause_not_found")


def test_pauses_are_listed_the_latest_days_first(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    first = applied(client, pipeline, pause(client, 9, 8))
    second = applied(
        client, pipeline, pause(client, 3, -3, streak_codes=["daily_login"], reason="Ill")
    )
    page = client.get(PAUSES).get_json()
    assert [one["id"] for one in page["items"]] == [second["pause_id"], first["pause_id"]]
    assert page["total"] == 2
    shown = page["items"][0]
    assert (shown["from"], shown["to"], shown["reason"]) == (day(3), day(-3), "Ill")
    assert [one["streak_codes"] for one in page["items"]] == [["daily_login"], None]


def test_a_pause_of_some_streaks_leaves_the_others_alone(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    for code in ("daily_login", "reading"):
        make_streak(client, code)
        post_tick(client, streak_code=code, timestamp=f"{day(2)}T12:00:00Z")
    pipeline.drain()
    applied(client, pipeline, pause(client, 1, 1, streak_codes=["reading"]))
    assert streak_of(client, code="reading")["current_count"] == 1
    assert streak_of(client)["current_count"] == 0


def test_overlapping_pauses_are_refused_unless_they_are_of_other_streaks(
    client: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    make_streak(client)
    make_streak(client, "reading")
    applied(client, pipeline, pause(client, 9, 5, streak_codes=["reading"]))
    found = settled(client, pipeline, pause(client, 5, 1))
    assert (found["status"], found["code"]) == ("rejected", "pause_overlaps")
    assert day(9) in found["detail"]
    applied(client, pipeline, pause(client, 5, 1, streak_codes=["daily_login"]))
    assert count(engine, "pauses", account.live) == 2


def test_a_waiting_request_gets_the_result_or_the_refusal(
    settings: Settings, account: Account, pipeline: Pipeline
) -> None:
    with waiting(settings, account, pipeline) as client:
        make_streak(client)
        made = pause(client, 2, 1)
        assert (made.status_code, made.get_json()["kind"]) == (200, "pause")
        problem(pause(client, 1, 0), 409, "pause_overlaps")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"from": day(1), "to": day(2)}, "to"),
        ({"from": "2026-01-01", "to": "2027-01-02"}, "to"),  # 367 days
        ({"from": "2026-W21", "to": day(1)}, "from"),
        ({"from": "2026-02-30", "to": day(1)}, "from"),
        ({"to": day(1)}, "from"),
        ({"from": day(1), "to": day(1), "streak_codes": []}, "streak_codes"),
        ({"from": 20000, "to": day(1)}, "from"),
    ],
)
def test_a_pause_out_of_bounds_is_refused(
    client: FlaskClient, body: dict[str, Any], field: str
) -> None:
    problem(post_json(client, PAUSES, body), 422, "validation_error", field)


def test_a_pause_of_366_days_is_the_longest(client: FlaskClient, pipeline: Pipeline) -> None:
    body = {"from": "2026-01-01", "to": "2027-01-01"}
    applied(client, pipeline, post_json(client, PAUSES, body))


def test_a_pause_of_an_unknown_streak_is_refused(client: FlaskClient) -> None:
    problem(pause(client, 2, 1, streak_codes=["nope"]), 404, "streak_not_found")


def test_only_an_admin_key_may_pause(
    app: Flask, client: FlaskClient, engine: Engine, account: Account
) -> None:
    plain = client_of(app, make_key(engine, account.live))
    problem(pause(plain, 2, 1), 403, "forbidden")
    problem(plain.get(PAUSES), 403, "forbidden")


def test_another_tenant_neither_sees_nor_removes_a_pause(
    app: Flask, account: Account, client: FlaskClient, pipeline: Pipeline
) -> None:
    made = applied(client, pipeline, pause(client, 2, 1))
    other = client_of(app, account.keys["test"])
    assert other.get(PAUSES).get_json()["items"] == []
    url = f"{BASE}/streak-changes/{made['streak_change_id']}"
    problem(other.get(url), 404, "streak_change_not_found")
    problem(other.delete(f"{PAUSES}/{made['pause_id']}"), 404, "pause_not_found")


def test_a_batch_of_pauses_answers_for_each(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    items = [
        {"participant_id": "ann", "from": day(3), "to": day(1)},
        {"participant_id": "bob", "from": day(1), "to": day(3)},
        {"participant_id": "cid", "from": day(3), "to": day(1), "streak_codes": ["nope"]},
    ]
    answer = post_json(client, f"{BASE}/pauses/batch", {"pauses": items}).get_json()
    assert (answer["accepted"], answer["rejected"]) == (1, 2)
    codes = [one.get("error", {}).get("code") for one in answer["results"]]
    assert codes == [None, "validation_error", "streak_not_found"]
    pipeline.drain()
    url = f"{BASE}/streak-changes/{answer['results'][0]['streak_change_id']}"
    assert client.get(url).get_json()["status"] == "applied"


def test_a_week_is_protected_by_a_pause_of_more_than_half_its_days(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, "weekly", period="weekly")
    make_streak(client, "short", period="weekly")
    monday = "2026-05-11"
    for code in ("weekly", "short"):
        for at in ("2026-05-04", "2026-05-18"):
            post_tick(client, streak_code=code, timestamp=f"{at}T12:00:00Z")
    pipeline.drain()
    for code, last in (("weekly", "2026-05-14"), ("short", "2026-05-13")):
        body = {"from": monday, "to": last, "streak_codes": [code]}
        applied(client, pipeline, post_json(client, PAUSES, body))
    assert streak_of(client, code="weekly")["longest_count"] == 2
    assert streak_of(client, code="short")["longest_count"] == 1
