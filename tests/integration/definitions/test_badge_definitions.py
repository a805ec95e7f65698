"""Badge definitions: created, read, changed and deactivated by admins."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.calls import problem
from tests.conftest import BASE

PATH = f"{BASE}/admin/badges"
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
