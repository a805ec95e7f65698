"""How fast facts are delivered: against a Celery task per delivery, and against a bare sender."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence

import sqlalchemy as sa

from models import clock
from models.db import reading, transaction
from tests.bench import load, workload
from tests.bench.peers import bare_sender, peer_queue
from tests.bench.peers.routes import fact_body
from tests.bench.process import Process, wait_until
from tests.bench.results import Row
from tests.bench.sink import Sink, listening
from tests.bench.stack import Stack
from tests.bench.workload import Crowd
from webhooks import facts, signing
from webhooks.destination_queues import Limits
from workers.apply import apply_batch
from workers.apply.batch import Configurations
from workers.maintenance import dispatch

DELIVERED_SECONDS_MAX = 120.0
BATCH_TICKS = 1_000
WARM_FACTS = 500  # connections are open, code is loaded
IN_FLIGHT = Limits().queue_in_flight_max  # of one destination
PEER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


def deliver(stack: Stack) -> list[Row]:
    """Facts delivered to a local receiver, recorded and logged."""
    ours, theirs, bare = [], [], []
    with listening() as sink:
        crowd = workload.gather(
            stack.engine, "deliver", 20_000, url=sink.url, ring=stack.settings.secret_keys
        )
        forget_deliveries(stack)
        for _ in stack.rounds(3):
            theirs.append(task_per_delivery(stack, sink, stack.some(2_500)))
            with stack.worker("webhooks") as process:
                _delivered(stack, process, crowd, WARM_FACTS)
                before = sink.count()
                ours.append(_delivered(stack, process, crowd, stack.some(20_000)))
                _check(sink.count() - before, stack.some(20_000))
            bare.append(_bare(stack, sink, crowd, stack.some(20_000)))
    figure = "facts delivered to a local receiver, one webhook process"
    return [
        Row(
            figure,
            "a Celery task per delivery, requests.post, one process",
            "/s",
            ours,
            theirs,
            at_least=8,
            note="signed, sent over kept-alive connections, outcome written down; ours logs each"
            " attempt too",
        ),
        Row(
            figure,
            "a bare concurrent aiohttp sender of the same signed bytes, no database",
            "/s",
            ours,
            bare,
            at_least=0.4,
            note=f"both {IN_FLIGHT} at a time; the bare one has nothing to claim, sign or record",
        ),
    ]


def forget_deliveries(stack: Stack) -> None:
    """What other measurements left was for nobody."""
    with transaction(stack.engine) as session:
        session.exec_driver_sql("TRUNCATE deliveries, attempts")


def _delivered(stack: Stack, process: Process, crowd: Crowd, count: int) -> float:
    """Let facts pile up while the deliverer stands still; how fast it is through with them."""
    process.pause()
    pile_up(stack, crowd, count)
    started = time.perf_counter()
    process.resume()
    dispatch.wake(stack.intake.client, stack.intake.celery)
    wait_until(lambda: not is_any_pending(stack), DELIVERED_SECONDS_MAX)
    return count / (time.perf_counter() - started)


def pile_up(stack: Stack, crowd: Crowd, count: int) -> None:
    """Apply ticks, so that their facts are to be delivered."""
    configurations = Configurations()
    for start in range(0, count, BATCH_TICKS):
        with transaction(stack.engine) as session:
            messages = crowd.messages(min(BATCH_TICKS, count - start))
            apply_batch.apply(session, messages, configurations)


def is_any_pending(stack: Stack) -> bool:
    """Whether a delivery is yet to be made."""
    time.sleep(0.01)
    with reading(stack.engine) as session:
        statement = "SELECT EXISTS (SELECT FROM deliveries WHERE status = 'pending')"
        return bool(session.exec_driver_sql(statement).scalar_one())


def _bare(stack: Stack, sink: Sink, crowd: Crowd, count: int) -> float:
    """How fast the newest facts go out of a process that does nothing else."""
    statement = "SELECT id, body FROM facts WHERE tenant_id = %s ORDER BY id DESC LIMIT %s"
    with reading(stack.engine) as session:
        rows = session.exec_driver_sql(statement, (crowd.tenant.id, WARM_FACTS + count)).all()
    posts = [_post(facts.public_id(row.id), row.body) for row in rows]
    before = sink.count()
    rate = bare_sender.rate(bare_sender.Plan(sink.url, posts, IN_FLIGHT, WARM_FACTS))
    _check(sink.count() - before, len(posts))
    return rate


def _post(message_id: str, body: str) -> bare_sender.Post:
    key = signing.secret_key(PEER_SECRET)
    headers = signing.headers([key], message_id, clock.now(), body.encode())
    return bare_sender.Post(body, {**headers, "Content-Type": "application/json"})


def task_per_delivery(stack: Stack, sink: Sink, count: int) -> float:
    """How fast the peer's worker delivers facts, a task each."""
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
            "secret": PEER_SECRET,
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
