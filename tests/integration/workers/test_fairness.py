"""A tenant that floods does not keep the others waiting: its writes queue behind fresh ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis

from models.db import Engine
from models.streaks.states import Streak
from settings import Settings
from tests.conftest import Account
from tests.integration.batches import count, make_streak, pending, rows, short, tick
from tests.pipeline import Pipeline
from workers.intake import redis_keys
from workers.intake.client import (
    UNVERSIONED,
    Append,
    Caps,
    Full,
    Intake,
    IntakeSettings,
    open_intake,
)
from workers.intake.messages import TickV1, encode
from workers.intake.stream import Streams, depth

pytestmark = pytest.mark.promise("P11")

FRESH_MAX = 10
NEVER_MS = 3_600_000


@pytest.fixture
def intake(settings: Settings, redis_client: redis.Redis) -> Iterator[Intake]:
    """A door that lets ten writes of a tenant wait before more of them are backlog."""
    redis_client.ping()
    opened = open_intake(short(settings, fresh_entries_max=FRESH_MAX).of(IntakeSettings))
    yield opened
    opened.close()
    opened.celery.close()


@pytest.fixture
def neighbour(streak: Streak) -> Streak:
    """A streak of a tenant that shares its streams with the account's. It may not exist: what is
    only accepted asks nobody."""
    return replace(streak, tenant_id=streak.tenant_id + redis_keys.STREAM_COUNT)


def accept(intake: Intake, streak: Streak, number: int, who: str = "user") -> list[TickV1]:
    """Accept so many ticks of different people in one call."""
    ticks = [tick(streak, f"{who}_{nth}") for nth in range(number)]
    intake.append(Append(streak.tenant_id, UNVERSIONED, Caps(), ticks))
    return ticks


def totals(client: redis.Redis, streak: Streak) -> tuple[int, int, dict[bytes, bytes]]:
    """Entries of the tenant's two streams, and who is counted as waiting."""
    number = redis_keys.stream_of(streak.tenant_id)
    waiting: Any = client.hgetall(redis_keys.waiting(number))
    return (
        client.xlen(redis_keys.stream(number)), client.xlen(redis_keys.backlog(number)), waiting,
    )  # fmt: skip


def counted(streak: Streak) -> bytes:
    """A tenant as the counters name it."""
    return str(streak.tenant_id).encode()


# -- at the door -----------------------------------------------------------------------------


def test_what_is_over_a_tenants_share_is_backlog_within_one_batch_too(
    intake: Intake, streak: Streak, redis_client: redis.Redis
) -> None:
    accept(intake, streak, FRESH_MAX - 3)
    accept(intake, streak, 5)
    accept(intake, streak, 5)
    waiting = {counted(streak): b"%d" % (FRESH_MAX + 7)}
    assert totals(redis_client, streak) == (FRESH_MAX, 7, waiting)


def test_another_tenants_writes_are_fresh_beside_it(
    intake: Intake, streak: Streak, neighbour: Streak, redis_client: redis.Redis
) -> None:
    accept(intake, streak, 50)
    accept(intake, neighbour, 2)
    fresh, backlog, waiting = totals(redis_client, streak)
    assert (fresh, backlog) == (FRESH_MAX + 2, 40)
    assert waiting[counted(neighbour)] == b"2"


def test_it_tells_how_many_are_read_before(
    intake: Intake, streak: Streak, neighbour: Streak
) -> None:
    accept(intake, streak, 50)
    for one, ahead in ((neighbour, FRESH_MAX), (streak, 51)):
        request = Append(one.tenant_id, UNVERSIONED, Caps(), [tick(one)])
        assert intake.append(request).ahead == ahead


def test_both_streams_together_are_bounded(settings: Settings, streak: Streak) -> None:
    intake = open_intake(
        short(settings, fresh_entries_max=2, intake_entries_max=5).of(IntakeSettings)
    )
    intake.client.flushdb()
    accept(intake, streak, 5)
    with pytest.raises(Full):
        accept(intake, streak, 1)
    with pytest.raises(Full):
        intake.resubmit(streak.tenant_id, encode(tick(streak)))
    intake.close()


