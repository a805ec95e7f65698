"""Drains in one another's way: they wait or try again, and nothing is given up."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

from api.cli.local.proc import wait_until
from models.db import Contended, Engine, reading, transaction
from models.streaks.states import Streak
from settings import Settings
from tests.integration.batches import (
    PATIENCE_SECONDS,
    assert_applied_once,
    count,
    days,
    post,
    tick,
)
from tests.pipeline import Pipeline
from workers.intake.stream import depth


def test_a_lock_that_is_held_is_waited_for(
    engine: Engine, pipeline: Pipeline, streak: Streak
) -> None:
    messages = days(streak, 3)
    post(pipeline.client, messages[:1])
    pipeline.drain()
    post(pipeline.client, messages[1:])
    worker = threading.Thread(target=pipeline.drain)
    with transaction(engine) as session:
        session.execute(
            sa.text("SELECT FROM participants WHERE tenant_id = :tenant_id FOR UPDATE"),
            {"tenant_id": streak.tenant_id},
        )
        worker.start()
        assert wait_until(lambda: is_waiting_for_a_lock(engine), PATIENCE_SECONDS)
        assert count(engine, "ticks", streak.tenant_id) == 1
    worker.join()
    assert_applied_once(engine, streak, messages)


def is_waiting_for_a_lock(engine: Engine) -> bool:
    """Whether any backend waits for a row."""
    statement = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with reading(engine) as session:
        return bool(session.execute(sa.text(statement)).scalar())


def test_a_deadlock_is_tried_again(engine: Engine, pipeline: Pipeline, streak: Streak) -> None:
    """Two sessions that lock the same two participants in opposite orders; Postgres ends one."""
    people = ("a", "b")
    post(pipeline.client, [tick(streak, who) for who in people])
    pipeline.drain()
    again = [tick(streak, who) for who in people]
    post(pipeline.client, again)
    drained = threading.Thread(target=pipeline.drain)
    lock = sa.text(
        "SELECT FROM participants WHERE tenant_id = :tenant_id AND external_id = :who FOR UPDATE"
    )
    values = {"tenant_id": streak.tenant_id}
    with transaction(engine) as session:
        session.execute(sa.text("SET LOCAL deadlock_timeout = '60s'"))  # the drain finds it first
        session.execute(lock, values | {"who": "b"})
        drained.start()
        assert wait_until(lambda: is_waiting_for_a_lock(engine), PATIENCE_SECONDS)
        session.execute(lock, values | {"who": "a"})
    drained.join()
    assert count(engine, "ticks", streak.tenant_id) == 4
    assert count(engine, "dead_letters", streak.tenant_id) == 0


def test_what_was_only_in_the_way_is_never_a_dead_letter(
    settings: Settings, pipeline: Pipeline, streak: Streak
) -> None:
    post(pipeline.client, days(streak, 1))
    drain = pipeline.make_drain()
    drain.streams.create_groups()
    (entry,) = drain.streams.read(10)
    for _ in range(2 * settings.entry_tries_max):
        pipeline.make_drain().streams.take_over(10)
    assert drain.streams.tries(entry) > settings.entry_tries_max
    with pytest.raises(Contended) as refused, transaction(drain.engine) as session:
        raise_contended(session)
    assert drain._put_away(entry, refused.value) == 0
    assert depth(pipeline.client) == 1


def raise_contended(session: sa.Connection) -> None:
    """Have Postgres say that a lock is not available."""
    session.execute(sa.text("DO $$ BEGIN RAISE lock_not_available; END $$"))
