"""The Celery tasks: each opens, calls one plain function, follows up."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from celery import Celery

from workers import deadlines, deliveries, leaderboards, replays, upkeep
from workers.context import Context
from workers.drain import Drain
from workers.queues import DRAIN, UPKEEP, WEBHOOKS
from workers.stream import Streams


def register(app: Celery, make_context: Callable[[], Context]) -> None:
    """Add the tasks to an application; connections are made with the first task that runs."""
    context = cache(make_context)

    @app.task(name="drain", queue=DRAIN)
    def drain() -> None:
        if run_drain(context()):
            app.send_task("drain", queue=DRAIN)  # there was work: stay warm

    @app.task(name="deliver", queue=WEBHOOKS)
    def deliver() -> None:
        if deliveries.run(context()):
            app.send_task("deliver", queue=WEBHOOKS)

    @app.task(name="sweep", queue=UPKEEP)
    def sweep() -> None:
        upkeep.sweep(context())

    @app.task(name="deadlines", queue=UPKEEP)
    def tell_deadlines() -> None:
        deadlines.run(context())

    @app.task(name="leaderboards", queue=UPKEEP)
    def follow_with_leaderboards() -> None:
        leaderboards.run(context())

    @app.task(name="replays", queue=UPKEEP)
    def go_on_with_replays() -> None:
        replays.run(context())

    @app.task(name="partitions", queue=UPKEEP)
    def partitions() -> None:
        upkeep.partitions(context())


def run_drain(context: Context) -> int:
    """Drain for a while; return how many entries were applied."""
    settings = context.settings
    drain = Drain(
        engine=context.engine,
        streams=Streams(context.client, context.name, settings.takeover_idle_ms),
        batch_max=settings.drain_batch_max,
        entry_tries_max=settings.entry_tries_max,
        on_deliveries=lambda: deliveries.wake(context.client, context.celery),
        should_stop=context.should_stop,
    )
    return drain.run(settings.drain_run_seconds)
