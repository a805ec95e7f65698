"""What becomes of throughput when far more is offered than can be applied, and of the excess."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from models.db import reading
from tests.bench import storm, workload
from tests.bench.load import Plan, VoidRunError
from tests.bench.peers.routes import RECORD
from tests.bench.results import Row
from tests.bench.stack import Stack
from tests.bench.workload import Crowd

ENTRIES_MAX = 20_000  # reached within seconds, as a million is within minutes
BATCH_TICKS = 500
CONNECTIONS_MAX = 10_000  # of the generator: more than the processes take
EXCESS = 3  # reliability.md: times the peak
SETTLE_SECONDS = 1.0  # left out: the first batches, connections being opened
ASYNC = {"Prefer": "respond-async"}


@dataclass(frozen=True)
class Way:
    """A way of offering ticks, and the steps at which its peak is looked for, in ticks/s."""

    name: str
    path: str
    per_request: int
    steps: Sequence[int]
    bodies: Callable[[Crowd, int], list[str]]


WAYS = (
    Way(
        f"in batches of {BATCH_TICKS}",
        f"{RECORD}/batch",
        BATCH_TICKS,
        (6_000, 9_000, 12_000, 16_000),
        lambda crowd, ticks: crowd.batches(ticks, BATCH_TICKS),
    ),
    Way(
        "one a request",
        RECORD,
        1,
        (1_200, 1_800, 2_400, 3_000, 3_600),
        lambda crowd, ticks: crowd.bodies(ticks),
    ),
)


@dataclass(frozen=True)
class Offered:
    """Ticks offered for some seconds, and what became of them."""

    applied_per_second: float  # while they were offered
    outcome: storm.Outcome


def saturation(stack: Stack) -> list[Row]:
    """The peak of what is applied when ever more is offered, and the rate at three times that."""
    bounded = {**stack.environment, "UNBROKEN_INTAKE_ENTRIES_MAX": str(ENTRIES_MAX)}
    small = replace(stack, environment=bounded)
    with small.api() as port, small.drain():
        return [_saturate(small, port, way) for way in WAYS]


def _saturate(stack: Stack, port: int, way: Way) -> Row:
    crowd = workload.gather(stack.engine, f"saturation-{way.per_request}", 50_000)
    offered = [_offer(stack, port, way, crowd, way.steps[0] // 2)]  # the processes get warm
    peaks, held, notes = [], [], []
    for _ in stack.rounds(3):
        steps = [_offer(stack, port, way, crowd, step) for step in way.steps]
        peak = max(one.applied_per_second for one in steps)
        above = _offer(stack, port, way, crowd, round(EXCESS * peak))
        offered += [*steps, above]
        peaks.append(peak)
        held.append(above.applied_per_second)
        notes.append(_said(above.outcome))
    _check(stack, crowd, offered)
    return Row(
        f"ticks applied with {EXCESS} times the peak offered, {way.name}",
        "the peak with ever more offered",
        "/s",
        held,
        peaks,
        at_least=0.9,
        note=notes[-1],
    )


def _said(outcome: storm.Outcome) -> str:
    counts = ", ".join(f"{one}: {n:,}" for one, n in sorted(outcome.statuses.items()))
    return (
        f"{counts}; {outcome.connections} connections; p50 {outcome.p50_ms:,.0f} ms,"
        f" p99 {outcome.p99_ms:,.0f} ms"
    )


def _offer(stack: Stack, port: int, way: Way, crowd: Crowd, per_second: int) -> Offered:
    """Offer ticks at a rate, however they are answered; then let everything be applied."""
    seconds = 2 if stack.is_quick else 6
    bodies = way.bodies(crowd, per_second * seconds)
    headers = {"X-API-Key": crowd.key, **ASYNC}
    plan = Plan(port, way.path, headers, bodies, CONNECTIONS_MAX)
    process = storm.begin(plan, per_second / way.per_request)
    time.sleep(SETTLE_SECONDS)
    before, began = _applied(stack, crowd), time.monotonic()
    time.sleep(seconds - SETTLE_SECONDS)
    rate = (_applied(stack, crowd) - before) / (time.monotonic() - began)
    outcome = storm.end(process)
    stack.wait_drained()
    if outcome.faults:
        raise VoidRunError(f"{way.name}, {per_second}/s: {rate:.0f}/s applied; {_said(outcome)}")
    return Offered(rate, outcome)


def _check(stack: Stack, crowd: Crowd, offered: Sequence[Offered]) -> None:
    """What was accepted is applied, and nothing else."""
    accepted, applied = sum(one.outcome.accepted for one in offered), _applied(stack, crowd)
    if accepted != applied:
        raise VoidRunError(f"{accepted} ticks accepted, {applied} applied")


def _applied(stack: Stack, crowd: Crowd) -> int:
    with reading(stack.engine) as session:
        statement = f"SELECT count(*) FROM ticks WHERE tenant_id = {crowd.tenant.id}"
        return int(session.exec_driver_sql(statement).scalar_one())
