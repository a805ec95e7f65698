"""What a million ticks cost: bytes in Redis and Postgres, write-ahead log, CPU of each process.

`python -m tests.bench.footprint [--ticks N]` prints the figures of docs/operations.md and writes
build/footprint.json. Every tick extends a streak, so each has its fact, and each fact a delivery.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from models.db import reading
from tests.bench import load, workload
from tests.bench.measures.measure_apply import BATCH_TICKS
from tests.bench.measures.measure_deliver import is_any_pending
from tests.bench.process import Process, wait_until
from tests.bench.sink import listening
from tests.bench.stack import IDLE_SECONDS_MAX, Stack, running
from tests.bench.workload import Crowd
from workers.maintenance import dispatch

PROJECT_ROOT = Path(__file__).parents[2]
PEOPLE = 20_000
TICKS = 200_000
MILLION = 1_000_000
STATES = {"participants": "a participant", "streak_states": "the state of a streak"}
APPLIED = {"ticks": "a tick in the ledger", "facts": "a fact"}
PENDING = {"deliveries_pending": "a pending delivery"}
SETTLED = {"deliveries_done": "a settled delivery", "attempts": "an attempt in the log"}

Figures = dict[str, float]
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_SIZE = sa.text("""
SELECT sum(pg_total_relation_size(relid)) FROM
  (SELECT CAST(:name AS regclass) AS relid UNION SELECT relid FROM pg_partition_tree(:name)) parts
""")
_WAL = sa.text("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.footprint", description=__doc__)
    parser.add_argument("--ticks", type=int, default=TICKS, metavar="N")
    ticks = parser.parse_args().ticks
    with running(PROJECT_ROOT / "build" / "footprint", is_quick=False) as stack:
        found = measure(stack, ticks)
    (PROJECT_ROOT / "build" / "footprint.json").write_text(json.dumps(found, indent=2) + "\n")
    for figure, value in found.items():
        sys.stdout.write(f"| {figure} | {value:,.0f} |\n")
    return 0


def measure(stack: Stack, ticks: int) -> Figures:
    """Every figure by its name."""
    ring = stack.settings.secret_keys
    with listening() as sink:
        crowd = workload.gather(stack.engine, "footprint", PEOPLE, url=sink.url, ring=ring)
        with stack.drain() as process:
            workload.fill(stack.intake, crowd, PEOPLE)  # everybody is known, every state exists
            stack.wait_drained()
            process.pause()
            found = _accepted(stack, crowd, ticks)
            found |= _applied(stack, process, ticks)
        everything = ticks + PEOPLE
        found |= _sizes(stack, STATES, PEOPLE)
        found |= _sizes(stack, APPLIED | PENDING, everything)
        found |= _delivered(stack, everything)
        return found | _sizes(stack, SETTLED, everything)


def _accepted(stack: Stack, crowd: Crowd, ticks: int) -> Figures:
    """Ticks posted by batch, which nobody applies yet."""
    before = _redis(stack)
    bodies = crowd.batches(ticks, BATCH_TICKS)
    found: Figures = {}
    with stack.api() as port, _cpu(found, "API, accepting by batch", ticks, _serving):
        path = "/api/v1/gamify/streaks/record/batch"
        load.run(load.Plan(port, path, {"X-API-Key": crowd.key}, bodies, 4), "202")
    after = _redis(stack)
    found["bytes in Redis' memory, an accepted tick"] = (
        after["used_memory"] - before["used_memory"]
    ) / ticks
    found["bytes in Redis' append-only file, an accepted tick"] = (
        after["aof_current_size"] - before["aof_current_size"]
    ) / ticks
    return found


def _applied(stack: Stack, process: Process, ticks: int) -> Figures:
    """The same ticks applied by one drain."""
    found: Figures = {}
    with (
        _wal(stack, found, "applying", ticks),
        _cpu(found, "drain, applying", ticks, lambda: [process.popen.pid]),
        _cpu(found, "Postgres, applying", ticks, lambda: [_server(stack, "postgres")]),
        _cpu(found, "Redis, applying", ticks, lambda: [_server(stack, "redis")]),
    ):
        process.resume()
        stack.intake.wake()
        stack.wait_drained()
    return found


def _delivered(stack: Stack, facts: int) -> Figures:
    """All facts delivered to one local receiver that answers at once."""
    found: Figures = {}
    with (
        stack.worker("webhooks") as process,
        _wal(stack, found, "delivering", facts),
        _cpu(found, "webhooks, delivering", facts, lambda: [process.popen.pid]),
        _cpu(found, "Postgres, delivering", facts, lambda: [_server(stack, "postgres")]),
    ):
        dispatch.wake(stack.intake.client, stack.intake.celery)
        wait_until(lambda: not is_any_pending(stack), IDLE_SECONDS_MAX)
    return found


# -- the meters ----------------------------------------------------------------------------------


def _redis(stack: Stack) -> dict[str, Any]:
    found: dict[str, Any] = stack.intake.client.info()
    return found


def _sizes(stack: Stack, tables: dict[str, str], rows: int) -> Figures:
    """Bytes a row, its indexes and free space included."""
    with reading(stack.engine) as session:
        return {
            f"bytes in Postgres, {what}": float(
                session.execute(_SIZE, {"name": table}).scalar_one()
            )
            / rows
            for table, what in tables.items()
        }


@contextmanager
def _wal(stack: Stack, found: Figures, what: str, ticks: int) -> Iterator[None]:
    """Bytes of write-ahead log, one tick."""
    before = _written(stack)
    yield
    found[f"bytes of write-ahead log, {what} a tick"] = (_written(stack) - before) / ticks


def _written(stack: Stack) -> float:
    with reading(stack.engine) as session:
        return float(session.execute(_WAL).scalar_one())


@contextmanager
def _cpu(found: Figures, what: str, ticks: int, pids: Callable[[], list[int]]) -> Iterator[None]:
    """CPU seconds of processes and of what they started, a million ticks."""
    before = sum(map(_seconds, pids()))
    yield
    spent = sum(map(_seconds, pids())) - before
    found[f"CPU seconds of {what}, a million"] = spent * MILLION / ticks


def _serving() -> list[int]:
    """The API, whose processes are found below."""
    return [pid for pid in _children(os.getpid()) if b"serve" in _cmdline(pid)]


def _server(stack: Stack, name: str) -> int:
    return int(stack.folder.pid_file(name).read_text())


def _seconds(pid: int) -> float:
    """User and system time of a process, of children it has buried, and of those that live."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    own = sum(int(text) for text in fields[11:15]) / _TICKS_PER_SECOND
    return own + sum(map(_seconds, _children(pid)))


def _children(pid: int) -> list[int]:
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in lists for child in path.read_text().split()]


def _cmdline(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


if __name__ == "__main__":
    sys.exit(main())
