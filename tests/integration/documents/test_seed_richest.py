"""The documentation's richest profile, made by nothing but writes through the API, read back equal.

The calendar is the example's own: the clock of this process is set to its days.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pytest
from flask.testing import FlaskClient

from models import clock
from models.db import Engine
from tests.calls import instant, make_streak, post_award, post_batch, post_json, post_tick, tick
from tests.conftest import BASE, Account
from tests.integration.earning import (
    assert_the_books_balance,
    award_points,
    claim,
    make_challenge,
    make_reward,
    make_tier,
)
from tests.integration.people import make_badge
from tests.pipeline import Pipeline

pytestmark = pytest.mark.promise("P15")

PROFILE = """{
  "participant_id": "user_123",
  "display_name": "Jane Doe",
  "avatar_url": "https://example.com/avatar.png",
  "attributes": { "plan": "premium" },
  "points": { "balance": 1500, "total_earned": 5000, "total_spent": 3500 },
  "tier": {
    "code": "gold",
    "name": "Gold",
    "level": 3,
    "color": "#FFD700",
    "achieved_at": "2026-02-01T10:00:00Z",
    "next_tier": {
      "code": "platinum",
      "name": "Platinum",
      "points_required": 10000,
      "points_remaining": 8500
    }
  },
  "badges": [
    {
      "code": "first_steps",
      "name": "First Steps",
      "icon": "https://cdn.example.com/badges/first_steps.png",
      "rarity": "common",
      "earned": true,
      "earned_at": "2026-01-15T12:30:00Z"
    }
  ],
  "streaks": { "current": 7, "longest": 21, "last_activity_at": "2026-02-14T08:15:00Z" },
  "rewards_claimed": 3,
  "first_seen_at": "2026-01-01T10:00:00Z",
  "last_seen_at": "2026-02-14T08:15:00Z",
  "total_events": 156,
  "is_active": true,
  "created_at": "2026-01-01T10:00:00Z"
}"""
STATE = """{
"participant_id": "user_123",
"points": { "balance": 1500, "total_earned": 5000, "total_spent": 3500 },
"tier": { "code": "gold", "name": "Gold", "level": 3 },
"badges": [
{ "code": "first_steps", "earned": true, "earned_at": "2026-01-15T12:30:00Z" },
{ "code": "power_user", "earned": false, "earned_at": null }
],
"streaks": { "current": 7, "longest": 21 },
"challenges": { "active": 2, "completed": 5 },
"rewards": { "total_claimed": 3 }
}"""
TIER = """{
  "participant_id": "user_123",
  "current_tier": {
    "code": "gold",
    "name": "Gold",
    "level": 3,
    "color": "#FFD700",
    "achieved_at": "2026-02-01T10:00:00Z"
  },
  "next_tier": {
    "code": "platinum",
    "name": "Platinum",
    "points_required": 10000,
    "points_remaining": 8500
  }
}"""
LOGINS = 128  # on days that were recorded already: events all the same
_real = datetime

SetClock = Callable[[str], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Set the clock of this process; it runs on from there."""
    off = [timedelta()]

    class Now(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # no Self
            return _real.now(tz) + off[0]

    monkeypatch.setattr(clock, "datetime", Now)
    monkeypatch.setattr(clock, "now_us", lambda: clock.to_us(clock.now()))

    def set_to(text: str) -> None:
        off[0] = _real.fromisoformat(text) - _real.now(UTC)

    return set_to


@pytest.fixture
def jane(client: FlaskClient, pipeline: Pipeline, set_clock: SetClock) -> None:
    """Play the example's six weeks."""
    set_clock("2026-01-01T10:00:00Z")
    _define(client)
    profile = {
        "participant_id": "user_123",
        "display_name": "Jane Doe",
        "avatar_url": "https://example.com/avatar.png",
        "attributes": {"plan": "premium"},
    }
    assert post_json(client, f"{BASE}/participants", profile).status_code == 201
    _log_in(client, pipeline, set_clock, "2026-01-01T10:00:00Z", 21)
    set_clock("2026-01-15T12:30:00Z")
    post_award(client, badge_code="first_steps")
    award_points(client, 1_000)
    pipeline.drain()
    set_clock("2026-02-01T10:00:00Z")
    award_points(client, 4_000)
    pipeline.drain()
    for nth, reward_id in enumerate(_rewards(client)):
        set_clock(f"2026-02-0{nth + 2}T10:00:00Z")
        assert claim(client, reward_id).status_code == 202
        pipeline.drain()
    _log_in(client, pipeline, set_clock, "2026-02-08T08:15:00Z", 7)
    again = [tick("user_123", timestamp="2026-01-10T10:00:00Z")] * LOGINS
    assert post_batch(client, *again).get_json()["accepted"] == LOGINS
    pipeline.drain()
    set_clock("2026-02-14T10:00:00Z")


def _define(client: FlaskClient) -> None:
    make_streak(client)
    icon = "https://cdn.example.com/badges/first_steps.png"
    make_badge(client, "first_steps", name="First Steps", icon_url=icon)
    make_badge(client, "power_user", name="Power User")
    make_tier(client, "silver", 2, 1_000)
    make_tier(client, "gold", 3, 5_000, color="#FFD700")
    make_tier(client, "platinum", 4, 10_000)
    ticks = {"type": "ticks", "streak_code": "daily_login"}
    for target in (1, 7, 21, 28, 100):
        make_challenge(client, ticks, target, f"logins_{target}")
    make_challenge(client, {"type": "points"}, 5_000, "points_5000")
    make_challenge(client, {"type": "points"}, 9_000, "points_9000")


def _log_in(
    client: FlaskClient, pipeline: Pipeline, set_clock: SetClock, first: str, days: int
) -> None:
    """A tick a day, each at its own instant."""
    start = _real.fromisoformat(first)
    for nth in range(days):
        now = clock.isoformat(start + timedelta(days=nth))
        set_clock(now)
        assert post_tick(client, "user_123", timestamp=now).status_code == 202
    pipeline.drain()


def _rewards(client: FlaskClient) -> list[str]:
    costs = {"coupon": 500, "mug": 1_000, "shirt": 2_000}
    return [make_reward(client, code, points_cost=cost)["id"] for code, cost in costs.items()]


def same(answer: Any, example: Any) -> None:
    """What the example shows is answered, in its order; fields that it leaves out are beyond it."""
    if isinstance(example, dict):
        assert [name for name in answer if name in example] == list(example)
        for name, value in example.items():
            same(answer[name], value)
    elif isinstance(example, list):
        assert len(answer) == len(example)
        for one, two in zip(answer, example, strict=True):
            same(one, two)
    else:
        assert answer == example


@pytest.mark.usefixtures("jane")
def test_the_richest_profile_is_read_back_as_it_is_documented(
    client: FlaskClient, engine: Engine, account: Account
) -> None:
    answer = client.get(f"{BASE}/participants/user_123").get_json()
    example = json.loads(PROFILE)
    created_at = answer.pop("created_at")
    assert instant(created_at) > 0  # by the database's clock, which nobody sets
    example.pop("created_at")
    assert list(answer) == [*example, "timezone"]
    answer.pop("timezone")
    answer["tier"]["achieved_at"] = _seconds(answer["tier"]["achieved_at"])
    answer["badges"][0]["earned_at"] = _seconds(answer["badges"][0]["earned_at"])
    assert answer == example
    assert_the_books_balance(engine, account.live.id)


@pytest.mark.usefixtures("jane")
def test_the_fullest_state_is_read_back_as_it_is_documented(client: FlaskClient) -> None:
    answer = client.get(f"{BASE}/participants/user_123/state").get_json()
    answer["badges"][0]["earned_at"] = _seconds(answer["badges"][0]["earned_at"])
    same(answer, json.loads(STATE))


@pytest.mark.usefixtures("jane")
def test_the_tier_is_read_back_with_its_history(client: FlaskClient) -> None:
    answer = client.get(f"{BASE}/participants/user_123/tier").get_json()
    answer["current_tier"]["achieved_at"] = _seconds(answer["current_tier"]["achieved_at"])
    same(answer, json.loads(TIER))
    assert [one["code"] for one in answer["tier_history"]] == ["silver", "gold"]


@pytest.mark.usefixtures("jane")
def test_scrip_shows_the_same_as_balances_counters_and_tiers(client: FlaskClient) -> None:
    response = client.post("/v1/participants", json={"external_id": "user_123"})
    assert response.status_code == 200, response.text
    answer = response.get_json()
    (balance,) = answer["balances"]
    assert list(balance) == ["asset_id", "available", "deferred", "held"]
    assert (balance["available"], balance["deferred"], balance["held"]) == (
        "1500.00", "0.00", "0.00",
    )  # fmt: skip
    assert answer["counters"] == {
        "points_earned": "5000",
        "points_spent": "3500",
        "events": "156",
        "badges_earned": "1",
        "rewards_claimed": "3",
    }
    assert answer["tiers"] == {"loyalty": {"level": "gold", "rank": 3}}


def _seconds(text: str) -> str:
    """An instant that this process stamped: it runs on for some milliseconds."""
    stamped = _real.fromisoformat(text)
    return clock.isoformat(stamped.replace(microsecond=0))
