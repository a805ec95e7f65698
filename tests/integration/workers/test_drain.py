"""The drain under faults: killed, doubled, poisoned, cut off. Nothing is lost, nothing doubled."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from api.cli.local import embedded as servers
from api.cli.local import postgres
from api.cli.local.data_dir import Data
from api.cli.local.embedded import embedded
from api.cli.local.proc import is_alive, wait_until
from models import clock
from models.db import Engine, reading, schema, transaction
from models.db import engine as make_engine
from models.identity import tenants
from models.streaks.states import Streak
from settings import Settings
from tests.integration.batches import (
    PATIENCE_SECONDS,
    assert_applied_once,
    count,
    days,
    make_streak,
    pending,
    post,
    replace_message,
    run_drain_until_death,
    start_drain,
    tick,
)
from tests.pipeline import Pipeline
from workers.apply.drain import Drain
from workers.intake import redis_keys
from workers.intake.client import IntakeSettings, open_intake
from workers.intake.messages import TickV1, encode
from workers.intake.stream import Streams, depth


def answer_to(settings: Settings, tick_id: str) -> dict[str, object] | None:
    """What a waiting request would have been answered."""
    intake = open_intake(settings.of(IntakeSettings))
    try:
        return intake.wait(tick_id, 0.1)
    finally:
        intake.close()


# -- killed ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failpoint", ["drain.after_read", "drain.mid_sql", "drain.after_commit_before_ack"]
)
def test_a_kill_loses_and_doubles_nothing(
    failpoint: str,
    engine: Engine,
    settings: Settings,
    pipeline: Pipeline,
    streak: Streak,
) -> None:
    messages = [*days(streak, 20), *days(streak, 20, "other")]
    post(pipeline.client, messages)
    run_drain_until_death(settings, failpoint)
    is_committed = failpoint == "drain.after_commit_before_ack"
    assert count(engine, "ticks", streak.tenant_id) == (len(messages) if is_committed else 0)
    assert (depth(pipeline.client), pending(pipeline.client)) == (40, 40)
    pipeline.drain()
    assert pending(pipeline.client) == 0
    assert_applied_once(engine, streak, messages)


def test_an_answer_that_a_kill_swallowed_is_taken_from_the_ledger(
    settings: Settings, pipeline: Pipeline, streak: Streak
) -> None:
    first, second = days(streak, 2)
    awaited = replace_message(second, is_awaited=True)
    post(pipeline.client, [first, awaited])
    run_drain_until_death(settings, "drain.after_commit_before_ack")
    assert answer_to(settings, awaited.id) is None
    pipeline.drain()
    answer = answer_to(settings, awaited.id)
    assert answer
    assert (answer["tick_id"], answer["new_count"], answer["outcome"]) == (
        awaited.id,
        2,
        "extended",
    )


def test_a_kill_from_outside_loses_and_doubles_nothing(
    engine: Engine, settings: Settings, pipeline: Pipeline, streak: Streak
) -> None:
    messages = [message for who in "abcdefgh" for message in days(streak, 100, who)]
    post(pipeline.client, messages)
    for done in (1, 200, 500):
        victim = start_drain(settings, PATIENCE_SECONDS, drain_batch_max="5", takeover_idle_ms="1")
        wait_for_ticks(engine, streak, done)
        victim.kill()
        victim.wait()
    pipeline.drain()
    assert_applied_once(engine, streak, messages)


def wait_for_ticks(engine: Engine, streak: Streak, number: int) -> None:
    """Wait until so many stand in the ledger."""
    assert wait_until(lambda: count(engine, "ticks", streak.tenant_id) >= number, PATIENCE_SECONDS)


def test_what_one_drain_holds_another_takes_over(
    engine: Engine, pipeline: Pipeline, streak: Streak
) -> None:
    messages = days(streak, 10)
    post(pipeline.client, messages)
    dead = Streams(pipeline.client, "dead", takeover_idle_ms=0)
    dead.create_groups()
    assert len(dead.read(100)) == 10
    assert pipeline.make_drain().streams.read(100, block_ms=1) == []
    pipeline.drain()
    assert_applied_once(engine, streak, messages)


def test_what_a_living_drain_holds_is_left_to_it(pipeline: Pipeline, streak: Streak) -> None:
    post(pipeline.client, days(streak, 3))
    living = Streams(pipeline.client, "living", takeover_idle_ms=60_000)
    living.create_groups()
    living.read(100)
    assert Streams(pipeline.client, "other", takeover_idle_ms=60_000).take_over(100) == []


def test_entries_that_were_finished_meanwhile_are_not_taken_over(
    pipeline: Pipeline, streak: Streak
) -> None:
    post(pipeline.client, days(streak, 2))
    dead = Streams(pipeline.client, "dead", takeover_idle_ms=0)
    dead.create_groups()
    first, second = dead.read(100)
    pipeline.client.xdel(first.stream, first.id)
    taken = Streams(pipeline.client, "other", takeover_idle_ms=0).take_over(100)
    assert [entry.id for entry in taken] == [second.id]


def test_acknowledging_deletes_in_the_same_step(pipeline: Pipeline, streak: Streak) -> None:
    post(pipeline.client, days(streak, 7))
    streams = Streams(pipeline.client, "one", takeover_idle_ms=0)
    streams.create_groups()
    streams.finish(streams.read(100), {})
    assert (depth(pipeline.client), pending(pipeline.client)) == (0, 0)


# -- the same tick twice ---------------------------------------------------------------------


def test_the_same_tick_twice_in_a_batch_is_one(
    engine: Engine, pipeline: Pipeline, streak: Streak
) -> None:
    messages = days(streak, 3)
    post(pipeline.client, [*messages, *messages, messages[0]])
    pipeline.drain()
    assert_applied_once(engine, streak, messages)


def test_the_same_tick_in_two_batches_is_one_and_spoils_nothing_beside_it(
    engine: Engine, pipeline: Pipeline, streak: Streak
) -> None:
    messages = days(streak, 6)
    post(pipeline.client, messages[:4])
    pipeline.drain()
    post(pipeline.client, messages[2:])
    pipeline.drain()
    assert_applied_once(engine, streak, messages)
    assert count(engine, "dead_letters", streak.tenant_id) == 0


def test_of_two_drains_with_the_same_ticks_one_applies_them(
    engine: Engine, pipeline: Pipeline, streak: Streak
) -> None:
    messages = [message for who in "abc" for message in days(streak, 60, who)]
    post(pipeline.client, messages)
    holders = [pipeline.make_drain(f"d{nth}", 30) for nth in range(4)]
    holders[0].streams.create_groups()
    entries = holders[0].streams.read(1_000)
    threads = [threading.Thread(target=drain._round, args=(entries,)) for drain in holders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert depth(pipeline.client) == 0
    assert_applied_once(engine, streak, messages)


# -- the database away -----------------------------------------------------------------------


def test_a_batch_whose_connection_is_cut_is_applied_afterwards(
    engine: Engine, settings: Settings, pipeline: Pipeline, streak: Streak
) -> None:
    drain = start_drain(settings, PATIENCE_SECONDS, drain_batch_max="20", takeover_idle_ms="1")
    messages: list[TickV1] = []
    cut = 0
    while cut < 3:
        more = days(streak, 100, f"user_{len(messages)}")
        post(pipeline.client, more)
        messages += more
        with reading(engine) as session:
            cut += session.execute(sa.text(_CUT)).scalar_one()
        assert drain.poll() is None
    drain.terminate()
    drain.wait()
    pipeline.drain()
    assert_applied_once(engine, streak, messages)


# Cut while they work; a pause between two cuts lets a batch through.
_CUT = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity, pg_sleep(0.1)
    WHERE state = 'active' AND query LIKE 'COPY%' OR state = 'idle in transaction'
"""


