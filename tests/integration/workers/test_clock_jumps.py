"""Clocks that are set forward and back by minutes and hours, as NTP or a person does."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo

import pytest
import redis
from flask.testing import FlaskClient

from models import clock
from models.db import Engine
from models.streaks.states import Streak
from tests.calls import client_of, make_key, make_streak, post_tick
from tests.conftest import BASE, Account
from tests.integration.batches import (
    DAY_US,
    Planned,
    assert_one_fact_a_change,
    assert_states,
    days,
    post,
    rows,
)
from tests.integration.batches import make_streak as define
from tests.integration.telling import BROKEN, STRICT, Notified, of_noon
from tests.integration.world import World, always
from tests.pipeline import Pipeline
from tests.receiver import Answer, Receiver
from workers.intake import redis_keys
from workers.intake.stream import alive
from workers.maintenance import clock_steps, sweep
from workers.runtime.celery_config import DRAIN, WEBHOOKS
from workers.runtime.context import Context

HOUR = timedelta(hours=1)
STEPS = (HOUR, -2 * HOUR, timedelta(minutes=-7), 3 * HOUR, timedelta(minutes=-90), -HOUR)
SWEEPS = timedelta(seconds=1)  # from one to the next: as exactly is known how far a clock was set
_real = datetime


@dataclass
class Clock:
    """What the machine takes for the time."""

    off: timedelta = timedelta()

    def step(self, by: timedelta) -> None:
        """Set it forward or back."""
        self.off += by


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of this process, as all modules read it."""
    made = Clock()

    class Now(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # no Self
            return _real.now(tz) + made.off

    monkeypatch.setattr(clock, "datetime", Now)
    monkeypatch.setattr(clock, "now_us", lambda: clock.to_us(clock.now()))
    return made


# -- writes ------------------------------------------------------------------------------------


def test_ticks_are_applied_once_in_whatever_order_the_clock_puts_them(
    client: FlaskClient, account: Account, pipeline: Pipeline, machine: Clock
) -> None:
    """Ids and instants go back and forth; states follow the instants, facts have no gaps."""
    make_streak(client, "daily", grace_periods=1)
    planned, accepted = [], set()
    for nth, step in enumerate((timedelta(), *STEPS)):
        machine.step(step)
        for who in ("a", "b"):
            headers = {"Idempotency-Key": f"{who}-{nth}"}
            answers = [post_tick(client, who, headers, streak_code="daily") for _ in range(2)]
            (tick_id,) = {one.get_json()["tick_id"] for one in answers}
            accepted.add(tick_id)
            assert answers[0].status_code == 202
        if nth % 2:
            pipeline.drain()
    pipeline.drain()
    found = rows(pipeline.engine, account.live.id)
    assert set(found.tick_ids) == accepted
    assert len(found.tick_ids) == len(accepted) == 2 * (len(STEPS) + 1)
    assert_one_fact_a_change(found)
    planned = ledger(pipeline.engine, account.live.id)
    assert_states(found, planned)


def ledger(engine: Engine, tenant_id: int) -> list[Planned]:
    """The instants that the ledger holds."""
    with engine.connect() as session:
        found = session.exec_driver_sql(
            "SELECT external_id, occurred_at FROM ticks t JOIN participants p"
            " ON p.tenant_id = t.tenant_id AND p.id = t.participant_id WHERE t.tenant_id = %s",
            (tenant_id,),
        )
        return [Planned(row[0], "daily", clock.to_us(row[1]), None) for row in found]


def test_a_key_is_judged_by_the_clock_as_it_is(
    client: FlaskClient, account: Account, engine: Engine, machine: Clock
) -> None:
    key = make_key(engine, account.live, lives_s=1_800)
    mine = client_of(client.application, key)
    statuses = []
    for step in (timedelta(), HOUR, -HOUR):
        machine.step(step)
        statuses.append(mine.get(f"{BASE}/participants/nobody/streaks").status_code)
    assert statuses == [200, 401, 200]


def test_facts_without_a_tick_are_told_once_each(told: Notified, machine: Clock) -> None:
    streak = define(told.engine, told.tenant_id, STRICT)
    told.apply([of_noon(streak, f"user_{nth}", clock.now_us() - 2 * DAY_US) for nth in range(5)])
    for step in (timedelta(), *STEPS):
        machine.step(step)
        told.sweep(clock.now_us())
    assert Counter(one["type"] for one in told.facts()) == {BROKEN: 5}


# -- deliveries --------------------------------------------------------------------------------


def live(world: World, context: Context, machine: Clock) -> None:
    """A sweep, and a deliverer if one is needed; both read the machine's clock."""
    context.client.delete(redis_keys.SWEEP_LOCK)
    sweep.sweep(context)
    world.deliver(now=clock.now)


def test_a_step_back_stalls_no_delivery(
    world: World, receiver: Receiver, context: Context, machine: Clock
) -> None:
    """Neither fresh ones, nor one that failed, nor one whose deliverer died."""
    world.options = replace(world.options, now=clock.now)
    world.subscribe(receiver.url)
    live(world, context, machine)
    receiver.reply = always(Answer(500))
    world.publish(3)
    live(world, context, machine)
    receiver.reply = None
    with pytest.raises(RuntimeError):
        world.publish(2)
        world.deliver(failpoint=_dies, now=clock.now)
    world.publish(1)
    machine.step(-3 * HOUR)
    live(world, context, machine)
    machine.step(SWEEPS)
    live(world, context, machine)
    assert world.statuses().count("delivered") == 1, "what is fresh"
    machine.step(timedelta(seconds=40))  # its first wait, a lease
    live(world, context, machine)
    assert world.statuses() == ["delivered"] * 6
    assert all(len(bodies) == 1 for bodies in receiver.bodies().values())


def _dies(name: str) -> None:
    if name == "deliver.after_claim":
        raise RuntimeError(name)


def test_a_parked_destination_is_tried_again_as_soon_as_agreed(
    world: World, receiver: Receiver, context: Context, machine: Clock
) -> None:
    world.options = replace(world.options, now=clock.now)
    webhook_id, _ = world.subscribe(receiver.url)
    live(world, context, machine)
    receiver.reply = always(Answer(500))
    world.publish(5)
    live(world, context, machine)
    assert world.health(webhook_id).parked_until is not None
    receiver.reply = None
    machine.step(-2 * HOUR)
    live(world, context, machine)
    assert "delivered" not in world.statuses(), "not at once either"
    machine.step(timedelta(seconds=30))
    live(world, context, machine)
    assert world.statuses() == ["delivered"] * 5


# -- signs of life -----------------------------------------------------------------------------


def test_nobody_counts_on_a_worker_that_died_in_the_future(
    context: Context, streak: Streak, machine: Clock
) -> None:
    for group in (redis_keys.DRAINS, redis_keys.DELIVERERS):
        context.client.zadd(group, {"killed": clock.now_us() / 1e6})
    sweep.sweep(context)
    machine.step(-HOUR)
    post(context.client, days(streak, 1))
    assert alive(context.client, redis_keys.DRAINS) == 1
    context.client.delete(redis_keys.SWEEP_LOCK)
    sweep.sweep(context)
    assert context.client.llen(DRAIN) == 1


def test_small_steps_and_steps_forward_change_nothing(
    world: World, context: Context, receiver: Receiver, machine: Clock
) -> None:
    world.subscribe(receiver.url)
    receiver.reply = always(Answer(500))
    world.publish(1)
    live(world, context, machine)
    (before,) = world.rows()
    for step in (timedelta(seconds=-20), timedelta(seconds=20), HOUR):
        machine.step(step)
        context.client.delete(redis_keys.SWEEP_LOCK)
        sweep.sweep(context)
    assert [row.next_attempt_at for row in world.rows()] == [before.next_attempt_at]
    assert context.client.llen(WEBHOOKS) == 1, "it is due by now"


# -- the clock of Redis --------------------------------------------------------------------------


def test_a_lock_that_redis_holds_for_too_long_is_shortened(context: Context) -> None:
    """What is left of it after the clock of Redis was set back by an hour."""
    context.client.set(redis_keys.SWEEP_LOCK, "swept", px=3_600_000)
    sweep.sweep(context)
    assert 0 < int(context.client.pttl(redis_keys.SWEEP_LOCK)) <= sweep.SWEEP_LOCK_MS


def test_what_a_dead_drain_held_is_taken_over_whatever_redis_thinks_the_time_is(
    context: Context, redis_client: redis.Redis, streak: Streak, pipeline: Pipeline
) -> None:
    drain = pipeline.make_drain("other")
    drain.streams.takeover_idle_ms = 600_000
    drain.streams.create_groups()
    post(redis_client, days(streak, 3))
    assert len(pipeline.make_drain("dead").streams.read(10)) == 3
    assert drain.streams.take_over(10) == []
    seconds, _ = redis_client.time()
    redis_client.hset(clock_steps.CLOCKS, "redis", (seconds + 3_600) * 1_000_000)
    sweep.sweep(context)
    drain.streams._took_over = -1e9
    assert len(drain.streams.take_over(10)) == 3
