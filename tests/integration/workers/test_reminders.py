"""Reminders: once for each period that is not recorded, at the participant's own time."""

from __future__ import annotations

from typing import Any

import pytest
import redis
import sqlalchemy as sa

from models import clock
from models.db import transaction
from models.streaks.states import Streak
from settings import Settings
from tests.integration.batches import DAY_US, make_streak, post
from tests.integration.telling import STRICT, Notified, live_in, of_noon, sweep_until_death, us
from tests.integration.workers.test_deadline_faults import beside, sweeper
from workers.maintenance.streak_deadlines import Sweep, horizons

pytestmark = pytest.mark.promise("P10")

NIGHT = {"from": "22:00", "to": "08:00"}


def reminding(told: Notified, reminder: dict[str, Any], **values: Any) -> Streak:
    """A daily definition in the participants' zones, with a reminder and three grace periods."""
    definition = STRICT | {"boundary": "participant", "grace_periods": 3, "reminder": reminder}
    return make_streak(told.engine, told.tenant_id, definition | values)


def due(told: Notified) -> list[str]:
    """When each reminder that was published was due, to the minute."""
    return [body["payload"]["due_at"][5:16] for body in told.reminders()]


# -- when --------------------------------------------------------------------------------------


def test_it_is_published_once_a_day_at_the_time_where_the_participant_lives(
    told: Notified,
) -> None:
    streak = reminding(told, {"at": "20:00"})
    live_in(told, "Asia/Kathmandu")  # 14:15 UTC is 20:00
    told.tick(streak, "2027-03-10T12:00")
    told.sweep("2027-03-11T14:14")
    assert due(told) == []
    for _ in range(2):
        told.sweep("2027-03-11T14:15")
    told.sweep("2027-03-12T14:14")
    assert [body["payload"] for body in told.reminders()] == [
        {
            "streak_code": "daily",
            "count": 1,
            "longest_count": 1,
            "period": "daily",
            "period_key": "2027-03-11",
            "grace_remaining": 3,
            "last_recorded_at": "2027-03-10T12:00:00Z",
            "due_at": "2027-03-11T14:15:00Z",
            "period_ends_at": "2027-03-11T18:15:00Z",
            "expires_at": "2027-03-14T18:15:00Z",
        }
    ]
    for day in (12, 13, 14, 15, 16):
        told.sweep(f"2027-03-{day}T14:15")
    assert due(told) == ["03-11T14:15", "03-12T14:15", "03-13T14:15", "03-14T14:15"]
    told.sweep("2027-03-14T18:15")
    assert told.facts()[-1]["payload"]["broken_at"] == "2027-03-14T18:15:00Z"


def test_whoever_ticked_in_time_is_not_reminded(told: Notified) -> None:
    streak = reminding(told, {"hours_before": 6})
    for day in range(10, 15):
        told.tick(streak, f"2027-03-{day}T17:59")
        told.sweep(f"2027-03-{day}T18:00")
        told.sweep(f"2027-03-{day}T23:59")
    assert due(told) == []
    told.sweep("2027-03-15T18:00")
    assert due(told) == ["03-15T18:00"]
    told.tick(streak, "2027-03-15T19:00")
    told.sweep("2027-03-16T17:59")
    assert due(told) == ["03-15T18:00"]


def test_it_waits_for_the_ticks_that_were_accepted_before(
    told: Notified, redis_client: redis.Redis
) -> None:
    streak = reminding(told, {"hours_before": 24})
    now = clock.now_us()
    told.apply([of_noon(streak, "user_42", now - 2 * DAY_US)])
    redis_client.flushdb()
    name = f"unbroken:{{{told.tenant_id % 8}}}:intake"
    redis_client.xadd(name, {"m": b"x"}, id=f"{(now - 3 * DAY_US) // 1_000}-0")
    sweep = Sweep(told.engine, lambda: horizons(redis_client, clock.now_us()), lambda: None)
    sweep.run(60)
    assert told.reminders() == []
    redis_client.delete(name)
    sweep.run(60)
    assert len(told.reminders()) == 1


def test_hours_after_the_last_tick_follow_every_tick(told: Notified) -> None:
    streak = reminding(told, {"hours_after_last_tick": 6})
    told.tick(streak, "2027-03-10T22:00")
    told.sweep("2027-03-11T04:00")
    assert due(told) == ["03-11T04:00"]
    told.tick(streak, "2027-03-11T20:00")  # two hours earlier than the day before
    told.sweep("2027-03-12T02:00")
    assert due(told) == ["03-11T04:00", "03-12T02:00"]
    told.tick(streak, "2027-03-12T23:30", accepted="2027-03-12T23:30")
    told.sweep("2027-03-13T05:29")
    assert len(due(told)) == 2
    told.sweep("2027-03-13T05:30")
    assert due(told)[2:] == ["03-13T05:30"]


def test_a_weekly_streak_is_reminded_on_its_last_day(told: Notified) -> None:
    streak = reminding(told, {"at": "18:30"}, period="weekly")
    told.tick(streak, "2027-03-10T12:00")  # a Wednesday
    told.sweep("2027-03-21T18:29")
    assert due(told) == []
    told.sweep("2027-03-21T18:30")
    assert due(told) == ["03-21T18:30"]


