"""A participant's badges: what was earned, what can be, and what stays hidden until then."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models import clock, ids
from models.db import Engine, transaction
from models.identity.tenants import Tenant
from tests.calls import client_of, make_key, problem
from tests.conftest import BASE, Account

EARNED_AT = "2026-02-14T10:00:00Z"
ENTRY = ["code", "name", "description", "icon", "rarity", "category", "earned", "earned_at"]


def make(client: FlaskClient, code: str, **values: Any) -> str:
    """Create a definition and return its id."""
    body = {"code": code, "name": code.title()} | values
    response = client.post(f"{BASE}/admin/badges", json=body)
    assert response.status_code == 201, response.text
    return str(response.get_json()["id"])


def earn(engine: Engine, side: Tenant, participant_id: str, *badge_ids: str) -> None:
    """Write what the worker writes, at an instant of the test's."""
    values = {"tenant_id": side.id, "external_id": participant_id, "earned_at": EARNED_AT}
    with transaction(engine) as session:
        session.execute(
            sa.text(
                "INSERT INTO participants (tenant_id, external_id)"
                " VALUES (:tenant_id, :external_id) ON CONFLICT DO NOTHING"
            ),
            values,
        )
        for badge_id in badge_ids:
            award = {"badge_id": badge_id, "award_id": ids.uuid7(clock.now_us())}
            session.execute(
                sa.text(
                    "INSERT INTO participant_badges"
                    " (tenant_id, participant_id, badge_id, award_id, earned_at)"
                    " SELECT :tenant_id, id, :badge_id, :award_id, :earned_at FROM participants"
                    " WHERE tenant_id = :tenant_id AND external_id = :external_id"
                ),
                values | award,
            )


def read(client: FlaskClient, participant_id: str = "user_123", query: str = "") -> TestResponse:
    return client.get(f"{BASE}/participants/{participant_id}/badges{query}")


def codes(response: TestResponse) -> dict[str, bool]:
    """The codes in their order with whether each was earned; the counts are checked."""
    assert response.status_code == 200, response.text
    body = response.get_json()
    assert list(body) == ["participant_id", "badges", "total", "earned_count"]
    assert all(list(one) == ENTRY for one in body["badges"])
    assert all(one["earned"] == (one["earned_at"] is not None) for one in body["badges"])
    found = {one["code"]: one["earned"] for one in body["badges"]}
    assert (body["total"], body["earned_count"]) == (len(body["badges"]), sum(found.values()))
    return found


def test_it_shows_earned_and_unearned_in_display_order(
    client: FlaskClient, engine: Engine, account: Account
) -> None:
    make(client, "last", display_order=9)
    make(client, "first_steps")
    power = make(
        client,
        "power_user",
        description="Log in 10 times.",
        icon_url="https://cdn.example.com/badges/power.png",
        rarity="rare",
        category="engagement",
        display_order=1,
    )
    earn(engine, account.live, "user_123", power)
    earn(engine, account.live, "user_456")
    response = read(client)
    assert codes(response) == {"first_steps": False, "power_user": True, "last": False}
    assert response.get_json()["badges"][1] == {
        "code": "power_user",
        "name": "Power_User",
        "description": "Log in 10 times.",
        "icon": "https://cdn.example.com/badges/power.png",
        "rarity": "rare",
        "category": "engagement",
        "earned": True,
        "earned_at": EARNED_AT,
    }
    unearned = {"first_steps": False, "power_user": False, "last": False}
    assert codes(read(client, "user_456")) == unearned


def test_it_is_no_error_to_have_done_nothing_yet(client: FlaskClient) -> None:
    assert read(client, "nobody").get_json() == {
        "participant_id": "nobody",
        "badges": [],
        "total": 0,
        "earned_count": 0,
    }
    make(client, "power_user")
    assert codes(read(client, "nobody")) == {"power_user": False}
    assert codes(read(client, "nobody", "?earned_only=true")) == {}


def test_it_shows_hidden_and_inactive_badges_to_those_only_who_earned_them(
    client: FlaskClient, engine: Engine, account: Account
) -> None:
    make(client, "plain")
    hidden = make(client, "hidden", is_hidden=True)
    retired = make(client, "retired")
    both = make(client, "secret_and_retired", is_hidden=True, is_active=False)
    earn(engine, account.live, "user_123", hidden, retired, both)
    client.delete(f"{BASE}/admin/badges/{retired}")
    assert codes(read(client, "user_456")) == {"plain": False}
    assert codes(read(client, "user_456", "?badge_codes=hidden,retired")) == {}
    mine = {"hidden": True, "retired": True, "secret_and_retired": True}
    assert codes(read(client)) == dict(sorted((mine | {"plain": False}).items()))
    assert codes(read(client, query="?earned_only=true")) == mine


def test_it_filters_by_codes(client: FlaskClient, engine: Engine, account: Account) -> None:
    badge_ids = [make(client, code) for code in "abcd"]
    earn(engine, account.live, "user_123", badge_ids[1])
    for query, expected in (
        ("badge_codes=b,a", {"a": False, "b": True}),
        ("badge_codes=%20a%20,,b,a,", {"a": False, "b": True}),
        ("badge_codes=a,nope", {"a": False}),
        ("badge_codes=nope", {}),
        ("badge_codes=%00", {}),
        ("badge_codes=%22%5C,%7Ba,%F0%9F%98%80", {}),
        ("badge_codes=a,b&earned_only=true", {"b": True}),
        ("badge_codes=a&earned_only=true", {}),
        ("badge_codes=a&earned_only=false", {"a": False}),
        ("badge_codes=", {"a": False, "b": True, "c": False, "d": False}),
        ("badge_codes=%20,,", {"a": False, "b": True, "c": False, "d": False}),
        ("badge_codes=" + ",".join(["d"] * 100), {"d": False}),
    ):
        assert codes(read(client, query=f"?{query}")) == expected, query


@pytest.mark.parametrize(
    "query",
    ["earned_only=1", "earned_only=", "earned_only=True", "badge_codes=" + ",".join(["x"] * 101)],
)
def test_it_names_the_parameter_that_cannot_be_used(client: FlaskClient, query: str) -> None:
    response = read(client, query=f"?{query}")
    problem(response, 422, "validation_error", query.split("=")[0])


def test_it_reads_any_id_and_refuses_what_is_none(
    client: FlaskClient, engine: Engine, account: Account
) -> None:
    power = make(client, "power_user")
    for participant_id, path in (("a/b", "a%2Fb"), ("état", "%C3%A9tat"), ("x" * 255, "x" * 255)):
        earn(engine, account.live, participant_id, power)
        response = read(client, path)
        assert codes(response) == {"power_user": True}
        assert response.get_json()["participant_id"] == participant_id
    problem(read(client, "x" * 256), 422, "validation_error", "participant_id")


def test_it_answers_every_key(
    app: Flask, client: FlaskClient, engine: Engine, account: Account
) -> None:
    make(client, "power_user")
    assert codes(read(client_of(app, make_key(engine, account.live)))) == {"power_user": False}