# -- in the drain ----------------------------------------------------------------------------


def test_a_fresh_tick_is_applied_while_anothers_backlog_still_waits(
    intake: Intake,
    streak: Streak,
    make_account: Callable[..., Account],
    engine: Engine,
    pipeline: Pipeline,
) -> None:
    fresh = make_streak(engine, make_account().live.id)
    accept(intake, streak, 600)
    accept(intake, fresh, 1, "somebody")
    left: list[int] = []

    def is_applied() -> bool:
        if count(engine, "ticks", fresh.tenant_id):
            left.append(depth(pipeline.client))
        return bool(left)

    drain = pipeline.make_drain(batch_max=50, should_stop=is_applied)
    drain.streams.create_groups()
    drain.run(30)
    assert left[0] >= 600 - 2 * 50 - FRESH_MAX
    pipeline.drain()
    assert count(engine, "ticks", streak.tenant_id) == 600
    assert totals(pipeline.client, streak) == (0, 0, {})


def test_who_waits_no_more_is_fresh_again(
    intake: Intake, streak: Streak, pipeline: Pipeline
) -> None:
    accept(intake, streak, 30)
    pipeline.drain()
    accept(intake, streak, 3)
    assert totals(pipeline.client, streak) == (3, 0, {counted(streak): b"3"})


def test_an_entry_that_two_drains_finish_is_counted_off_once(
    intake: Intake, streak: Streak, redis_client: redis.Redis
) -> None:
    accept(intake, streak, 15)
    first, second = (Streams(redis_client, name, 0) for name in ("a", "b"))
    first.create_groups()
    read = first.read_at_once(4, 4)
    taken = second.take_over(100)
    assert sorted(one.id for one in read) == sorted(one.id for one in taken)
    first.finish(read, {})
    second.finish(taken, {})
    assert totals(redis_client, streak) == (6, 1, {counted(streak): b"7"})


def test_the_counters_heal_when_nothing_waits(
    intake: Intake, streak: Streak, pipeline: Pipeline
) -> None:
    number = redis_keys.stream_of(streak.tenant_id)
    pipeline.client.hset(redis_keys.waiting(number), str(streak.tenant_id), "1000")
    accept(intake, streak, 2)
    assert totals(pipeline.client, streak)[:2] == (0, 2)
    pipeline.drain()
    assert totals(pipeline.client, streak) == (0, 0, {})


def test_the_backlog_of_a_dead_drain_is_taken_over(
    intake: Intake, streak: Streak, engine: Engine, pipeline: Pipeline
) -> None:
    accept(intake, streak, 40)
    dead = Streams(pipeline.client, "dead", NEVER_MS)
    dead.create_groups()
    assert len(dead.read(100)) == 40
    assert pending(pipeline.client) == 40
    pipeline.drain()
    assert count(engine, "ticks", streak.tenant_id) == 40


def test_of_several_drains_one_is_the_keeper(redis_client: redis.Redis) -> None:
    alone = Streams(redis_client, "b", 0)
    alone.refresh()
    assert (alone.is_alone, alone.is_keeper) == (True, False)
    others = [Streams(redis_client, name, 0) for name in ("c", "a", "b")]
    for one in others * 2:
        one._refreshed = -1e9  # its second has passed
        one.refresh()
    assert [one.is_keeper for one in others] == [False, True, False]
    assert not any(one.is_alone for one in others)


# -- tried again -----------------------------------------------------------------------------


def test_a_message_that_is_submitted_again_is_applied_once(
    intake: Intake, streak: Streak, engine: Engine, pipeline: Pipeline
) -> None:
    (accepted,) = accept(intake, streak, 1)
    intake.resubmit(streak.tenant_id, encode(accepted))
    pipeline.drain()
    intake.resubmit(streak.tenant_id, encode(accepted))
    pipeline.drain()
    assert rows(engine, streak.tenant_id).tick_ids == [accepted.id]
    assert totals(pipeline.client, streak) == (0, 0, {})
