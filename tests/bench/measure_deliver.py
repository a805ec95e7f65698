"""How fast facts are delivered: one webhook process, against one Celery task per delivery."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence

import sqlalchemy as sa

from models.db import reading, transaction
from tests.bench import load, peer_queue, workload
from tests.bench.peers import fact_body
from tests.bench.process import Process, wait_until
from tests.bench.results import Row
from tests.bench.sink import Sink, listening
from tests.bench.stack import Stack
from tests.bench.workload import Crowd
from workers import applying, deliveries
from workers.configuration import Configurations

DELIVERED_SECONDS_MAX = 120.0
BATCH_TICKS = 1_000


def deliver(stack: Stack) -> list[Row]:
    """Facts delivered to a local receiver, recorded and logged."""
    ours, theirs = [], []
    with listening() as sink:
        crowd = workload.gather(
            stack.engine, "deliver", 20_000, url=sink.url, ring=stack.settings.secret_keys
        )
        _forget_deliveries(stack)
        for _ in stack.rounds(3):
            theirs.append(_task_per_delivery(stack, sink, stack.some(2_500)))
            with stack.worker("webhooks") as process:
                _delivered(stack, process, crowd, 500)  # connections are open, code is loaded
                before = sink.count()
                ours.append(_delivered(stack, process, crowd, stack.some(20_000)))
                _check(sink.count() - before, stack.some(20_000))
    return [
        Row(
            "facts delivered to a local receiver, one webhook process",
            "a Celery task per delivery, requests.post, one process",
            "/s",
            ours,
            theirs,
            at_least=8,
            note="signed, sent over kept-alive connections, outcome written down; ours logs each"
            " attempt too",
        )
    ]


def _forget_deliveries(stack: Stack) -> None:
    """What other measurements left was for nobody."""
    with transaction(stack.engine) as session:
        session.exec_driver_sql("TRUNCATE deliveries, attempts")


def _delivered(stack: Stack, process: Process, crowd: Crowd, count: int) -> float:
    """Let facts pile up while the deliverer stands still; how fast it is through with them."""
    process.pause()
    configurations = Configurations()
    for start in range(0, count, BATCH_TICKS):
        with transaction(stack.engine) as session:
            messages = crowd.messages(min(BATCH_TICKS, count - start))
            applying.apply(session, messages, configurations)
    started = time.perf_counter()
    process.resume()
    deliveries.wake(stack.intake.client, stack.intake.celery)
    wait_until(lambda: not _is_any_pending(stack), DELIVERED_SECONDS_MAX)
    return count / (time.perf_counter() - started)


def _is_any_pending(stack: Stack) -> bool:
    time.sleep(0.01)
    with reading(stack.engine) as session:
        statement = "SELECT EXISTS (SELECT FROM deliveries WHERE status = 'pending')"
        return bool(session.exec_driver_sql(statement).scalar_one())


def _task_per_delivery(stack: Stack, sink: Sink, count: int) -> float:
    peer_queue.clear(stack)
    calls = _prepare(stack, sink.url, count)
    done = "SELECT count(*) FROM peer_deliveries WHERE status = 'delivered'"
    work = peer_queue.Work("peer.deliver", peer_queue.DELIVERIES, calls, done)
    before = sink.count()
    with stack.peer_worker(peer_queue.DELIVERIES, 1) as worker:
        rate = peer_queue.rate(stack, worker, work)
    _check(sink.count() - before, count)
    return rate


def _prepare(stack: Stack, url: str, count: int) -> Sequence[tuple[str]]:
    rows = [
        {
            "id": str(uuid.uuid4()),
            "url": url,
            "secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            "body": fact_body(f"user_{nth:07d}", workload.CODE, 7, 21),
        }
        for nth in range(count)
    ]
    statement = "INSERT INTO peer_deliveries (id, url, secret, body)"
    with transaction(stack.engine) as session:
        session.execute(sa.text(f"{statement} VALUES (:id, :url, :secret, :body)"), rows)
    return [(row["id"],) for row in rows]


def _check(arrived: int, sent: int) -> None:
    if arrived != sent:
        raise load.VoidRunError(f"{sent} facts were to be delivered, {arrived} arrived")
