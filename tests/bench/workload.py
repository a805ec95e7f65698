"""Ticks to measure with: each extends a streak, so each writes a state, a ledger row and a fact."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from models import clock, ids
from models.db import Engine, transaction
from models.delivery import destinations
from models.identity import tenants
from models.identity.tenants import Tenant
from models.streaks import states
from models.streaks.states import Streak
from webhooks import secrets
from workers.intake.client import Append, Caps, Intake, TickV1

CODE = "daily_login"
DAYS_BACK = 390  # the oldest tick that the API takes is 400 days old
APPEND_TICKS = 1_000  # in one script call


@dataclass
class Crowd:
    """Participants of one tenant who tick one after another, in an order of chance, day by day.

    So a batch holds as many different participants as it can: nothing is gained by grouping.
    """

    tenant: Tenant
    key: str
    streak: Streak
    names: Sequence[str]
    first_day: datetime
    played: int = field(default=0)

    def take(self, count: int) -> Iterator[tuple[str, datetime]]:
        """The next ticks: who, and when."""
        for number in range(self.played, self.played + count):
            day, nth = divmod(number, len(self.names))
            yield self.names[nth], self.first_day + timedelta(days=day)
        self.played += count

    def messages(self, count: int) -> list[TickV1]:
        """The next ticks as the API hands them to the intake."""
        tick_ids = ids.issue(clock.now_us(), self.tenant.tick_secret, count)
        return [
            TickV1(self.tenant.id, str(tick_id), name, self.streak.id, clock.to_us(instant))
            for tick_id, (name, instant) in zip(tick_ids, self.take(count), strict=True)
        ]

    def bodies(self, count: int) -> list[str]:
        """The next ticks as bodies of `record`."""
        return [json.dumps(_body(name, instant)) for name, instant in self.take(count)]

    def batches(self, count: int, size: int) -> list[str]:
        """The next ticks as bodies of `record/batch`."""
        items = [_body(name, instant) for name, instant in self.take(count)]
        return [
            json.dumps({"ticks": items[start : start + size]})
            for start in range(0, len(items), size)
        ]


def _body(name: str, instant: datetime) -> dict[str, Any]:
    return {
        "participant_id": name,
        "streak_code": CODE,
        "timestamp": clock.isoformat(instant),
    }


def gather(
    engine: Engine,
    slug: str,
    participants: int,
    *,
    url: str = "",
    ring: str = "",
    forgiveness: dict[str, Any] | None = None,
) -> Crowd:
    """Create a tenant with a daily streak and, when a URL is given, a destination for its facts."""
    with transaction(engine) as session:
        tenant = tenants.create(session, slug, 120)["live"]
        _, key = tenants.create_key(session, tenant, ["admin"])
        values = _definition() | {"forgiveness": forgiveness}
        streak = states.definitions.create(session, tenant.id, values)
        if url:
            destinations.create(session, tenant.id, _destination(url, ring))
    names = [f"user_{number:07d}" for number in range(participants)]
    random.Random(slug).shuffle(names)
    noon = clock.now().astimezone(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    return Crowd(tenant, key, streak, names, noon - timedelta(days=DAYS_BACK))


def _definition() -> dict[str, Any]:
    return {
        "code": CODE,
        "name": "Daily Login",
        "description": None,
        "period": "daily",
        "grace_periods": 1,
        "reset_on_miss": True,
        "is_active": True,
        "boundary": "utc",
        "milestones": [],
    }


def _destination(url: str, ring: str) -> dict[str, Any]:
    return {
        "url": url,
        "description": None,
        "event_types": ["behavior.*"],
        "is_enabled": True,
        "secret": secrets.encrypt(secrets.ring(ring), secrets.generate()),
    }


def fill(intake: Intake, crowd: Crowd, count: int) -> None:
    """Put the next ticks of a crowd into the intake, as the API does but without asking a cap."""
    version = intake.version(crowd.tenant.id)
    for start in range(0, count, APPEND_TICKS):
        ticks = crowd.messages(min(APPEND_TICKS, count - start))
        intake.append(Append(crowd.tenant.id, version, Caps(), ticks))
