"""What a task works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import redis
from celery import Celery

from models.db import Engine
from webhooks.egress import Policy


@dataclass(frozen=True)
class WorkerSettings:
    """The settings that tasks use, by their names in settings.py."""

    secret_keys: str
    drain_batch_max: int
    drain_run_seconds: float
    drain_processes: int
    takeover_idle_ms: int
    entry_tries_max: int
    webhook_processes: int
    deliver_idle_seconds: float
    facts_days: int
    deliveries_days: int
    erasures_days: int
    retention_days: Mapping[str, int]


@dataclass(frozen=True)
class Context:
    """The connections of one worker process."""

    settings: WorkerSettings
    engine: Engine
    client: redis.Redis
    celery: Celery
    name: str  # of this process, as a consumer of the streams
    should_stop: Callable[[], bool]
    policy: Policy  # which URLs destinations may have
