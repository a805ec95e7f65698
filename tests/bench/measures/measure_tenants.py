"""What a tenant with a long backlog costs the ticks of another, which shares its streams."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tests.bench import paced, workload
from tests.bench.load import Plan
from tests.bench.peers.routes import RECORD
from tests.bench.results import Row
from tests.bench.stack import Stack
from tests.bench.workload import Crowd
from workers.intake import redis_keys, stream

TICKS_PER_SECOND = 20
TICKS = 120  # six seconds
BACKLOG = 120_000  # more than one drain applies in that time
WAIT = "wait=5"
CONNECTIONS = 8
SHARE = 0.95


@dataclass(frozen=True)
class Turn:
    """One turn: how long a waiting request took, in ms, and how fast the backlog went."""

    p50_ms: float
    p95_ms: float
    backlog_per_second: float = 0.0


def tenants(stack: Stack) -> list[Row]:
    """Ticks of one tenant at a steady pace: with nobody else, and beside another's backlog."""
    fresh, flooding = _neighbours(stack)
    calm, beside, alone = [], [], []
    with stack.api() as port, stack.drain():
        _posted(stack, port, fresh, 40)  # code is loaded, connections are made
        _drained_alone(stack, flooding, stack.some(40_000))
        for _ in stack.rounds(5):
            calm.append(_posted(stack, port, fresh, stack.some(TICKS)))
            alone.append(_drained_alone(stack, flooding, stack.some(40_000)))
            beside.append(_beside(stack, port, fresh, flooding))
    note = f"one drain; {TICKS_PER_SECOND} ticks/s that wait, a backlog of {BACKLOG:,} on the"
    note += " same streams"
    peer = "the same with nobody else"
    return [
        Row(
            "p50 from tick posted to tick applied, beside another tenant's backlog",
            peer,
            "ms",
            [one.p50_ms for one in beside],
            [one.p50_ms for one in calm],
            at_most=2.0,
            note=note,
        ),
        Row(
            "p95 from tick posted to tick applied, beside another tenant's backlog",
            peer,
            "ms",
            [one.p95_ms for one in beside],
            [one.p95_ms for one in calm],
            at_most=2.0,
        ),
        Row(
            "ticks of the backlog applied meanwhile",
            "with nobody else",
            "/s",
            [one.backlog_per_second for one in beside],
            alone,
        ),
    ]


def _neighbours(stack: Stack) -> tuple[Crowd, Crowd]:
    """Two tenants that share their streams."""
    first = workload.gather(stack.engine, "fresh", 20_000)
    for number in range(redis_keys.STREAM_COUNT):
        other = workload.gather(stack.engine, f"flooding-{number}", 20_000)
        if redis_keys.stream_of(other.tenant.id) == redis_keys.stream_of(first.tenant.id):
            return first, other
    raise RuntimeError("no two tenants share a stream")


def _posted(stack: Stack, port: int, crowd: Crowd, count: int) -> Turn:
    headers = {"X-API-Key": crowd.key, "Prefer": WAIT}
    plan = Plan(port, RECORD, headers, crowd.bodies(count), CONNECTIONS)
    answered = paced.run(plan, TICKS_PER_SECOND, "200")
    took = sorted((one.answered_ns - one.due_ns) / 1e6 for one in answered)
    return Turn(took[len(took) // 2], took[int(SHARE * len(took))])


def _beside(stack: Stack, port: int, fresh: Crowd, flooding: Crowd) -> Turn:
    """A turn during which the other's backlog never ends."""
    workload.fill(stack.intake, flooding, stack.some(BACKLOG))
    stack.intake.wake()
    began, before = time.perf_counter(), stream.depth(stack.intake.client)
    turn = _posted(stack, port, fresh, stack.some(TICKS))
    left, seconds = stream.depth(stack.intake.client), time.perf_counter() - began
    stack.wait_drained()
    if not left and not stack.is_quick:
        raise RuntimeError("the backlog ended before the ticks did")
    return Turn(turn.p50_ms, turn.p95_ms, (before - left) / seconds)


def _drained_alone(stack: Stack, crowd: Crowd, count: int) -> float:
    """How fast a backlog goes that was there before the drain could begin with it."""
    workload.fill(stack.intake, crowd, count)
    stack.intake.wake()
    began, before = time.perf_counter(), stream.depth(stack.intake.client)
    stack.wait_drained()
    return before / (time.perf_counter() - began)
