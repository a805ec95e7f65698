"""Forgiven periods, earned freezes and corrected breaks: published once, at the participant's own
boundary."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa

from models.db import transaction
from models.streaks import deadlines, states
from models.streaks.states import Streak
from tests.integration.batches import DAILY, make_streak
from tests.integration.telling import STRICT, Notified, live_in, us

pytestmark = pytest.mark.promise("P10")

FORGIVEN = "behavior.streak_forgiven"
EARNED = "behavior.streak_freeze_earned"
REPAIRED = "behavior.streak_repaired"
BROKEN = "behavior.streak_broken"
WITHOUT_TICKS = (FORGIVEN, EARNED, REPAIRED, BROKEN)


def forgiving(told: Notified, **forgiveness: Any) -> Streak:
    """A daily definition without grace of its own, with fields of forgiveness."""
    values = STRICT | {"boundary": "participant", "forgiveness": forgiveness}
    return make_streak(told.engine, told.tenant_id, values)


def facts(told: Notified) -> list[dict[str, Any]]:
    """The facts of forgiveness and of breaks, in their order."""
    rows = told.rows(
        "SELECT body FROM facts WHERE tenant_id = :t ORDER BY participant_id, sequence"
    )
    bodies = [json.loads(row.body) for row in rows]
    return [body for body in bodies if body["type"] in WITHOUT_TICKS]


def types(told: Notified) -> list[str]:
    return [body["type"] for body in facts(told)]


def test_a_forgiven_day_is_published_once_when_it_ends_where_the_participant_lives(
    told: Notified,
) -> None:
    streak = forgiving(told, freezes={"initial": 2, "max": 2})
    live_in(told, "Asia/Kathmandu")  # 18:15 UTC is midnight
    told.tick(streak, "2027-03-10T12:00")
    told.sweep("2027-03-11T18:14")
    assert types(told) == []
    told.sweep("2027-03-11T18:15")
    told.sweep("2027-03-11T18:15")
    told.sweep("2027-03-12T18:14")
    assert types(told) == [FORGIVEN]
    assert facts(told)[0]["payload"] == {
        "streak_code": "daily",
        "by": "freeze",
        "count": 1,
        "period": "daily",
        "period_key": "2027-03-11",
        "grace_remaining": 0,
        "freezes_remaining": 1,
    }
    told.sweep("2027-03-12T18:15")
    told.sweep("2027-03-13T18:14")
    assert types(told) == [FORGIVEN] * 2
    told.sweep("2027-03-13T18:15")
    told.sweep("2027-04-13T18:15")
    assert types(told) == [FORGIVEN, FORGIVEN, BROKEN]
    assert told.due() == []


def test_grace_and_then_a_freeze_are_named_as_what_saved_the_day(told: Notified) -> None:
    streak = forgiving(
        told,
        freezes={"initial": 1, "max": 1},
        grace_by_count=[{"from_count": 0, "grace_periods": 1}],
    )
    told.tick(streak, "2027-03-10T12:00")
    for day in (12, 13, 14):
        told.sweep(f"2027-03-{day}T00:00")
    assert [fact["payload"].get("by") for fact in facts(told)] == ["grace", "freeze", None]


def test_a_forgiven_day_is_published_although_the_next_tick_was_faster_than_the_sweep(
    told: Notified,
) -> None:
    streak = forgiving(told, freezes={"initial": 1, "max": 1})
    told.tick(streak, "2027-03-10T12:00")
    told.tick(streak, "2027-03-12T00:00")
    told.sweep("2027-03-12T00:01")
    told.sweep("2027-03-13T00:00")
    assert types(told) == [FORGIVEN]


def test_days_that_ended_before_the_first_tick_was_accepted_are_not_published(
    told: Notified,
) -> None:
    streak = forgiving(told, freezes={"initial": 3, "max": 3})
    told.tick(streak, "2027-03-10T12:00", accepted="2027-03-12T12:00")
    told.sweep("2027-03-12T12:00")
    assert types(told) == []
    told.sweep("2027-03-13T00:00")
    assert [fact["payload"]["period_key"] for fact in facts(told)] == ["2027-03-12"]


def test_a_protected_day_is_no_forgiven_one(told: Notified) -> None:
    streak = forgiving(told, rest_days=["saturday", "sunday"], freezes={"initial": 1, "max": 1})
    told.tick(streak, "2027-03-12T12:00")  # a Friday
    for day in (13, 14, 15):
        told.sweep(f"2027-03-{day}T00:00")
    assert types(told) == []
    told.sweep("2027-03-16T00:00")
    assert [fact["payload"]["period_key"] for fact in facts(told)] == ["2027-03-15"]


def test_each_freeze_earned_is_published_once_whatever_comes_twice_or_late(
    told: Notified,
) -> None:
    streak = forgiving(told, freezes={"earn_every": 2, "max": 3})
    for at in ("2027-03-10T12:00", "2027-03-11T12:00", "2027-03-11T13:00", "2027-03-12T12:00"):
        told.tick(streak, at)
    assert types(told) == [EARNED]
    assert facts(told)[0]["payload"] | {"tick_id": None} == {
        "streak_code": "daily",
        "count": 2,
        "freezes_earned": 1,
        "freezes_remaining": 1,
        "period": "daily",
        "period_key": "2027-03-11",
        "recorded_at": "2027-03-11T12:00:00Z",
        "tick_id": None,
    }
    told.tick(streak, "2027-03-09T12:00", accepted="2027-03-12T13:00")  # now four in a row
    assert types(told) == [EARNED, EARNED]


# -- corrections -------------------------------------------------------------------------------


@pytest.mark.parametrize("is_forgiving", [True, False])
def test_a_late_tick_corrects_the_break_that_was_published(
    told: Notified, is_forgiving: bool
) -> None:
    fields = {"freezes": {"initial": 0, "earn_every": 9, "max": 1}}
    streak = (
        forgiving(told, **fields)
        if is_forgiving
        else make_streak(told.engine, told.tenant_id, STRICT)
    )
    told.tick(streak, "2027-03-10T12:00")
    told.sweep("2027-03-12T00:00")
    assert types(told) == [BROKEN]
    told.tick(streak, "2027-03-11T12:00", accepted="2027-03-12T09:00")
    told.sweep("2027-03-12T09:00")
    told.sweep("2027-03-12T09:00")
    assert types(told) == [BROKEN, REPAIRED]
    broken, repaired = facts(told)
    assert repaired["payload"] == {
        "streak_code": "daily",
        "count": 2,
        "previous_count": 0,
        "longest_count": 2,
        "period": "daily",
        "cause": "late_tick",
        "reason": None,
        "corrects": broken["id"],
    }
    told.sweep("2027-03-13T00:00")
    assert types(told) == [BROKEN, REPAIRED, BROKEN]


def test_a_break_is_corrected_at_once_although_nothing_is_due_before_tomorrow(
    told: Notified,
) -> None:
    streak = make_streak(told.engine, told.tenant_id, STRICT)
    told.tick(streak, "2027-03-10T12:00")
    told.sweep("2027-03-12T00:00")
    told.tick(streak, "2027-03-12T09:00")
    told.sweep("2027-03-12T09:30")
    told.tick(streak, "2027-03-11T12:00", accepted="2027-03-12T10:00")
    told.sweep("2027-03-12T10:00")
    assert types(told) == [BROKEN, REPAIRED]
    assert facts(told)[1]["payload"]["count"] == 3


def test_a_late_tick_before_the_break_corrects_nothing(told: Notified) -> None:
    streak = make_streak(told.engine, told.tenant_id, STRICT)
    told.tick(streak, "2027-03-10T12:00")
    told.sweep("2027-03-12T00:00")
    told.tick(streak, "2027-03-09T12:00", accepted="2027-03-12T09:00")
    told.sweep("2027-03-12T09:00")
    assert types(told) == [BROKEN]


def test_kinder_rules_correct_the_breaks_that_they_undo(told: Notified) -> None:
    streak = make_streak(told.engine, told.tenant_id, STRICT)
    told.tick(streak, "2027-03-10T12:00")
    told.sweep("2027-03-12T00:00")
    with transaction(told.engine) as connection:
        states.definitions.revise(connection, streak, {"grace_periods": 2})
    told.sweep("2027-03-12T09:00")
    assert types(told) == [BROKEN, REPAIRED]
    assert facts(told)[1]["payload"]["cause"] == "rules"


def test_a_zone_moved_east_and_back_leaves_no_false_break_uncorrected(told: Notified) -> None:
    streak = make_streak(told.engine, told.tenant_id, STRICT | {"boundary": "participant"})
    live_in(told, "America/Los_Angeles")
    told.tick(streak, "2027-03-10T20:00")
    move(told, "Pacific/Auckland")  # 13 hours ahead: the day after is over at 11:00
    told.sweep("2027-03-11T11:00")
    assert types(told) == [BROKEN]
    move(told, "America/Los_Angeles")
    told.sweep("2027-03-11T11:01")
    assert types(told) == [BROKEN, REPAIRED]
    assert facts(told)[1]["payload"]["cause"] == "timezone"
    assert facts(told)[1]["payload"]["count"] == 1
    told.sweep("2027-03-12T08:00")
    assert types(told) == [BROKEN, REPAIRED, BROKEN]


def move(told: Notified, zone: str) -> None:
    """Change the participant's zone, as the API does, at an early instant of the sweep's."""
    with transaction(told.engine) as connection:
        row = connection.execute(
            sa.text("UPDATE participants SET timezone = :z WHERE tenant_id = :t RETURNING id"),
            {"z": zone, "t": told.tenant_id},
        ).one()
        deadlines.look_again(connection, told.tenant_id, row.id)
        connection.execute(
            sa.text("UPDATE streak_deadlines SET due_at = '2027-01-01' WHERE tenant_id = :t"),
            {"t": told.tenant_id},
        )


def test_an_outage_long_past_corrects_the_breaks_of_then(told: Notified) -> None:
    streak = make_streak(told.engine, told.tenant_id, STRICT)
    told.tick(streak, "2027-03-10T12:00")
    told.sweep("2027-03-12T00:00")
    span = [us("2027-03-11T08:00"), us("2027-03-30T09:00")]
    with transaction(told.engine) as connection:
        states.definitions.revise(connection, streak, {"outages": [span]})
    told.sweep("2027-03-30T12:00")
    assert types(told) == [BROKEN, REPAIRED]


def test_an_outage_protects_every_participant_and_corrects_its_breaks(told: Notified) -> None:
    streak = make_streak(told.engine, told.tenant_id, DAILY | {"grace_periods": 0})
    for who in ("east", "west"):
        told.tick(streak, "2027-03-10T12:00", who)
    told.sweep("2027-03-12T00:00")
    assert types(told) == [BROKEN] * 2
    span = [us("2027-03-11T08:00"), us("2027-03-11T09:00")]
    with transaction(told.engine) as connection:
        states.definitions.revise(connection, streak, {"outages": [span]})
    told.sweep("2027-03-12T09:00")
    assert types(told) == [BROKEN, REPAIRED] * 2
    told.sweep("2027-03-13T00:00")
    assert types(told) == [BROKEN, REPAIRED, BROKEN] * 2
