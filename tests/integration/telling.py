"""A tenant at simulated instants: what the tests of facts without a tick stand on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from models import clock, ids
from models.db import Engine, reading, transaction
from models.streaks.states import Streak
from settings import Settings
from tests.integration.batches import DAILY, DIED, ROOT, post, tick
from tests.pipeline import Pipeline
from workers.intake.messages import TickV1
from workers.maintenance.streak_deadlines import Sweep

STRICT = DAILY | {"grace_periods": 0}
AT_RISK, BROKEN = "behavior.streak_at_risk", "behavior.streak_broken"


def us(text: str) -> int:
    """The microseconds of an instant that is spelled without its zone: UTC."""
    return clock.to_us(datetime.fromisoformat(f"{text}Z"))


@dataclass
class Notified:
    """A tenant at simulated instants: who ticks, what is swept, what is told."""

    engine: Engine
    pipeline: Pipeline
    tenant_id: int
    kicks: list[None] = field(default_factory=list)

    def tick(self, streak: Streak, at: str, participant: str = "user_42", **values: Any) -> None:
        """Accept and apply a tick of an instant, at that instant unless `accepted` another."""
        occurred_us = us(at)
        accepted_us = us(values.pop("accepted", at))
        message = tick(
            streak,
            participant,
            id=str(ids.uuid7(accepted_us)),
            occurred_us=occurred_us,
            timezone=values.pop("zone", None),
        )
        assert not values
        self.apply([message])

    def apply(self, messages: list[TickV1]) -> None:
        """Apply ticks."""
        post(self.pipeline.client, messages)
        self.pipeline.drain()

    def make_sweep(self, now_us: int) -> Sweep:
        """A sweep that sees this tenant at an instant, and the others in 1970."""
        until = [0] * self.tenant_id + [now_us]
        return Sweep(self.engine, lambda: until, lambda: self.kicks.append(None))

    def sweep(self, at: str | int) -> list[tuple[str, str]]:
        """Sweep at an instant; return everything told without a tick so far: type and code."""
        self.make_sweep(at if isinstance(at, int) else us(at)).run(60)
        return [(body["type"], body["payload"]["streak_code"]) for body in self.facts()]

    def facts(self) -> list[dict[str, Any]]:
        """What was told without a tick, in order."""
        rows = self.rows(
            "SELECT body FROM facts WHERE tenant_id = :t"
            " ORDER BY occurred_at, participant_id, sequence"
        )
        bodies = [json.loads(row.body) for row in rows]
        return [body for body in bodies if body["type"] in (AT_RISK, BROKEN)]

    def reminders(self) -> list[dict[str, Any]]:
        """The bodies of the reminders, in order."""
        rows = self.rows(
            "SELECT body FROM facts WHERE tenant_id = :t AND type = 'behavior.streak_reminder_due'"
            " ORDER BY sequence, participant_id"
        )
        return [json.loads(row.body) for row in rows]

    def rows(self, statement: str) -> list[Any]:
        """The rows of a statement about the tenant `:t`."""
        with reading(self.engine) as session:
            return list(session.execute(sa.text(statement), {"t": self.tenant_id}))

    def due(self) -> list[tuple[str, str]]:
        """Whose deadline is when, and which version of the row says so."""
        return [
            (row.due_at, row.xmin)
            for row in self.rows(
                "SELECT due_at::text, xmin::text FROM streak_deadlines WHERE tenant_id = :t"
                " ORDER BY participant_id, streak_id"
            )
        ]

    def dues(self) -> list[str]:
        """The deadlines, as Postgres spells them in UTC, to the minute."""
        return [due_at[:16] for due_at, _ in self.due()]

    def watched(self) -> list[bool]:
        """Which states say that they are watched."""
        rows = self.rows(
            "SELECT is_watched FROM streak_states WHERE tenant_id = :t"
            " ORDER BY participant_id, streak_id"
        )
        return [row.is_watched for row in rows]


def live_in(told: Notified, zone: str, participant: str = "user_42") -> None:
    """A participant, perhaps new, of a zone."""
    with transaction(told.engine) as session:
        session.execute(
            sa.text(
                "INSERT INTO participants (tenant_id, external_id, timezone) VALUES (:t, :who, :z)"
            ),
            {"t": told.tenant_id, "who": participant, "z": zone},
        )


def of_noon(streak: Streak, who: str, noon_us: int) -> TickV1:
    return tick(streak, who, id=str(ids.uuid7(noon_us)), occurred_us=noon_us)


_SWEEP = """
from workers.app import context
from workers.maintenance import streak_deadlines
streak_deadlines.run(context())
"""


def sweep_until_death(settings: Settings, failpoint: str) -> None:
    """Let a sweep of deadlines die at a failpoint, in a process of its own."""
    env = {
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "UNBROKEN_ENVIRONMENT": "test",
        "UNBROKEN_FAILPOINTS": failpoint,
    }
    command = [sys.executable, "-c", _SWEEP]
    died = subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, check=False)
    assert died.returncode == DIED
