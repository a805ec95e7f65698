"""Postgres and Redis on a data folder while a block runs, for tests and benchmarks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from api.cli.errors import CannotRun
from api.cli.local import child_process, data_dir, postgres, redis
from api.cli.local.child_process import Role
from api.cli.local.data_dir import Data
from api.cli.local.proc import Condition, wait_until

READY_SECONDS = 300.0  # crash recovery replays up to max_wal_size; Redis loads its whole file


@dataclass(frozen=True)
class Urls:
    """The addresses of the two servers."""

    database_url: str
    redis_url: str


@contextmanager
def embedded(path: Path) -> Iterator[Urls]:
    """Run Postgres and Redis on a data folder; both answer when the block begins.

    Call it from the main thread. Raises CannotRun with the reason if a server cannot run.
    """
    folder = data_dir.prepare(path)
    with data_dir.locked(folder), ExitStack() as stack:
        child_process.clear_all(folder)
        for prepare in (postgres.prepare, redis.prepare):
            stack.enter_context(_running(prepare(folder), folder))
        postgres.ensure_database(folder)
        yield Urls(postgres.url(folder), redis.url(folder))


@contextmanager
def _running(role: Role, folder: Data) -> Iterator[None]:
    child = start(role, folder, os.environ)
    try:
        wait_ready(role, folder, lambda: child.poll() is None)
        yield
    finally:
        child.send_signal(role.stop_signal)
        child_process.stop(role, folder, child)


def start(role: Role, folder: Data, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a server after ending all leftover processes on its data."""
    if role.name == "postgres":
        postgres.forget_postmaster(folder)
    return child_process.start(role, folder, environment)


def is_ready(role: Role, folder: Data) -> bool:
    """Whether a server answers, or answered before it died."""
    return (postgres.is_ready if role.name == "postgres" else redis.is_ready)(folder)


def wait_ready(role: Role, folder: Data, is_running: Condition) -> None:
    """Wait until a server answers; raise CannotRun with the end of its log if it does not."""
    is_over = wait_until(lambda: is_ready(role, folder) or not is_running(), READY_SECONDS)
    if not is_over or not is_ready(role, folder):
        raise did_not_start(role, folder)


def did_not_start(role: Role, folder: Data) -> CannotRun:
    """The error for a server that did not start, with the end of its log."""
    tail = " / ".join(data_dir.log_tail(folder.log(role.name), 3))
    return CannotRun(f"{role.name} did not start: {tail or 'it said nothing'}")
