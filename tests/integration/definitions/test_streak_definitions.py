"""Streak definitions: created, read, changed and paused by admins, under both spellings."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models.db import Engine
from tests.calls import (
    count,
    draining,
    instant,
    make_badge,
    make_streak,
    noon,
    post_json,
    post_tick,
    problem,
)
from tests.conftest import BASE, Account
from tests.pipeline import Pipeline

FIELDS = [
    "code",
    "name",
    "description",
    "period",
    "grace_periods",
    "reset_on_miss",
    "is_active",
    "boundary",
    "milestones",
    "at_risk_lead_hours",
    "created_at",
    "updated_at",
]
SPELLINGS = [f"{BASE}/streaks", f"{BASE}/admin/streaks"]


@pytest.mark.parametrize("url", SPELLINGS)
def test_it_creates_reads_changes_and_pauses_a_definition(client: FlaskClient, url: str) -> None:
    created = client.post(url, json={"code": "daily_login", "name": "Daily Login"})
    assert created.status_code == 201
    body = created.get_json()
    assert list(body) == FIELDS
    assert instant(body["created_at"]) == instant(body["updated_at"])
    assert {name: body[name] for name in FIELDS[:10]} == {
        "code": "daily_login",
        "name": "Daily Login",
        "description": None,
        "period": "daily",
        "grace_periods": 0,
        "reset_on_miss": True,
        "is_active": True,
        "boundary": "utc",
        "milestones": [],
        "at_risk_lead_hours": None,
    }
    assert client.get(f"{url}/daily_login").get_json() == body
    changed = client.patch(f"{url}/daily_login", json={"grace_periods": 2, "description": "d"})
    assert changed.status_code == 200
    answer = changed.get_json()
    assert instant(answer["updated_at"]) > instant(body["updated_at"])
    expected = {"grace_periods": 2, "description": "d", "updated_at": answer["updated_at"]}
    assert answer == body | expected
    deleted = client.delete(f"{url}/daily_login")
    assert (deleted.status_code, deleted.get_json()) == (200, {"message": "Streak deactivated"})
    for spelling in SPELLINGS:
        assert client.get(f"{spelling}/daily_login").get_json()["is_active"] is False
    assert client.delete(f"{url}/daily_login").status_code == 200


@pytest.mark.parametrize(
    "values",
    [
        {"period": "weekly", "grace_periods": 366, "reset_on_miss": False, "is_active": False},
        {"period": "monthly", "boundary": "participant", "description": "x" * 5_000},
        {"description": None, "name": "n" * 100},
        {"description": "", "name": "毎日 👩‍🚀"},
        {"milestones": [{"count": 7, "badge_code": "week_warrior"}, {"count": 30}]},
        {"milestones": [{"count": n + 1} for n in range(100)]},
        {"description": "two\nlines"},
        {"at_risk_lead_hours": 1},
        {"at_risk_lead_hours": 8_784},
    ],
)
def test_it_keeps_what_is_given(client: FlaskClient, values: dict[str, Any]) -> None:
    make_badge(client, "week_warrior")
    made = make_streak(client, **values)
    expected = dict(values)
    if "milestones" in values:
        plain = {"badge_code": None, "repeat": "once"}
        expected["milestones"] = [plain | one for one in values["milestones"]]
    assert made == made | expected
    assert client.get(f"{BASE}/streaks/daily_login").get_json() == made


@pytest.mark.parametrize("code", ["x", "c" * 50, "A-Z_0:9.", "0"])
def test_it_takes_every_character_that_a_code_may_have(client: FlaskClient, code: str) -> None:
    make_streak(client, code)
    assert client.get(f"{BASE}/streaks/{code}").get_json()["code"] == code


def test_it_refuses_a_code_that_is_taken_even_by_a_paused_one(
    client: FlaskClient, engine: Engine, account: Account
) -> None:
    first = make_streak(client)
    client.delete(f"{BASE}/streaks/daily_login")
    response = client.post(f"{BASE}/streaks", json={"code": "daily_login", "name": "Other"})
    document = problem(response, 400, "streak_code_conflict")
    assert document["detail"] == "Streak with code 'daily_login' already exists"
    assert client.get(f"{BASE}/streaks/daily_login").get_json()["name"] == first["name"]
    assert count(engine, "streaks", account.live) == 1


def test_it_does_not_find_what_is_not_there(client: FlaskClient) -> None:
    for code in ("nope", "x" * 300, "a%20b", "%F0%9F%98%80"):
        url = f"{BASE}/streaks/{code}"
        for response in (
            client.get(url),
            client.patch(url, json={"name": "x"}),
            client.delete(url),
        ):
            problem(response, 404, "streak_not_found")


# -- pages -----------------------------------------------------------------------------------


def test_it_pages_in_the_order_of_codes(client: FlaskClient) -> None:
    for code in ("c", "a", "e", "b", "d"):
        make_streak(client, code, is_active=code != "c")
    assert _codes(client.get(f"{BASE}/streaks")) == (list("abcde"), 5, 1, 50)
    assert _codes(client.get(f"{BASE}/streaks?page=2&page_size=2")) == (["c", "d"], 5, 2, 2)
    assert _codes(client.get(f"{BASE}/streaks?page=9&page_size=2")) == ([], 5, 9, 2)
    assert _codes(client.get(f"{BASE}/admin/streaks?is_active=true"))[:2] == (list("abde"), 4)
    assert _codes(client.get(f"{BASE}/streaks?is_active=false"))[:2] == (["c"], 1)


def _codes(response: TestResponse) -> tuple[list[str], int, int, int]:
    body = response.get_json()
    assert list(body) == ["items", "total", "page", "page_size"]
    assert all(list(one) == FIELDS for one in body["items"])
    return [one["code"] for one in body["items"]], body["total"], body["page"], body["page_size"]


@pytest.mark.parametrize("name", ["page", "page_size"])
@pytest.mark.parametrize(
    "text", ["0", "-1", "1_000", "+1", "%2B1", "１", "1.0", "1e2", "", "x", "9" * 30, "%FF", "%00"]
)
def test_it_refuses_what_is_no_page(client: FlaskClient, name: str, text: str) -> None:
    response = client.get(f"{BASE}/streaks?{name}={text}")
    problem(response, 422, "validation_error", name)


@pytest.mark.parametrize("query", ["page_size=101", "page=1000001"])
def test_it_bounds_pages(client: FlaskClient, query: str) -> None:
    problem(client.get(f"{BASE}/streaks?{query}"), 422, "validation_error", query.split("=")[0])


@pytest.mark.parametrize("text", ["1", "True", "yes", "", "maybe"])
def test_it_refuses_what_is_no_truth_value(client: FlaskClient, text: str) -> None:
    response = client.get(f"{BASE}/streaks?is_active={text}")
    problem(response, 422, "validation_error", "is_active")


# -- bad input -------------------------------------------------------------------------------

BAD_VALUES: list[tuple[str, Any]] = [
    ("name", ""),
    ("name", "n" * 101),
    ("name", None),
    ("name", 7),
    ("name", "a\x00b"),
    ("name", "two\nlines"),
    ("name", "half \ud83d"),
    ("description", "x" * 5_001),
    ("description", "a\x00b"),
    ("description", ["x"]),
    ("grace_periods", -1),
    ("grace_periods", 367),
    ("grace_periods", 1.0),
    ("grace_periods", "1"),
    ("grace_periods", True),
    ("at_risk_lead_hours", 0),
    ("at_risk_lead_hours", 8_785),
    ("at_risk_lead_hours", "6"),
    ("grace_periods", None),
    ("grace_periods", 10**400),
    ("reset_on_miss", 1),
    ("reset_on_miss", "true"),
    ("is_active", None),
    ("boundary", "local"),
    ("milestones", None),
    ("milestones", {}),
    ("milestones", [{"count": 1}] * 101),
    ("milestones.0.count", [{"count": 0}]),
    ("milestones.0.count", [{}]),
    ("milestones.1.badge_code", [{"count": 1}, {"count": 2, "badge_code": "a b"}]),
    ("milestones.0", ["7"]),
    ("milestones.0.repeat", [{"count": 1, "repeat": "always"}]),
    ("milestones.1.badge_code", [{"count": 1}, {"count": 2, "badge_code": "unknown"}]),
]
BAD_CODES: list[Any] = [
    "",
    "x" * 51,
    "a b",
    "a/b",
    "é",
    "a\n",
    "a\x00",
    None,
    7,
    [],
    "%41",
    "a;b",
    "\udc00",
]


@pytest.mark.parametrize(("field", "value"), BAD_VALUES)
def test_it_refuses_a_bad_value_when_created_and_when_changed(
    client: FlaskClient, engine: Engine, account: Account, field: str, value: Any
) -> None:
    name = field.split(".")[0]
    body = {"code": "other", "name": "Other"} | {name: value}
    problem(post_json(client, f"{BASE}/streaks", body), 422, "validation_error", field)
    assert count(engine, "streaks", account.live) == 0
    made = make_streak(client)
    response = _patch(client, {"is_active": False} | {name: value})
    problem(response, 422, "validation_error", field)
    assert client.get(f"{BASE}/streaks/daily_login").get_json() == made


def _patch(client: FlaskClient, body: Any) -> TestResponse:
    url = f"{BASE}/streaks/daily_login"
    return client.patch(url, data=json.dumps(body), content_type="application/json")


@pytest.mark.parametrize("code", BAD_CODES)
def test_it_refuses_a_bad_code(
    client: FlaskClient, engine: Engine, account: Account, code: Any
) -> None:
    response = post_json(client, f"{BASE}/streaks", {"code": code, "name": "Name"})
    problem(response, 422, "validation_error", "code")
    assert count(engine, "streaks", account.live) == 0


def test_it_names_every_bad_field_at_once(client: FlaskClient) -> None:
    body = {"period": "hourly", "grace_periods": -1, "boundary": 1}
    response = client.post(f"{BASE}/streaks", json=body)
    names = ("code", "name", "period", "grace_periods", "boundary")
    document = problem(response, 422, "validation_error", *names)
    assert "hourly" not in response.text
    assert document["detail"] == "Invalid: code, name, period, grace_periods, boundary"


@pytest.mark.parametrize("field", ["code", "period"])
def test_it_does_not_change_what_is_fixed(client: FlaskClient, field: str) -> None:
    made = make_streak(client)
    for value in (made[field], "weekly", None):
        response = client.patch(f"{BASE}/streaks/daily_login", json={field: value, "name": "x"})
        problem(response, 422, "validation_error", field)
    assert client.get(f"{BASE}/streaks/daily_login").get_json() == made


def test_it_asks_for_something_to_change(client: FlaskClient) -> None:
    made = make_streak(client)
    url = f"{BASE}/streaks/daily_login"
    problem(client.patch(url, json={}), 400, "no_fields_to_update")
    body = {"created_at": made["created_at"]}
    problem(client.patch(url, json=body), 422, "unknown_field", "created_at")


# -- what a change does to what was recorded -------------------------------------------------


def test_it_reads_what_was_recorded_under_the_changed_rules(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    with draining(pipeline):
        for day in (4, 2, 0):
            post_tick(client, headers={"Prefer": "wait=10"}, timestamp=noon(day))
        url = f"{BASE}/participants/user_42/streaks"
        assert client.get(url).get_json()["streaks"][0]["current_count"] == 1
        client.patch(f"{BASE}/streaks/daily_login", json={"grace_periods": 2})
        entry = client.get(url).get_json()["streaks"][0]
        assert (entry["current_count"], entry["grace_remaining"]) == (3, 0)
        client.patch(
            f"{BASE}/streaks/daily_login", json={"grace_periods": 0, "reset_on_miss": False}
        )
        answer = post_tick(client, headers={"Prefer": "wait=10"}, timestamp=noon(1)).get_json()
    assert (answer["outcome"], answer["new_count"]) == ("backfilled", 3)
