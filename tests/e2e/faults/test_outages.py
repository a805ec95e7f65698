"""Servers and workers are killed under load and started again: nothing is lost, nothing doubled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from api.cli.local.proc import wait_until
from models.db import Engine
from models.streaks.states import Streak
from settings import Settings
from tests.conftest import Account
from tests.e2e.stack import PATIENCE_SECONDS, Load, Stack
from tests.integration.batches import (
    ROOT,
    assert_applied_once,
    count,
    days,
    make_streak,
    post,
)
from workers.intake.stream import depth


@pytest.mark.parametrize("name", ["redis", "postgres"])
def test_a_server_is_killed_and_started_again(name: str, stack: Stack, load: Load) -> None:
    """Ticks go on without Postgres; without Redis they are refused until it is back."""
    server = stack.servers[name]
    with load.going_on():
        load.receiver.wait_for(3)
        server.kill()
        try:
            if name == "postgres":
                load.wait_for(20)
            else:
                assert wait_until(lambda: 503 in load.statuses, PATIENCE_SECONDS)
            assert not stack.is_ready()
        finally:
            server.start()
        load.wait_for(20)
        load.receiver.wait_for(load.receiver.count + 5, PATIENCE_SECONDS)
    assert load.statuses == ({202} if name == "postgres" else {202, 503})


# Redis runs and refuses: as a replica while a failover is under way, or as a primary whose
# replicas are behind. What begins it, what ends it, what Redis says.
REFUSALS = {
    "READONLY": ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", b"read only replica"),
    "NOREPLICAS": (
        "CONFIG SET min-replicas-to-write 1",
        "CONFIG SET min-replicas-to-write 0",
        b"Not enough good replicas",
    ),
}


@pytest.mark.parametrize("code", REFUSALS)
def test_a_redis_that_refuses_writes_is_waited_for(code: str, stack: Stack, load: Load) -> None:
    """Ticks are refused meanwhile, and no process has to be started again (`load` sees to it)."""
    begin, end, words = REFUSALS[code]
    logs = [stack.folder.log(name) for name in ("drain", "webhooks", "upkeep")]
    sizes = [log.stat().st_size for log in logs]

    def has_met_it(log: Path, size: int) -> bool:
        return words in log.read_bytes()[size:]

    with (
        closing(redis.Redis.from_url(stack.settings.redis_url, protocol=2)) as client,
        load.going_on(),
    ):
        load.receiver.wait_for(3)
        command: Any = client.execute_command  # redis-py gives it no types
        command(*begin.split())
        try:
            assert wait_until(lambda: 503 in load.statuses, PATIENCE_SECONDS)
            assert wait_until(lambda: all(map(has_met_it, logs, sizes)), PATIENCE_SECONDS)
        finally:
            command(*end.split())
        load.wait_for(20)
        load.receiver.wait_for(load.receiver.count + 5, PATIENCE_SECONDS)
    assert load.statuses == {202, 503}


# -- a storm of workers ----------------------------------------------------------------------

STORM = 10
TICKS_EACH, PEOPLE = 50, 10
_STORM = f"""
import os
from workers.app import context
from workers.tasks import run_drain
for _ in range({STORM}):
    if os.fork() == 0:
        run_drain(context())
        os._exit(0)
for _ in range({STORM}):
    os.wait()
"""


@contextmanager
def storm(settings: Settings) -> Iterator[None]:
    """Many drains at once, killed together."""
    env = {
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "UNBROKEN_DRAIN_BATCH_MAX": "20",
        "UNBROKEN_TAKEOVER_IDLE_MS": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", _STORM], cwd=ROOT, env={**os.environ, **env}, start_new_session=True
    )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_storm_of_drains_started_and_killed_together(
    settings: Settings, engine: Engine, redis_client: redis.Redis, account: Account
) -> None:
    streak = make_streak(engine, account.live.id)
    messages = [
        message for nth in range(PEOPLE) for message in days(streak, TICKS_EACH, f"user_{nth}")
    ]
    post(redis_client, messages)
    for done in (len(messages) // 4, len(messages) * 3 // 4):
        with storm(settings):
            wait_for_ticks(engine, streak, done)
    with storm(settings):
        assert wait_until(lambda: depth(redis_client) == 0, PATIENCE_SECONDS)
    assert_applied_once(engine, streak, messages)


def wait_for_ticks(engine: Engine, streak: Streak, wanted: int) -> None:
    """Wait until so many ticks have been applied."""
    tenant_id = streak.tenant_id
    assert wait_until(lambda: count(engine, "ticks", tenant_id) >= wanted, PATIENCE_SECONDS)
