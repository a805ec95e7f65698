"""The Celery tasks: each opens, calls one plain function, follows up."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache, partial
from typing import TypeVar

from celery import Celery

from workers.apply.batch import Configurations
from workers.apply.drain import Drain
from workers.intake.stream import Streams
from workers.maintenance import dispatch, leaderboards, replays, restores, streak_deadlines
from workers.maintenance import sweep as upkeep
from workers.runtime.celery_config import DRAIN, UPKEEP, WEBHOOKS
from workers.runtime.context import Context
from workers.runtime.redis_errors import brief, is_away

log = logging.getLogger("unbroken.tasks")

T = TypeVar("T")


TaskRun = Callable[[Callable[[Context], object]], object]


def register(app: Celery, make_context: Callable[[], Context]) -> None:
    """Add the tasks to an application; connections are made with the first task that runs."""
    context = cache(make_context)
    configurations = Configurations()

    @app.task(name="drain", queue=DRAIN)
    def drain() -> None:
        if unless_away(partial(run_drain, configurations=configurations), context()):
            _go_on(app, "drain", DRAIN)

    @app.task(name="deliver", queue=WEBHOOKS)
    def deliver() -> None:
        if unless_away(dispatch.run, context()):
            _go_on(app, "deliver", WEBHOOKS)

    _register_upkeep(app, lambda task: unless_away(task, context()))


def _register_upkeep(app: Celery, run: TaskRun) -> None:
    @app.task(name="sweep", queue=UPKEEP)
    def sweep() -> None:
        run(upkeep.sweep)

    @app.task(name="deadlines", queue=UPKEEP)
    def publish_deadlines() -> None:
        run(streak_deadlines.run)

    @app.task(name="leaderboards", queue=UPKEEP)
    def update_leaderboards() -> None:
        run(leaderboards.run)

    @app.task(name="replays", queue=UPKEEP)
    def go_on_with_replays() -> None:
        run(replays.run)

    @app.task(name="restores", queue=UPKEEP)
    def go_on_with_restores() -> None:
        run(restores.run)

    @app.task(name="partitions", queue=UPKEEP)
    def partitions() -> None:
        run(upkeep.partitions)


def _go_on(app: Celery, task: str, queue: str) -> None:
    """There was work: stay warm. A lost message costs a second: the sweep sends another."""
    try:
        app.send_task(task, queue=queue)
    except Exception as error:  # noqa: BLE001 - kombu's, of many kinds
        log.warning("%s not asked for again: %s", task, type(error).__name__)


def unless_away(task: Callable[[Context], T], context: Context) -> T | None:
    """Run a task; None when Redis went away meanwhile: the next sweep asks for it again.

    It reconnects afterwards: the name may lead to another server by then.
    """
    try:
        return task(context)
    except Exception as error:
        if not is_away(error):
            raise
        log.warning("redis away, the task ends: %s", brief(error))
        context.client.connection_pool.disconnect()
        return None


def run_drain(context: Context, configurations: Configurations | None = None) -> int:
    """Drain for a while, with the configuration cached by earlier runs; return how many entries
    were applied."""
    settings = context.settings
    drain = Drain(
        engine=context.engine,
        streams=Streams(context.client, context.name, settings.takeover_idle_ms),
        batch_max=settings.drain_batch_max,
        entry_tries_max=settings.entry_tries_max,
        on_deliveries=partial(dispatch.wake, context.client, context.celery),
        should_stop=context.should_stop,
        configurations=configurations or Configurations(),
    )
    return drain.run(settings.drain_run_seconds)
