"""Tiers, rewards and challenges: what each kind of definition has of its own."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models.db import Engine
from tests.calls import client_of, make_key, make_streak, problem
from tests.conftest import BASE, Account
from tests.integration.definitions.kinds import CHALLENGE, REWARD, TIER, Kind


def test_an_automatic_tier_needs_a_threshold_and_one_by_hand_none(client: FlaskClient) -> None:
    body = {"code": "vip", "name": "VIP", "level": 9}
    without: list[dict[str, Any]] = [{}, {"criteria_config": {}}, {"criteria_config": None}]
    for given in without:
        response = client.post(TIER.path, json=body | given)
        problem(response, 422, "validation_error", "criteria_config.min_points")
    made = client.post(TIER.path, json=body | {"award_type": "manual"}).get_json()
    assert made["criteria_config"] == {}
    url = f"{TIER.path}/{made['id']}"
    response = client.patch(url, json={"award_type": "automatic"})
    problem(response, 422, "validation_error", "criteria_config.min_points")
    both = {"award_type": "automatic", "criteria_config": {"min_points": 1}}
    assert client.patch(url, json=both).get_json()["criteria_config"] == {"min_points": 1}


def test_no_two_active_tiers_have_one_level(client: FlaskClient) -> None:
    first = TIER.make(client)
    body = {"code": "other", "name": "Other"} | TIER.new
    document = problem(client.post(TIER.path, json=body), 400, "tier_level_conflict")
    assert document["detail"] == "Another active tier has the level 3: give this one another"
    second = TIER.make(client, "other", level=4)
    url = f"{TIER.path}/{second['id']}"
    problem(client.patch(url, json={"level": 3}), 400, "tier_level_conflict")
    client.delete(f"{TIER.path}/{first['id']}")
    assert client.patch(url, json={"level": 3}).status_code == 200
    again = client.patch(f"{TIER.path}/{first['id']}", json={"is_active": True})
    problem(again, 400, "tier_level_conflict")


@pytest.mark.parametrize("noun", [REWARD, CHALLENGE], ids=lambda one: one.noun)
def test_a_window_ends_after_it_starts(client: FlaskClient, noun: Kind) -> None:
    start, end = "2026-05-01T00:00:00Z", "2026-06-01T00:00:00+02:00"
    made = noun.make(client, starts_at=start, ends_at=end)
    assert (made["starts_at"], made["ends_at"]) == (start, "2026-05-31T22:00:00Z")
    url = f"{noun.path}/{made['id']}"
    for change, named in (
        ({"ends_at": start}, "ends_at"),
        ({"starts_at": "2026-07-01T00:00:00Z"}, "starts_at"),
        ({"starts_at": end, "ends_at": start}, "ends_at"),
    ):
        problem(client.patch(url, json=change), 422, "validation_error", named)
    assert client.patch(url, json={"starts_at": None}).get_json()["starts_at"] is None
    body = {"code": "x", "name": "X", "starts_at": end, "ends_at": start} | noun.new
    problem(client.post(noun.path, json=body), 422, "validation_error", "ends_at")


def test_what_can_be_claimed_is_listed_for_every_key(
    app: Flask, client: FlaskClient, account: Account, engine: Engine
) -> None:
    REWARD.make(client, "b")
    REWARD.make(client, "a", type="physical", stock=0)
    REWARD.make(client, "hidden", is_active=False)
    plain = client_of(app, make_key(engine, account.live))
    found = plain.get(f"{BASE}/rewards").get_json()
    assert [(one["code"], one["available"]) for one in found["rewards"]] == [("a", 0), ("b", 45)]
    assert (found["total"], found["page"], found["page_size"]) == (2, 1, 50)
    coupons = plain.get(f"{BASE}/rewards?reward_type=coupon").get_json()
    assert [one["code"] for one in coupons["rewards"]] == ["b"]
    for text in ("", "t" * 51, "%00"):
        response = plain.get(f"{BASE}/rewards?reward_type={text}")
        problem(response, 422, "validation_error", "reward_type")


def test_a_challenge_gives_only_a_badge_that_there_is(client: FlaskClient) -> None:
    make_streak(client)
    body = {"code": "x", "name": "X", "badge_code": "nope"} | CHALLENGE.new
    response = client.post(CHALLENGE.path, json=body)
    document = problem(response, 422, "validation_error", "badge_code")
    assert document["errors"][0]["code"] == "unknown_badge"
