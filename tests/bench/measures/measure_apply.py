"""How fast ticks are applied: against a task per tick, against the bare SQL, with many states."""

from __future__ import annotations

import time
from collections.abc import Callable

import sqlalchemy as sa

from models.db import Engine, reading, transaction
from tests.bench import load, workload
from tests.bench.peers import bare_sql, peer_queue
from tests.bench.process import Process
from tests.bench.results import Row
from tests.bench.stack import Stack, another_database, migrated
from tests.bench.workload import Crowd

BATCH_TICKS = 500  # in one request
MEGABYTE = 1_000_000
NOWHERE = "http://127.0.0.1:9/"  # deliveries are written, nobody is there to send them


def throughput(stack: Stack) -> list[Row]:
    """Ticks posted by batch until all are applied, against one Celery task per tick."""
    ours, theirs = [], []
    crowd = workload.gather(
        stack.engine, "throughput", 20_000, url=NOWHERE, ring=stack.settings.secret_keys
    )
    for _ in stack.rounds(3):
        theirs.append(_task_per_tick(stack, stack.some(3_000)))
        with stack.drain(), stack.api() as port:
            posted(stack, crowd, port, stack.some(5_000))  # caches and connections
            ours.append(posted(stack, crowd, port, stack.some(40_000)))
    return [
        Row(
            "ticks posted by batch, applied, facts and deliveries written",
            "a Celery task per tick, ORM upsert and fact, 2 processes",
            "/s",
            ours,
            theirs,
            at_least=20,
            note="ours from the first byte posted; the peer's queue is full when its clock starts",
        )
    ]


def posted(stack: Stack, crowd: Crowd, port: int, count: int) -> float:
    """Post ticks by batch; how many a second until all are applied."""
    bodies = crowd.batches(count, BATCH_TICKS)
    plan = load.Plan(
        port, "/api/v1/gamify/streaks/record/batch", {"X-API-Key": crowd.key}, bodies, 4
    )
    outcome = load.run(plan, "202")
    waited = seconds(stack.wait_drained)
    return count / (outcome.seconds + waited)


def _task_per_tick(stack: Stack, count: int) -> float:
    peer_queue.clear(stack)
    calls = [(1, f"user_{nth:07d}", workload.CODE, "2026-05-23T08:15:00Z") for nth in range(count)]
    work = peer_queue.Work(
        "peer.record_tick", peer_queue.TICKS, calls, "SELECT count(*) FROM peer_facts"
    )
    with stack.peer_worker(peer_queue.TICKS, 2) as worker:
        return peer_queue.rate(stack, worker, work)


def drain(stack: Stack) -> list[Row]:
    """One drain process on a full intake, against its SQL alone on prepared batches."""
    ours, theirs = [], []
    ring = stack.settings.secret_keys
    piped = workload.gather(stack.engine, "piped", 20_000, url=NOWHERE, ring=ring)
    plain = workload.gather(stack.engine, "plain", 20_000, url=NOWHERE, ring=ring)
    with stack.drain() as process:
        for crowd in (piped, plain):  # everybody is known, every state exists
            drained(stack, process, crowd, len(crowd.names))
        for _ in stack.rounds(4):
            process.pause()
            theirs.append(bare_sql.rate(stack.engine, plain, stack.some(40_000)))
            process.resume()
            ours.append(drained(stack, process, piped, stack.some(40_000)))
    return [
        Row(
            "ticks applied by one drain process from a full intake",
            "the drain's own SQL on prepared batches, no pipeline",
            "/s",
            ours,
            theirs,
            at_least=0.7,
            note="the peer is given decoded, decided batches: it runs the statements and commits",
        )
    ]


def drained(stack: Stack, process: Process, crowd: Crowd, count: int) -> float:
    """Fill the intake while the drain stands still; how fast it empties it."""
    process.pause()
    workload.fill(stack.intake, crowd, count)
    process.resume()
    stack.intake.wake()  # its run may have ended meanwhile, and no beat sweeps here
    return count / seconds(stack.wait_drained)


def _warm_then_drained(stack: Stack, process: Process, crowd: Crowd, count: int) -> float:
    drained(stack, process, crowd, count // 20)  # connections, caches
    return drained(stack, process, crowd, count)


def size(stack: Stack) -> list[Row]:
    """Ticks for a table of a million states, against one of ten thousand."""
    ours, theirs = [], []
    small = workload.gather(stack.engine, "small", 10_000)
    large_settings = another_database(stack, "bench_large")
    large_engine = migrated(large_settings)
    large = workload.gather(large_engine, "large", stack.some(MEGABYTE))
    for engine, crowd in ((stack.engine, small), (large_engine, large)):
        seed(engine, crowd)
    where = {"DATABASE_URL": large_settings.database_url}
    count = stack.some(40_000)
    for _ in stack.rounds(5):  # in the first ones Postgres also writes each page whole, once
        with stack.drain() as process:
            theirs.append(_warm_then_drained(stack, process, small, count))
        with stack.drain(where) as process:
            ours.append(_warm_then_drained(stack, process, large, count))
    large_engine.dispose()
    return [
        Row(
            "ticks applied with 1,000,000 states in the table",
            "with 10,000 states",
            "/s",
            ours,
            theirs,
            at_least=0.8,
            note="participants in an order of chance; the first turns write whole pages",
        )
    ]


_SEED = (
    """
    INSERT INTO participants (tenant_id, external_id, total_events, fact_sequence)
    SELECT :tenant_id, 'user_' || lpad(n::text, 7, '0'), 30, 30
    FROM generate_series(0, :count - 1) n
    """,
    """
    INSERT INTO streak_states (tenant_id, participant_id, streak_id, recorded, current_count,
      longest_count, grace_remaining, revision, last_recorded_at)
    SELECT p.tenant_id, p.id, :streak_id, CAST(:recorded AS int4multirange), 30, 30, 1, 1, :at
    FROM participants p WHERE p.tenant_id = :tenant_id
    """,
)


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def seed(engine: Engine, crowd: Crowd) -> None:
    """Give everybody a streak of thirty days that ends the day before they tick."""
    first = crowd.first_day.toordinal() - 719_163  # days since 1970
    values = {
        "tenant_id": crowd.tenant.id,
        "streak_id": crowd.streak.id,
        "count": len(crowd.names),
        "recorded": f"{{[{first - 30},{first})}}",
        "at": crowd.first_day,
    }
    with transaction(engine) as session:
        for statement in _SEED:
            session.execute(sa.text(statement), values)
    with reading(engine) as session:
        session.exec_driver_sql("VACUUM ANALYZE participants")
        session.exec_driver_sql("VACUUM ANALYZE streak_states")


def memory(stack: Stack) -> list[Row]:
    """A backlog of a million ticks: how fast it goes, and what a drain process holds meanwhile."""
    crowd = workload.gather(stack.engine, "memory", 100_000)
    with stack.drain() as process:
        drained(stack, process, crowd, len(crowd.names))  # everybody is known
        early = process.resident_bytes()
        short = drained(stack, process, crowd, stack.some(40_000))
        long = drained(stack, process, crowd, stack.some(MEGABYTE))
        late = process.resident_bytes()
    return [
        Row(
            "a backlog of 1,000,000 ticks drained",
            "one of 40,000",
            "/s",
            [long],
            [short],
            at_least=0.9,
            note="one tenant, one drain process",
        ),
        Row(
            "resident memory of a drain process after it",
            "before it",
            "MB",
            [late / 1e6],
            [early / 1e6],
            at_most=1.1,
        ),
    ]
