"""What forgiveness costs: ticks of a streak with all of it, and an outage of a million people."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import requests
import sqlalchemy as sa

from models import clock
from models.db import Engine, reading, transaction
from models.streaks import restores
from models.streaks.restores import RestoreKey
from tests.bench import workload
from tests.bench.measures.measure_apply import MEGABYTE, NOWHERE, drained, seed
from tests.bench.results import Row
from tests.bench.stack import Stack, another_database, migrated
from webhooks.facts import STREAK_REPAIRED
from workers.apply.batch import Configurations
from workers.intake import redis_keys
from workers.maintenance.restores import RUN_SECONDS, RestoreRun
from workers.maintenance.streak_deadlines import RUN_SECONDS as SWEEP_SECONDS
from workers.maintenance.streak_deadlines import Sweep

EVERYTHING = {
    "grace_refill": "weekly",
    "grace_by_count": [
        {"from_count": 0, "grace_periods": 2},
        {"from_count": 30, "grace_periods": 1},
    ],
    "freezes": {"initial": 1, "earn_every": 7, "max": 3},
    "rest_days": ["sunday"],
}
ACCEPTED_MS = 100.0  # an outage, whatever the number of participants
CORRECTED = 2_000.0  # a second
RESTORED, RESTORED_SECONDS = 10_000, 60.0


def forgiving(stack: Stack) -> list[Row]:
    """Ticks of a streak with every kind of forgiveness, against those of a plain one."""
    ours, theirs = [], []
    ring = stack.settings.secret_keys
    plain = workload.gather(stack.engine, "strict", 20_000, url=NOWHERE, ring=ring)
    kind = workload.gather(
        stack.engine, "kind", 20_000, url=NOWHERE, ring=ring, forgiveness=EVERYTHING
    )
    with stack.drain() as process:
        for crowd in (plain, kind):  # every participant is known, every state exists
            drained(stack, process, crowd, len(crowd.names))
        for _ in stack.rounds(3):
            theirs.append(drained(stack, process, plain, stack.some(40_000)))
            ours.append(drained(stack, process, kind, stack.some(40_000)))
    return [
        Row(
            "ticks applied, with refills, freezes and rest days",
            "of a plain streak",
            "/s",
            ours,
            theirs,
            at_least=0.8,
            note="each seventh tick publishes a freeze earned as well",
        )
    ]


def outage(stack: Stack) -> list[Row]:
    """An outage over a million participants: accepted, then its corrections published."""
    settings = another_database(stack, "bench_outage")
    engine = migrated(settings)
    crowd = workload.gather(engine, "outage", stack.some(MEGABYTE))
    seed(engine, crowd)
    _break_all(engine, crowd)
    where = {"DATABASE_URL": settings.database_url}
    accepted = _accepted_ms(stack, crowd, where)
    sweep = Sweep(engine, _everything_is_applied, lambda: None)
    started = time.perf_counter()
    checked = sweep.run(10 if not stack.is_quick else 1)
    corrected = checked / (time.perf_counter() - started)
    engine.dispose()
    return [
        Row(
            "an outage over 1,000,000 participants accepted",
            "the bound",
            "ms",
            [accepted],
            [ACCEPTED_MS],
            at_most=1.0,
        ),
        Row("its corrections published", "the bound", "/s", [corrected], [CORRECTED], at_least=1.0),
    ]


def beside(stack: Stack) -> list[Row]:
    """Fresh ticks of one tenant while upkeep publishes the corrections of another one's outage."""
    ours, theirs = [], []
    ring = stack.settings.secret_keys
    fresh = workload.gather(stack.engine, "fresh", 20_000, url=NOWHERE, ring=ring)
    crowd = workload.gather(stack.engine, "lost", stack.some(200_000))
    seed(stack.engine, crowd)
    _break_all(stack.engine, crowd)
    _accepted_ms(stack, crowd, {})
    with stack.drain() as process:
        drained(stack, process, fresh, len(fresh.names))  # every participant is known
        for _ in stack.rounds(3):
            theirs.append(drained(stack, process, fresh, stack.some(40_000)))
            with _correcting(stack.engine):
                ours.append(drained(stack, process, fresh, stack.some(40_000)))
    corrected = _corrected(stack.engine, crowd)
    return [
        Row(
            "fresh ticks beside the corrections of an outage",
            "without them",
            "/s",
            ours,
            theirs,
            at_least=0.9,
            note=f"one drain; upkeep's sweep published {corrected:,} corrections",
        )
    ]


