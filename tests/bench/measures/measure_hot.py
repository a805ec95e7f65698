"""What it costs that all ticks are one participant's, with several drains at work."""

from __future__ import annotations

import time

from models import clock, ids
from models.db import reading
from tests.bench import workload
from tests.bench.load import VoidRunError
from tests.bench.process import Process, wait_until
from tests.bench.results import Row
from tests.bench.stack import START_SECONDS, Stack
from tests.bench.workload import APPEND_TICKS, Crowd
from workers.intake import redis_keys, stream
from workers.intake.client import Append, Caps, TickV1

DRAINS = 2  # each holds the participant's row while it applies a batch: they take turns
DAY_US = 86_400_000_000
DAYS = 300


def hot(stack: Stack) -> list[Row]:
    """The same ticks for one participant and for thousands; all of them repeat a day."""
    people = {1: workload.gather(stack.engine, "hot", 1)}
    people[4_000] = workload.gather(stack.engine, "spread", 4_000)
    rates: dict[int, list[float]] = {number: [] for number in people}
    with stack.drain() as one, stack.worker("drain") as other:
        stack.intake.wake()
        wait_until(
            lambda: stream.alive(stack.intake.client, redis_keys.DRAINS) == DRAINS, START_SECONDS
        )
        for crowd in people.values():
            _rate(stack, [one, other], crowd, 4_000)  # everybody is known, every state exists
        for _ in stack.rounds(3):
            for number, crowd in people.items():
                rates[number].append(_rate(stack, [one, other], crowd, stack.some(20_000)))
    for crowd in people.values():
        _check(stack, crowd)
    return [
        Row(
            f"ticks of one participant applied by {DRAINS} drain processes",
            "the same of 4,000 participants",
            "/s",
            rates[1],
            rates[4_000],
        )
    ]


def _rate(stack: Stack, drains: list[Process], crowd: Crowd, count: int) -> float:
    for each in drains:
        each.pause()
    version, now_us = stack.intake.version(crowd.tenant.id), clock.now_us()
    for start in range(0, count, APPEND_TICKS):
        tick_ids = ids.issue(now_us, crowd.tenant.tick_secret, APPEND_TICKS)
        ticks = [
            TickV1(
                crowd.tenant.id,
                str(tick_id),
                crowd.names[(start + nth) % len(crowd.names)],
                crowd.streak.id,
                now_us - nth % DAYS * DAY_US,
            )
            for nth, tick_id in enumerate(tick_ids)
        ]
        stack.intake.append(Append(crowd.tenant.id, version, Caps(), ticks))
        crowd.played += len(ticks)
    for each in drains:
        each.resume()
    for _ in drains:
        stack.intake.wake()  # a run may have ended meanwhile, and no beat sweeps here
    began = time.monotonic()
    stack.wait_drained()
    return count / (time.monotonic() - began)


def _check(stack: Stack, crowd: Crowd) -> None:
    """Each tick is in the ledger, and none was given up."""
    with reading(stack.engine) as session:
        found = session.exec_driver_sql(
            "SELECT (SELECT count(*) FROM ticks WHERE tenant_id = %(id)s),"
            " (SELECT count(*) FROM dead_letters WHERE tenant_id = %(id)s)",
            {"id": crowd.tenant.id},
        ).one()
    if tuple(found) != (crowd.played, 0):
        raise VoidRunError(f"{crowd.played} ticks accepted, {found[0]} applied, {found[1]} dead")
