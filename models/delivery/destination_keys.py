"""Destinations' keys at rest, across all tenants: for the operator."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa

from models.db import Connection
from models.delivery.destinations import webhooks

FIRST = (0, UUID(int=0))  # before every destination: tenants count from 1


@dataclass(frozen=True, slots=True)
class Sealed:
    """The encrypted keys of one destination."""

    tenant_id: int
    webhook_id: UUID
    secret: str
    previous_secret: str | None
    signing_key: str | None

    @property
    def cursor(self) -> tuple[int, UUID]:
        """Its cursor among all destinations."""
        return (self.tenant_id, self.webhook_id)


def count(connection: Connection) -> int:
    """How many destinations there are, of all tenants."""
    return int(connection.execute(sa.select(sa.func.count()).select_from(webhooks)).scalar_one())


def after(
    connection: Connection, cursor: tuple[int, UUID], limit: int, *, lock: bool
) -> list[Sealed]:
    """The keys of the next destinations of all tenants, in the order of their primary key.

    With `lock`, no other transaction changes them before this one ends.
    """
    statement = (
        sa.select(
            webhooks.c.tenant_id,
            webhooks.c.id,
            webhooks.c.secret,
            webhooks.c.previous_secret,
            webhooks.c.signing_key,
        )
        .where(sa.tuple_(webhooks.c.tenant_id, webhooks.c.id) > sa.tuple_(*cursor))
        .order_by(webhooks.c.tenant_id, webhooks.c.id)
        .limit(limit)
    )
    if lock:
        statement = statement.with_for_update(key_share=True)
    return [Sealed(*row) for row in connection.execute(statement)]


def replace(connection: Connection, sealed: Sealed) -> None:
    """Store the re-encrypted keys of a destination; nothing else of it changes."""
    connection.execute(
        sa.update(webhooks)
        .where(webhooks.c.tenant_id == sealed.tenant_id, webhooks.c.id == sealed.webhook_id)
        .values(
            secret=sealed.secret,
            previous_secret=sealed.previous_secret,
            signing_key=sealed.signing_key,
        )
    )
