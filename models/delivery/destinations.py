"""Destinations: the URLs to which a tenant's facts are sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from models import clock, ids
from models.db import Connection, metadata
from models.delivery import destination_health
from models.errors import NotFound, TooMany

WEBHOOKS_MAX = 100  # of one side of a tenant: each fact is matched against all of them

MENDS = {"url", "signing_key"}  # changes after which a receiver may accept what it refused
PENDING_MAX = 10_000  # counted; more is shown as this number

DestinationStatus = Literal["ok", "failing", "parked", "disabled"]
DisabledReason = Literal["gone", "asked", "failing"]  # 410; the response's header; for days

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
    sa.Column("previous_secret", sa.Text),
    sa.Column("previous_until", sa.DateTime(timezone=True)),
    sa.Column("signing_key", sa.Text),
    sa.Column("is_ordered", sa.Boolean, nullable=False, server_default="false"),
    sa.Column("rate_per_second", sa.Integer),
    sa.Column("in_flight_max", sa.Integer),
    sa.Column("retry_seconds", ARRAY(sa.Integer)),
    sa.Column("streak_codes", ARRAY(sa.Text)),
    sa.Column("disabled_reason", sa.Text),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
)
# Read here; written by the breaker.
_health = sa.table(
    "webhook_health",
    sa.column("tenant_id"),
    sa.column("webhook_id"),
    sa.column("failures"),
    sa.column("failing_since"),
    sa.column("parked_until"),
    sa.column("last_failure"),
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
    previous_secret: str | None  # encrypted; signs too until previous_until
    previous_until: datetime | None
    signing_key: str | None  # encrypted; None: no v1a signatures
    is_ordered: bool
    rate_per_second: int | None
    in_flight_max: int | None
    retry_seconds: list[int] | None  # before each retry; None: the default schedule
    streak_codes: list[str] | None
    disabled_reason: DisabledReason | None  # why we disabled it; None when its owner did
    created_at: datetime
    updated_at: datetime
    failing_since: datetime | None = None
    parked_until: datetime | None = None  # it is tried again by then
    failures: int | None = None  # in a row; None: none
    last_failure: str | None = None  # the error of the last of them

    @property
    def status(self) -> DestinationStatus:
        """Whether facts reach it."""
        if not self.is_enabled:
            return "disabled"
        if self.parked_until is not None:
            return "parked"
        return "ok" if self.failing_since is None else "failing"


@dataclass(frozen=True, slots=True)
class Renewal:
    """The keys that a rotation puts in place of a destination's, encrypted."""

    secret: str
    previous_until: datetime | None  # the replaced secret signs too until then; None: no longer
    signing_key: str | None = None  # only for a destination that has one; None: unchanged


@dataclass(frozen=True, slots=True)
class DestinationFilter:
    """The facts that an enabled destination wants."""

    tenant_id: int
    webhook_id: UUID
    event_types: list[str]
    streak_codes: list[str] | None = None  # a filter for facts about streaks
    is_ordered: bool = False  # each participant's facts one after another


def create(connection: Connection, tenant_id: int, values: dict[str, Any]) -> Webhook:
    """Create a destination; `secret` and `signing_key` among the values are encrypted.

    Raises TooMany when the tenant has WEBHOOKS_MAX already. When two are created at once, the
    trigger that counts the tenant's versions makes the second wait for the first; its count comes
    after that.
    """
    now = clock.now()
    statement = sa.insert(webhooks).values(
        tenant_id=tenant_id,
        id=ids.uuid7(clock.to_us(now)),
        created_at=now,
        updated_at=now,
        **values,
    )
    made = _webhook(connection.execute(statement.returning(webhooks)).one())
    if _count(connection, tenant_id) > WEBHOOKS_MAX:
        raise TooMany(f"At most {WEBHOOKS_MAX}")
    return made


def _count(connection: Connection, tenant_id: int) -> int:
    mine = sa.select(sa.func.count()).where(webhooks.c.tenant_id == tenant_id)
    return int(connection.execute(mine).scalar_one())


def by_id(connection: Connection, tenant_id: int, webhook_id: UUID) -> Webhook:
    """One destination; raise NotFound when the tenant has none with that id."""
    row = connection.execute(_with_health().where(_is(tenant_id, webhook_id))).one_or_none()
    if row is None:
        raise NotFound(str(webhook_id))
    return _webhook(row)


def page(
    connection: Connection, tenant_id: int, window: tuple[int, int]
) -> tuple[list[Webhook], int]:
    """A page (limit, offset) of the tenant's destinations, oldest first, and how many it has."""
    mine = _with_health().where(webhooks.c.tenant_id == tenant_id)
    limit, offset = window
    rows = connection.execute(mine.order_by(webhooks.c.id).limit(limit).offset(offset))
    return [_webhook(row) for row in rows], _count(connection, tenant_id)


