"""How fast writes are accepted and answered: against bare and committing routes of one server."""

from __future__ import annotations

from models.db import reading
from tests.bench import load, workload
from tests.bench.load import Outcome, Plan
from tests.bench.peers import peer_queue
from tests.bench.peers.routes import RECORD
from tests.bench.results import Row
from tests.bench.stack import Stack
from tests.bench.workload import Crowd

BATCH = f"{RECORD}/batch"
CONNECTIONS = 16
BATCH_CONNECTIONS = 4
BATCH_TICKS = 500  # in one request
WAITING_CLIENTS = 8
WARM_REQUESTS = 500
ASYNC = {"Prefer": "respond-async"}


def accept(stack: Stack) -> list[Row]:
    """One tick a request and 500 a request, against a route that does nothing.

    The drain stands still meanwhile, so that the cost of accepting is seen alone; then the same
    again while it applies what comes in.
    """
    crowd = workload.gather(stack.engine, "accept", 50_000)
    single, bare, batch, beside = [], [], [], []
    with stack.api("tests.bench.peers.routes:bare") as bare_port, stack.api() as port:
        for _ in stack.rounds(5):
            bare.append(_bare(stack, crowd, bare_port))
            with stack.drain() as process:
                process.pause()
                single.append(_single(stack, crowd, port))
                batch.append(_batch(stack, crowd, port))
                process.resume()
                stack.wait_drained()
                beside.append(_single(stack, crowd, port))
                stack.wait_drained()
    return [
        Row(
            "single record, respond-async",
            "a bare Flask route, same server and settings",
            "/s",
            single,
            bare,
            at_least=0.25,
            note=f"{CONNECTIONS} connections; the drain stands still, as it does for the peer",
        ),
        Row(
            "the same while the drain applies what comes in",
            "a bare Flask route, alone on the machine",
            "/s",
            beside,
            bare,
        ),
        Row(
            f"batch endpoint, {BATCH_TICKS} ticks a request, ticks accepted",
            "single record, respond-async",
            "/s",
            batch,
            single,
            at_least=10,
        ),
    ]


def _bare(stack: Stack, crowd: Crowd, port: int) -> float:
    bodies = crowd.bodies(stack.some(12_000))
    _warm(port, RECORD, crowd, "202")
    return load.run(Plan(port, RECORD, _headers(crowd), bodies, CONNECTIONS), "202").per_second


def _single(stack: Stack, crowd: Crowd, port: int) -> float:
    bodies = crowd.bodies(stack.some(6_000))
    _warm(port, RECORD, crowd, "202")
    return load.run(Plan(port, RECORD, _headers(crowd), bodies, CONNECTIONS), "202").per_second


def _batch(stack: Stack, crowd: Crowd, port: int) -> float:
    bodies = crowd.batches(stack.some(40_000), BATCH_TICKS)
    outcome = load.run(Plan(port, BATCH, _headers(crowd), bodies, BATCH_CONNECTIONS), "202")
    return outcome.per_second * stack.some(40_000) / len(bodies)


def _headers(crowd: Crowd) -> dict[str, str]:
    return {"X-API-Key": crowd.key, **ASYNC}


def _warm(port: int, path: str, crowd: Crowd, expected: str) -> None:
    load.run(Plan(port, path, _headers(crowd), crowd.bodies(WARM_REQUESTS), CONNECTIONS), expected)


def wait(stack: Stack) -> list[Row]:
    """`record` that waits for the worker's commit, against a route that commits itself."""
    crowd = workload.gather(stack.engine, "wait", 20_000)
    ours, theirs = [], []
    peer_queue.clear(stack)
    with (
        stack.api("tests.bench.peers.routes:committing") as peer_port,
        stack.api() as port,
        stack.drain(),
    ):
        for _ in stack.rounds(5):
            theirs.append(_answered(stack, crowd, peer_port))
            ours.append(_answered(stack, crowd, port))
    _check_applied(stack, crowd)
    peer = "a Flask route that commits the same upsert itself"
    medians = [each.p50_ms for each in ours], [each.p50_ms for each in theirs]
    tails = [each.p99_ms for each in ours], [each.p99_ms for each in theirs]
    rates = [each.per_second for each in ours], [each.per_second for each in theirs]
    clients = f"{WAITING_CLIENTS} clients"
    return [
        Row(f"record with the default wait, p50, {clients}", peer, "ms", *medians, at_most=2.5),
        Row(f"record with the default wait, p99, {clients}", peer, "ms", *tails, at_most=2.5),
        Row(f"record with the default wait, {clients}", peer, "/s", *rates),
    ]


def _answered(stack: Stack, crowd: Crowd, port: int) -> Outcome:
    headers = {"X-API-Key": crowd.key}
    warm = Plan(port, RECORD, headers, crowd.bodies(WARM_REQUESTS), WAITING_CLIENTS)
    load.run(warm, "200")
    bodies = crowd.bodies(stack.some(4_000))
    return load.run(Plan(port, RECORD, headers, bodies, WAITING_CLIENTS), "200")


def _check_applied(stack: Stack, crowd: Crowd) -> None:
    """An answer that was not applied would have been a fast one."""
    with reading(stack.engine) as session:
        statement = f"SELECT count(*) FROM ticks WHERE tenant_id = {crowd.tenant.id}"
        applied = int(session.exec_driver_sql(statement).scalar_one())
    answered = crowd.played // 2  # the peer was given every other portion
    if applied != answered:
        raise load.VoidRunError(f"{answered} ticks answered, {applied} applied")
