"""How soon a fact is received after its tick was accepted, at a steady pace: ours and a peer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from models.db import transaction
from tests.bench import load, paced, workload
from tests.bench.measures.measure_deliver import PEER_SECRET, forget_deliveries
from tests.bench.peers import peer_queue
from tests.bench.peers.routes import RECORD
from tests.bench.process import wait_until
from tests.bench.results import Row
from tests.bench.sink import Sink, listening
from tests.bench.stack import Stack
from tests.bench.workload import Crowd

TICKS_PER_SECOND = 200
TICKS = 2_000  # of which 5 % are slower than the 95th percentile: a hundred
WARM_TICKS = 200  # the first second: connections are made, code is loaded
CONNECTIONS = 16
PEER_PROCESSES = 2  # as many as ours are: one drain, one deliverer
RECEIVED_SECONDS_MAX = 120.0
SHARE = 0.95


@dataclass(frozen=True)
class Delay:
    """95th percentiles of one turn, in ms."""

    from_accepted: float
    from_due: float


def latency(stack: Stack) -> list[Row]:
    """200 ticks a second: ours, and a route that sends a Celery task per delivery."""
    ours, theirs = [], []
    with listening(is_noting=True) as sink:
        crowd = workload.gather(
            stack.engine, "latency", 20_000, url=sink.url, ring=stack.settings.secret_keys
        )
        forget_deliveries(stack)
        _prepare_peer(stack, sink)
        for _ in stack.rounds(3):
            theirs.append(_theirs(stack, sink, crowd))
            ours.append(_ours(stack, sink, crowd))
    peer = "a route that commits the tick itself and sends a Celery task per delivery"
    pace = f"at {TICKS_PER_SECOND} ticks/s"
    return [
        Row(
            f"p95 from tick accepted to fact received, {pace}",
            peer,
            "ms",
            [one.from_accepted for one in ours],
            [one.from_accepted for one in theirs],
            note="accepted: the answer has been read. Ours has queued the tick by then, the peer"
            " has committed it; open loop, the same pace for both, two worker processes each",
        ),
        Row(
            f"p95 from tick posted to fact received, {pace}",
            peer,
            "ms",
            [one.from_due for one in ours],
            [one.from_due for one in theirs],
        ),
    ]


def _prepare_peer(stack: Stack, sink: Sink) -> None:
    peer_queue.clear(stack)
    with transaction(stack.engine) as session:
        session.exec_driver_sql("TRUNCATE peer_webhooks")
        statement = sa.text("INSERT INTO peer_webhooks (url, secret) VALUES (:url, :secret)")
        session.execute(statement, {"url": sink.url, "secret": PEER_SECRET})


def _ours(stack: Stack, sink: Sink, crowd: Crowd) -> Delay:
    with stack.api() as port, stack.drain(), stack.worker("webhooks"):
        headers = {"X-API-Key": crowd.key, "Prefer": "respond-async"}
        return _measured(stack, sink, crowd, port, headers)


def _theirs(stack: Stack, sink: Sink, crowd: Crowd) -> Delay:
    with (
        stack.api("tests.bench.peers.peer_route:delivering") as port,
        stack.peer_worker(peer_queue.DELIVERIES, PEER_PROCESSES),
    ):
        return _measured(stack, sink, crowd, port, {})


def _measured(stack: Stack, sink: Sink, crowd: Crowd, port: int, headers: dict[str, str]) -> Delay:
    """Post ticks of different people at the pace, and see when the fact about each comes."""
    warm = stack.some(WARM_TICKS)
    bodies = crowd.bodies(warm + stack.some(TICKS))
    expected = sink.count() + len(bodies)
    plan = load.Plan(port, RECORD, headers, bodies, CONNECTIONS)
    answered = paced.run(plan, TICKS_PER_SECOND, "202")
    wait_until(lambda: sink.count() >= expected, RECEIVED_SECONDS_MAX)
    arrived = sink.arrivals()
    came = [arrived[json.loads(body)["participant_id"]] for body in bodies]
    pairs = list(zip(answered, came, strict=True))[warm:]
    return Delay(
        _p95_ms([at - one.answered_ns for one, at in pairs]),
        _p95_ms([at - one.due_ns for one, at in pairs]),
    )


def _p95_ms(delays_ns: Sequence[int]) -> float:
    return sorted(delays_ns)[int(SHARE * len(delays_ns))] / 1e6
