"""A tenant with destinations, facts and a deliverer: what the tests of delivery stand on."""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from models import clock, ids, webhooks
from models import deliveries as table
from models.db import Engine, reading, transaction
from models.deliveries import Attempt
from models.tenants import Tenant
from tests.receiver import Answer, Request
from webhooks import deliveries, egress, facts, outbox, secrets
from webhooks.deliveries import Terms
from webhooks.facts import Fact
from webhooks.sender import Timeouts

SHORT = Timeouts(connect_seconds=0.5, total_seconds=0.5)


class Crash(Exception):
    """The process dies here."""


@dataclass
class World:
    """A tenant with destinations, and deliverers to run."""

    engine: Engine
    tenant: Tenant
    terms: Terms

    def subscribe(self, url: str, event_types: Sequence[str] = ("*",)) -> tuple[uuid.UUID, str]:
        """Add a destination; return its id and secret."""
        secret = secrets.generate()
        values = {
            "url": url,
            "description": None,
            "event_types": list(event_types),
            "is_enabled": True,
            "secret": secrets.encrypt(self.terms.ring, secret),
        }
        with transaction(self.engine) as session:
            return webhooks.create(session, self.tenant.id, values).id, secret

    def change(self, webhook_id: uuid.UUID, **values: Any) -> None:
        """Change a destination."""
        with transaction(self.engine) as session:
            webhooks.change(session, self.tenant.id, webhook_id, values)

    def publish(self, count: int = 1, kind: str = facts.STREAK_RECORDED) -> list[Fact]:
        """Publish facts; their bodies hold more than ASCII."""
        made = [self._fact(nth, kind) for nth in range(1, count + 1)]
        with transaction(self.engine) as session:
            wanted = webhooks.subscriptions(session, [self.tenant.id])
            outbox.publish(session, made, wanted)
        return made

    def _fact(self, nth: int, kind: str) -> Fact:
        fact_id, now_us = ids.uuid7(clock.now_us()), clock.now_us()
        body = {"id": facts.public_id(fact_id), "type": kind, "sequence": nth, "note": "grüße 🏆"}
        text = json.dumps(body, ensure_ascii=False)
        return Fact(self.tenant.id, fact_id, 1, nth, kind, now_us, text)

    def deliver(self, **terms: Any) -> int:
        """Run a deliverer until nothing is due."""
        return deliveries.deliver(self.engine, replace(self.terms, **terms), lambda: False)

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

    def attempts(self, fact: Fact) -> list[Attempt]:
        """What the log holds of a fact."""
        with reading(self.engine) as session:
            return table.attempts(session, self.tenant.id, fact.id)

    def make_due(self) -> None:
        """Let the time pass until the next attempts and the end of every lease."""
        with transaction(self.engine) as session:
            session.execute(
                sa.text(
                    "UPDATE deliveries SET next_attempt_at = now() - interval '1 second',"
                    " leased_until = leased_until - interval '1 day'"
                    " WHERE tenant_id = :id AND status = 'pending'"
                ),
                {"id": self.tenant.id},
            )


def always(answer: Answer) -> Callable[[Request], Answer]:
    return lambda request: answer


def names(known: dict[str, list[str]]) -> egress.Lookup:
    def lookup(host: str, port: int) -> list[str]:
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return known[host]

    return lookup
