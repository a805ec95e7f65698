"""A break that was published and is repaired is corrected once, by the fact that names it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models import clock
from models.streaks import states
from models.streaks.states import Streak
from tests.calls import make_streak, post_json
from tests.integration.mending import applied, day, of, pause, streak_of
from tests.integration.telling import Notified
from tests.pipeline import Pipeline

BROKEN, REPAIRED = "behavior.streak_broken", "behavior.streak_repaired"


def _restore(client: FlaskClient) -> TestResponse:
    return post_json(client, f"{of()}/restore", {"reason": "Our outage"})


def _repair(client: FlaskClient) -> TestResponse:
    body = {"from": day(1), "to": day(1), "reason": "Our outage"}
    return post_json(client, f"{of()}/repair", body)


def _pause(client: FlaskClient) -> TestResponse:
    return pause(client, 1, 1, reason="Our outage")


def _record(client: FlaskClient) -> TestResponse:
    body = {"periods": [day(1)], "as": "recorded", "reason": "Our outage"}
    return post_json(client, f"{of()}/repair", body)


@pytest.fixture
def broken(client: FlaskClient, told: Notified) -> dict[str, Any]:
    """The fact that a streak of two days broke yesterday."""
    make_streak(client)
    with told.engine.connect() as connection:
        [streak] = states.definitions.all_of(connection, told.tenant_id)
    for ago in (3, 2):
        _tick(told, streak, ago)
    told.sweep(clock.now_us())
    [fact] = [one for one in facts(told) if one["type"] == BROKEN]
    return fact


def _tick(told: Notified, streak: Streak, days_ago: int) -> None:
    at = datetime.now(UTC) - timedelta(days=days_ago)
    told.tick(streak, at.strftime("%Y-%m-%dT%H:%M"))


def facts(told: Notified) -> list[dict[str, Any]]:
    """The facts about breaks, in their order."""
    rows = told.rows("SELECT body FROM facts WHERE tenant_id = :t ORDER BY sequence")
    bodies = [json.loads(row.body) for row in rows]
    return [body for body in bodies if body["type"] in (BROKEN, REPAIRED)]


@pytest.mark.parametrize("call", [_restore, _repair, _pause, _record])
def test_a_published_break_is_corrected_by_the_repair_and_never_again(
    call: Callable[[FlaskClient], TestResponse],
    broken: dict[str, Any],
    client: FlaskClient,
    pipeline: Pipeline,
    told: Notified,
) -> None:
    applied(client, pipeline, call(client))
    for _ in range(2):
        told.sweep(clock.now_us())
    found = facts(told)
    assert [fact["type"] for fact in found] == [BROKEN, REPAIRED]
    payload = found[1]["payload"]
    assert payload["corrects"] == broken["id"]
    assert (payload["previous_count"], payload["reason"]) == (0, "Our outage")
    assert payload["count"] == streak_of(client)["current_count"] >= 2


def test_a_restored_streak_that_breaks_again_is_published_again(
    broken: dict[str, Any], client: FlaskClient, pipeline: Pipeline, told: Notified
) -> None:
    applied(client, pipeline, _restore(client))
    told.sweep(clock.now_us() + 2 * 86_400_000_000)
    assert [fact["type"] for fact in facts(told)] == [BROKEN, REPAIRED, BROKEN]


def test_a_retraction_that_breaks_a_streak_is_followed_by_its_break(
    client: FlaskClient, pipeline: Pipeline, told: Notified
) -> None:
    make_streak(client)
    with told.engine.connect() as connection:
        [streak] = states.definitions.all_of(connection, told.tenant_id)
    for ago in (3, 2, 1):
        _tick(told, streak, ago)
    applied(client, pipeline, client.delete(f"{of()}/periods/{day(1)}"))
    told.sweep(clock.now_us())
    assert [fact["type"] for fact in facts(told)] == [REPAIRED, BROKEN]
    assert facts(told)[0]["payload"]["count"] == 0
