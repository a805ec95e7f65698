"""Claims: never oversold, never charged twice, refused with a reason."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models import clock
from models.db import Engine
from settings import Settings
from tests.calls import another_app, client_of, count, problem
from tests.conftest import BASE, Account
from tests.integration.batches import post
from tests.integration.earning import (
    ASYNC,
    assert_the_books_balance,
    award_points,
    claim,
    claimed,
    facts_of,
    make_reward,
    moved,
    of_participant,
    waiting,
)
from tests.integration.workers.test_equivalence import drain_side_by_side
from tests.pipeline import Pipeline

pytestmark = pytest.mark.promise("P14")

CLAIMED = [
    "claim_id",
    "participant_id",
    "reward_id",
    "reward_code",
    "reward_name",
    "reward_type",
    "points_deducted",
    "new_balance",
    "transaction_id",
    "claimed_at",
]


def test_a_claim_costs_its_points_and_says_what_it_gave(
    settings: Settings, account: Account, pipeline: Pipeline, engine: Engine
) -> None:
    with waiting(settings, account, pipeline) as client:
        reward = make_reward(client, points_cost=500, type="coupon")
        award_points(client, 1_500)
        response = claim(client, reward["id"], metadata={"screen": "shop"})
        assert response.status_code == 200, response.text
        answer = response.get_json()
        assert list(answer) == CLAIMED
        assert answer == answer | {
            "reward_code": "coupon",
            "reward_type": "coupon",
            "points_deducted": 500,
            "new_balance": 1_000,
            "transaction_id": answer["claim_id"],
        }
        listed = of_participant(client, "rewards")
        assert [one["claim_id"] for one in listed["items"]] == [answer["claim_id"]]
        moves = of_participant(client, "points/transactions")["items"]
        assert (moves[0]["id"], moves[0]["amount"]) == (answer["claim_id"], -500)
        assert (moves[0]["credit"], moves[0]["source"]) == ("redeemed", "coupon")
    assert [one["type"] for one in facts_of(engine, account.live.id)] == [
        "points.awarded", "points.deducted", "reward.claimed",
    ]  # fmt: skip
    assert facts_of(engine, account.live.id)[2]["payload"]["metadata"] == {"screen": "shop"}
    assert_the_books_balance(engine, account.live.id)


def test_a_free_reward_moves_no_points(
    settings: Settings, account: Account, pipeline: Pipeline, engine: Engine
) -> None:
    with waiting(settings, account, pipeline) as client:
        reward = make_reward(client)
        answer = claim(client, reward["id"]).get_json()
    assert (answer["points_deducted"], answer["transaction_id"]) == (0, None)
    assert count(engine, "point_transactions", account.live) == 0


def test_it_says_why_it_refuses(
    settings: Settings, account: Account, pipeline: Pipeline, engine: Engine
) -> None:
    with waiting(settings, account, pipeline) as client:
        dear = make_reward(client, "dear", points_cost=100)
        scarce = make_reward(client, "scarce", stock=1)
        once = make_reward(client, "once", max_claims_per_user=1)
        refused = problem(claim(client, dear["id"]), 400, "insufficient_points")
        assert refused["detail"] == "Insufficient points. Available: 0, requested: 100"
        assert claim(client, scarce["id"], "first").status_code == 200
        problem(claim(client, scarce["id"], "second"), 409, "reward_out_of_stock")
        assert claim(client, once["id"]).status_code == 200
        problem(claim(client, once["id"]), 409, "reward_limit_reached")
    assert count(engine, "reward_claims", account.live) == 2
    assert count(engine, "rejections", account.live) == 3


def test_what_became_of_a_claim_can_be_asked(client: FlaskClient, pipeline: Pipeline) -> None:
    reward = make_reward(client, points_cost=100)
    refused = claim(client, reward["id"], headers=ASYNC).get_json()["status_url"]
    award_points(client, 100)
    given = claim(client, reward["id"], headers=ASYNC).get_json()["status_url"]
    assert client.get(given).get_json()["status"] == "accepted"
    pipeline.drain()
    assert client.get(given).get_json()["result"]["points_deducted"] == 100
    answer = client.get(refused).get_json()
    assert (answer["status"], answer["code"]) == ("rejected", "insufficient_points")


def test_a_reward_is_claimed_in_its_window_alone(client: FlaskClient) -> None:
    now = clock.now()
    over = make_reward(
        client,
        "over",
        starts_at=clock.isoformat(now - timedelta(days=2)),
        ends_at=clock.isoformat(now - timedelta(days=1)),
    )
    soon = make_reward(client, "soon", starts_at=clock.isoformat(now + timedelta(days=1)))
    for reward in (over, soon):
        problem(claim(client, reward["id"]), 409, "reward_not_open")
    listed = client.get(f"{BASE}/rewards").get_json()
    assert listed["rewards"] == []


def test_an_unknown_inactive_or_foreign_reward_is_not_found(
    client: FlaskClient, app: Flask, account: Account
) -> None:
    reward = make_reward(client)
    problem(claim(client_of(app, account.keys["test"]), reward["id"]), 404, "reward_not_found")
    problem(claim(client, "nonsense"), 404, "reward_not_found")
    client.delete(f"{BASE}/admin/rewards/{reward['id']}")
    problem(claim(client, reward["id"]), 404, "reward_not_found")


def test_two_hundred_who_claim_at_once_get_exactly_what_there_is(
    settings: Settings, account: Account, pipeline: Pipeline, engine: Engine
) -> None:
    """Through the API, from 40 threads, with two drains: 25 of 200 get one, each charged once."""
    stock, people = 25, 200
    with another_app(settings) as app:
        client = client_of(app, account.keys["live"])
        reward = make_reward(client, points_cost=10, stock=stock, max_claims_per_user=None)
        post(pipeline.client, [moved(account.live.id, 15, f"user_{n}") for n in range(people)])
        pipeline.drain()
        statuses: list[int] = []

        def some(nth: int) -> None:
            mine = client_of(app, account.keys["live"])
            for n in range(nth, people, 40):
                response = claim(mine, reward["id"], f"user_{n}", headers=ASYNC)
                statuses.append(response.status_code)

        threads = [threading.Thread(target=some, args=(nth,)) for nth in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == [202] * people
        drain_side_by_side(pipeline, 2, 30)
        shown = client.get(f"{BASE}/admin/rewards/{reward['id']}").get_json()
    assert (shown["claimed"], shown["available"]) == (stock, 0)
    assert count(engine, "reward_claims", account.live) == stock
    assert count(engine, "rejections", account.live) == people - stock
    kinds = [one["type"] for one in facts_of(engine, account.live.id)]
    assert kinds.count("reward.claimed") == kinds.count("points.deducted") == stock
    assert_the_books_balance(engine, account.live.id)


def test_one_who_claims_two_hundred_times_gets_what_the_limit_and_the_points_allow(
    client: FlaskClient, account: Account, pipeline: Pipeline, engine: Engine
) -> None:
    twice = make_reward(client, "twice", points_cost=10, max_claims_per_user=2)
    dear = make_reward(client, "dear", points_cost=30, max_claims_per_user=None)
    post(pipeline.client, [moved(account.live.id, 100)])
    pipeline.drain()
    claims = [claimed(account.live.id, one["id"]) for one in (twice, dear) for _ in range(100)]
    post(pipeline.client, [*claims, *claims[:50]])
    drain_side_by_side(pipeline, 3, 20)
    listed: dict[str, Any] = of_participant(client, "rewards?page_size=100")
    found = [one["reward_code"] for one in listed["items"]]
    assert found.count("twice") <= 2
    assert 10 * found.count("twice") + 30 * found.count("dear") <= 100
    assert 100 - 10 * found.count("twice") - 30 * found.count("dear") < 30
    assert count(engine, "reward_claims", account.live) == len(found)
    assert count(engine, "rejections", account.live) == len(claims) - len(found)
    assert_the_books_balance(engine, account.live.id)


def test_a_refused_claim_stays_refused_when_it_is_handed_out_again(
    client: FlaskClient, account: Account, pipeline: Pipeline, engine: Engine
) -> None:
    reward = make_reward(client, points_cost=10)
    refused = claimed(account.live.id, reward["id"])
    post(pipeline.client, [refused])
    pipeline.drain()
    post(pipeline.client, [moved(account.live.id, 100), refused])
    pipeline.drain()
    assert count(engine, "reward_claims", account.live) == 0
    assert of_participant(client, "points")["balance"] == 100


def test_the_stock_is_not_set_below_what_is_gone(
    client: FlaskClient, account: Account, pipeline: Pipeline
) -> None:
    reward = make_reward(client, stock=3, max_claims_per_user=None)
    post(pipeline.client, [claimed(account.live.id, reward["id"]) for _ in range(2)])
    pipeline.drain()
    url = f"{BASE}/admin/rewards/{reward['id']}"
    problem(client.patch(url, json={"stock": 1}), 422, "validation_error", "stock")
    assert client.patch(url, json={"stock": 2}).get_json()["available"] == 0
    endless = client.patch(url, json={"stock": None}).get_json()
    assert (endless["stock"], endless["claimed"], endless["available"]) == (None, 2, None)
