"""The sweep: lost kicks, doubled kicks, two schedulers, full queues, changes cut off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis

from models import clock
from models.db import Engine
from models.db import engine as make_engine
from models.streaks.states import Streak
from settings import Settings
from tests.conftest import Account
from tests.integration.batches import count, post, short, tick
from tests.pipeline import Pipeline, worker_context
from workers import tasks
from workers.intake import redis_keys
from workers.intake.client import IntakeSettings, may_be_cached, open_intake
from workers.intake.stream import Streams, depth
from workers.maintenance import sweep as upkeep
from workers.runtime.celery_config import DRAIN, UPKEEP, WEBHOOKS, make_celery
from workers.runtime.context import Context


@pytest.fixture
def context(settings: Settings, engine: Engine, redis_client: redis.Redis) -> Iterator[Context]:
    """What the tasks are given; drains of it end soon."""
    celery = make_celery(settings.redis_url)
    soon = short(settings, drain_run_seconds=0.5, drain_processes=3, takeover_idle_ms=0)
    yield worker_context(soon, engine, redis_client, celery, "swept")
    celery.close()


def sweep(context: Context) -> None:
    """A sweep whose turn has come."""
    context.client.delete(redis_keys.SWEEP_LOCK)
    upkeep.sweep(context)


def kicks(context: Context, queue: str = DRAIN) -> int:
    """Messages that wait in a queue."""
    return int(context.client.llen(queue))


def be_alive(context: Context, group: str, *names: str) -> None:
    """Let workers of some names have given a sign of life just now."""
    context.client.zadd(group, dict.fromkeys(names, clock.now_us() / 1e6))


# -- kicks -----------------------------------------------------------------------------------


def test_a_lost_kick_is_made_up_for(context: Context, engine: Engine, streak: Streak) -> None:
    post(context.client, [tick(streak)])
    assert kicks(context) == 0
    sweep(context)
    assert kicks(context) == 1
    tasks.run_drain(context)
    assert count(engine, "ticks", streak.tenant_id) == 1


def test_a_doubled_kick_does_nothing_twice(
    context: Context, engine: Engine, streak: Streak
) -> None:
    post(context.client, [tick(streak)])
    assert [bool(tasks.run_drain(context)) for _ in range(2)] == [True, False]
    assert count(engine, "ticks", streak.tenant_id) == 1
    assert count(engine, "facts", streak.tenant_id) == 1


def test_it_kicks_no_drain_without_a_backlog(context: Context) -> None:
    sweep(context)
    assert kicks(context) == 0


def test_it_kicks_no_drain_beside_a_living_one(context: Context, streak: Streak) -> None:
    post(context.client, [tick(streak)])
    be_alive(context, redis_keys.DRAINS, "living")
    sweep(context)
    assert kicks(context) == 0


def test_it_does_not_count_on_a_drain_that_is_silent(context: Context, streak: Streak) -> None:
    post(context.client, [tick(streak)])
    context.client.zadd(redis_keys.DRAINS, {"dead": clock.now_us() / 1e6 - 60})
    sweep(context)
    assert kicks(context) == 1


def test_it_counts_the_kicks_that_wait(context: Context, streak: Streak) -> None:
    post(context.client, [tick(streak)])
    for _ in range(5):
        sweep(context)
    assert kicks(context) == 1


def test_a_long_backlog_deserves_more_drains_but_not_more_than_there_are(
    context: Context, streak: Streak
) -> None:
    be_alive(context, redis_keys.DRAINS, "living")
    entries = [b"x"] * upkeep.ENTRIES_PER_DRAIN
    post(context.client, entries, streak.tenant_id)
    sweep(context)
    assert kicks(context) == 1
    for _ in range(3):
        post(context.client, entries, streak.tenant_id)
    be_alive(context, redis_keys.DRAINS, "living")  # to post so many may take a while
    sweep(context)
    assert kicks(context) == context.settings.drain_processes - 1


def test_entries_that_only_a_dead_drain_held_are_seen(
    context: Context, engine: Engine, streak: Streak
) -> None:
    post(context.client, [tick(streak)])
    dead = Streams(context.client, "dead", takeover_idle_ms=0)
    dead.create_groups()
    assert len(dead.read(10)) == 1
    sweep(context)
    assert kicks(context) == 1
    tasks.run_drain(context)
    assert count(engine, "ticks", streak.tenant_id) == 1


def test_of_two_schedulers_one_acts(context: Context, streak: Streak) -> None:
    post(context.client, [tick(streak)])
    upkeep.sweep(context)
    context.client.delete(DRAIN)
    upkeep.sweep(context)
    assert kicks(context) == 0


def test_a_drain_that_ends_leaves_the_next_kick_to_the_next_tick(
    context: Context, streak: Streak
) -> None:
    tasks.run_drain(context)
    awake = [
        context.client.exists(redis_keys.awake(number)) for number in range(redis_keys.STREAM_COUNT)
    ]
    assert not any(awake)
    assert context.client.zcard(redis_keys.DRAINS) == 0


# -- queues ----------------------------------------------------------------------------------


@pytest.mark.parametrize("queue", [DRAIN, WEBHOOKS, UPKEEP])
def test_it_bounds_a_queue_that_nobody_reads(queue: str, context: Context) -> None:
    context.client.lpush(queue, *(str(nth) for nth in range(1_000)))
    sweep(context)
    most = 2 * context.settings.drain_processes + 1
    assert context.client.lrange(queue, 0, -1) == [
        str(nth).encode() for nth in range(999, 999 - most, -1)
    ]


def test_it_works_without_a_database(context: Context, streak: Streak) -> None:
    nowhere = make_engine("postgresql://nobody@127.0.0.1:1/nothing", timeout_ms=1_000)
    alone = replace(context, engine=nowhere, name="alone")
    post(context.client, [tick(streak)])
    sweep(alone)
    assert kicks(context) == 1
    nowhere.dispose()


# -- configuration that was being changed ----------------------------------------------------


def test_it_heals_the_version_of_a_change_that_was_cut_off(
    context: Context, settings: Settings, account: Account
) -> None:
    intake = open_intake(settings.of(IntakeSettings))
    tenant_id = account.live.id
    cut_off = intake.changing([tenant_id])
    cut_off.__enter__()  # and never left: a crash
    began = intake.version(tenant_id)
    assert not may_be_cached(began)
    sweep(context)
    assert intake.version(tenant_id) == began
    let_time_pass(context.client)
    sweep(context)
    healed = intake.version(tenant_id)
    assert healed != began
    assert may_be_cached(healed)
    intake.close()


def test_it_leaves_alone_a_change_that_ended_or_began_meanwhile(
    context: Context, settings: Settings, account: Account
) -> None:
    intake = open_intake(settings.of(IntakeSettings))
    tenant_id = account.live.id
    with intake.changing([tenant_id]):
        sweep(context)
    let_time_pass(context.client)
    ended = intake.version(tenant_id)
    sweep(context)
    assert intake.version(tenant_id) == ended
    with intake.changing([tenant_id]):
        began = intake.version(tenant_id)
        sweep(context)
        assert intake.version(tenant_id) == began
    intake.close()


def let_time_pass(client: redis.Redis) -> None:
    """Age what the sweep noted by HEAL_SECONDS."""
    for noted in client.scan_iter("unbroken:healing:*"):
        client.expire(noted, upkeep.HEAL_SECONDS - 1)


# -- consumers -------------------------------------------------------------------------------


def consumers(client: redis.Redis, tenant_id: int) -> set[bytes]:
    """Who has a name in the group of a tenant's stream."""
    found: Any = client.xinfo_consumers(
        redis_keys.stream(redis_keys.stream_of(tenant_id)), redis_keys.GROUP
    )
    return {one["name"] for one in found}