# -- when not ----------------------------------------------------------------------------------


def test_one_that_is_due_in_quiet_hours_comes_before_them(told: Notified) -> None:
    streak = reminding(told, {"at": "23:00", "quiet_hours": NIGHT})
    live_in(told, "Asia/Kathmandu")
    told.tick(streak, "2027-03-10T12:00")
    told.sweep("2027-03-11T16:14")
    assert due(told) == []
    told.sweep("2027-03-11T16:15")  # 22:00 there
    assert due(told) == ["03-11T16:15"]


def test_a_sweep_that_comes_in_quiet_hours_leaves_it_out(told: Notified) -> None:
    streak = reminding(told, {"at": "20:00", "quiet_hours": NIGHT})
    told.tick(streak, "2027-03-10T12:00")
    told.sweep("2027-03-11T22:30")
    assert due(told) == []
    told.sweep("2027-03-12T20:00")
    assert due(told) == ["03-12T20:00"]


def test_no_two_come_within_the_hours_between_them(told: Notified) -> None:
    streak = reminding(told, {"at": "20:00", "at_most_every_hours": 36})
    told.tick(streak, "2027-03-10T12:00")
    for day in (11, 12, 13):
        told.sweep(f"2027-03-{day}T20:00")
    assert due(told) == ["03-11T20:00", "03-13T20:00"]


def test_a_low_count_is_not_worth_one(told: Notified) -> None:
    streak = reminding(told, {"at": "20:00", "min_count": 2})
    told.tick(streak, "2027-03-10T12:00")
    told.sweep("2027-03-11T20:00")
    assert due(told) == []
    told.tick(streak, "2027-03-11T21:00")
    told.sweep("2027-03-12T20:00")
    assert due(told) == ["03-12T20:00"]


def test_a_protected_day_has_none(told: Notified) -> None:
    streak = reminding(told, {"at": "20:00"}, forgiveness={"rest_days": ["saturday", "sunday"]})
    told.tick(streak, "2027-03-12T12:00")  # a Friday
    for day in (13, 14, 15):
        told.sweep(f"2027-03-{day}T20:00")
    assert due(told) == ["03-15T20:00"]


def test_a_suspended_participant_has_none(told: Notified) -> None:
    streak = reminding(told, {"at": "20:00"})
    told.tick(streak, "2027-03-10T12:00")
    suspend = (
        "UPDATE participants SET status = 'SUSPENDED', inactive_since = now()"
        " WHERE tenant_id = :tenant"
    )
    with transaction(told.engine) as session:
        session.execute(sa.text(suspend), {"tenant": told.tenant_id})
    told.sweep("2027-03-11T20:00")
    assert due(told) == []


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Pacific/Kiritimati"])
def test_a_change_of_the_zone_does_not_repeat_it(told: Notified, zone: str) -> None:
    streak = reminding(told, {"at": "20:00"}, grace_periods=9)
    told.tick(streak, "2027-03-11T12:00")
    told.sweep("2027-03-12T20:00")
    for moved in (zone, None):
        _move(told, moved)
        told.sweep("2027-03-12T23:59")
        told.sweep("2027-03-13T05:59")
    assert due(told)[0] == "03-12T20:00"
    days = [body["payload"]["period_key"] for body in told.reminders()]
    assert days == sorted(set(days))


def _move(told: Notified, zone: str | None) -> None:
    """Another zone, and a look at everything."""
    with transaction(told.engine) as session:
        for statement in (
            "UPDATE streak_states SET last_timezone = :zone WHERE tenant_id = :tenant",
            "UPDATE streak_deadlines SET due_at = '2027-03-11' WHERE tenant_id = :tenant",
        ):
            session.execute(sa.text(statement), {"zone": zone, "tenant": told.tenant_id})


# -- exactly once ------------------------------------------------------------------------------


def test_sweeps_and_ticks_at_the_same_moment_publish_each_once(told: Notified) -> None:
    streak = reminding(told, {"hours_before": 12})
    noon = us("2027-03-10T12:00")
    people = [f"user_{nth}" for nth in range(100)]
    told.apply([of_noon(streak, who, noon) for who in people])
    post(told.pipeline.client, [of_noon(streak, who, noon + DAY_US) for who in people[:50]])
    with beside(told.pipeline.drain, *(sweeper(told, noon + DAY_US) for _ in range(3))):
        pass
    reminded = [body["participant_id"] for body in told.reminders()]
    assert len(set(reminded)) == len(reminded)
    assert set(people[50:]) <= set(reminded)


@pytest.mark.parametrize("failpoint", ["deadlines.mid_sql", "deadlines.after_commit"])
def test_a_kill_loses_and_doubles_none(failpoint: str, told: Notified, settings: Settings) -> None:
    streak = reminding(told, {"hours_before": 24})
    two_days_ago = clock.now_us() - 2 * DAY_US
    told.apply([of_noon(streak, f"user_{nth}", two_days_ago) for nth in range(20)])
    sweep_until_death(settings, failpoint)
    assert len(told.reminders()) == (20 if failpoint == "deadlines.after_commit" else 0)
    for _ in range(2):
        told.sweep(clock.now_us())
        assert len({body["participant_id"] for body in told.reminders()}) == 20
        assert len(told.reminders()) == 20
