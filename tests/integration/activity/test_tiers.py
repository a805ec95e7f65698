"""Tiers: reached by points in the transaction of the points, or assigned; with their history."""

from __future__ import annotations

from flask import Flask
from flask.testing import FlaskClient

from models.db import Engine
from settings import Settings
from tests.calls import client_of, count, instant, problem
from tests.conftest import BASE, Account
from tests.integration.batches import post
from tests.integration.earning import (
    ASYNC,
    assign,
    award_points,
    deduct_points,
    facts_of,
    make_tier,
    moved,
    of_participant,
    waiting,
)
from tests.pipeline import Pipeline


def ladder(client: FlaskClient) -> None:
    make_tier(client, "silver", 2, 1_000)
    make_tier(client, "gold", 3, 5_000, color="#FFD700")
    make_tier(client, "platinum", 4, 10_000)
    make_tier(client, "vip", 9)


def test_points_lead_to_a_tier_and_the_answer_says_so(
    settings: Settings, account: Account, pipeline: Pipeline, engine: Engine
) -> None:
    with waiting(settings, account, pipeline) as client:
        ladder(client)
        assert award_points(client, 999).get_json()["tier_upgrade"] is None
        first = award_points(client, 1)
        assert first.get_json()["tier_upgrade"] == {
            "code": "silver", "name": "Silver", "level": 2,
            "previous_code": None, "previous_level": None,
        }  # fmt: skip
        url = f"{BASE}/points/transactions/{first.get_json()['transaction_id']}"
        assert client.get(url).get_json()["result"] == first.get_json()
        second = award_points(client, 9_000).get_json()["tier_upgrade"]
        assert (second["code"], second["previous_code"], second["previous_level"]) == (
            "platinum", "silver", 2,
        )  # fmt: skip
    kinds = [one["type"] for one in facts_of(engine, account.live.id)]
    assert kinds == [
        "points.awarded", "points.awarded", "tier.changed", "points.awarded", "tier.changed",
    ]  # fmt: skip
    told = facts_of(engine, account.live.id)[-1]["payload"]
    assert (told["tier_code"], told["previous_tier_code"], told["source"]) == (
        "platinum", "silver", "points",
    )  # fmt: skip
    assert told["total_earned"] == 10_000


def test_spending_takes_nobody_down(client: FlaskClient, pipeline: Pipeline) -> None:
    ladder(client)
    award_points(client, 5_000)
    deduct_points(client, 5_000)
    pipeline.drain()
    shown = of_participant(client, "tier")
    assert shown["current_tier"]["code"] == "gold"


def test_a_participant_reads_its_tier_the_next_one_and_the_history(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    ladder(client)
    for amount in (1_000, 4_000):
        award_points(client, amount)
        pipeline.drain()
    deduct_points(client, 3_500)
    pipeline.drain()
    shown = of_participant(client, "tier")
    assert list(shown) == ["participant_id", "current_tier", "next_tier", "tier_history"]
    current = shown["current_tier"]
    assert (current["code"], current["name"], current["level"], current["color"]) == (
        "gold", "Gold", 3, "#FFD700",
    )  # fmt: skip
    assert shown["next_tier"] == {
        "code": "platinum",
        "name": "Platinum",
        "points_required": 10_000,
        "points_remaining": 8_500,  # as the documentation's example counts: from the balance
        "earned_remaining": 5_000,
    }
    history = shown["tier_history"]
    assert [one["code"] for one in history] == ["silver", "gold"]
    assert history[1]["achieved_at"] == current["achieved_at"]
    assert instant(history[0]["achieved_at"]) < instant(history[1]["achieved_at"])


def test_of_one_never_seen_the_lowest_tier_is_the_next(client: FlaskClient) -> None:
    ladder(client)
    shown = of_participant(client, "tier", "nobody")
    assert shown["current_tier"] is None
    assert shown["tier_history"] == []
    assert (shown["next_tier"]["code"], shown["next_tier"]["points_remaining"]) == ("silver", 1_000)


def test_a_tier_is_assigned_up_and_down(
    settings: Settings, account: Account, pipeline: Pipeline, engine: Engine
) -> None:
    with waiting(settings, account, pipeline) as client:
        ladder(client)
        answer = assign(client, "vip", reason="VIP promotion", metadata={"by": "anna"}).get_json()
        assert list(answer) == [
            "assignment_id", "participant_id", "tier_code", "tier_name", "level",
            "previous_code", "previous_level", "already_assigned", "assigned_at",
        ]  # fmt: skip
        assert (answer["tier_code"], answer["already_assigned"]) == ("vip", False)
        again = assign(client, "vip").get_json()
        assert (again["already_assigned"], again["previous_code"]) == (True, "vip")
        assert assign(client, "silver").get_json()["previous_code"] == "vip"
        shown = of_participant(client, "tier")
    assert [one["code"] for one in shown["tier_history"]] == ["vip", "silver"]
    assert [one["reason"] for one in shown["tier_history"]] == ["VIP promotion", None]
    told = [one["payload"] for one in facts_of(engine, account.live.id)]
    assert [one["tier_code"] for one in told] == ["vip", "silver"]
    assert told[0]["metadata"] == {"by": "anna"}


def test_points_lead_on_from_an_assigned_tier_and_never_below_it(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    ladder(client)
    assign(client, "gold")
    award_points(client, 1_000)
    pipeline.drain()
    assert of_participant(client, "tier")["current_tier"]["code"] == "gold"
    award_points(client, 9_000)
    pipeline.drain()
    assert of_participant(client, "tier")["current_tier"]["code"] == "platinum"


def test_what_became_of_an_assignment_can_be_asked(
    client: FlaskClient, pipeline: Pipeline, app: Flask, account: Account
) -> None:
    ladder(client)
    accepted = assign(client, "vip", headers=ASYNC).get_json()
    assert client.get(accepted["status_url"]).get_json()["status"] == "accepted"
    pipeline.drain()
    assert client.get(accepted["status_url"]).get_json()["result"]["tier_code"] == "vip"
    other = client_of(app, account.keys["test"])
    problem(other.get(accepted["status_url"]), 404, "assignment_not_found")


def test_an_unknown_or_inactive_tier_is_not_assigned(client: FlaskClient) -> None:
    made = make_tier(client, "silver", 2, 1_000)
    refused = problem(assign(client, "nope"), 404, "tier_not_found")
    assert refused["detail"] == "Tier 'nope' not found"
    assert client.delete(f"{BASE}/admin/tiers/{made['id']}").get_json() == {
        "message": "Tier deactivated"
    }
    problem(assign(client, "silver"), 404, "tier_not_found")


def test_who_is_in_a_tier_that_was_deactivated_stays_and_nobody_else_comes(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    made = make_tier(client, "silver", 2, 1_000)
    award_points(client, 1_000)
    pipeline.drain()
    client.delete(f"{BASE}/admin/tiers/{made['id']}")
    award_points(client, 1_000, "user_7")
    pipeline.drain()
    assert of_participant(client, "tier")["current_tier"]["code"] == "silver"
    assert of_participant(client, "tier", "user_7")["current_tier"] is None


def test_what_is_handed_out_again_changes_a_tier_once(
    client: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    ladder(client)
    messages = [moved(account.live.id, 5_000)]
    for _ in range(2):
        post(pipeline.client, messages)
        pipeline.drain()
    assert count(engine, "tier_changes", account.live) == 1
    assert len(facts_of(engine, account.live.id)) == 2