def test_it_forgets_consumers_that_are_gone_unless_they_hold_something(
    context: Context, streak: Streak, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = context.client
    post(client, [tick(streak)])
    holding = Streams(client, "holding", takeover_idle_ms=0)
    holding.create_groups()
    assert len(holding.read(10)) == 1
    stream = redis_keys.stream(redis_keys.stream_of(streak.tenant_id))
    client.xgroup_createconsumer(stream, redis_keys.GROUP, "empty-handed")
    upkeep.forget_consumers(client)
    assert consumers(client, streak.tenant_id) == {b"empty-handed", b"holding"}
    monkeypatch.setattr(upkeep, "CONSUMER_IDLE_MS", -1)
    upkeep.forget_consumers(client)
    assert consumers(client, streak.tenant_id) == {b"holding"}
    assert depth(client) == 1


def test_healing_leaves_a_change_that_began_meanwhile_alone(pipeline: Pipeline) -> None:
    name = redis_keys.config(0)
    pipeline.client.hset(name, "8", "later!")
    pipeline.client.eval(upkeep._HEAL, 1, name, "8", "earlier!", "fresh")
    assert pipeline.client.hget(name, "8") == b"later!"
    pipeline.client.eval(upkeep._HEAL, 1, name, "8", "later!", "fresh")
    assert pipeline.client.hget(name, "8") == b"fresh"
