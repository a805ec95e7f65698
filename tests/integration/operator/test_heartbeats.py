"""Signs of life: an idle worker is alive, a stopped one is missed soon, one that ended is not."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from api.cli.local.data_dir import Data
from api.cli.local.proc import wait_until
from api.cli.local.process_specs import ProcessPlan, ours
from models.db import Engine
from settings import Settings
from workers.intake import status
from workers.telemetry import heartbeats
from workers.telemetry.heartbeats import Heartbeat, beat

PATIENCE_SECONDS = 60.0
SEEN_SECONDS = 10.0  # what doctor promises


@pytest.fixture
def drain(
    settings: Settings, engine: Engine, redis_client: redis.Redis, tmp_path: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of the queue `drain`, as `unbroken up` starts it; it has nothing to do."""
    role = ours(ProcessPlan("127.0.0.1", 0, 1, 1), Data(tmp_path))[0]
    env = {"DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            role.argv, cwd=role.cwd, env={**os.environ, **env}, stdout=log, stderr=log
        )
    yield process
    process.kill()
    process.wait()


def test_a_worker_is_alive_while_idle_and_missed_when_stopped(
    drain: subprocess.Popen[bytes], redis_client: redis.Redis
) -> None:
    def seen() -> heartbeats.Processes:
        return status.read(redis_client).processes["drain"]

    assert wait_until(lambda: seen().alive == 1, PATIENCE_SECONDS)
    assert status.read(redis_client).drains == 0
    drain.send_signal(signal.SIGSTOP)
    assert wait_until(lambda: seen().alive == 0, SEEN_SECONDS)
    assert [name.rpartition(":")[2] for name in seen().silent] == [str(drain.pid)]
    drain.send_signal(signal.SIGCONT)
    assert wait_until(lambda: seen().alive == 1, PATIENCE_SECONDS)
    drain.terminate()
    drain.wait(PATIENCE_SECONDS)
    assert seen() == heartbeats.Processes(0, {})


def test_a_name_that_has_been_silent_for_an_hour_is_forgotten(redis_client: redis.Redis) -> None:
    beat(redis_client, "old:1", ["drain", "api"])
    for kind in ("drain", "api"):
        redis_client.zincrby(heartbeats.processes(kind), -heartbeats.KEPT_SECONDS - 1, "old:1")
    beat(redis_client, "new:1", ["drain"])
    assert redis_client.zrange(heartbeats.processes("drain"), 0, -1) == [b"new:1"]
    assert redis_client.zrange(heartbeats.processes("api"), 0, -1) == [b"old:1"]


def test_it_stops_though_redis_be_away_and_counts_no_other_queue() -> None:
    away = Heartbeat(redis.Redis(port=1, socket_timeout=0.1), "here:1")
    away.start(["celery", "drain"])
    away.stop()
    away.stop()
    none = Heartbeat(redis.Redis(port=1), "here:2")
    none.start(["celery"])
    none.stop()
