"""What a task is given to work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import redis
from celery import Celery

from models.db import Engine

if TYPE_CHECKING:
    from settings import Settings


@dataclass(frozen=True)
class Context:
    """The connections of one worker process."""

    settings: Settings
    engine: Engine
    client: redis.Redis
    celery: Celery
    name: str  # of this process, as a consumer of the streams
    should_stop: Callable[[], bool]
