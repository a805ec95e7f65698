"""The composition root of the workers: settings, connections, Celery application, beat."""

from __future__ import annotations

import gc
import threading
from typing import Any

from celery.signals import (
    setup_logging,
    worker_init,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)

from models import failpoints
from models.db import engine as make_engine
from settings import Settings, SettingsError
from webhooks import egress
from webhooks.egress import EgressSettings
from workers.intake.client import connect
from workers.runtime.celery_config import UPKEEP, make_celery
from workers.runtime.context import Context, WorkerSettings
from workers.tasks import register
from workers.telemetry import logs
from workers.telemetry.heartbeats import Heartbeat, process_name
from workers.telemetry.metrics_store import TIMEOUT_SECONDS, Flusher

STATEMENT_SECONDS = 30.0  # a batch is one statement; a Postgres silent for longer is down
STREAM_SECONDS = 5.0  # a blocking read waits 1 s; a Redis silent for longer is down

settings = Settings.from_env().require_urls("redis_url")  # beat needs only this
failpoints.arm(settings.failpoints)
policy = egress.policy_of(
    settings.of(EgressSettings)
)  # an unreadable policy ends the process now, not at its first delivery
app = make_celery(settings.redis_url)
stopping = threading.Event()  # of the process, which a signal stops
aside = connect(settings.redis_url, TIMEOUT_SECONDS)  # for calls that no task waits for
flusher = Flusher(aside)
heartbeat = Heartbeat(aside, process_name())


def context() -> Context:
    """The connections of this process."""
    return Context(
        settings=settings.of(WorkerSettings),
        engine=make_engine(
            settings.database_url, timeout_ms=int(STATEMENT_SECONDS * 1_000), pool=2
        ),
        client=connect(settings.redis_url, STREAM_SECONDS),
        celery=app,
        name=process_name(),
        should_stop=stopping.is_set,
        policy=policy,
    )


@worker_init.connect
def _require_database(**_: Any) -> None:
    """A worker without a database ends now, not at its first task; Celery swallows the rest."""
    try:
        settings.require_urls()
    except SettingsError as error:
        raise SystemExit(str(error)) from error


@worker_init.connect
def _tune(**_: Any) -> None:
    """Collect garbage rarely: batches make no cycles (saves 7 % of a drain, 15 % of a sender)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@setup_logging.connect
def _log(**_: Any) -> None:
    """Keep Celery from setting up logs: a worker and beat use ours, and print no banner."""
    logs.configure(settings.log_format)


@worker_init.connect
def _count(**_: Any) -> None:
    flusher.start()


@worker_ready.connect
def _beat(sender: Any, **_: Any) -> None:
    """A worker is known by its queues: those of `-Q`."""
    heartbeat.start(list(sender.app.amqp.queues.consume_from))


@worker_shutdown.connect
def _add_up(**_: Any) -> None:
    heartbeat.stop()
    flusher.stop()


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    stopping.set()


register(app, context)
app.conf.beat_schedule = {
    # `expires`: a sweep that was not fetched in time is worthless; the next one is on its way.
    "sweep": {
        "task": "sweep",
        "schedule": 1.0,
        "options": {"queue": UPKEEP, "expires": 3},
    },
    # Every second, due or not: it costs two small queries, and does not depend on a wake.
    "deadlines": {
        "task": "deadlines",
        "schedule": 1.0,
        "options": {"queue": UPKEEP, "expires": 3},
    },
    # Likewise: one query for each leaderboard while nothing has happened.
    "leaderboards": {
        "task": "leaderboards",
        "schedule": 1.0,
        "options": {"queue": UPKEEP, "expires": 3},
    },
    "partitions": {
        "task": "partitions",
        "schedule": 3_600.0,
        "options": {"queue": UPKEEP, "expires": 3_600},
    },
}
