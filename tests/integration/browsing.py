"""Somebody with a browser who looks at the dashboard, and a world worth looking at."""

from __future__ import annotations

import re
from html import unescape

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.calls import make_streak, noon, post_batch, tick
from tests.conftest import BASE
from tests.integration.earning import award_points
from tests.pipeline import Pipeline

PATH = "/dashboard"
KINDS = (
    "streaks",
    "calendars",
    "badges",
    "tiers",
    "rewards",
    "challenges",
    "leaderboards",
    "webhooks",
)


class Person:
    """Somebody with a browser that keeps cookies."""

    def __init__(self, app: Flask) -> None:
        self.client = app.test_client()

    def get(self, path: str = "", **headers: str) -> TestResponse:
        return self.client.get(f"{PATH}{path}", headers=headers)

    def sign_in(self, key: str, to: str = "") -> TestResponse:
        return self.client.post(f"{PATH}/sign-in", data={"key": key, "next": to})

    def token(self) -> str:
        found = re.search(r'name="token" value="([^"]+)"', self.get().text)
        assert found
        return found[1]

    def post(self, path: str, **values: str) -> TestResponse:
        return self.client.post(f"{PATH}{path}", data={"token": self.token()} | values)

    def follow(self, response: TestResponse) -> str:
        """The page that an answer leads to."""
        assert response.status_code == 303, response.text
        page = self.client.get(response.headers["Location"])
        assert page.status_code == 200, page.text
        return unescape(page.text)


def make_world(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client, grace_periods=1)
    hook = {"url": "http://127.0.0.1:9/facts", "event_types": ["*"]}
    assert client.post(f"{BASE}/admin/webhooks", json=hook).status_code == 201
    days = (9, 8, 6, 5, 2, 1)
    post_batch(client, *(tick("user/42", timestamp=noon(day)) for day in days))
    award_points(client, 100, "user/42")
    pipeline.drain()


def pages(admin: Person, client: FlaskClient) -> list[str]:
    """Every page with something on it."""
    webhook = client.get(f"{BASE}/admin/webhooks").get_json()["items"][0]["id"]
    fact = client.get(f"{BASE}/facts").get_json()["items"][0]["id"]
    return [
        "", "/participants", "/participants/user%2F42", "/at-risk", "/dead-letters", "/keys",
        "/audit-log", f"/webhooks/{webhook}", f"/webhooks/{webhook}/{fact}",
        "/d/streaks/daily_login", f"/d/webhooks/{webhook}",
        *(f"/d/{kind}" for kind in KINDS), *(f"/d/{kind}/new" for kind in KINDS),
    ]  # fmt: skip
