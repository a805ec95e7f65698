"""Challenges: what happens counts in its own batch, and a target is reached once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from models import clock
from models.db import Engine
from tests.calls import count, make_badge, make_streak, noon, post_award, post_tick, problem
from tests.conftest import BASE, Account
from tests.integration.batches import post
from tests.integration.earning import (
    award_points,
    deduct_points,
    facts_of,
    make_challenge,
    make_tier,
    moved,
    of_participant,
)
from tests.pipeline import Pipeline


def challenge(client: FlaskClient, who: str = "user_123") -> dict[str, object]:
    (found,) = of_participant(client, "challenges", who)["challenges"]
    return dict(found)


def test_ticks_count_once_a_period_whatever_their_order(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    make_streak(client, "other")
    make_challenge(client, {"type": "ticks", "streak_code": "daily_login"}, 4)
    for day in (0, 3, 3, 9):
        post_tick(client, "user_123", timestamp=noon(day))
    post_tick(client, "user_123", streak_code="other")
    pipeline.drain()
    assert (challenge(client)["progress"], challenge(client)["status"]) == (3, "active")
    post_tick(client, "user_123", timestamp=noon(1))
    pipeline.drain()
    assert (challenge(client)["progress"], challenge(client)["status"]) == (4, "completed")


def test_a_count_counts_when_it_is_reached_and_not_how_often(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    make_challenge(client, {"type": "count", "streak_code": "daily_login"}, 3)
    for day in (9, 8, 0):
        post_tick(client, "user_123", timestamp=noon(day))
    pipeline.drain()
    assert challenge(client)["progress"] == 2


def test_badges_count_when_they_are_earned_for_the_first_time(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    for code in ("a", "b", "c"):
        make_badge(client, code)
    make_challenge(client, {"type": "badges", "badge_codes": ["a", "b"]}, 2)
    for code in ("a", "a", "c"):
        post_award(client, badge_code=code)
    pipeline.drain()
    assert challenge(client)["progress"] == 1
    post_award(client, badge_code="b")
    pipeline.drain()
    assert challenge(client)["status"] == "completed"


def test_points_count_when_they_are_earned_and_stay_counted_when_spent(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_challenge(client, {"type": "points"}, 100)
    award_points(client, 60)
    deduct_points(client, 60)
    award_points(client, 39)
    pipeline.drain()
    assert challenge(client)["progress"] == 99
    award_points(client, 500)
    pipeline.drain()
    assert (challenge(client)["progress"], challenge(client)["status"]) == (100, "completed")


def test_completing_gives_its_points_and_badge_once_with_a_fact(
    client: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    make_badge(client, "november")
    make_tier(client, "silver", 1, 150)
    made = make_challenge(
        client, {"type": "points"}, 100, "november", points=50, badge_code="november"
    )
    for _ in range(3):
        award_points(client, 100)
    pipeline.drain()
    facts = facts_of(engine, account.live.id)
    assert [one["type"] for one in facts] == [
        "points.awarded",
        "badge.awarded",
        "points.awarded",
        "tier.changed",
        "challenge.completed",
        "points.awarded",
        "points.awarded",
    ]
    assert facts[2]["payload"]["kind"] == "challenge"
    told = facts[4]["payload"]
    completed_at = told.pop("completed_at")
    assert told == {
        "challenge_code": "november",
        "challenge_name": made["name"],
        "objective": {"type": "points"},
        "target": 100,
        "points": 50,
        "badge_code": "november",
        "is_badge_new": True,
    }
    assert challenge(client)["completed_at"] == completed_at
    assert of_participant(client, "points")["balance"] == 350
    shown = of_participant(client, "state?include=challenges")
    assert shown["challenges"] == {"active": 0, "completed": 1}


def test_one_challenge_may_complete_another_however_long_the_chain(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    links = 40
    for nth in range(links):
        make_challenge(client, {"type": "points"}, 10 + nth, f"link_{nth:02}", points=1)
    award_points(client, 10)
    pipeline.drain()
    assert of_participant(client, "points")["balance"] == 10 + links
    assert of_participant(client, "challenges")["completed"] == links


def test_only_what_happens_inside_the_window_counts(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    start = clock.isoformat(clock.now() - timedelta(days=5))
    end = clock.isoformat(clock.now() - timedelta(days=2))
    objective = {"type": "ticks", "streak_code": "daily_login"}
    make_challenge(client, objective, 10, starts_at=start, ends_at=end)
    make_challenge(client, {"type": "points"}, 10, "points", starts_at=start, ends_at=end)
    for day in range(8):
        post_tick(client, "user_123", timestamp=noon(day))
    award_points(client, 10)
    pipeline.drain()
    found = of_participant(client, "challenges")["challenges"]
    assert [(one["code"], one["progress"], one["status"]) for one in found] == [
        ("goal", 3, "ended")
    ]


def test_what_is_handed_out_again_counts_once(
    client: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    make_challenge(client, {"type": "points"}, 100, points=5)
    messages = [moved(account.live.id, 60), moved(account.live.id, 60)]
    for _ in range(3):
        post(pipeline.client, messages)
        pipeline.drain()
    assert of_participant(client, "points")["balance"] == 125
    assert challenge(client)["status"] == "completed"
    assert count(engine, "challenge_progress", account.live) == 1


def test_a_deactivated_challenge_counts_nothing_any_more(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    made = make_challenge(client, {"type": "points"}, 100)
    award_points(client, 10)
    pipeline.drain()
    assert of_participant(client, "state?include=challenges")["challenges"]["active"] == 1
    client.delete(f"{BASE}/admin/challenges/{made['id']}")
    award_points(client, 90)
    pipeline.drain()
    assert (challenge(client)["progress"], challenge(client)["status"]) == (10, "ended")
    assert of_participant(client, "state?include=challenges")["challenges"]["active"] == 0


def test_of_one_never_seen_nothing_is_begun(client: FlaskClient) -> None:
    make_challenge(client, {"type": "points"}, 100)
    shown = of_participant(client, "challenges", "nobody")
    assert (shown["active"], shown["completed"]) == (0, 0)
    assert [(one["progress"], one["status"]) for one in shown["challenges"]] == [(0, "open")]


@pytest.mark.parametrize(
    ("objective", "field"),
    [
        ({"type": "ticks"}, "objective.streak_code"),
        ({"type": "ticks", "streak_code": "nope"}, "objective.streak_code"),
        ({"type": "count", "streak_code": 7}, "objective.streak_code"),
        ({"type": "badges", "badge_codes": []}, "objective.badge_codes"),
        ({"type": "badges", "badge_codes": ["nope"]}, "objective.badge_codes.0"),
        ({"type": "wishes"}, "objective.type"),
        ({}, "objective.type"),
        (None, "objective"),
    ],
)
def test_an_objective_that_could_never_count_is_refused_with_its_field(
    client: FlaskClient, engine: Engine, account: Account, objective: object, field: str
) -> None:
    body = {"code": "goal", "name": "Goal", "objective": objective, "target": 1}
    response = client.post(f"{BASE}/admin/challenges", json=body)
    problem(response, 422, "validation_error", field)
    assert count(engine, "challenges", account.live) == 0
