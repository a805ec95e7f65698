"""The peers' Celery application, their queues, and how fast their worker empties one."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from celery import Celery

from models.db import reading, transaction
from tests.bench.process import Process, wait_until
from tests.bench.stack import Stack
from workers.runtime.celery_config import broker_url

TICKS, DELIVERIES = "peer-ticks", "peer-deliveries"
WARM_CALLS = 200  # connections are made, code is loaded
DONE_SECONDS_MAX = 300.0
_COUNT_SECONDS = 0.02  # between two looks at a table: a look costs the peer a little


@dataclass(frozen=True)
class Work:
    """Calls of one task, and a query that counts those that are done."""

    task: str
    queue: str
    calls: Iterable[tuple[Any, ...]]
    count_done: str


def make_app(redis_url: str) -> Celery:
    """As Celery's documentation advises for tasks that may be repeated."""
    app = Celery("peer", broker=broker_url(redis_url), set_as_current=False)
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
    )
    return app


def rate(stack: Stack, worker: Process, work: Work) -> float:
    """Tasks per second of a warm worker on a full queue."""
    calls = list(work.calls)
    warm = calls[: min(WARM_CALLS, len(calls) // 2)]
    _publish(stack, work, warm)
    wait_until(lambda: _done(stack, work) == len(warm), DONE_SECONDS_MAX)
    worker.pause()
    _publish(stack, work, calls[len(warm) :])
    started = time.perf_counter()
    worker.resume()
    wait_until(lambda: not stack.intake.client.llen(work.queue), DONE_SECONDS_MAX)
    while _done(stack, work) < len(calls):
        time.sleep(_COUNT_SECONDS)
    return (len(calls) - len(warm)) / (time.perf_counter() - started)


def _publish(stack: Stack, work: Work, calls: Iterable[tuple[Any, ...]]) -> None:
    app = make_app(stack.settings.redis_url)
    with app.producer_pool.acquire(block=True) as producer:
        for arguments in calls:
            app.send_task(work.task, arguments, queue=work.queue, producer=producer)


def _done(stack: Stack, work: Work) -> int:
    with reading(stack.engine) as session:
        return int(session.exec_driver_sql(work.count_done).scalar_one())


def clear(stack: Stack) -> None:
    """Empty the peers' tables."""
    with transaction(stack.engine) as session:
        session.exec_driver_sql("TRUNCATE peer_states, peer_ticks, peer_facts, peer_deliveries")
