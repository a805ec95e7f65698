"""The commands of our own roles that `unbroken up` runs besides the servers."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from api.cli.local.child_process import Role
from api.cli.local.data_dir import Data

API_KILL_SECONDS = 12  # a request may wait 10 s (contract §2)
WORKER_STOP_SECONDS = 15.0  # a batch in its transaction, and the soft shutdown of 5 s
METRICS_PORT = 9464  # the convention for exporters inside applications
_WORKERS, _BEAT, _API = 2, 3, 4  # stages: the order of dependencies


@dataclass(frozen=True)
class ProcessPlan:
    """The operator's options."""

    host: str
    port: int
    drain_workers: int
    webhook_workers: int
    metrics_port: int = 0  # 0: no exporter


def ours(plan: ProcessPlan, data: Data) -> list[Role]:
    """Every role of ours, in the order of starting."""
    queues = {"drain": plan.drain_workers, "webhooks": plan.webhook_workers, "upkeep": 1}
    workers = [_worker(queue, nth) for queue, count in queues.items() for nth in range(count)]
    exporter = [_metrics(plan)] if plan.metrics_port else []
    return [*workers, *exporter, _beat(data), _api(plan)]


def _worker(queue: str, nth: int) -> Role:
    node = f"{queue}-{nth + 1}@%h"
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    options = [
        "--pool",
        "solo",
        "-c",
        "1",
        "-Q",
        queue,
        "-n",
        node,
        "--loglevel",
        "WARNING",
        *quiet,
    ]
    return Role(
        name=queue if nth == 0 else f"{queue}-{nth + 1}",
        argv=[sys.executable, "-m", "celery", "-q", "-A", "workers.app", "worker", *options],
        stage=_WORKERS,
        stop_seconds=WORKER_STOP_SECONDS,
    )


def _metrics(plan: ProcessPlan) -> Role:
    address = ["--host", "127.0.0.1", "--port", str(plan.metrics_port)]
    return Role(
        name="metrics",
        argv=[sys.executable, "-m", "api.cli", "metrics", *address],
        stage=_WORKERS,
    )


def _beat(data: Data) -> Role:
    options = ["-s", str(data.beat / "schedule"), "--loglevel", "WARNING", "--pidfile="]
    return Role(
        name="beat",
        argv=[sys.executable, "-m", "celery", "-q", "-A", "workers.app", "beat", *options],
        stage=_BEAT,
    )


def _api(plan: ProcessPlan) -> Role:
    address = ["--host", plan.host, "--port", str(plan.port)]
    return Role(
        name="api",
        argv=[sys.executable, "-m", "api.cli", "serve", *address],
        stage=_API,
        stop_seconds=API_KILL_SECONDS + 2,
    )
