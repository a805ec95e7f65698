"""What the benchmark runs on: embedded servers, and processes started as `unbroken up` does."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from api.cli.local import data_dir, database, embedded, postgres, process_specs
from models import db
from settings import Settings
from tests.bench.peers import routes as peers
from tests.bench.process import Process, answers, free_port, started, wait_until
from workers.intake import redis_keys, stream
from workers.intake.client import Intake, IntakeSettings, open_intake

START_SECONDS = 60.0
IDLE_SECONDS_MAX = 400.0  # a million ticks, on a machine that does other things too


@dataclass(frozen=True)
class Stack:
    """The servers, and how to reach them."""

    folder: data_dir.Data
    settings: Settings
    environment: Mapping[str, str]
    engine: db.Engine
    intake: Intake
    is_quick: bool

    def rounds(self, number: int) -> range:
        """How many turns to take: one when it is only to be seen that everything runs."""
        return range(1 if self.is_quick else number)

    def some(self, number: int) -> int:
        """How much to measure: a fiftieth when it is only to be seen that everything runs."""
        return max(100, number // 50) if self.is_quick else number

    @contextmanager
    def process(
        self, name: str, argv: Sequence[str], variables: Mapping[str, str] | None = None
    ) -> Iterator[Process]:
        """Run a process; its output is kept in the bench folder's logs."""
        logs = self.folder.root / "bench-logs"
        logs.mkdir(exist_ok=True)
        environment = {**self.environment, **(variables or {})}
        with started(argv, logs / f"{name}.log", environment) as process:
            yield process

    @contextmanager
    def api(self, factory: str = "", variables: Mapping[str, str] | None = None) -> Iterator[int]:
        """Serve the API as `unbroken up` does, or a peer's Flask factory in the same way."""
        port = free_port()
        peer = [sys.executable, "-m", "tests.bench.peers.peer_server", factory, str(port)]
        argv = peer if factory else self._command("api", port)
        with self.process("api", argv, variables):
            wait_until(lambda: answers(port), START_SECONDS)
            yield port

    @contextmanager
    def worker(self, role: str, variables: Mapping[str, str] | None = None) -> Iterator[Process]:
        """Run one worker (`drain`, `webhooks`) with the command of `unbroken up`."""
        with self.process(role, self._command(role), variables) as process:
            yield process

    @contextmanager
    def drain(self, variables: Mapping[str, str] | None = None) -> Iterator[Process]:
        """Run a drain that is awake and waiting for work."""
        with self.worker("drain", variables) as process:
            self.intake.wake()
            wait_until(lambda: stream.alive(self.intake.client, redis_keys.DRAINS), START_SECONDS)
            yield process

    @contextmanager
    def peer_worker(self, queue: str, processes: int) -> Iterator[Process]:
        """Run the peers' Celery worker, prefork, on one of their queues."""
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        argv = [sys.executable, "-m", "celery", "-A", "tests.bench.peers.peer_tasks", "worker"]
        options = ["--concurrency", str(processes), "-Q", queue, "--loglevel", "WARNING", *quiet]
        with self.process(queue, [*argv, *options]) as process:
            yield process

    def _command(self, role: str, port: int = 0) -> list[str]:
        """How `unbroken up` starts a role."""
        plan = process_specs.ProcessPlan(
            host="127.0.0.1", port=port, drain_workers=1, webhook_workers=1
        )
        started = process_specs.ours(plan, self.folder)
        return next(one.argv for one in started if one.name == role)

    def wait_drained(self) -> None:
        """Wait until every accepted tick is applied and acknowledged."""
        wait_until(lambda: stream.depth(self.intake.client) == 0, IDLE_SECONDS_MAX)


@contextmanager
def running(root: Path, *, is_quick: bool) -> Iterator[Stack]:
    """Start the servers on fresh data and remove it afterwards."""
    shutil.rmtree(root, ignore_errors=True)
    with embedded.embedded(root) as urls:
        folder = data_dir.prepare(root)
        settings = Settings(
            database_url=urls.database_url,
            redis_url=urls.redis_url,
            secret_keys=data_dir.secret_key(folder),
            webhook_allow_cidrs="127.0.0.0/8",
            webhook_allow_http=True,
            webhook_ports="*",
        )
        engine = migrated(settings)
        intake = open_intake(settings.of(IntakeSettings))
        stream.Streams(intake.client, "bench", settings.takeover_idle_ms).create_groups()
        yield Stack(folder, settings, _environment(settings), engine, intake, is_quick)
        intake.close()
        engine.dispose()
    shutil.rmtree(root, ignore_errors=True)


def migrated(settings: Settings) -> db.Engine:
    """Bring a database up to date, the peers' tables included."""
    database.bring_up_to_date(settings)
    engine = db.engine(settings.database_url, timeout_ms=600_000)
    with db.transaction(engine) as session:
        session.exec_driver_sql(peers.TABLES)
    return engine


def another_database(stack: Stack, name: str) -> Settings:
    """Create one more database on the same server; returns settings that point to it."""
    with db.reading(stack.engine) as session:
        session.exec_driver_sql(f"CREATE DATABASE {name}")
    return Settings(
        database_url=postgres.url(stack.folder, name), redis_url=stack.settings.redis_url
    )


def _environment(settings: Settings) -> dict[str, str]:
    return {
        "PATH": os.defpath,
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "UNBROKEN_SECRET_KEYS": settings.secret_keys,
        "UNBROKEN_WEBHOOK_ALLOW_CIDRS": settings.webhook_allow_cidrs,
        "UNBROKEN_WEBHOOK_ALLOW_HTTP": "1",
        "UNBROKEN_WEBHOOK_PORTS": settings.webhook_ports,
    }
