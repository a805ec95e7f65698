"""The examples of the documentation's Badges page, verbatim: same requests, same answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

from models.db import Engine, reading
from models.identity import tenants
from settings import Settings
from tests.calls import another_app, draining, make_key, operator_changes, problem, revoke
from tests.conftest import Account
from tests.pipeline import Pipeline

AWARD_PATH = "/api/v1/gamify/badges/award"
BADGES_PATH = "/api/v1/gamify/participants/user_123/badges"
ADMIN_PATH = "/api/v1/gamify/admin/badges"
AWARD = """{
  "participant_id": "user_123",
  "badge_code": "power_user",
  "metadata": { "trigger": "10th_login" }
}"""
AWARDED = """{
  "participant_id": "user_123",
  "badge_code": "power_user",
  "badge_name": "Power User",
  "icon": "https://cdn.example.com/badges/power.png",
  "rarity": "rare",
  "earned_at": "2026-02-14T10:00:00Z",
  "already_earned": false
}"""
LIST = """{
  "participant_id": "user_123",
  "badges": [
    {
      "code": "power_user",
      "name": "Power User",
      "description": "Log in 10 times.",
      "icon": "https://cdn.example.com/badges/power.png",
      "rarity": "rare",
      "category": "engagement",
      "earned": true,
      "earned_at": "2026-02-14T10:00:00Z"
    }
  ],
  "total": 8,
  "earned_count": 3
}"""
DEFINITIONS = """{
  "items": [
    {
      "id": "01HZ...",
      "tenant_id": "01HZ...",
      "code": "power_user",
      "name": "Power User",
      "description": "Log in 10 times.",
      "icon_url": "https://cdn.example.com/badges/power.png",
      "badge_color": "#7C3AED",
      "rarity": "rare",
      "category": "engagement",
      "is_active": true,
      "is_hidden": false,
      "display_order": 10,
      "created_at": "2026-01-10T08:00:00Z",
      "updated_at": "2026-02-12T15:30:00Z"
    }
  ],
  "total": 12,
  "page": 1,
  "page_size": 50
}"""
CREATE = """{
  "code": "power_user",
  "name": "Power User",
  "description": "Log in 10 times.",
  "icon_url": "https://cdn.example.com/badges/power.png",
  "badge_color": "#7C3AED",
  "rarity": "rare",
  "category": "engagement",
  "display_order": 10
}"""
DEACTIVATED = """{ "message": "Badge deactivated" }"""
VARYING = {"id", "tenant_id", "created_at", "updated_at", "earned_at"}

Send = Callable[..., TestResponse]


@pytest.fixture(params=["X-API-Key", "Authorization"])
def send(
    request: pytest.FixtureRequest, waiting_app: Flask, account: Account, pipeline: Pipeline
) -> Iterator[Send]:
    """Send a request as the page shows it, under either key header, while a worker runs."""
    prefix = "Bearer " if request.param == "Authorization" else ""

    def send(method: str, path: str, body: str | None = None) -> TestResponse:
        headers = {request.param: prefix + account.keys["live"]}
        if body is not None:
            headers["Content-Type"] = "application/json"
        return waiting_app.test_client().open(path, method=method, headers=headers, data=body)

    with draining(pipeline):
        yield send


@pytest.fixture
def waiting_app(settings: Settings, pipeline: Pipeline) -> Iterator[Flask]:
    """An API that waits for the worker without being asked to, and longer than it takes."""
    with another_app(settings, wait_seconds=10.0) as app:
        yield app


def documented(answer: dict[str, Any], example: str | dict[str, Any]) -> None:
    """The documented fields come first, in their order, with their values."""
    expected = json.loads(example) if isinstance(example, str) else example
    assert list(answer)[: len(expected)] == list(expected)
    for name in expected.keys() - VARYING:
        assert answer[name] == expected[name], name


def create(send: Send, code: str, **values: Any) -> None:
    body = {"code": code, "name": code, "display_order": 20} | values
    assert send("POST", ADMIN_PATH, json.dumps(body)).status_code == 201


def award(send: Send, code: str) -> None:
    body = json.dumps({"participant_id": "user_123", "badge_code": code})
    assert send("POST", AWARD_PATH, body).status_code == 200


# -- awards ----------------------------------------------------------------------------------


def test_it_awards_once_and_keeps_the_first_instant(
    send: Send, engine: Engine, account: Account
) -> None:
    send("POST", ADMIN_PATH, CREATE)
    first = send("POST", AWARD_PATH, AWARD)
    assert first.status_code == 200
    body = first.get_json()
    documented(body, AWARDED)
    assert list(body)[7:] == ["award_id"]
    again = send("POST", AWARD_PATH, AWARD).get_json()
    expected = {"already_earned": True, "award_id": again["award_id"]}
    assert again == body | expected
    assert again["award_id"] != body["award_id"]
    fact, *others = facts(engine, account)
    assert others == []
    assert fact == {
        "id": fact["id"],
        "type": "badge.awarded",
        "occurred_at": fact["occurred_at"],
        "tenant": account.slug,
        "mode": "live",
        "participant_id": "user_123",
        "sequence": 1,
        "payload": {
            "badge_code": "power_user",
            "badge_name": "Power User",
            "icon": "https://cdn.example.com/badges/power.png",
            "rarity": "rare",
            "category": "engagement",
            "earned_at": body["earned_at"],
            "award_id": body["award_id"],
            "metadata": {"trigger": "10th_login"},
        },
    }


def facts(engine: Engine, account: Account) -> list[dict[str, Any]]:
    with reading(engine) as session:
        rows = session.execute(
            sa.text("SELECT body FROM facts WHERE tenant_id = :id ORDER BY id"),
            {"id": account.live.id},
        )
        return [json.loads(row.body) for row in rows]


def test_it_defaults_to_common_without_an_icon(send: Send) -> None:
    create(send, "power_user", name="Power User")
    body = send("POST", AWARD_PATH, AWARD).get_json()
    documented(body, json.loads(AWARDED) | {"icon": None, "rarity": "common"})


@pytest.mark.parametrize("is_defined", [False, True])
def test_it_awards_no_badge_that_is_unknown_or_inactive(send: Send, is_defined: bool) -> None:
    if is_defined:
        badge_id = send("POST", ADMIN_PATH, CREATE).get_json()["id"]
        assert send("POST", AWARD_PATH, AWARD).status_code == 200
        send("DELETE", f"{ADMIN_PATH}/{badge_id}")
    document = problem(send("POST", AWARD_PATH, AWARD), 404, "badge_not_found")
    assert document["detail"] == "Badge 'power_user' not found"
    assert send("GET", BADGES_PATH).get_json()["earned_count"] == int(is_defined)


# -- reading ---------------------------------------------------------------------------------


def test_it_lists_earned_and_unearned_badges(send: Send) -> None:
    send("POST", ADMIN_PATH, CREATE)
    for code in ("first_steps", "early_bird", "d", "e", "f", "g", "h"):
        create(send, code)
    for code in ("power_user", "first_steps", "early_bird"):
        award(send, code)
    response = send("GET", BADGES_PATH)
    assert response.status_code == 200
    body, example = response.get_json(), json.loads(LIST)
    documented(body | {"badges": []}, example | {"badges": []})
    documented(body["badges"][0], example["badges"][0])
    unearned = [one for one in body["badges"] if not one["earned"]]
    assert [one["code"] for one in unearned] == ["d", "e", "f", "g", "h"]
    assert {one["earned_at"] for one in unearned} == {None}

    earned = send("GET", "/api/v1/gamify/participants/user_123/badges?earned_only=true")
    only = [one for one in body["badges"] if one["earned"]]
    assert earned.get_json() == body | {"badges": only, "total": 3}

    path = "/api/v1/gamify/participants/user_123/badges?badge_codes=power_user,first_steps"
    some = send("GET", path).get_json()
    assert [one["code"] for one in some["badges"]] == ["power_user", "first_steps"]
    assert (some["total"], some["earned_count"]) == (2, 2)


# -- definitions -----------------------------------------------------------------------------


def test_it_manages_definitions_as_shown(send: Send) -> None:
    example = json.loads(DEFINITIONS)
    created = send("POST", ADMIN_PATH, CREATE)
    assert created.status_code == 201
    made = created.get_json()
    documented(made, example["items"][0])
    for nth in range(11):
        create(send, f"other_{nth}")
    create(send, "inactive", is_active=False)
    path = "/api/v1/gamify/admin/badges?is_active=true&page=1&page_size=50"
    listed = send("GET", path)
    assert listed.status_code == 200
    body = listed.get_json()
    documented(body | {"items": []}, example | {"items": []})
    assert body["items"][0] == made
    assert {tuple(one) for one in body["items"]} == {tuple(example["items"][0])}

    url = f"{ADMIN_PATH}/{made['id']}"
    assert send("GET", url).get_json() == made
    changed = send("PATCH", url, '{ "name": "Power", "is_hidden": true }')
    assert changed.status_code == 200
    updated = changed.get_json()
    expected = {"name": "Power", "is_hidden": True, "updated_at": updated["updated_at"]}
    assert updated == made | expected
    deleted = send("DELETE", url)
    assert (deleted.status_code, deleted.get_json()) == (200, json.loads(DEACTIVATED))
    assert send("GET", url).get_json()["is_active"] is False


def test_it_refuses_a_code_that_is_taken(send: Send) -> None:
    send("POST", ADMIN_PATH, CREATE)
    document = problem(send("POST", ADMIN_PATH, CREATE), 400, "badge_code_conflict")
    assert document["detail"] == "Badge with code 'power_user' already exists"


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_it_finds_no_badge_of_nobody(send: Send, method: str) -> None:
    badge_id = "01920000-0000-7000-8000-000000000000"
    body = '{ "name": "x" }' if method == "PATCH" else None
    document = problem(send(method, f"{ADMIN_PATH}/{badge_id}", body), 404, "badge_not_found")
    assert document["detail"] == f"Badge '{badge_id}' not found"


# -- who may ---------------------------------------------------------------------------------

PARTICIPANT_ROUTES = [("POST", AWARD_PATH, AWARD), ("GET", BADGES_PATH, None)]
ADMIN_ROUTES = [("GET", ADMIN_PATH, None), ("POST", ADMIN_PATH, CREATE)]


def call(app: Flask, key: str | None, method: str, path: str, body: str | None) -> TestResponse:
    headers = {"X-API-Key": key} if key else {}
    return app.test_client().open(
        path, method=method, headers=headers, data=body, content_type="application/json"
    )


@pytest.mark.parametrize("route", PARTICIPANT_ROUTES + ADMIN_ROUTES)
def test_it_asks_for_a_key_that_is_valid(
    app: Flask, engine: Engine, account: Account, route: tuple[str, str, str | None]
) -> None:
    revoked = make_key(engine, account.live, ["admin"])
    revoke(app, account.live, revoked)
    expired = make_key(engine, account.live, ["admin"], lives_s=-1)
    for key in (None, "bq_live_xxxxx", expired, revoked):
        problem(call(app, key, *route), 401, "unauthorized")


@pytest.mark.parametrize("route", PARTICIPANT_ROUTES + ADMIN_ROUTES)
def test_it_refuses_a_disabled_tenant(
    app: Flask, account: Account, route: tuple[str, str, str | None]
) -> None:
    with operator_changes(app, *account.sides.values()) as session:
        tenants.change(session, account.slug, is_enabled=False)
    document = problem(call(app, account.keys["live"], *route), 403, "forbidden")
    assert document["detail"] == "Tenant is disabled."


@pytest.mark.parametrize("scopes", [[], ["admin"], ["gamify:admin"]])
def test_it_asks_for_an_admin_scope_to_manage_and_for_none_to_award(
    waiting_app: Flask, engine: Engine, account: Account, pipeline: Pipeline, scopes: list[str]
) -> None:
    key = make_key(engine, account.live, scopes)
    for route in ADMIN_ROUTES:
        response = call(waiting_app, key, *route)
        if scopes:
            assert response.status_code in (200, 201)
        else:
            problem(response, 403, "forbidden")
    call(waiting_app, account.keys["live"], "POST", ADMIN_PATH, CREATE)
    with draining(pipeline):
        for route in PARTICIPANT_ROUTES:
            assert call(waiting_app, key, *route).status_code == 200


def test_it_tells_whoever_is_over_the_cap_when_to_retry(
    app: Flask, make_account: Callable[..., Account]
) -> None:
    key = make_account(writes_per_minute=1).keys["live"]
    call(app, key, "POST", ADMIN_PATH, CREATE)
    assert call(app, key, "POST", AWARD_PATH, AWARD).status_code == 202
    response = call(app, key, "POST", AWARD_PATH, AWARD)
    problem(response, 429, "RATE_LIMIT_PARTICIPANT_EXCEEDED")
    assert 1 <= int(response.headers["Retry-After"]) <= 60
