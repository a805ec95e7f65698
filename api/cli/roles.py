"""The roles of ours that `unbroken up` runs beside the servers: their commands."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from api.cli.children import Role
from api.cli.data import Data

API_PROCESSES = 2  # the design measured 4,000 requests/s with two on two cores, 3,400 with one
# Connections a process takes (granian calls it backpressure). On those beyond its bound
# api/overload.py refuses; one that is not taken waits in the kernel, unanswered, while others stay.
CONNECTIONS_TAKEN_MAX = 4_096
BACKLOG = 4_096  # not taken yet: as many as Linux allows by default
BUFFER_BYTES_MAX = 131_072  # of a connection: the longest head of a request, 64 KB, and its body
HEAD_MS_MAX = 10_000  # for the head of a request; api/bodies.py bounds its body
API_KILL_SECONDS = 12  # a request may wait 10 s (contract §2)
WORKER_STOP_SECONDS = 15.0  # a batch in its transaction, and the soft shutdown of 5 s
METRICS_PORT = 9464  # by convention, that of exporters inside applications
_WORKERS, _BEAT, _API = 2, 3, 4  # stages: who needs whom


@dataclass(frozen=True)
class Plan:
    """What the operator asked for."""

    host: str
    port: int
    drain_workers: int
    webhook_workers: int
    metrics_port: int = 0  # 0: no exporter


def ours(plan: Plan, api_threads: int, data: Data) -> list[Role]:
    """Every role of ours, in the order of starting."""
    queues = {"drain": plan.drain_workers, "webhooks": plan.webhook_workers, "upkeep": 1}
    workers = [_worker(queue, nth) for queue, count in queues.items() for nth in range(count)]
    exporter = [_metrics(plan)] if plan.metrics_port else []
    return [*workers, *exporter, _beat(data), _api(plan, api_threads)]


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


def _metrics(plan: Plan) -> Role:
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


def _api(plan: Plan, threads: int) -> Role:
    options = {
        "--interface": "wsgi",
        "--host": plan.host,
        "--port": plan.port,
        "--workers": API_PROCESSES,
        "--blocking-threads": threads,
        "--backlog": BACKLOG,
        "--backpressure": CONNECTIONS_TAKEN_MAX,
        "--http": "1",
        "--http1-buffer-size": BUFFER_BYTES_MAX,
        "--http1-header-read-timeout": HEAD_MS_MAX,
        "--workers-kill-timeout": API_KILL_SECONDS,
        "--log-level": "warning",
    }
    flags = ["--factory", "--no-ws", "--respawn-failed-workers"]
    pairs = [text for key, value in options.items() for text in (key, str(value))]
    return Role(
        name="api",
        argv=[sys.executable, "-m", "granian", *pairs, *flags, "api.cli.serve:create_app"],
        stage=_API,
        stop_seconds=API_KILL_SECONDS + 2,
    )
