"""The workers' side of delivery: wake a deliverer, run one, check whether a delivery is due."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Sequence

import redis
from celery import Celery

from models import clock
from models.db import Engine, transaction
from models.delivery import destination_queues
from models.delivery.deliveries import AttemptOutcome
from webhooks import dispatcher as delivery
from webhooks import secrets
from webhooks.attempt import SendOptions
from webhooks.destination_queues import Limits
from workers.intake import redis_keys
from workers.runtime.celery_config import WEBHOOKS
from workers.runtime.context import Context
from workers.telemetry import metrics_store
from workers.telemetry.metrics import ATTEMPT_SECONDS, ATTEMPTS

log = logging.getLogger("unbroken.deliveries")

ALIVE_SECONDS = 3.0


def wake(client: redis.Redis, celery: Celery) -> None:
    """Signal the deliverers that a delivery is due; wake one when none is alive.

    Each signal is a hint: a lost one costs a wait until the next sweep.
    """
    pipeline = client.pipeline(transaction=False)
    pipeline.lpush(redis_keys.DELIVERY_WAKE, "1")
    pipeline.ltrim(redis_keys.DELIVERY_WAKE, 0, 15)
    pipeline.zcount(redis_keys.DELIVERERS, clock.now_us() / 1e6 - ALIVE_SECONDS, "+inf")
    pipeline.set(redis_keys.DELIVERY_WOKEN, "1", nx=True, px=2_000)
    try:
        *_, alive, may_wake = pipeline.execute()
        if not alive and may_wake:
            celery.send_task("deliver", queue=WEBHOOKS)
    except Exception:
        log.warning("deliverer not woken; the sweep will see what is due", exc_info=True)


def is_due(engine: Engine) -> bool:
    """Whether any delivery is due."""
    with transaction(engine) as connection:
        return destination_queues.any_due(connection, clock.now())


def run(context: Context) -> bool:
    """Deliver for a while; return whether there was work, so that another task should follow."""
    settings = context.settings
    options = SendOptions(
        ring=secrets.ring(settings.secret_keys),
        policy=context.policy,
        limits=Limits(
            idle_seconds=settings.deliver_idle_seconds, run_seconds=settings.drain_run_seconds
        ),
        on_recorded=count,
    )
    beacon = Beacon(context.client, context.name)
    with beacon:
        done = delivery.deliver(
            context.engine,
            options,
            stop=context.should_stop,
            wait=beacon.wait,
        )
    return done > 0


def count(outcomes: Sequence[AttemptOutcome]) -> None:
    """Count the outcomes of attempts."""
    for outcome in outcomes:
        if outcome.attempt is None:
            metrics_store.add(ATTEMPTS, 1, "postponed")
            continue
        metrics_store.add(ATTEMPTS, 1, "failed" if outcome.status == "pending" else outcome.status)
        metrics_store.observe(ATTEMPT_SECONDS, outcome.attempt.duration_ms / 1_000)


class Beacon:
    """Reports that this deliverer is alive, and lets it sleep until a delivery is due."""

    def __init__(self, client: redis.Redis, name: str) -> None:
        self._client, self._name = client, name
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._shine, daemon=True)

    def __enter__(self) -> Beacon:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        with contextlib.suppress(redis.exceptions.RedisError):
            self._client.zrem(redis_keys.DELIVERERS, self._name)

    def _shine(self) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(redis.exceptions.RedisError):
                self._client.zadd(redis_keys.DELIVERERS, {self._name: clock.now_us() / 1e6})
            self._stopped.wait(ALIVE_SECONDS / 3)

    def wait(self, seconds: float) -> None:
        """Return when woken or after some seconds; while Redis is away, after those seconds."""
        try:
            self._client.blpop([redis_keys.DELIVERY_WAKE], timeout=seconds)
        except redis.exceptions.RedisError:
            time.sleep(seconds)