def _with_health() -> sa.Select[Any]:
    is_its = sa.and_(
        _health.c.tenant_id == webhooks.c.tenant_id, _health.c.webhook_id == webhooks.c.id
    )
    both = webhooks.outerjoin(_health, is_its)
    shown = ("failing_since", "parked_until", "failures", "last_failure")
    return sa.select(webhooks, *(_health.c[name] for name in shown)).select_from(both)


def pending(connection: Connection, tenant_id: int, webhook_id: UUID) -> int:
    """How many facts wait for a destination, up to PENDING_MAX."""
    statement = sa.text(
        "SELECT count(*) FROM (SELECT FROM deliveries_pending WHERE tenant_id = :tenant_id"
        " AND webhook_id = :webhook_id LIMIT :most) d"
    )
    values = {"tenant_id": tenant_id, "webhook_id": webhook_id, "most": PENDING_MAX}
    return int(connection.execute(statement, values).scalar_one())


def change(
    connection: Connection, tenant_id: int, webhook_id: UUID, values: dict[str, Any]
) -> Webhook:
    """Change a destination; raise NotFound.

    A new `signing_key` is for a destination without one: an existing key stays, and None removes
    it. An enabled destination starts anew: its health and the reason for disabling it are
    forgotten. A parked one is tried at once when it is set to enabled, or when its receiver may
    have changed.
    """
    if values.get("is_enabled"):
        _forget_health(connection, tenant_id, webhook_id, only_disabled=True)
        values = values | {"disabled_reason": None}
    if values.get("is_enabled") or values.keys() & MENDS:
        destination_health.probe_now(connection, (tenant_id, webhook_id), clock.now())
    if values.get("signing_key") is not None:
        kept = sa.func.coalesce(webhooks.c.signing_key, values["signing_key"])
        values = values | {"signing_key": kept}
    _update(connection, tenant_id, webhook_id, values)
    return by_id(connection, tenant_id, webhook_id)


def rotate(connection: Connection, tenant_id: int, webhook_id: UUID, renewal: Renewal) -> Webhook:
    """Put fresh keys in place of a destination's; raise NotFound.

    The replaced secret signs too until the overlap ends; an earlier one no longer does. A parked
    destination is tried at once: its receiver may accept the new keys.
    """
    destination_health.probe_now(connection, (tenant_id, webhook_id), clock.now())
    values: dict[str, Any] = {"secret": renewal.secret, "previous_until": renewal.previous_until}
    is_overlapping = renewal.previous_until is not None
    values["previous_secret"] = webhooks.c.secret if is_overlapping else None
    if renewal.signing_key is not None:
        has_one = webhooks.c.signing_key.is_not(None)
        values["signing_key"] = sa.case((has_one, renewal.signing_key))
    _update(connection, tenant_id, webhook_id, values)
    return by_id(connection, tenant_id, webhook_id)


def _update(
    connection: Connection, tenant_id: int, webhook_id: UUID, values: dict[str, Any]
) -> None:
    changed = connection.execute(
        sa.update(webhooks)
        .where(_is(tenant_id, webhook_id))
        .values(updated_at=clock.now(), **values)
    )
    if not changed.rowcount:
        raise NotFound(str(webhook_id))


def _forget_health(
    connection: Connection, tenant_id: int, webhook_id: UUID, *, only_disabled: bool
) -> None:
    """Health is locked before its destination, here as in the breaker: in the other order two
    transactions could deadlock."""
    statement = sa.delete(_health).where(
        _health.c.tenant_id == tenant_id, _health.c.webhook_id == webhook_id
    )
    if only_disabled:
        is_disabled = sa.and_(_is(tenant_id, webhook_id), sa.not_(webhooks.c.is_enabled))
        statement = statement.where(sa.exists().where(is_disabled))
    connection.execute(statement)


def delete(connection: Connection, tenant_id: int, webhook_id: UUID) -> None:
    """Delete a destination; raise NotFound.

    No attempt begins once this is committed. The deliverer marks its pending deliveries exhausted
    (`deliveries.exhaust_orphans`), in portions: there may be millions.
    """
    _forget_health(connection, tenant_id, webhook_id, only_disabled=False)
    if not connection.execute(sa.delete(webhooks).where(_is(tenant_id, webhook_id))).rowcount:
        raise NotFound(str(webhook_id))


def destination_filters(
    connection: Connection, tenant_ids: Sequence[int]
) -> list[DestinationFilter]:
    """The filters of some tenants' enabled destinations."""
    rows = connection.execute(
        sa.select(
            webhooks.c.tenant_id,
            webhooks.c.id,
            webhooks.c.event_types,
            webhooks.c.streak_codes,
            webhooks.c.is_ordered,
        )
        .where(webhooks.c.tenant_id.in_(tenant_ids), webhooks.c.is_enabled)
        .order_by(webhooks.c.tenant_id, webhooks.c.id)
    )
    return [DestinationFilter(*row) for row in rows]


def _is(tenant_id: int, webhook_id: UUID) -> sa.ColumnElement[bool]:
    return sa.and_(webhooks.c.tenant_id == tenant_id, webhooks.c.id == webhook_id)


def _webhook(row: Any) -> Webhook:
    return Webhook(**row._mapping)
