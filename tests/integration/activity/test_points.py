"""Points: awarded and deducted through the queue, answered as documented, kept in the ledger."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient

from models import clock
from models.db import Engine
from settings import Settings
from tests.calls import (
    assert_nothing_stored,
    client_of,
    count,
    instant,
    make_badge,
    make_streak,
    noon,
    post_award,
    post_json,
    post_tick,
    problem,
)
from tests.conftest import BASE, Account
from tests.integration.batches import post
from tests.integration.earning import (
    ASYNC,
    MOVED,
    WAIT,
    assert_the_books_balance,
    award_points,
    balances,
    deduct_points,
    facts_of,
    ledger,
    moved,
    of_participant,
    waiting,
)
from tests.pipeline import Pipeline

# -- the waiting answer ------------------------------------------------------------------------


def test_an_award_answers_the_documented_fields_in_order(
    settings: Settings, account: Account, pipeline: Pipeline, engine: Engine
) -> None:
    with waiting(settings, account, pipeline) as client:
        response = award_points(client, 100, reason="Purchase completed", metadata={"order": 1})
    assert response.status_code == 200, response.text
    answer = response.get_json()
    assert list(answer) == MOVED
    assert answer | {"transaction_id": ""} == {
        "transaction_id": "",
        "participant_id": "user_123",
        "amount": 100,
        "new_balance": 100,
        "tier_upgrade": None,
    }
    assert_the_books_balance(engine, account.live.id)


def test_a_deduction_takes_from_the_balance_and_not_from_what_was_ever_earned(
    settings: Settings, account: Account, pipeline: Pipeline
) -> None:
    with waiting(settings, account, pipeline) as client:
        award_points(client, 1_500)
        response = deduct_points(client, 50, reason="Reward redemption")
        assert response.status_code == 200, response.text
        assert response.get_json()["new_balance"] == 1_450
        assert of_participant(client, "points") == {
            "participant_id": "user_123",
            "balance": 1_450,
            "total_earned": 1_500,
            "total_spent": 50,
        }


def test_too_few_points_are_refused_in_the_documented_words_and_nothing_is_taken(
    settings: Settings, account: Account, pipeline: Pipeline, engine: Engine
) -> None:
    with waiting(settings, account, pipeline) as client:
        award_points(client, 30)
        refused = problem(deduct_points(client, 50), 400, "insufficient_points")
        assert refused["detail"] == "Insufficient points. Available: 30, requested: 50"
        assert of_participant(client, "points")["balance"] == 30
    assert [one["type"] for one in facts_of(engine, account.live.id)] == ["points.awarded"]
    assert_the_books_balance(engine, account.live.id)


def test_all_of_a_balance_can_be_deducted_and_not_one_more(
    settings: Settings, account: Account, pipeline: Pipeline
) -> None:
    with waiting(settings, account, pipeline) as client:
        award_points(client, 30)
        assert deduct_points(client, 30).get_json()["new_balance"] == 0
        refused = problem(deduct_points(client, 1), 400, "insufficient_points")
        assert refused["detail"] == "Insufficient points. Available: 0, requested: 1"


# -- without waiting ---------------------------------------------------------------------------


def test_what_became_of_a_movement_can_be_asked(client: FlaskClient, pipeline: Pipeline) -> None:
    given = award_points(client, 30, headers=ASYNC)
    taken = deduct_points(client, 50, headers=ASYNC)
    for response in (given, taken):
        assert response.status_code == 202, response.text
        body = response.get_json()
        assert list(body) == ["transaction_id", "status", "status_url"]
        assert response.headers["Location"] == body["status_url"]
        assert client.get(body["status_url"]).get_json()["status"] == "accepted"
    pipeline.drain()
    applied = client.get(given.get_json()["status_url"]).get_json()
    assert (applied["status"], applied["result"]["new_balance"]) == ("applied", 30)
    refused = client.get(taken.get_json()["status_url"]).get_json()
    assert refused == {
        "transaction_id": taken.get_json()["transaction_id"],
        "status": "rejected",
        "result": None,
        "code": "insufficient_points",
        "detail": "Insufficient points. Available: 30, requested: 50",
    }


def test_nobody_elses_movement_and_no_other_write_is_found(
    client: FlaskClient, app: Flask, pipeline: Pipeline, account: Account
) -> None:
    url = award_points(client, 30, headers=ASYNC).get_json()["status_url"]
    make_badge(client)
    award_id = post_award(client, headers=ASYNC).get_json()["award_id"]
    pipeline.drain()
    test_side = client_of(app, account.keys["test"])
    problem(test_side.get(url), 404, "transaction_not_found")
    problem(client.get(f"{BASE}/points/transactions/{award_id}"), 404, "transaction_not_found")
    problem(client.get(f"{BASE}/points/transactions/nonsense"), 404, "transaction_not_found")


def test_a_key_makes_a_second_request_the_first_one(
    settings: Settings, account: Account, pipeline: Pipeline, engine: Engine
) -> None:
    key = {"Idempotency-Key": "order-1"}
    with waiting(settings, account, pipeline) as client:
        first = award_points(client, 100, headers=key).get_json()
        assert award_points(client, 100, headers=key).get_json() == first
        problem(award_points(client, 101, headers=key), 409, "idempotency_conflict")
        problem(deduct_points(client, 100, headers=key), 409, "idempotency_conflict")
        assert of_participant(client, "points")["balance"] == 100
    assert count(engine, "point_transactions", account.live) == 1


def test_a_key_repeats_a_refusal_although_there_would_be_enough_now(
    settings: Settings, account: Account, pipeline: Pipeline
) -> None:
    key = {"Idempotency-Key": "order-2"}
    with waiting(settings, account, pipeline) as client:
        problem(deduct_points(client, 50, headers=key), 400, "insufficient_points")
        award_points(client, 100)
        problem(deduct_points(client, 50, headers=key), 400, "insufficient_points")
        assert of_participant(client, "points")["balance"] == 100


# -- batches -----------------------------------------------------------------------------------


def test_a_batch_awards_item_by_item_and_one_bad_item_spoils_no_other(
    client: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    items = [
        {"participant_id": "a", "amount": 10},
        {"participant_id": "b", "amount": 0},
        {"participant_id": "a", "amount": 5, "reason": "again"},
    ]
    response = post_json(client, f"{BASE}/points/award-batch", {"awards": items})
    assert response.status_code == 202, response.text
    answer = response.get_json()
    assert (answer["accepted"], answer["rejected"]) == (2, 1)
    assert [list(one)[1] for one in answer["results"]] == [
        "transaction_id", "error", "transaction_id",
    ]  # fmt: skip
    assert answer["results"][1]["error"]["errors"][0]["field"] == "amount"
    pipeline.drain()
    assert balances(engine, account.live.id) == {"a": (15, 0)}
    assert_the_books_balance(engine, account.live.id)


def test_a_batch_may_be_lines(client: FlaskClient, pipeline: Pipeline, engine: Engine) -> None:
    lines = "\n".join(json.dumps({"participant_id": "a", "amount": one}) for one in (1, 2, 3))
    response = client.post(
        f"{BASE}/points/award-batch", data=lines, content_type="application/x-ndjson"
    )
    assert response.get_json()["accepted"] == 3
    pipeline.drain()
    assert of_participant(client, "points", "a")["balance"] == 6


# -- the ledger --------------------------------------------------------------------------------


def test_the_ledger_is_read_newest_first_with_both_accounts(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    before = clock.now_us() // 1_000 * 1_000
    award_points(client, 100, reason="Purchase", metadata={"order": "ord_abc"})
    deduct_points(client, 30)
    pipeline.drain()
    page = of_participant(client, "points/transactions")
    assert (page["total"], page["page"], page["page_size"]) == (2, 1, 50)
    taken, given = page["items"]
    assert before <= instant(given.pop("created_at")) <= clock.now_us()
    given.pop("id")
    assert given == {
        "kind": "award",
        "amount": 100,
        "balance_after": 100,
        "debit": "issued",
        "credit": "available",
        "source": None,
        "reason": "Purchase",
        "metadata": {"order": "ord_abc"},
    }
    assert (taken["amount"], taken["balance_after"]) == (-30, 70)
    assert (taken["debit"], taken["credit"]) == ("available", "deducted")


def test_the_ledger_has_pages_and_a_filter(client: FlaskClient, pipeline: Pipeline) -> None:
    for amount in (1, 2, 3, 4, 5):
        award_points(client, amount)
    deduct_points(client, 2)
    pipeline.drain()
    pages = [
        of_participant(client, f"points/transactions?page={nth}&page_size=2&kind=award")
        for nth in (1, 2, 3)
    ]
    assert [page["total"] for page in pages] == [5, 5, 5]
    found = [one for page in pages for one in page["items"]]
    assert [one["amount"] for one in found] == [5, 4, 3, 2, 1]  # the last applied first
    response = client.get(f"{BASE}/participants/user_123/points/transactions?kind=gift")
    problem(response, 422, "validation_error", "kind")


def test_of_one_never_seen_there_is_nothing(client: FlaskClient) -> None:
    assert of_participant(client, "points", "nobody") == {
        "participant_id": "nobody", "balance": 0, "total_earned": 0, "total_spent": 0,
    }  # fmt: skip
    assert of_participant(client, "points/transactions", "nobody")["items"] == []


def test_a_milestone_gives_points_when_it_is_reached(
    client: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    make_badge(client, "warrior")
    milestones = [{"count": 2, "badge_code": "warrior", "points": 50}, {"count": 3, "points": 7}]
    streak = make_streak(client, milestones=milestones)
    assert streak["milestones"] == [
        {"count": 2, "badge_code": "warrior", "points": 50, "repeat": "once"},
        {"count": 3, "badge_code": None, "points": 7, "repeat": "once"},
    ]
    for day in (2, 1, 1, 0):
        post_tick(client, timestamp=noon(day))
    pipeline.drain()
    facts = facts_of(engine, account.live.id)
    assert [one["type"] for one in facts] == [
        "behavior.streak_recorded",
        "behavior.streak_recorded",
        "badge.awarded",
        "points.awarded",
        "behavior.streak_milestone",
        "behavior.streak_recorded",
        "points.awarded",
        "behavior.streak_milestone",
    ]
    assert [one["sequence"] for one in facts] == list(range(1, 9))
    given = facts[3]["payload"]
    assert (given["amount"], given["kind"], given["source"]) == (50, "milestone", "daily_login")
    assert given["metadata"]["milestone"] == 2
    assert facts[4]["payload"]["points"] == 50
    assert of_participant(client, "points", "user_42")["balance"] == 57
    assert_the_books_balance(engine, account.live.id)


# -- what is handed out again ------------------------------------------------------------------


def test_what_is_handed_out_again_is_moved_once(
    pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    messages = [moved(account.live.id, 100), moved(account.live.id, -30)]
    for _ in range(2):
        post(pipeline.client, [*messages, moved(account.live.id, 1, "somebody_else")])
        pipeline.drain()
    assert balances(engine, account.live.id) == {"user_123": (100, 30), "somebody_else": (2, 0)}
    assert_the_books_balance(engine, account.live.id)


def test_a_refused_deduction_stays_refused_when_it_is_handed_out_again(
    pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    refused = moved(account.live.id, -30)
    post(pipeline.client, [refused])
    pipeline.drain()
    post(pipeline.client, [moved(account.live.id, 100), refused])
    pipeline.drain()
    assert balances(engine, account.live.id) == {"user_123": (100, 0)}
    assert count(engine, "rejections", account.live) == 1


def test_a_deduction_that_was_made_is_not_refused_when_it_is_handed_out_again(
    pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    made = moved(account.live.id, -100)
    post(pipeline.client, [moved(account.live.id, 100), made])
    pipeline.drain()
    post(pipeline.client, [made])
    pipeline.drain()
    assert balances(engine, account.live.id) == {"user_123": (100, 100)}
    assert count(engine, "rejections", account.live) == 0
    assert len(ledger(engine, account.live.id)) == 2


# -- bad input ---------------------------------------------------------------------------------

BAD: list[tuple[dict[str, Any], str]] = [
    ({"amount": 0}, "amount"),
    ({"amount": -5}, "amount"),
    ({"amount": 1_000_001}, "amount"),
    ({"amount": 1.5}, "amount"),
    ({"amount": "100"}, "amount"),
    ({"amount": True}, "amount"),
    ({"amount": None}, "amount"),
    ({"participant_id": ""}, "participant_id"),
    ({"participant_id": 7}, "participant_id"),
    ({"reason": "x" * 501}, "reason"),
    ({"reason": "a\x00b"}, "reason"),
    ({"metadata": []}, "metadata"),
]


@pytest.mark.parametrize("path", ["award", "deduct"])
@pytest.mark.parametrize(("values", "field"), BAD)
def test_bad_input_is_refused_with_its_field_and_stores_nothing(
    client: FlaskClient,
    redis_client: redis.Redis,
    engine: Engine,
    account: Account,
    path: str,
    values: dict[str, Any],
    field: str,
) -> None:
    body = {"participant_id": "user_123", "amount": 10} | values
    response = post_json(client, f"{BASE}/points/{path}", body)
    problem(response, 422, "validation_error", field)
    assert_nothing_stored(redis_client, engine, account.live)


def test_nobody_who_is_suspended_gets_or_gives_points(
    client: FlaskClient, app: Flask, account: Account, pipeline: Pipeline
) -> None:
    scrip = client.post("/v1/participants", json={"external_id": "user_123", "status": "SUSPENDED"})
    assert scrip.status_code == 201
    problem(award_points(client, 10, headers=WAIT), 409, "participant_inactive")
    problem(deduct_points(client, 10, headers=WAIT), 409, "participant_inactive")


def test_live_and_test_have_points_apart(
    client: FlaskClient, app: Flask, account: Account, pipeline: Pipeline
) -> None:
    award_points(client, 10)
    pipeline.drain()
    other = client_of(app, account.keys["test"])
    assert of_participant(other, "points")["balance"] == 0
    assert of_participant(other, "points/transactions")["total"] == 0