def _corrected(engine: Engine, crowd: workload.Crowd) -> int:
    """How many corrections were published; raises where there are none."""
    statement = "SELECT count(*) FROM facts WHERE tenant_id = :t AND type = :repaired"
    values = {"t": crowd.tenant.id, "repaired": STREAK_REPAIRED}
    with reading(engine) as connection:
        found = int(connection.execute(sa.text(statement), values).scalar_one())
    if not found:
        raise RuntimeError("no correction was published")
    return found


@contextmanager
def _correcting(engine: Engine) -> Iterator[None]:
    """The sweep of deadlines, as upkeep runs it, for the length of a block."""
    is_over = threading.Event()
    sweep = Sweep(engine, _everything_is_applied, lambda: None, is_over.is_set)

    def go_on() -> None:
        while not is_over.is_set():
            began = time.perf_counter()
            sweep.run(SWEEP_SECONDS)
            is_over.wait(max(0.0, 1.0 - (time.perf_counter() - began)))

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _everything_is_applied() -> list[int]:
    return [clock.now_us()] * redis_keys.STREAM_COUNT


def _break_all(engine: Engine, crowd: workload.Crowd) -> None:
    """All of them were told that it broke."""
    statement = "UPDATE streak_states SET told_broken = upper(recorded) + 2 WHERE tenant_id = :t"
    with transaction(engine) as connection:
        connection.execute(sa.text(statement), {"t": crowd.tenant.id})


def restore(stack: Stack) -> list[Row]:
    """A restore of ten thousand people who lost a streak, run as upkeep runs it."""
    settings = another_database(stack, "bench_restore")
    engine = migrated(settings)
    crowd = workload.gather(engine, "restore", stack.some(RESTORED), url=NOWHERE,
                            ring=stack.settings.secret_keys)  # fmt: skip
    crowd.first_day = clock.now() - timedelta(days=5)  # the first one that was missed
    seed(engine, crowd)
    body = {
        "lost_between": {
            "from": clock.isoformat(crowd.first_day),
            "to": clock.isoformat(clock.now()),
        },
        "reason": "Our outage",
    }
    with stack.api(variables={"DATABASE_URL": settings.database_url}) as port:
        url = f"http://127.0.0.1:{port}/api/v1/gamify/streaks/{crowd.streak.code}/restore"
        headers = {"X-API-Key": crowd.key}
        requests.post(url, json=body, headers=headers, timeout=10).raise_for_status()
    with reading(engine) as connection:
        [key] = restores.running(connection)
    started = time.perf_counter()
    _run_as_upkeep(RestoreRun(engine, Configurations()), key)
    took = time.perf_counter() - started
    with reading(engine) as connection:
        done = connection.exec_driver_sql("SELECT restored FROM streak_restores").scalar_one()
    engine.dispose()
    if done != len(crowd.names):
        raise RuntimeError(f"{done} of {len(crowd.names)} streaks were restored")
    return [
        Row("10,000 streaks restored", "the bound", "s", [took], [RESTORED_SECONDS], at_most=1.0,
            note="in turns of half a second each second, as upkeep runs it"),
    ]  # fmt: skip


def _run_as_upkeep(job: RestoreRun, key: RestoreKey) -> None:
    while True:
        began = time.perf_counter()
        while time.perf_counter() - began < RUN_SECONDS:
            if not job.goes_on(key):
                return
        time.sleep(max(0.0, 1.0 - (time.perf_counter() - began)))


def _accepted_ms(stack: Stack, crowd: workload.Crowd, where: dict[str, str]) -> float:
    """How long the call takes, after another one has opened the connections."""
    body = {
        "starts_at": clock.isoformat(crowd.first_day),
        "ends_at": clock.isoformat(crowd.first_day + timedelta(days=30)),
        "reason": "down",
    }
    with stack.api(variables=where) as port:
        url = f"http://127.0.0.1:{port}/api/v1/gamify/admin/outages"
        headers = {"X-API-Key": crowd.key}
        requests.get(url, headers=headers, timeout=10).raise_for_status()
        started = time.perf_counter()
        requests.post(url, json=body, headers=headers, timeout=10).raise_for_status()
        return (time.perf_counter() - started) * 1_000