class Stoppable:
    """A Postgres and a Redis of one's own; the database can be stopped and started."""

    def __init__(self, folder: Data, settings: Settings) -> None:
        self.folder, self.settings = folder, settings
        self.engine = make_engine(settings.database_url, timeout_ms=30_000)
        self.child: subprocess.Popen[bytes] | None = None  # the one we started ourselves

    def stop_database(self) -> None:
        """As `pg_ctl stop -m immediate`: the server is gone without a word."""
        pid = int(self.folder.pid_file("postgres").read_text())
        os.kill(pid, signal.SIGQUIT)
        assert wait_until(lambda: not is_alive(pid), PATIENCE_SECONDS)

    def start_database(self) -> None:
        """Start it again; it recovers."""
        role = postgres.prepare(self.folder)
        self.child = child = servers.start(role, self.folder, os.environ)
        servers.wait_ready(role, self.folder, lambda: child.poll() is None)

    def close(self) -> None:
        """Give back what is ours."""
        self.engine.dispose()
        if self.child:
            self.child.send_signal(signal.SIGINT)
            self.child.wait(PATIENCE_SECONDS)


@pytest.fixture
def stoppable(tmp_path: Path, settings: Settings) -> Iterator[Stoppable]:
    """Servers that a test may stop."""
    with embedded(tmp_path / "s") as urls, migrated(urls, settings) as own:
        stoppable = Stoppable(Data((tmp_path / "s").resolve()), own)
        yield stoppable
        stoppable.close()


