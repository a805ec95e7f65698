"""Freezes: granted, bought for points, and where each came from and went."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models.db import Engine
from tests.calls import client_of, make_key, make_streak, post_json, problem
from tests.conftest import BASE, Account
from tests.integration.earning import (
    assert_the_books_balance,
    award_points,
    facts_of,
    of_participant,
)
from tests.integration.mending import (
    WHO,
    applied,
    day,
    history_of,
    of,
    record_days,
    settled,
    streak_of,
)
from tests.pipeline import Pipeline


def grant(client: FlaskClient, amount: Any = 1, **values: Any) -> TestResponse:
    """POST a grant."""
    return post_json(client, f"{of()}/freezes/grant", {"amount": amount} | values)


def buy(client: FlaskClient, headers: dict[str, str] | None = None, **values: Any) -> TestResponse:
    """POST a purchase."""
    return post_json(client, f"{of()}/freezes/buy", values, headers)


def freezes_of(client: FlaskClient) -> dict[str, Any]:
    """GET the freezes of the streak."""
    response = client.get(f"{of()}/freezes")
    assert response.status_code == 200, response.text
    return dict(response.get_json())


def sell(client: FlaskClient, **freezes: Any) -> None:
    """Let the streak's definition say this about freezes."""
    changed = client.patch(f"{BASE}/streaks/daily_login", json={"freezes": freezes})
    assert changed.status_code == 200, changed.text


def test_a_granted_freeze_is_held_from_its_period_on(
    client: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    make_streak(client)
    record_days(client, pipeline, 3, 2)
    assert streak_of(client)["status"] == "broken"
    # Granted for the current period, it cannot save an earlier one.
    result = applied(client, pipeline, grant(client, 2, reason="A gift"))
    assert (result["kind"], result["amount"], result["reason"]) == ("freeze_granted", 2, "A gift")
    assert result["freezes_remaining"] == 2
    record_days(client, pipeline, 0)
    assert streak_of(client)["freezes_remaining"] == 2
    assert freezes_of(client)["entries"] == [
        {
            "what": "granted", "period_key": day(0), "amount": 2, "reason": "A gift",
            "streak_change_id": result["streak_change_id"],
        }
    ]  # fmt: skip
    kinds = {one["type"] for one in facts_of(engine, account.live.id)}
    assert kinds == {"behavior.streak_recorded"}


def test_freezes_granted_before_the_first_tick_wait_for_it(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    result = applied(client, pipeline, grant(client, 3))
    assert (result["freezes_remaining"], result["streaks"]) == (None, [])
    assert [one["what"] for one in freezes_of(client)["entries"]] == ["granted"]
    record_days(client, pipeline, 0)
    assert streak_of(client)["freezes_remaining"] == 3


def test_what_became_of_each_freeze_is_derived_by_the_walk(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    sell(client, initial=1, earn_every=2, max=5, price_points=10)
    record_days(client, pipeline, 5, 4, 2, 1, 0)
    found = freezes_of(client)
    assert [(one["what"], one["period_key"], one["amount"]) for one in found["entries"]] == [
        ("initial", day(5), 1),
        ("earned", day(4), 1),
        ("used", day(3), -1),
        ("earned", day(1), 1),
    ]
    assert found["freezes_remaining"] == 2
    assert found["price_points"] == 10
    assert history_of(client)[day(3)] == "freeze"
    # A late tick gives the freeze back, and the count earns no more.
    record_days(client, pipeline, 3)
    assert "used" not in [one["what"] for one in freezes_of(client)["entries"]]


def test_freezes_are_bought_for_points_in_one_transaction(
    app: Flask, client: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    make_streak(client)
    sell(client, initial=0, max=0, price_points=30)
    award_points(client, 100, WHO)
    record_days(client, pipeline, 0)
    plain = client_of(app, make_key(engine, account.live))
    result = applied(client, pipeline, buy(plain, amount=2))
    assert result["kind"] == "freeze_bought"
    assert (result["points_deducted"], result["new_balance"]) == (60, 40)
    assert streak_of(client)["freezes_remaining"] == 2
    [movement] = [
        one for one in of_participant(client, "points/transactions", WHO)["items"]
        if one["kind"] == "freeze"
    ]  # fmt: skip
    assert (movement["amount"], movement["source"]) == (-60, "daily_login")
    assert movement["id"] == result["streak_change_id"]
    assert_the_books_balance(engine, account.live.id)
    found = settled(client, pipeline, buy(plain, amount=2))
    assert (found["status"], found["code"]) == ("rejected", "insufficient_points")
    assert of_participant(client, "points", WHO)["balance"] == 40
    assert streak_of(client)["freezes_remaining"] == 2


def test_one_idempotency_key_buys_once(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    sell(client, initial=0, max=0, price_points=30)
    award_points(client, 100, WHO)
    record_days(client, pipeline, 0)
    key = {"Idempotency-Key": "one"}
    first, again = (buy(client, key, amount=1).get_json() for _ in range(2))
    assert first == again
    problem(buy(client, key, amount=2), 409, "idempotency_conflict")
    pipeline.drain()
    assert of_participant(client, "points", WHO)["balance"] == 70


def test_freezes_without_a_price_are_not_sold(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    problem(buy(client), 409, "freezes_not_for_sale")


@pytest.mark.parametrize("amount", [0, -1, 101, 2**63, 1.5, "2", None, True])
def test_an_amount_out_of_bounds_is_refused(client: FlaskClient, amount: Any) -> None:
    make_streak(client)
    problem(grant(client, amount), 422, "validation_error", "amount")


def test_an_unknown_streak_has_no_freezes(client: FlaskClient) -> None:
    problem(grant(client), 404, "streak_not_found")
    problem(buy(client), 404, "streak_not_found")
    problem(client.get(f"{of()}/freezes"), 404, "streak_not_found")


def test_only_an_admin_key_may_grant(
    app: Flask, client: FlaskClient, engine: Engine, account: Account
) -> None:
    make_streak(client)
    problem(grant(client_of(app, make_key(engine, account.live))), 403, "forbidden")


def test_another_side_of_the_tenant_has_none_of_the_freezes(
    app: Flask, account: Account, client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    applied(client, pipeline, grant(client, 3))
    other = client_of(app, account.keys["test"])
    make_streak(other)
    assert freezes_of(other)["entries"] == []
