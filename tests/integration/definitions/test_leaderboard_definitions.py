"""Definitions of leaderboards: what may be made and changed, how many, and who sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.calls import client_of, make_streak, problem
from tests.conftest import BASE, Account
from tests.integration.ranking import PATH, Place


def test_a_definition_keeps_what_it_was_worked_out_by(place: Place) -> None:
    make_streak(place.client)
    made = place.make(metric="streak", streak_code="daily_login")
    assert list(made) == [
        "id", "tenant_id", "code", "name", "description", "metric", "streak_code", "window_days",
        "is_active", "created_at", "updated_at",
    ]  # fmt: skip
    url = f"{PATH}/{made['id']}"
    for name, value in (("metric", "points"), ("window_days", 7), ("streak_code", "x")):
        problem(place.client.patch(url, json={name: value}), 422, "validation_error", name)
    assert place.client.patch(url, json={"name": "Other"}).get_json()["name"] == "Other"


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"metric": "streak"}, "streak_code"),
        ({"metric": "streak", "streak_code": "nope"}, "streak_code"),
        ({"metric": "points", "streak_code": "daily_login"}, "streak_code"),
        ({"metric": "wishes"}, "metric"),
        ({"window_days": 0}, "window_days"),
        ({"window_days": 367}, "window_days"),
        ({"name": ""}, "name"),
    ],
)
def test_a_bad_definition_is_refused_with_its_field(
    place: Place, values: dict[str, Any], field: str
) -> None:
    body = {"code": "board", "name": "Board", "metric": "points"} | values
    problem(place.client.post(PATH, json=body), 422, "validation_error", field)


def test_a_tenant_has_twenty_active_ones_at_most(place: Place) -> None:
    made = [place.make(f"board_{n}") for n in range(20)]
    body = {"code": "more", "name": "More", "metric": "points"}
    problem(place.client.post(PATH, json=body), 400, "leaderboard_limit_reached")
    gone = f"{PATH}/{made[0]['id']}"
    assert place.client.delete(gone).get_json() == {"message": "Leaderboard deactivated"}
    assert place.client.post(PATH, json=body).status_code == 201
    problem(place.client.patch(gone, json={"is_active": True}), 400, "leaderboard_limit_reached")


def test_one_that_is_made_active_again_is_built_anew(place: Place) -> None:
    url = f"{PATH}/{place.make()['id']}"
    place.points(anna=50)
    place.client.delete(url)
    problem(place.client.get(f"{BASE}/leaderboards/board"), 404, "leaderboard_not_found")
    place.points(anna=5, ben=7)
    place.client.patch(url, json={"is_active": True})
    place.follow()
    assert place.top() == [(1, "anna", 55), (2, "ben", 7)]
    place.assert_counts_are_right()


def test_nobody_sees_those_of_another_side(
    place: Place, app: Flask, account: Account, make_account: Callable[..., Account]
) -> None:
    place.make()
    place.points(anna=50)
    for key in (account.keys["test"], make_account().keys["live"]):
        other = client_of(app, key)
        for path in ("leaderboards/board", "leaderboards/board/rank/anna"):
            problem(other.get(f"{BASE}/{path}"), 404, "leaderboard_not_found")
