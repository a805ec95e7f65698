"""Batches of freezes, repairs and retractions: each item has its own result (contract §7.3)."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models.db import Engine
from tests.calls import client_of, count, make_key, make_streak, noon, post_json, post_tick, problem
from tests.conftest import BASE, Account
from tests.integration.mending import (
    STREAK,
    WHO,
    day,
    history_of,
    of,
    record_days,
    streak_of,
)
from tests.pipeline import Pipeline

OTHER = "user_43"


def item(who: str = WHO, **values: Any) -> dict[str, Any]:
    """An item for a participant's streak."""
    return {"participant_id": who, "streak_code": STREAK} | values


def post(client: FlaskClient, name: str, *items: Any, query: str = "", **headers: str) -> Any:
    """POST a batch; its results."""
    url = f"{BASE}/{name}/batch{query}"
    answer = post_json(client, url, {name: list(items)}, headers)
    assert answer.status_code == 202, answer.text
    return answer.get_json()["results"]


@pytest.fixture
def begun(client: FlaskClient, pipeline: Pipeline) -> FlaskClient:
    """A client of a tenant with two participants who missed a day."""
    make_streak(client)
    for who in (WHO, OTHER):
        record_days(client, pipeline, 3, 2, 0, who=who)
    return client


def test_a_batch_of_repairs_mends_each_streak(begun: FlaskClient, pipeline: Pipeline) -> None:
    results = post(
        begun, "repairs",
        item(periods=[day(1)]),
        item(OTHER, **{"from": day(1), "to": day(1), "as": "recorded"}),
        item(OTHER, periods=["2026-W21"]),
        item("user_44", streak_code="unknown", periods=[day(1)]),
    )  # fmt: skip
    assert [one.get("error", {}).get("code") for one in results] == [
        None, None, "validation_error", "streak_not_found"
    ]  # fmt: skip
    pipeline.drain()
    assert [streak_of(begun, who)["current_count"] for who in (WHO, OTHER)] == [3, 4]


def test_a_batch_under_its_key_is_applied_once(begun: FlaskClient, pipeline: Pipeline) -> None:
    key = {"Idempotency-Key": "gifts-of-may"}
    first = post(begun, "freezes", item(amount=2), item(OTHER, amount=1), **key)
    assert post(begun, "freezes", item(amount=2), item(OTHER, amount=1), **key) == first
    pipeline.drain()
    assert [streak_of(begun, who)["freezes_remaining"] for who in (WHO, OTHER)] == [2, 1]


def test_freezes_of_an_import_protect_from_the_day_on_which_they_were_given(
    begun: FlaskClient, pipeline: Pipeline
) -> None:
    post(begun, "freezes", item(amount=1, granted_on=day(2)), item(OTHER, amount=1))
    post(begun, "freezes", item("user_44", amount=1, granted_on=day(2)))
    pipeline.drain()
    record_days(begun, pipeline, 3, 2, 0, who="user_44")
    for who, what, count_now in (
        (WHO, "freeze", 3),
        (OTHER, "missed", 1),
        ("user_44", "freeze", 3),
    ):
        assert history_of(begun, who)[day(1)] == what
        assert streak_of(begun, who)["current_count"] == count_now
    [entry] = [
        one
        for one in begun.get(f"{of()}/freezes").get_json()["entries"]
        if one["what"] == "granted"
    ]
    assert entry["period_key"] == day(2)


def test_a_batch_of_retractions_takes_ticks_and_periods_back(
    begun: FlaskClient, pipeline: Pipeline
) -> None:
    [tick_id] = record_days(begun, pipeline, 1)
    results = post(
        begun, "retractions",
        {"tick_id": tick_id, "reason": "A bug of ours"},
        item(OTHER, period_key=day(0)),
        {"tick_id": "01939c7e-6a1b-7c3d-9e4f-0a1b2c3d4e5f"},
        {"tick_id": "the last one"},
    )  # fmt: skip
    codes = [one.get("error", {}).get("code") for one in results]
    assert codes == [None, None, "tick_not_found", "tick_not_found"]
    pipeline.drain()
    assert history_of(begun)[day(1)] == "missed"
    assert streak_of(begun, OTHER)["current_count"] == 0


@pytest.mark.parametrize(
    "one",
    [
        {},
        {"participant_id": WHO, "streak_code": STREAK},
        {"tick_id": "01939c7e-6a1b-7c3d-9e4f-0a1b2c3d4e5f", "period_key": "2026-05-23"},
    ],
)
def test_a_retraction_names_a_tick_or_a_period(begun: FlaskClient, one: dict[str, Any]) -> None:
    [result] = post(begun, "retractions", one)
    assert result["error"]["code"] == "validation_error"
    assert "period" in result["error"]["detail"] + str(result["error"]["errors"])


@pytest.mark.parametrize("amount", [0, 101, "1", None])
def test_an_amount_beyond_its_bounds_is_refused(begun: FlaskClient, amount: Any) -> None:
    [result] = post(begun, "freezes", item(amount=amount))
    assert [error["field"] for error in result["error"]["errors"]] == ["amount"]


def test_freezes_cannot_be_given_in_the_future(begun: FlaskClient) -> None:
    [result] = post(begun, "freezes", item(amount=1, granted_on=day(-2)))
    assert [error["field"] for error in result["error"]["errors"]] == ["granted_on"]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("pauses", {"participant_id": WHO, "from": day(1), "to": day(1)}),
        ("freezes", item(amount=1, granted_on=day(2))),
        ("repairs", item(periods=[day(1)])),
        ("restores", item()),
        ("retractions", item(period_key=day(0))),
    ],
)
def test_a_silent_batch_changes_counts_and_creates_no_fact(
    name: str,
    change: dict[str, Any],
    begun: FlaskClient,
    pipeline: Pipeline,
    engine: Engine,
    account: Account,
) -> None:
    told, before = count(engine, "facts", account.live), streak_of(begun)["current_count"]
    post(begun, name, change, query="?facts=false")
    pipeline.drain()
    assert streak_of(begun)["current_count"] != before
    assert count(engine, "facts", account.live) == told
    post_tick(begun, timestamp=noon(5))
    pipeline.drain()
    assert count(engine, "facts", account.live) > told


def test_pauses_of_an_import_may_overlap_as_those_of_merged_ids_do(
    begun: FlaskClient, pipeline: Pipeline
) -> None:
    items = [
        {"participant_id": WHO, "from": day(first), "to": day(last)}
        for first, last in ((5, 1), (3, 1), (5, 1))
    ]
    post(begun, "pauses", *items, query="?facts=false")
    pipeline.drain()
    assert begun.get(f"{BASE}/participants/{WHO}/pauses").get_json()["total"] == 2
    post(begun, "pauses", items[1])
    pipeline.drain()
    assert begun.get(f"{BASE}/participants/{WHO}/pauses").get_json()["total"] == 2


@pytest.mark.parametrize("name", ["freezes", "repairs", "retractions"])
def test_a_batch_needs_an_admin_key(
    name: str, begun: FlaskClient, app: Flask, account: Account, engine: Engine
) -> None:
    plain = client_of(app, make_key(engine, account.live))
    problem(post_json(plain, f"{BASE}/{name}/batch", {name: [item()]}), 403, "forbidden")
