"""The workers as a test runs them: in this process, when it says so, until nothing is left."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import redis
import sqlalchemy as sa
from celery import Celery

from models.db import Engine, transaction
from models.delivery.deliveries import AttemptOutcome
from settings import Settings
from webhooks import dispatcher as delivery
from webhooks import egress, secrets
from webhooks.attempt import SendOptions
from workers.apply.drain import Drain
from workers.intake.stream import Streams, depth
from workers.runtime.context import Context, WorkerSettings


@dataclass
class Pipeline:
    """Drains and deliverers on the test servers."""

    settings: Settings
    engine: Engine
    client: redis.Redis
    kicks: list[None] = field(default_factory=list)

    def make_drain(
        self,
        consumer: str = "test",
        batch_max: int = 1_000,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Drain:
        """A drain of its own name, that takes over what others left at once."""
        return Drain(
            engine=self.engine,
            streams=Streams(self.client, f"{consumer}:{os.getpid()}", takeover_idle_ms=0),
            batch_max=batch_max,
            entry_tries_max=self.settings.entry_tries_max,
            on_deliveries=lambda: self.kicks.append(None),
            should_stop=should_stop,
        )

    def drain(self) -> None:
        """Apply everything that has been accepted."""
        drain = self.make_drain(should_stop=lambda: depth(self.client) == 0)
        drain.streams.create_groups()
        drain.run(30)
        assert depth(self.client) == 0

    def deliver(self, note: Callable[[Sequence[AttemptOutcome]], None] | None = None) -> int:
        """Send everything that is due; return how many outcomes were recorded."""
        options = SendOptions(
            ring=secrets.ring(self.settings.secret_keys),
            policy=egress.policy(
                self.settings.webhook_allow_cidrs,
                self.settings.webhook_allow_http,
                self.settings.webhook_ports,
            ),
        )
        if note:
            options = replace(options, on_recorded=note)
        return delivery.deliver(self.engine, options, stop=lambda: False)


def worker_context(
    settings: Settings, engine: Engine, client: redis.Redis, celery: Celery, name: str
) -> Context:
    """What the tasks of a worker process are given."""
    return Context(
        settings=settings.of(WorkerSettings),
        engine=engine,
        client=client,
        celery=celery,
        name=name,
        should_stop=lambda: False,
        policy=egress.policy_of(settings.of(egress.EgressSettings)),
    )


def forget_deliveries(engine: Engine) -> None:
    """What other tests left is nobody's: their receivers are gone."""
    with transaction(engine) as session:
        session.execute(sa.text("TRUNCATE deliveries"))
