"""Missed periods earned back by ticks: counts, facts, history, retractions, in any batches."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from models.streaks.states import Streak
from tests.calls import make_streak as post_streak
from tests.calls import noon, post_json, post_tick
from tests.conftest import BASE
from tests.integration.batches import make_streak
from tests.integration.batches import tick as tick_of
from tests.integration.mending import (
    STREAK,
    WHO,
    applied,
    day,
    history_of,
    of,
    record_days,
    streak_of,
)
from tests.integration.telling import STRICT, Notified, us
from tests.pipeline import Pipeline

EARN_BACK = {"times": 3, "within": 2}
TARGET = {"kind": "ticks", "amount": 1}
REPAIRED, BROKEN = "behavior.streak_repaired", "behavior.streak_broken"


def earning(told: Notified, **values: Any) -> Streak:
    """A daily definition without grace, whose days can be earned back."""
    fields = {"forgiveness": {"target": TARGET, "earn_back": EARN_BACK}}
    return make_streak(told.engine, told.tenant_id, STRICT | fields | values)


def bodies(told: Notified) -> list[dict[str, Any]]:
    """The facts about breaks and repairs, in their order."""
    rows = told.rows(
        "SELECT body FROM facts WHERE tenant_id = :t ORDER BY participant_id, sequence"
    )
    found = [json.loads(row.body) for row in rows]
    return [body for body in found if body["type"] in (REPAIRED, BROKEN)]


def counts(told: Notified) -> list[tuple[int, int]]:
    """The count and the longest count of each state."""
    rows = told.rows(
        "SELECT current_count, longest_count FROM streak_states WHERE tenant_id = :t"
        " ORDER BY participant_id"
    )
    return [(row.current_count, row.longest_count) for row in rows]


# -- facts -------------------------------------------------------------------------------------


@pytest.mark.promise("P10")
def test_a_break_that_was_published_is_corrected_once(told: Notified) -> None:
    streak = earning(told)
    told.tick(streak, "2027-03-10T12:00")
    told.tick(streak, "2027-03-11T12:00")
    told.sweep("2027-03-13T00:00")
    [broken] = bodies(told)
    for hour in (10, 11, 12):
        told.tick(streak, f"2027-03-13T{hour}:00")
        told.sweep(f"2027-03-13T{hour}:30")
        assert len(bodies(told)) == (2 if hour == 12 else 1)
    told.sweep("2027-03-13T23:59")
    repaired = bodies(told)[-1]
    assert (repaired["type"], len(bodies(told))) == (REPAIRED, 2)
    expected = {"count": 3, "cause": "earn_back", "corrects": broken["id"], "longest_count": 3}
    assert repaired["payload"] == repaired["payload"] | expected
    assert counts(told) == [(3, 3)]
    told.sweep("2027-03-15T00:00")
    assert [body["type"] for body in bodies(told)] == [BROKEN, REPAIRED, BROKEN]


@pytest.mark.promise("P10")
def test_a_count_that_comes_back_before_its_break_was_published_is_published_by_the_tick(
    told: Notified,
) -> None:
    streak = earning(told)
    for at in ("2027-03-10T12:00", "2027-03-12T01:00", "2027-03-12T02:00", "2027-03-12T03:00"):
        told.tick(streak, at)
    told.sweep("2027-03-12T04:00")
    told.sweep("2027-03-12T23:59")
    [repaired] = bodies(told)
    assert repaired["type"] == REPAIRED
    expected = {"count": 2, "previous_count": 1, "cause": "earn_back", "corrects": None}
    assert repaired["payload"] == repaired["payload"] | expected


@pytest.mark.promise("P10")
def test_a_milestone_that_the_tick_brings_within_reach_is_reached(told: Notified) -> None:
    milestones = [{"count": 3, "badge_code": None, "points": None, "repeat": "each_run"}]
    streak = earning(told, milestones=milestones)
    days = ("10T12:00", "11T12:00", "13T10:00", "13T11:00")
    for at in days:
        told.tick(streak, f"2027-03-{at}")
    assert reached(told) == []
    told.tick(streak, "2027-03-13T12:00")
    told.tick(streak, "2027-03-13T13:00")
    assert reached(told) == [3]


def reached(told: Notified) -> list[int]:
    rows = told.rows(
        "SELECT body FROM facts WHERE tenant_id = :t AND type = 'behavior.streak_milestone'"
    )
    return [json.loads(row.body)["payload"]["milestone"] for row in rows]


# -- order and batches -------------------------------------------------------------------------


@pytest.mark.promise("P3")
def test_neither_the_order_of_the_ticks_nor_the_cut_of_the_batches_changes_a_count(
    told: Notified,
) -> None:
    streak = earning(told)
    instants = [us(f"2027-03-{day}T12:00") for day in (10, 11, 14, 14, 14, 13, 16, 19, 19, 19)]
    orders = (instants, instants[::-1], instants[5:] + instants[:5])
    for who, order in enumerate(orders):
        messages = [tick_of(streak, f"user_{who}", occurred_us=at) for at in order]
        for first in range(0, len(messages), 1 + 4 * who):
            told.apply(messages[first : first + 1 + 4 * who])
            told.apply(messages[first : first + 1])  # and once more
    assert counts(told) == [(2, 4)] * 3


# -- over HTTP ---------------------------------------------------------------------------------


def test_a_day_is_earned_back_and_lost_again_when_the_tick_is_retracted(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    post_streak(client, grace_periods=0, target=TARGET, earn_back=EARN_BACK)
    record_days(client, pipeline, 3, 2, 0, 0)
    assert streak_of(client)["current_count"] == 1
    assert history_of(client)[day(1)] == "missed"
    answer = post_tick(client, timestamp=noon(0))
    pipeline.drain()
    tick_id = answer.get_json()["tick_id"]
    tick = client.get(f"{BASE}/ticks/{tick_id}").get_json()["result"]
    assert (tick["outcome"], tick["new_count"], tick["previous_count"]) == ("repeated", 3, 1)
    entry = streak_of(client)
    assert (entry["current_count"], entry["is_perfect"]) == (3, False)
    assert history_of(client)[day(1)] == "earn_back"
    retracted = client.delete(f"{BASE}/ticks/{tick_id}")
    [effect] = applied(client, pipeline, retracted)["streaks"]
    assert (effect["count"], effect["previous_count"]) == (1, 3)
    assert history_of(client)[day(1)] == "missed"
    assert post_json(client, f"{of(code=STREAK)}/restore", {}).status_code == 202


def test_the_ticks_of_two_ids_that_are_merged_earn_back_together(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    post_streak(client, grace_periods=0, target=TARGET, earn_back=EARN_BACK)
    record_days(client, pipeline, 3, 2, 0)
    record_days(client, pipeline, 0, 0, who="guest")
    merged = post_json(client, f"{BASE}/participants/{WHO}/merge", {"from": "guest"})
    [effect] = applied(client, pipeline, merged)["streaks"]
    assert (effect["count"], effect["previous_count"]) == (3, 1)
    assert history_of(client)[day(1)] == "earn_back"
