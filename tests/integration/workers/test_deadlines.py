"""Facts without a tick: at risk and broken, once each, at everybody's own boundary."""

from __future__ import annotations

from typing import Any

import pytest

from models import clock, ids
from tests.integration.batches import DAILY, DAY_US, HELD, MONTHLY, WEEKLY, make_streak, tick
from tests.integration.telling import AT_RISK, BROKEN, STRICT, Notified, live_in, us
from tests.integration.world import World

pytestmark = pytest.mark.promise("P10")

# -- at everybody's own boundary -------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "zone", "lead", "ticked", "at_risk", "breaks"),
    [
        (STRICT, None, None, "03-13T12:00", "03-14T00:00", "03-15T00:00"),
        (STRICT, None, 6, "03-13T12:00", "03-14T18:00", "03-15T00:00"),
        (DAILY, "Asia/Kathmandu", None, "03-13T12:00", "03-14T18:15", "03-15T18:15"),
        # a day of 23 hours, and one that begins at 01:00
        (STRICT, "America/New_York", None, "03-13T20:00", "03-14T05:00", "03-15T04:00"),
        (STRICT, "America/Santiago", None, "09-04T12:00", "09-05T04:00", "09-06T03:00"),
        (WEEKLY, "Europe/Berlin", None, "03-24T12:00", "03-28T22:00", "04-04T22:00"),
        (WEEKLY, "Europe/Berlin", 12, "03-24T12:00", "04-04T10:00", "04-04T22:00"),
        (MONTHLY, "Pacific/Auckland", 48, "01-10T12:00", "04-28T12:00", "04-30T12:00"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_their_own", [True, False])
def test_it_tells_each_once_at_the_participants_own_boundary(
    told: Notified,
    kind: dict[str, Any],
    zone: str | None,
    lead: int | None,
    ticked: str,
    at_risk: str,
    breaks: str,
    is_their_own: bool,
) -> None:
    """Whether the zone is the participant's or the tick's own."""
    ticked, at_risk, breaks = (f"2027-{one}" for one in (ticked, at_risk, breaks))
    boundary = "participant" if is_their_own else "utc"
    streak = make_streak(
        told.engine, told.tenant_id, kind | {"boundary": boundary, "at_risk_lead_hours": lead}
    )
    if is_their_own and zone:
        live_in(told, zone)
    told.tick(streak, ticked, zone=None if is_their_own else zone)
    expected: list[tuple[str, str]] = []
    for fact, instant in ((AT_RISK, at_risk), (BROKEN, breaks)):
        assert told.sweep(us(instant) - 1) == expected
        expected.append((fact, streak.code))
        assert told.sweep(instant) == expected
        assert told.sweep(instant) == expected
    assert told.sweep(us(breaks) + 1_000 * DAY_US) == expected
    assert (told.due(), told.watched()) == ([], [False])
    assert told.facts()[0]["payload"]["expires_at"] == f"{breaks}:00Z"
    assert told.facts()[1]["payload"]["broken_at"] == f"{breaks}:00Z"


def test_the_facts_say_where_the_streak_stood(told: Notified, world: World) -> None:
    world.subscribe("https://example.com/hook", ["behavior.*"])
    streak = make_streak(told.engine, told.tenant_id, HELD | {"boundary": "utc"})
    for day in (10, 11, 12):
        told.tick(streak, f"2027-03-{day}T08:15")
    deliveries = len(world.rows())
    told.sweep("2027-03-14T00:00")
    told.sweep("2027-03-15T00:00")
    at_risk, broken = told.facts()
    assert at_risk["participant_id"] == broken["participant_id"] == "user_42"
    assert (at_risk["sequence"], broken["sequence"]) == (4, 5)
    assert at_risk["payload"] == {
        "streak_code": "held",
        "count": 3,
        "longest_count": 3,
        "period": "daily",
        "grace_remaining": 1,
        "last_recorded_at": "2027-03-12T08:15:00Z",
        "expires_at": "2027-03-15T00:00:00Z",
    }
    assert broken["payload"] == {
        "streak_code": "held",
        "count": 3,
        "previous_count": 3,
        "longest_count": 3,
        "status": "paused",
        "period": "daily",
        "last_recorded_at": "2027-03-12T08:15:00Z",
        "broken_at": "2027-03-15T00:00:00Z",
    }
    assert len(world.rows()) == deliveries + 2
    assert len(told.kicks) == 2


def test_who_comes_in_time_is_never_told_to_have_broken_it(told: Notified) -> None:
    streak = make_streak(told.engine, told.tenant_id, STRICT | {"at_risk_lead_hours": 6})
    for day in range(10, 15):
        told.tick(streak, f"2027-03-{day}T12:00")
        assert told.sweep(f"2027-03-{day}T23:59") == []
    told.sweep("2027-03-15T18:00")
    told.tick(streak, "2027-03-15T20:00")
    assert told.sweep("2027-03-16T17:59") == [(AT_RISK, "daily")]
    assert told.sweep("2027-03-16T18:00") == [(AT_RISK, "daily")] * 2


def test_a_tick_in_time_leaves_the_deadline_as_it_is(told: Notified) -> None:
    streak = make_streak(told.engine, told.tenant_id, DAILY)
    told.tick(streak, "2027-03-10T12:00")
    before = told.due()
    assert told.dues() == ["2027-03-12 00:00"]
    for at in ("2027-03-10T13:00", "2027-03-11T12:00", "2027-03-12T12:00"):
        told.tick(streak, at)
    assert told.due() == before


def test_who_looks_late_tells_only_what_still_holds(told: Notified) -> None:
    streak = make_streak(told.engine, told.tenant_id, STRICT)
    told.tick(streak, "2027-03-10T12:00", "gone")
    told.tick(streak, "2027-03-10T12:00", "came_back")
    told.tick(streak, "2027-03-14T12:00", "came_back")
    assert told.sweep("2027-03-14T13:00") == [(BROKEN, "daily")]
    assert told.facts()[0]["participant_id"] == "gone"
    assert told.dues() == ["2027-03-15 00:00"]


def test_a_streak_that_starts_again_is_watched_again(told: Notified) -> None:
    streak = make_streak(told.engine, told.tenant_id, STRICT)
    for day in (10, 20):
        told.tick(streak, f"2027-03-{day}T12:00")
        told.sweep(f"2027-03-{day + 1}T00:00")
        told.sweep(f"2027-03-{day + 2}T00:00")
    assert told.sweep("2027-04-01T00:00") == [(AT_RISK, "daily"), (BROKEN, "daily")] * 2


# -- late ticks, other calendars -------------------------------------------------------------


def test_a_late_tick_that_revives_a_streak_has_it_watched_again(told: Notified) -> None:
    streak = make_streak(told.engine, told.tenant_id, STRICT)
    told.tick(streak, "2027-03-10T12:00")
    assert told.sweep("2027-03-12T00:10") == [(BROKEN, "daily")]
    told.tick(streak, "2027-03-11T12:00", accepted="2027-03-12T00:20")
    expected = [(BROKEN, "daily"), (AT_RISK, "daily")]
    assert told.sweep("2027-03-12T00:30") == expected
    assert told.sweep("2027-03-13T00:00") == [*expected, (BROKEN, "daily")]


def test_a_late_tick_that_spends_credits_brings_the_deadline_nearer(told: Notified) -> None:
    streak = make_streak(told.engine, told.tenant_id, DAILY | {"grace_periods": 2})
    told.tick(streak, "2027-03-01T12:00")
    told.sweep("2027-03-05T00:00")
    told.tick(streak, "2027-03-05T12:00")
    told.sweep("2027-03-05T13:00")
    assert told.dues() == ["2027-03-08 00:00"]
    told.tick(streak, "2027-03-03T12:00", accepted="2027-03-05T14:00")
    assert told.dues() == ["2027-03-05 14:00"]  # perhaps a break is to be corrected
    told.sweep("2027-03-05T14:01")
    assert told.dues() == ["2027-03-06 00:00"]


def test_a_tick_of_an_eastern_zone_brings_the_deadline_nearer(told: Notified) -> None:
    streak = make_streak(told.engine, told.tenant_id, STRICT)
    told.tick(streak, "2027-03-10T05:00")
    assert told.dues() == ["2027-03-11 00:00"]
    told.tick(streak, "2027-03-10T14:00", zone="Asia/Tokyo")
    assert told.dues() == ["2027-03-10 15:00"]
    assert told.sweep("2027-03-10T15:00") == [(AT_RISK, "daily")]


def test_what_was_broken_before_it_was_first_heard_of_is_not_told(told: Notified) -> None:
    """An import of years makes no facts about what nobody lost today."""
    streak = make_streak(told.engine, told.tenant_id, STRICT)
    told.tick(streak, "2027-01-10T12:00", accepted="2027-03-10T12:00")
    assert (told.due(), told.sweep("2027-03-10T13:00")) == ([], [])


def test_what_broke_between_its_acceptance_and_its_batch_is_told(told: Notified) -> None:
    streak = make_streak(told.engine, told.tenant_id, STRICT)
    long_ago = us("2025-03-10T12:00")
    told.apply([tick(streak, id=str(ids.uuid7(long_ago)), occurred_us=long_ago)])
    assert told.sweep(clock.now_us()) == [(BROKEN, "daily")]
