"""A browser, and a tenant with something to see: what the tests of the dashboard and its pictures
stand on."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import requests
from playwright.sync_api import Browser, Page, sync_playwright

from tests.e2e.running import Up, unbroken_json

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
WAIT_MS = 15_000
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1_280, "height": 860}


@contextmanager
def browser() -> Iterator[Browser]:
    """Debian's Chromium (`make browser` installs it)."""
    path = shutil.which("chromium")
    assert path, "Chromium is not there: run `make browser`"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield opened
        finally:
            opened.close()


def open_page(opened: Browser, up: Up, **options: Any) -> Page:
    """A page with cookies of its own, that asks nobody but the service for anything."""
    context = opened.new_context(base_url=up.url, **({"viewport": DESK} | options))
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    page.on("request", lambda request: _only_ours(request.url, up.url))
    return page


def _only_ours(url: str, ours: str) -> None:
    assert url.startswith((ours, "data:")), f"the page asked for {url}"


def sign_in(page: Page, key: str) -> None:
    """As a person does."""
    page.goto("/dashboard")
    page.get_by_label("Admin key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/dashboard")


class Service:
    """The API as a tenant's backend calls it."""

    def __init__(self, up: Up, slug: str) -> None:
        more = ("--participant-writes-per-minute", "0", "--data", str(up.data.root))
        made = unbroken_json("tenant", "create", slug, *more)
        self.url, self.key, self.test_key = up.url, made["live_key"], made["test_key"]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request; what is refused is an error of the test."""
        response = requests.request(
            method,
            f"{self.url}/api/v1/gamify{path}",
            json=body,
            headers={"X-API-Key": self.key},
            timeout=30,
        )
        assert response.ok, response.text
        return response.json()

    def tick(self, who: str, days_ago: int, streak: str = "daily_login") -> dict[str, Any]:
        """The body of a tick at noon of a day."""
        at = datetime.now(UTC).replace(hour=0, minute=5) - timedelta(days=days_ago)
        return {
            "participant_id": who,
            "streak_code": streak,
            "timestamp": at.isoformat(timespec="seconds").replace("+00:00", "Z"),
        }


NAMES = ("amira", "björn", "chloe", "diego", "emeka", "fatima", "goro", "hana", "ivo", "jane")


def fill(service: Service, receiver_url: str) -> None:
    """Half a year of a small product: streaks, badges, tiers, rewards, challenges."""
    for path, body in (
        ("/admin/badges", {"code": "week_warrior", "name": "Week Warrior", "rarity": "rare"}),
        ("/admin/badges", {"code": "first_steps", "name": "First Steps"}),
        ("/streaks", {"code": "daily_login", "name": "Daily Login", "period": "daily",
                      "grace_periods": 1,
                      "milestones": [{"count": 7, "badge_code": "week_warrior", "points": 50}]}),
        ("/streaks", {"code": "weekly_workout", "name": "Weekly Workout", "period": "weekly"}),
        *(("/admin/tiers", {"code": name.lower(), "name": name, "level": level, "color": color,
                            "criteria_config": {"min_points": points}})
          for name, level, points, color in (("Silver", 2, 1_000, "#C0C0C0"),
                                             ("Gold", 3, 5_000, "#FFD700"),
                                             ("Platinum", 4, 10_000, "#E5E4E2"))),
        ("/admin/rewards", {"code": "mug", "name": "A mug", "points_cost": 500, "stock": 45}),
        ("/admin/challenges", {"code": "earn_5000", "name": "Earn 5,000 points",
                               "objective": {"type": "points"}, "target": 5_000}),
        ("/admin/challenges", {"code": "logins_100", "name": "100 logins", "target": 100,
                               "objective": {"type": "ticks", "streak_code": "daily_login"}}),
        ("/admin/leaderboards", {"code": "month", "name": "Points of 30 days",
                                 "metric": "points"}),
        ("/admin/webhooks", {"url": receiver_url, "event_types": ["*"]}),
    ):  # fmt: skip
        service.call("POST", path, body)
    chance = random.Random(7)
    ticks = [
        service.tick(who, day)
        for nth, who in enumerate(NAMES)
        for day in range(1 if nth == 2 else 0, 190)
        if chance.random() < 0.97 - 0.05 * nth
    ]
    ticks += [service.tick("jane", 7 * week, "weekly_workout") for week in range(40) if week != 9]
    for start in range(0, len(ticks), 500):
        service.call("POST", "/streaks/record/batch", {"ticks": ticks[start : start + 500]})
    for who, amount in zip(NAMES, (12_000, 800, 4_200, 90, 640, 5_100, 30, 2_000, 70, 1_500),
                           strict=True):  # fmt: skip
        body = {"participant_id": who, "amount": amount, "reason": "Purchase completed"}
        service.call("POST", "/points/award", body)
    reward = service.call("GET", "/rewards")["rewards"][0]["id"]
    service.call("POST", f"/rewards/{reward}/claim", {"participant_id": "jane"})
    profile = {"participant_id": "jane", "display_name": "Jane Doe", "timezone": "Europe/Berlin"}
    service.call("POST", "/participants", profile)
