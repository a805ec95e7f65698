"""Badge definitions: created, read, changed and deactivated by admins."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models.db import Engine
from tests.calls import client_of, count, instant, post_json, problem
from tests.conftest import BASE, Account

PATH = f"{BASE}/admin/badges"
NOBODY = "01920000-0000-7000-8000-000000000000"
FIELDS = [
    "id",
    "tenant_id",
    "code",
    "name",
    "description",
    "icon_url",
    "badge_color",
    "rarity",
    "category",
    "is_active",
    "is_hidden",
    "display_order",
    "created_at",
    "updated_at",
]


def make(client: FlaskClient, code: str = "power_user", **values: Any) -> dict[str, Any]:
    response = client.post(PATH, json={"code": code, "name": "Power User"} | values)
    assert response.status_code == 201, response.text
    return dict(response.get_json())


def test_it_creates_reads_changes_and_deactivates_a_definition(client: FlaskClient) -> None:
    made = make(client)
    assert list(made) == FIELDS
    assert UUID(made["id"]).version == 7
    assert instant(made["created_at"]) == instant(made["updated_at"])
    assert {name: made[name] for name in FIELDS[2:12]} == {
        "code": "power_user",
        "name": "Power User",
        "description": None,
        "icon_url": None,
        "badge_color": None,
        "rarity": "common",
        "category": None,
        "is_active": True,
        "is_hidden": False,
        "display_order": 0,
    }
    url = f"{PATH}/{made['id']}"
    assert client.get(url).get_json() == made
    assert client.get(f"{PATH}/{made['id'].upper()}").get_json() == made
    changed = client.patch(url, json={"rarity": "epic", "description": "d"})
    assert changed.status_code == 200
    body = changed.get_json()
    assert instant(body["updated_at"]) > instant(made["updated_at"])
    expected = {"rarity": "epic", "description": "d", "updated_at": body["updated_at"]}
    assert body == made | expected
    for _ in range(2):
        deleted = client.delete(url)
        assert (deleted.status_code, deleted.get_json()) == (200, {"message": "Badge deactivated"})
    after = client.get(url).get_json()
    assert after == body | {"is_active": False, "updated_at": after["updated_at"]}


@pytest.mark.parametrize(
    "values",
    [
        {
            "name": "毎日 👩‍🚀",
            "description": "two\nlines",
            "category": "c" * 50,
            "is_active": False,
        },
        {"icon_url": "HTTP://[2001:db8::1]:8080/ä.png?x=1#y", "badge_color": "#fff"},
        {"icon_url": f"https://x/{'p' * 2_038}", "badge_color": "#7C3AEDff", "rarity": "legendary"},
        {"description": "x" * 5_000, "is_hidden": True, "display_order": -(2**31)},
        {"display_order": 2**31 - 1, "rarity": "uncommon", "name": "n" * 100},
    ],
)
def test_it_keeps_what_is_given_and_clears_what_is_null(
    client: FlaskClient, values: dict[str, Any]
) -> None:
    made = make(client, **values)
    assert made == made | values
    assert client.get(f"{PATH}/{made['id']}").get_json() == made
    empty = dict.fromkeys(("description", "icon_url", "badge_color", "category"))
    cleared = client.patch(f"{PATH}/{made['id']}", json=empty).get_json()
    assert cleared == made | empty | {"updated_at": cleared["updated_at"]}


def test_it_refuses_a_code_that_is_taken_even_by_an_inactive_one(
    client: FlaskClient, engine: Engine, account: Account
) -> None:
    first = make(client)
    client.delete(f"{PATH}/{first['id']}")
    response = client.post(PATH, json={"code": "power_user", "name": "Other"})
    document = problem(response, 400, "badge_code_conflict")
    assert document["detail"] == "Badge with code 'power_user' already exists"
    assert client.get(f"{PATH}/{first['id']}").get_json()["name"] == first["name"]
    assert count(engine, "badges", account.live) == 1


@pytest.mark.parametrize("method", ["get", "patch", "delete"])
@pytest.mark.parametrize(
    "badge_id", [NOBODY, "x", "0", "power_user", "%7B" + NOBODY + "%7D", NOBODY.replace("-", "")]
)
def test_it_does_not_find_what_is_not_there(
    client: FlaskClient, method: str, badge_id: str
) -> None:
    make(client)
    kwargs = {"json": {"name": "x"}} if method == "patch" else {}
    response = getattr(client, method)(f"{PATH}/{badge_id}", **kwargs)
    document = problem(response, 404, "badge_not_found")
    if badge_id == NOBODY:
        assert document["detail"] == f"Badge '{NOBODY}' not found"


def test_it_lets_only_the_admins_of_its_side_near_a_badge(
    app: Flask, client: FlaskClient, account: Account, make_account: Callable[..., Account]
) -> None:
    made = make(client)
    url = f"{PATH}/{made['id']}"
    for key in (account.keys["test"], make_account().keys["live"]):
        other = client_of(app, key)
        assert other.get(PATH).get_json()["total"] == 0
        for response in (other.get(url), other.patch(url, json={"name": "x"}), other.delete(url)):
            problem(response, 404, "badge_not_found")
        assert make(other)["tenant_id"] != made["tenant_id"]
    assert client.get(url).get_json() == made
    assert make(client, "second")["tenant_id"] == made["tenant_id"]


# -- pages -----------------------------------------------------------------------------------


def test_it_pages_in_display_order(client: FlaskClient) -> None:
    for order, code in ((2, "c"), (1, "z"), (2, "a"), (-1, "m"), (0, "b")):
        make(client, code, display_order=order)
    assert _codes(client.get(PATH)) == (["m", "b", "z", "a", "c"], 5, 1, 50)
    assert _codes(client.get(f"{PATH}?page=2&page_size=2")) == (["z", "a"], 5, 2, 2)
    assert _codes(client.get(f"{PATH}?page=9&page_size=2")) == ([], 5, 9, 2)


def test_it_filters_by_category_and_activity(client: FlaskClient) -> None:
    make(client, "a", category="engagement")
    make(client, "b", category="engagement", is_active=False)
    make(client, "c", category="Engagement")
    make(client, "d")
    for query, codes in (
        ("category=engagement", ["a", "b"]),
        ("category=engagement&is_active=true", ["a"]),
        ("is_active=false", ["b"]),
        ("is_active=true&page_size=2", ["a", "c"]),
        ("category=nope", []),
        ("category=a%25", []),
    ):
        assert _codes(client.get(f"{PATH}?{query}"))[0] == codes
    assert _codes(client.get(f"{PATH}?is_active=true&page_size=2"))[1] == 3


def _codes(response: TestResponse) -> tuple[list[str], int, int, int]:
    body = response.get_json()
    assert list(body) == ["items", "total", "page", "page_size"]
    assert all(list(one) == FIELDS for one in body["items"])
    return [one["code"] for one in body["items"]], body["total"], body["page"], body["page_size"]


@pytest.mark.parametrize(
    "query",
    [
        "page=0",
        "page_size=101",
        "is_active=1",
        "is_active=",
        "category=",
        "category=%00",
        f"category={'c' * 51}",
    ],
)
def test_it_names_the_parameter_that_cannot_be_used(client: FlaskClient, query: str) -> None:
    problem(client.get(f"{PATH}?{query}"), 422, "validation_error", query.split("=")[0])


# -- bad input -------------------------------------------------------------------------------

BAD_VALUES: list[tuple[str, Any]] = [
    ("name", ""),
    ("name", "n" * 101),
    ("name", None),
    ("name", 7),
    ("name", "two\nlines"),
    ("name", "half \ud83d"),
    ("description", "x" * 5_001),
    ("description", "a\x00b"),
    ("icon_url", ""),
    ("icon_url", "power.png"),
    ("icon_url", "javascript:alert(1)"),
    ("icon_url", "data:image/png;base64,AAAA"),
    ("icon_url", "ftp://cdn.example.com/a.png"),
    ("icon_url", "https://"),
    ("icon_url", "https:///a.png"),
    ("icon_url", "https://user:hunter2@cdn.example.com/a.png"),
    ("icon_url", "https://cdn.example.com\\@evil.example/"),
    ("icon_url", "https://cdn.example.com/a b.png"),
    ("icon_url", 'https://cdn.example.com/"onerror="x'),
    ("icon_url", "https://cdn.example.com/a.png\n"),
    ("icon_url", "https://cdn.example.com:99999/"),
    ("icon_url", "https://[::1/"),
    ("icon_url", f"https://x/{'p' * 2_039}"),
    ("icon_url", 7),
    ("badge_color", "red"),
    ("badge_color", "#12345"),
    ("badge_color", "#7C3AED\n"),
    ("badge_color", "#7C3AE٠"),
    ("badge_color", ""),
    ("rarity", "mythic"),
    ("rarity", "Rare"),
    ("rarity", None),
    ("category", ""),
    ("category", "c" * 51),
    ("category", "a\x00b"),
    ("is_active", None),
    ("is_active", "true"),
    ("is_hidden", 1),
    ("is_hidden", None),
    ("display_order", 2**31),
    ("display_order", -(2**31) - 1),
    ("display_order", 1.0),
    ("display_order", True),
    ("display_order", "1"),
    ("display_order", None),
    ("display_order", 10**400),
]


@pytest.mark.parametrize(("field", "value"), BAD_VALUES)
def test_it_refuses_a_bad_value_when_created_and_when_changed(
    client: FlaskClient, engine: Engine, account: Account, field: str, value: Any
) -> None:
    made = make(client)
    created = post_json(client, PATH, {"code": "other", "name": "Other"} | {field: value})
    changed = client.patch(
        f"{PATH}/{made['id']}",
        data=json.dumps({"is_active": False} | {field: value}),
        content_type="application/json",
    )
    for response in (created, changed):
        problem(response, 422, "validation_error", field)
        assert "hunter2" not in response.text
    assert client.get(f"{PATH}/{made['id']}").get_json() == made
    assert count(engine, "badges", account.live) == 1


@pytest.mark.parametrize("code", ["", "x" * 51, "a b", "a,b", "é", "a\x00", None, 7, "\udc00"])
def test_it_refuses_a_bad_code(
    client: FlaskClient, engine: Engine, account: Account, code: Any
) -> None:
    response = post_json(client, PATH, {"code": code, "name": "Name"})
    problem(response, 422, "validation_error", "code")
    assert count(engine, "badges", account.live) == 0


def test_it_does_not_change_the_code(client: FlaskClient) -> None:
    made = make(client)
    for value in (made["code"], "other", None):
        response = client.patch(f"{PATH}/{made['id']}", json={"code": value, "name": "x"})
        problem(response, 422, "validation_error", "code")
    assert client.get(f"{PATH}/{made['id']}").get_json() == made


def test_it_asks_for_something_to_change(client: FlaskClient) -> None:
    url = f"{PATH}/{make(client)['id']}"
    problem(client.patch(url, json={}), 400, "no_fields_to_update")
    body = {"tenant_id": "x", "created_at": "2026-01-01T00:00:00Z"}
    problem(client.patch(url, json=body), 422, "unknown_field", *body)
