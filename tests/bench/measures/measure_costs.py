"""What a delivery costs the servers: row versions, commits and Redis commands, counted by them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from models.db import reading
from tests.bench import workload
from tests.bench.measures.measure_deliver import (
    DELIVERED_SECONDS_MAX,
    forget_deliveries,
    is_any_pending,
    pile_up,
    task_per_delivery,
)
from tests.bench.process import wait_until
from tests.bench.results import Row
from tests.bench.sink import Sink, listening
from tests.bench.stack import IDLE_SECONDS_MAX, Stack
from tests.bench.workload import Crowd
from workers.maintenance import dispatch

VERSIONS_MAX = 2.0  # of a delivery beyond its insert: claimed, settled
COMMITS_MAX = 20.0  # per 1,000 deliveries

_LOOKS = {"cmdstat_info", "cmdstat_llen"}  # ours, to see how far the peer's queue is
_COUNTERS = """
SELECT (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()) AS commits,
  coalesce(sum(n_tup_ins + n_tup_upd) FILTER (WHERE relname LIKE 'deliveries%%'), 0) AS versions,
  coalesce(sum(n_tup_ins + n_tup_upd) FILTER (WHERE relname LIKE 'attempts%%'), 0) AS logged
FROM pg_stat_user_tables
"""
_OTHERS = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
  AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


@dataclass
class Bill:
    """What was spent on some deliveries; each look of ours at the database is taken off."""

    deliveries: int
    looks: int = 0
    spent: dict[str, float] = field(default_factory=dict)

    def per(self, number: int, what: str) -> float:
        """How much of it for so many deliveries."""
        return number * self.spent[what] / self.deliveries


def costs(stack: Stack) -> list[Row]:
    """The servers' own counters before and after, divided by the deliveries between them."""
    ours, theirs = [], []
    with listening() as sink:
        crowd = workload.gather(
            stack.engine, "costs", 20_000, url=sink.url, ring=stack.settings.secret_keys
        )
        forget_deliveries(stack)
        for _ in stack.rounds(2):
            theirs.append(_theirs(stack, sink))
            ours.append(_ours(stack, sink, crowd))
    commits = [bill.per(1_000, "commits") for bill in ours]
    versions = [bill.per(1, "versions") for bill in ours]
    redis = [bill.per(1_000, "redis") for bill in ours]
    peer = "a Celery task per delivery"
    return [
        Row(
            "row versions of a delivery beyond its insert",
            "the most it may cost",
            "",
            versions,
            [VERSIONS_MAX] * len(ours),
            at_most=1,
            note="one when it is claimed, one when it is settled; besides,"
            f" {ours[0].per(1, 'logged'):.2f} rows of the attempts' log",
        ),
        Row(
            "commits per 1,000 deliveries",
            "the most it may cost",
            "",
            commits,
            [COMMITS_MAX] * len(ours),
            at_most=1,
            note="the deliverer's start and its last looks for more are included",
        ),
        Row(
            "Redis commands per 1,000 deliveries",
            peer,
            "",
            redis,
            [bill.per(1_000, "redis") for bill in theirs],
            note="ours: the kick, a sign of life a second, and Celery's own start and polling",
        ),
    ]


def _ours(stack: Stack, sink: Sink, crowd: Crowd) -> Bill:
    bill = Bill(stack.some(20_000))
    pile_up(stack, crowd, bill.deliveries)
    expected = sink.count() + bill.deliveries
    with _counted(stack, bill), stack.worker("webhooks"):
        dispatch.wake(stack.intake.client, stack.intake.celery)
        wait_until(lambda: sink.count() >= expected, DELIVERED_SECONDS_MAX)
        wait_until(lambda: _is_settled(stack, bill), DELIVERED_SECONDS_MAX)
    return bill


def _is_settled(stack: Stack, bill: Bill) -> bool:
    bill.looks += 1
    return not is_any_pending(stack)


def _theirs(stack: Stack, sink: Sink) -> Bill:
    bill = Bill(stack.some(2_500))
    with _counted(stack, bill):
        task_per_delivery(stack, sink, bill.deliveries)
    return bill


@contextmanager
def _counted(stack: Stack, bill: Bill) -> Iterator[None]:
    """Count what the block costs, once every process that it ran has handed in its counts."""
    before, others = _counters(stack), _others(stack)
    yield
    wait_until(lambda: _are_gone(stack, bill, others), IDLE_SECONDS_MAX)
    after = _counters(stack)
    bill.spent = {name: after[name] - before[name] for name in after}
    bill.spent["commits"] -= bill.looks


def _are_gone(stack: Stack, bill: Bill, others: int) -> bool:
    """Whether the sessions of the block are gone: one hands in its last counts as it ends."""
    bill.looks += 1
    return _others(stack) <= others


def _others(stack: Stack) -> int:
    with reading(stack.engine) as session:
        return int(session.exec_driver_sql(_OTHERS).scalar_one())


def _counters(stack: Stack) -> dict[str, float]:
    with reading(stack.engine) as session:
        session.exec_driver_sql("SELECT pg_stat_force_next_flush()")
        row: Any = session.exec_driver_sql(_COUNTERS).one()
    redis: Any = stack.intake.client.info("commandstats")
    return {
        "commits": float(row.commits),
        "versions": float(row.versions),
        "logged": float(row.logged),
        "redis": float(sum(redis[each]["calls"] for each in redis.keys() - _LOOKS)),
    }
