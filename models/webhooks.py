"""Destinations: where a tenant wants its facts sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from models import clock, ids
from models.db import Session, metadata
from models.errors import NotFound

webhooks = sa.Table(
    "webhooks",
    metadata,
    sa.Column("tenant_id", sa.Integer, primary_key=True),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("event_types", ARRAY(sa.Text), nullable=False),
    sa.Column("is_enabled", sa.Boolean, nullable=False),
    sa.Column("secret", sa.Text, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
)


@dataclass(frozen=True, slots=True)
class Webhook:
    """A destination of one side (live or test) of a tenant."""

    tenant_id: int
    id: UUID
    url: str
    description: str | None
    event_types: list[str]  # types, or globs such as `behavior.*`
    is_enabled: bool
    secret: str  # encrypted
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Subscription:
    """Which facts an enabled destination wants."""

    tenant_id: int
    webhook_id: UUID
    event_types: list[str]


def create(session: Session, tenant_id: int, values: dict[str, Any]) -> Webhook:
    """Create a destination; `secret` among the values is the encrypted one."""
    now = clock.now()
    statement = sa.insert(webhooks).values(
        tenant_id=tenant_id,
        id=ids.uuid7(clock.to_us(now)),
        created_at=now,
        updated_at=now,
        **values,
    )
    return _webhook(session.execute(statement.returning(webhooks)).one())


def by_id(session: Session, tenant_id: int, webhook_id: UUID) -> Webhook:
    """One destination; raise NotFound when the tenant has none with that id."""
    row = session.execute(sa.select(webhooks).where(_is(tenant_id, webhook_id))).one_or_none()
    if row is None:
        raise NotFound(str(webhook_id))
    return _webhook(row)


def page(session: Session, tenant_id: int, window: tuple[int, int]) -> tuple[list[Webhook], int]:
    """A page (limit, offset) of the tenant's destinations, oldest first, and how many it has."""
    mine = sa.select(webhooks).where(webhooks.c.tenant_id == tenant_id)
    limit, offset = window
    rows = session.execute(mine.order_by(webhooks.c.id).limit(limit).offset(offset))
    total = session.execute(sa.select(sa.func.count()).select_from(mine.subquery())).scalar_one()
    return [_webhook(row) for row in rows], total


def change(session: Session, tenant_id: int, webhook_id: UUID, values: dict[str, Any]) -> Webhook:
    """Change a destination; raise NotFound."""
    row = session.execute(
        sa.update(webhooks)
        .where(_is(tenant_id, webhook_id))
        .values(updated_at=clock.now(), **values)
        .returning(webhooks)
    ).one_or_none()
    if row is None:
        raise NotFound(str(webhook_id))
    return _webhook(row)


def delete(session: Session, tenant_id: int, webhook_id: UUID) -> None:
    """Delete a destination; raise NotFound.

    No attempt is begun any more once this is committed. What was pending for it is marked dead by
    the deliverer (`models.deliveries.bury`), in portions: there may be millions.
    """
    if not session.execute(sa.delete(webhooks).where(_is(tenant_id, webhook_id))).rowcount:
        raise NotFound(str(webhook_id))


def subscriptions(session: Session, tenant_ids: Sequence[int]) -> list[Subscription]:
    """What the enabled destinations of some tenants want; disabled ones want nothing."""
    rows = session.execute(
        sa.select(webhooks.c.tenant_id, webhooks.c.id, webhooks.c.event_types)
        .where(webhooks.c.tenant_id.in_(tenant_ids), webhooks.c.is_enabled)
        .order_by(webhooks.c.tenant_id, webhooks.c.id)
    )
    return [Subscription(row.tenant_id, row.id, list(row.event_types)) for row in rows]


def _is(tenant_id: int, webhook_id: UUID) -> sa.ColumnElement[bool]:
    return sa.and_(webhooks.c.tenant_id == tenant_id, webhooks.c.id == webhook_id)


def _webhook(row: Any) -> Webhook:
    return Webhook(
        row.tenant_id,
        row.id,
        row.url,
        row.description,
        list(row.event_types),
        row.is_enabled,
        row.secret,
        row.created_at,
        row.updated_at,
    )
