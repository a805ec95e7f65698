"""The examples of the documentation's Participants pages, verbatim: same requests, same answers.

What the richest example shows of points, tiers and rewards has its own APIs, which come later:
there the documented empty shape is checked.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models.db import Engine
from models.identity import tenants
from settings import Settings
from tests.calls import (
    another_app,
    client_of,
    instant,
    make_streak,
    noon,
    operator_changes,
    post_batch,
    problem,
    tick,
)
from tests.conftest import Account
from tests.integration.people import earn, make_badge
from tests.pipeline import Pipeline

PATH = "/api/v1/gamify/participants"
CREATE = """{
  "participant_id": "user_123",
  "display_name": "Jane Doe",
  "avatar_url": "https://example.com/avatar.png",
  "attributes": {
    "plan": "premium",
    "signup_source": "referral"
  }
}"""
CREATED = """{
  "participant_id": "user_123",
  "display_name": "Jane Doe",
  "avatar_url": "https://example.com/avatar.png",
  "attributes": { "plan": "premium", "signup_source": "referral" },
  "points": { "balance": 0, "total_earned": 0, "total_spent": 0 },
  "tier": null,
  "badges": [],
  "streaks": null,
  "rewards_claimed": 0,
  "first_seen_at": null,
  "last_seen_at": null,
  "total_events": 0,
  "is_active": true,
  "created_at": "2026-02-14T10:00:00Z"
}"""
CHANGE = """{
  "display_name": "Jane Smith",
  "attributes": { "plan": "enterprise", "team_id": "team_42" }
}"""
# As the second page writes them, comments taken out.
CREATE_SHORT = """{
"participant_id": "user_123",
"display_name": "Jane Doe",
"avatar_url": "https://example.com/avatar.png",
"attributes": {
"plan": "premium",
"signup_source": "referral"
}
}"""
CHANGE_SHORT = """{
"display_name": "Jane Smith",
"attributes": { "plan": "enterprise", "team_id": "team_42" }
}"""
SECTIONS = ["points", "tier", "badges", "streaks", "challenges", "rewards"]

Send = Callable[..., TestResponse]


@pytest.fixture(params=["X-API-Key", "Authorization"])
def send(request: pytest.FixtureRequest, app: Flask, account: Account) -> Send:
    """Send a request as the page shows it, under either header."""

    def send(method: str, path: str, body: str | None = None) -> TestResponse:
        key = account.keys["live"]
        headers = {request.param: f"Bearer {key}" if request.param == "Authorization" else key}
        if body is not None:
            headers["Content-Type"] = "application/json"
        return app.test_client().open(path, method=method, headers=headers, data=body)

    return send


@pytest.fixture
def jane(client: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account) -> None:
    """The page's user_123: a streak of 7 that was 21 at best, and one badge of two."""
    make_streak(client)
    icon = "https://cdn.example.com/badges/first_steps.png"
    make_badge(client, "first_steps", name="First Steps", icon_url=icon)
    make_badge(client, "power_user", name="Power User", rarity="rare")
    days = [*range(60, 39, -1), *range(6, -1, -1)]
    post_batch(client, *(tick("user_123", timestamp=noon(day)) for day in days))
    pipeline.drain()
    earn(engine, account, "first_steps")


def documented(response: TestResponse, status: int, example: str) -> dict[str, Any]:
    """The answer has the documented fields, in their order, with their values, but for times."""
    assert response.status_code == status, response.text
    expected, answer = json.loads(example), response.get_json()
    assert list(answer)[: len(expected)] == list(expected)
    assert instant(answer["created_at"])
    expected["created_at"] = answer["created_at"]
    assert {name: answer[name] for name in expected} == expected
    return dict(answer)


@pytest.mark.parametrize("body", [CREATE, CREATE_SHORT])
def test_it_creates_and_upserts_a_participant(send: Send, body: str) -> None:
    first = documented(send("POST", PATH, body), 201, CREATED)
    assert documented(send("POST", PATH, body), 201, CREATED) == first
    assert send("GET", f"{PATH}/user_123").get_json() == first


@pytest.mark.usefixtures("jane")
def test_it_returns_the_rich_profile(send: Send) -> None:
    send("POST", PATH, CREATE.replace(',\n    "signup_source": "referral"', ""))
    response = send("GET", f"{PATH}/user_123")
    body = response.get_json()
    (badge,), streaks = body["badges"], body["streaks"]
    assert list(badge.items())[:5] == [
        ("code", "first_steps"),
        ("name", "First Steps"),
        ("icon", "https://cdn.example.com/badges/first_steps.png"),
        ("rarity", "common"),
        ("earned", True),
    ]
    assert list(badge) == ["code", "name", "icon", "rarity", "earned", "earned_at"]
    assert instant(badge["earned_at"])
    assert streaks == {"current": 7, "longest": 21, "last_activity_at": noon(0)}
    expected = json.loads(CREATED) | {"attributes": {"plan": "premium"}, "badges": [badge]}
    expected |= {"streaks": streaks, "first_seen_at": noon(60), "last_seen_at": noon(0)}
    documented(response, 200, json.dumps(expected | {"total_events": 28}))


@pytest.mark.parametrize("body", [CHANGE, CHANGE_SHORT])
@pytest.mark.usefixtures("jane")
def test_it_updates_a_participant(send: Send, body: str) -> None:
    before = send("POST", PATH, CREATE).get_json()
    response = send("PATCH", f"{PATH}/user_123", body)
    assert response.status_code == 200
    assert response.get_json() == before | json.loads(body)
    assert list(response.get_json()) == list(before)


@pytest.mark.usefixtures("jane")
def test_it_returns_the_sections_asked_for(send: Send) -> None:
    body = send("GET", f"{PATH}/user_123/state?include=points,tier,badges").get_json()
    assert list(body) == ["participant_id", "points", "tier", "badges"]
    assert body["participant_id"] == "user_123"
    first, second = body["badges"]
    assert (first["code"], first["rarity"], first["earned"]) == ("first_steps", "common", True)
    assert (second["code"], second["name"]) == ("power_user", "Power User")
    assert (second["rarity"], second["earned"], second["earned_at"]) == ("rare", False, None)


@pytest.mark.usefixtures("jane")
def test_it_returns_every_section(send: Send) -> None:
    body = send("GET", f"{PATH}/user_123/state").get_json()
    assert list(body) == ["participant_id", *SECTIONS]
    assert (body["streaks"]["current"], body["streaks"]["longest"]) == (7, 21)
    assert (body["challenges"], body["rewards"]) == (
        {"active": 0, "completed": 0},
        {"total_claimed": 0},
    )


def test_it_answers_the_documented_errors(
    send: Send, app: Flask, account: Account, settings: Settings
) -> None:
    problem(send("PATCH", f"{PATH}/user_123", "{}"), 400, "no_fields_to_update")
    for method, body in (("GET", None), ("PATCH", CHANGE)):
        problem(send(method, f"{PATH}/user_123", body), 404, "participant_not_found")
    for method, path in (("POST", ""), ("GET", "/user_123/state"), ("GET", "/user_123")):
        problem(app.test_client().open(PATH + path, method=method), 401, "unauthorized")
    with operator_changes(app, account.live) as session:
        tenants.change(session, account.slug, is_enabled=False)
    problem(send("POST", PATH, CREATE), 403, "forbidden")
    with another_app(settings) as other:  # a read may rest on what was true seconds ago
        problem(client_of(other, account.keys["live"]).get(f"{PATH}/x/state"), 403, "forbidden")
