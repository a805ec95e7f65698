"""A tenant with destinations, facts and a deliverer: what the tests of delivery stand on."""

from __future__ import annotations

import contextlib
import json
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from models import clock, ids
from models.db import Engine, reading, transaction
from models.delivery import deliveries as table
from models.delivery import destinations
from models.delivery.deliveries import Attempt
from models.delivery.destinations import Webhook
from models.errors import NotFound
from models.identity.tenants import Tenant
from tests.receiver import Answer, Request
from webhooks import dispatcher, egress, facts, outbox, secrets
from webhooks.attempt import SendOptions
from webhooks.facts import Fact
from webhooks.http_client import Timeouts

SHORT = Timeouts(connect_seconds=0.5, total_seconds=0.5)


class Crash(Exception):
    """The process dies here."""


def _briefly(seconds: float) -> None:
    """Nobody tells a test's deliverer of new work: it looks often."""
    time.sleep(min(seconds, 0.01))


@dataclass
class World:
    """A tenant with destinations, and deliverers to run."""

    engine: Engine
    tenant: Tenant
    options: SendOptions
    told: Counter[int] = field(default_factory=Counter)  # facts of each participant so far

    def subscribe(
        self, url: str, event_types: Sequence[str] = ("*",), **terms: Any
    ) -> tuple[uuid.UUID, str]:
        """Add a destination; return its id and secret."""
        secret = secrets.generate()
        values = {
            "url": url,
            "description": None,
            "event_types": list(event_types),
            "is_enabled": True,
            "secret": secrets.encrypt(self.options.ring, secret),
            **terms,
        }
        with transaction(self.engine) as session:
            return destinations.create(session, self.tenant.id, values).id, secret

    def change(self, webhook_id: uuid.UUID, **values: Any) -> None:
        """Change a destination."""
        with transaction(self.engine) as session:
            destinations.change(session, self.tenant.id, webhook_id, values)

    def publish(
        self, count: int = 1, kind: str = facts.STREAK_RECORDED, participant: int = 1
    ) -> list[Fact]:
        """Publish a participant's next facts; their bodies hold more than ASCII."""
        first = self.told[participant] + 1
        self.told[participant] += count
        made = [self._fact(nth, kind, participant) for nth in range(first, first + count)]
        with transaction(self.engine) as session:
            wanted = destinations.destination_filters(session, [self.tenant.id])
            outbox.publish(session, made, wanted)
        return made

    def _fact(self, nth: int, kind: str, participant: int) -> Fact:
        now_us = clock.to_us(self.options.now())
        fact_id = ids.uuid7(now_us)
        body = {
            "id": facts.public_id(fact_id),
            "type": kind,
            "participant_id": f"user_{participant}",
            "sequence": nth,
            "note": "grüße 🏆",
        }
        text = json.dumps(body, ensure_ascii=False)
        about, sequence = (participant, nth) if participant else (None, None)  # a destination
        return Fact(self.tenant.id, fact_id, about, sequence, kind, now_us, text)

    def deliver(self, wait: Callable[[float], object] = _briefly, **options: Any) -> int:
        """Run a deliverer until nothing is due."""
        return dispatcher.deliver(
            self.engine, replace(self.options, **options), lambda: False, wait
        )

    def rows(self) -> list[Any]:
        """The tenant's deliveries."""
        with reading(self.engine) as session:
            return list(
                session.execute(
                    sa.text("SELECT * FROM deliveries WHERE tenant_id = :id ORDER BY fact_id"),
                    {"id": self.tenant.id},
                )
            )

    def statuses(self) -> list[str]:
        """Their statuses."""
        return [row.status for row in self.rows()]

    def attempts(self, fact: Fact | uuid.UUID) -> list[Attempt]:
        """What the log holds of a fact."""
        fact_id = fact.id if isinstance(fact, Fact) else fact
        with reading(self.engine) as session:
            return table.attempts(session, self.tenant.id, fact_id)

    def health(self, webhook_id: uuid.UUID) -> Any:
        """The health row of a destination, or None."""
        statement = "SELECT * FROM webhook_health WHERE tenant_id = :id AND webhook_id = :webhook"
        with reading(self.engine) as session:
            values = {"id": self.tenant.id, "webhook": webhook_id}
            return session.execute(sa.text(statement), values).one_or_none()

    def destination(self, webhook_id: uuid.UUID) -> Webhook:
        """A destination as it is now."""
        with reading(self.engine) as session:
            return destinations.by_id(session, self.tenant.id, webhook_id)

    def told_of(self, kind: str) -> list[dict[str, Any]]:
        """The tenant's facts of a kind, in order."""
        statement = "SELECT body FROM facts WHERE tenant_id = :id AND type = :kind ORDER BY id"
        with reading(self.engine) as session:
            rows = session.execute(sa.text(statement), {"id": self.tenant.id, "kind": kind})
            return [json.loads(row.body) for row in rows]

    def next_due(self) -> datetime | None:
        """When something is to be tried next; None when nothing is pending that can be."""
        with transaction(self.engine) as session:
            row = session.execute(_NEXT_DUE, {"id": self.tenant.id}).one()
        at: datetime | None = row.at
        return at

    def make_due(self) -> None:
        """Let the time pass until the next attempts: leases and parking have ended."""
        with transaction(self.engine) as session:
            session.execute(
                sa.text(
                    "UPDATE deliveries SET next_attempt_at = now() - interval '1 second',"
                    " leased_until = leased_until - interval '1 day'"
                    " WHERE tenant_id = :id AND status = 'pending'"
                ),
                {"id": self.tenant.id},
            )
        self.make_due_parked()

    def make_due_parked(self) -> None:
        """Let the time pass until every parked destination is to be tried again."""
        with transaction(self.engine) as session:
            session.execute(
                sa.text(
                    "UPDATE webhook_health SET parked_until = now() - interval '1 second'"
                    " WHERE tenant_id = :id AND parked_until IS NOT NULL"
                ),
                {"id": self.tenant.id},
            )

    def hold_back(self, participants: Sequence[int]) -> None:
        """Let what is pending for some participants wait for an hour."""
        with transaction(self.engine) as session:
            session.execute(
                sa.text(
                    "UPDATE deliveries SET next_attempt_at = now() + interval '1 hour'"
                    " WHERE tenant_id = :id AND participant_id = ANY(:participants)"
                    " AND status = 'pending'"
                ),
                {"id": self.tenant.id, "participants": list(participants)},
            )

    def delete(self, webhook_id: uuid.UUID) -> None:
        """Delete a destination; once is enough."""
        with contextlib.suppress(NotFound), transaction(self.engine) as session:
            destinations.delete(session, self.tenant.id, webhook_id)

    def cut_connections(self) -> None:
        """End every other connection to the database."""
        with transaction(self.engine) as session:
            session.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    " AND backend_type = 'client backend'"
                )
            )


# Of what goes in order only the first of each participant.
_NEXT_DUE = sa.text("""
SELECT min(greatest(d.next_attempt_at, h.parked_until)) AS at
FROM deliveries_pending d
JOIN webhooks w ON w.tenant_id = d.tenant_id AND w.id = d.webhook_id AND w.is_enabled
LEFT JOIN webhook_health h ON h.tenant_id = d.tenant_id AND h.webhook_id = d.webhook_id
WHERE d.tenant_id = :id AND NOT EXISTS (
  SELECT FROM deliveries_pending e
  WHERE e.tenant_id = d.tenant_id AND e.webhook_id = d.webhook_id
    AND e.participant_id = d.participant_id AND e.sequence < d.sequence)
""")


def always(answer: Answer) -> Callable[[Request], Answer]:
    return lambda request: answer


def names(known: dict[str, list[str]]) -> egress.Lookup:
    def lookup(host: str, port: int) -> list[str]:
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return known[host]

    return lookup