@contextmanager
def migrated(urls: servers.Urls, settings: Settings) -> Iterator[Settings]:
    """The settings of those servers, with every table there."""
    own = Settings(
        database_url=urls.database_url, redis_url=urls.redis_url, secret_keys=settings.secret_keys
    )
    engine = make_engine(own.database_url, timeout_ms=30_000)
    schema.migrate(engine)
    schema.ensure_partitions(engine, schema.kept(own.retention_days), clock.now())
    engine.dispose()
    yield own


def test_ticks_of_a_time_without_database_are_kept_and_applied_afterwards(
    stoppable: Stoppable,
) -> None:
    with transaction(stoppable.engine) as session:
        side = tenants.create(session, "away", 0)["live"]
    streak = make_streak(stoppable.engine, side.id)
    client = redis.Redis.from_url(stoppable.settings.redis_url, protocol=2)
    pipeline = Pipeline(stoppable.settings, stoppable.engine, client)
    messages = days(streak, 30)
    post(client, messages[:10])
    pipeline.drain()
    stoppable.stop_database()
    worker = threading.Thread(target=pipeline.drain)
    post(client, messages[10:])
    worker.start()
    assert wait_until(lambda: pending(client) == 20, PATIENCE_SECONDS)
    stoppable.start_database()
    worker.join()
    assert_applied_once(stoppable.engine, streak, messages)
    client.close()


def test_a_drain_told_to_stop_without_a_database_leaves_its_batch_pending(
    pipeline: Pipeline, settings: Settings, streak: Streak
) -> None:
    message = tick(streak)
    post(pipeline.client, [message])
    nowhere = make_engine("postgresql://nobody@127.0.0.1:1/nothing", timeout_ms=1_000)
    stopping = threading.Event()
    drain = Drain(
        nowhere, Streams(pipeline.client, "stuck", 0), 10, 5, lambda: None, stopping.is_set
    )
    worker = threading.Thread(target=drain.run, args=(PATIENCE_SECONDS,))
    drain.streams.create_groups()
    worker.start()
    try:
        assert wait_until(lambda: pending(pipeline.client) == 1, PATIENCE_SECONDS)
    finally:
        stopping.set()
        worker.join()
    found: Any = pipeline.client.xrange(redis_keys.stream(redis_keys.stream_of(streak.tenant_id)))
    assert found[0][1] == {b"m": encode(message)}
    pipeline.drain()
    assert depth(pipeline.client) == 0
    nowhere.dispose()
