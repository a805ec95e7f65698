"""Retractions with `revoke`: badges and points of milestones no longer reached are taken back."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from models.db import Engine
from tests.calls import count, make_badge, make_streak, noon, post_award, post_tick, problem
from tests.conftest import BASE, Account
from tests.integration.earning import (
    assert_the_books_balance,
    deduct_points,
    facts_of,
    of_participant,
)
from tests.integration.mending import WHO, applied, day, of, record_days
from tests.pipeline import Pipeline


@pytest.fixture
def begun(client: FlaskClient, pipeline: Pipeline) -> FlaskClient:
    """A client of a tenant whose participant has reached three days, and a badge and points."""
    make_badge(client, "week_warrior")
    milestone = {"count": 3, "badge_code": "week_warrior", "points": 40}
    make_streak(client, milestones=[milestone, {"count": 2, "points": 5}])
    record_days(client, pipeline, 2, 1, 0)
    assert owned(client) == (["week_warrior"], 45)
    return client


def owned(client: FlaskClient) -> tuple[list[str], int]:
    """The badges and the balance of the participant."""
    profile = client.get(f"{BASE}/participants/{WHO}").get_json()
    return [badge["code"] for badge in profile["badges"]], profile["points"]["balance"]


def retract(client: FlaskClient, pipeline: Pipeline, ago: int, query: str) -> dict[str, Any]:
    """Retract the period of a day; the result."""
    return applied(client, pipeline, client.delete(f"{of()}/periods/{day(ago)}{query}"))


def test_without_revoke_the_prizes_stay(begun: FlaskClient, pipeline: Pipeline) -> None:
    assert retract(begun, pipeline, 1, "")["revoked"] == []
    assert owned(begun) == (["week_warrior"], 45)


def test_revoke_takes_back_what_is_no_longer_reached(
    begun: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    result = retract(begun, pipeline, 0, "?revoke=true&reason=A+mistake")
    assert result["revoked"] == [{"count": 3, "badge_code": "week_warrior", "points_deducted": 40}]
    assert owned(begun) == ([], 5)  # two days are still in a row
    told = {fact["type"]: fact["payload"] for fact in facts_of(engine, account.live.id)}
    gone = told["badge.revoked"]
    assert (gone["badge_code"], gone["streak_code"], gone["milestone"], gone["reason"]) == (
        "week_warrior", "daily_login", 3, "A mistake"
    )  # fmt: skip
    taken = told["points.deducted"]
    assert (taken["kind"], taken["amount"], taken["balance"]) == ("revocation", 40, 5)
    assert_the_books_balance(engine, account.live.id)


def test_what_was_revoked_can_be_earned_again(begun: FlaskClient, pipeline: Pipeline) -> None:
    retract(begun, pipeline, 0, "?revoke=true")
    record_days(begun, pipeline, 0)
    assert owned(begun) == (["week_warrior"], 45)


def test_points_that_are_spent_are_not_owed(begun: FlaskClient, pipeline: Pipeline) -> None:
    deduct_points(begun, 30, WHO)
    pipeline.drain()
    [lost] = retract(begun, pipeline, 0, "?revoke=true")["revoked"]
    assert lost["points_deducted"] == 15
    assert owned(begun) == ([], 0)


def test_a_badge_from_elsewhere_stays(client: FlaskClient, pipeline: Pipeline) -> None:
    make_badge(client, "week_warrior")
    make_streak(client, milestones=[{"count": 2, "badge_code": "week_warrior"}])
    post_award(client, WHO, badge_code="week_warrior", metadata={"milestone": [2], "tick_id": {}})
    record_days(client, pipeline, 1, 0)
    [lost] = retract(client, pipeline, 0, "?revoke=true")["revoked"]
    assert lost["badge_code"] is None
    assert owned(client) == (["week_warrior"], 0)


def test_what_is_mended_and_retracted_in_one_batch_is_taken_once(
    begun: FlaskClient, pipeline: Pipeline
) -> None:
    url = f"{of()}/periods/{day(0)}?revoke=true"
    assert begun.delete(url).status_code == 202
    repair = {"periods": [day(0)], "as": "recorded"}
    assert begun.post(f"{of()}/repair", json=repair).status_code == 202
    assert begun.delete(url).status_code == 202
    pipeline.drain()
    assert owned(begun) == ([], 5)


def test_a_milestone_that_another_run_reached_stays(begun: FlaskClient, pipeline: Pipeline) -> None:
    record_days(begun, pipeline, 9, 8, 7)
    assert retract(begun, pipeline, 1, "?revoke=true")["revoked"] == []
    assert owned(begun) == (["week_warrior"], 45)


def test_each_run_loses_its_own_prize(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client, milestones=[{"count": 2, "points": 10, "repeat": "each_run"}])
    record_days(client, pipeline, 9, 8, 1, 0)
    assert owned(client)[1] == 20
    assert len(retract(client, pipeline, 9, "?revoke=true")["revoked"]) == 1
    assert owned(client)[1] == 10


def test_what_a_change_of_the_rules_made_untrue_stays(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, grace_periods=1, milestones=[{"count": 3, "points": 10}])
    record_days(client, pipeline, 5, 3, 2, 0)
    assert owned(client)[1] == 10
    answer = client.patch(f"{BASE}/streaks/daily_login", json={"grace_periods": 0})
    assert answer.status_code == 200
    assert retract(client, pipeline, 0, "?revoke=true")["revoked"] == []
    assert owned(client)[1] == 10


def test_a_retraction_of_every_tick_revokes_everything(
    begun: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    items = [
        {"participant_id": WHO, "streak_code": "daily_login", "period_key": day(ago),
         "revoke": True}
        for ago in (0, 1, 2)
    ]  # fmt: skip
    answer = begun.post(f"{BASE}/retractions/batch", json={"retractions": items})
    assert answer.get_json()["accepted"] == 3
    pipeline.drain()
    assert owned(begun) == ([], 0)
    assert count(engine, "streak_milestones", account.live) == 0


def test_a_revocation_that_is_delivered_again_takes_once(
    begun: FlaskClient, pipeline: Pipeline
) -> None:
    post_tick(begun, WHO, timestamp=noon(3))
    pipeline.drain()
    headers = {"Idempotency-Key": "mistake-1"}
    for _ in range(2):
        begun.delete(f"{of()}/periods/{day(1)}?revoke=true", headers=headers)
    pipeline.drain()
    assert owned(begun) == ([], 5)
    kinds = [one["kind"] for one in of_participant(begun, "points/transactions", WHO)["items"]]
    assert kinds.count("revocation") == 1


def test_revoke_is_true_or_false(begun: FlaskClient) -> None:
    problem(
        begun.delete(f"{of()}/periods/{day(1)}?revoke=maybe"), 422, "validation_error", "revoke"
    )


def test_a_preview_names_what_would_be_taken_back(begun: FlaskClient, pipeline: Pipeline) -> None:
    shown = begun.delete(f"{of()}/periods/{day(0)}?revoke=true&preview=true")
    assert shown.status_code == 200, shown.text
    assert "week_warrior" in shown.text
    pipeline.drain()
    assert owned(begun) == (["week_warrior"], 45)
