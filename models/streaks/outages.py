"""Outages: spans whose periods are protected for every participant (contract §7.3).

No row of a participant is written, whatever their number: each definition carries the spans that
concern it, and its states are walked again when they are next read or written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from models import clock, ids
from models.db import Connection, metadata, paged
from models.errors import NotFound
from models.rules.streaks import Ranges, add_range
from models.streaks import states
from models.streaks.states import Streak

table = sa.Table(
    "outages",
    metadata,
    sa.Column("tenant_id", sa.Integer, primary_key=True),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("streak_ids", ARRAY(sa.Integer)),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
)


@dataclass(frozen=True, slots=True)
class Outage:
    """One outage; it ends before `ends_at`."""

    id: UUID
    starts_at: datetime
    ends_at: datetime
    streak_ids: Sequence[int] | None  # None: every streak
    reason: str
    created_at: datetime

    def concerns(self, streak_id: int) -> bool:
        """Whether it protects the periods of a streak."""
        return self.streak_ids is None or streak_id in self.streak_ids


def _outage(row: Any) -> Outage:
    return Outage(row.id, row.starts_at, row.ends_at, row.streak_ids, row.reason, row.created_at)


def count(connection: Connection, tenant_id: int) -> int:
    """How many outages a tenant has."""
    statement = sa.select(sa.func.count()).where(table.c.tenant_id == tenant_id)
    return int(connection.execute(statement).scalar_one())


def add(connection: Connection, tenant_id: int, values: Mapping[str, Any]) -> Outage:
    """Add an outage; the definitions that it concerns change with it."""
    now = clock.now()
    key = {"tenant_id": tenant_id, "id": ids.uuid7(clock.to_us(now)), "created_at": now}
    statement = sa.insert(table).values({**values, **key}).returning(table)
    added = _outage(connection.execute(statement).one())
    _revise(connection, tenant_id, added)
    return added


def find(connection: Connection, tenant_id: int, outage_id: UUID) -> Outage:
    """The outage of an id; raise NotFound when the tenant has none."""
    statement = _mine(tenant_id).where(table.c.id == outage_id)
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise NotFound(str(outage_id))
    return _outage(row)


def remove(connection: Connection, tenant_id: int, outage: Outage) -> None:
    """Remove an outage: its periods are missed again where no tick recorded them."""
    connection.execute(
        sa.delete(table).where(table.c.tenant_id == tenant_id, table.c.id == outage.id)
    )
    _revise(connection, tenant_id, outage)


def page(
    connection: Connection, tenant_id: int, window: tuple[int, int]
) -> tuple[list[Outage], int]:
    """A page (limit, offset) of a tenant's outages, newest first, and how many there are."""
    order = (table.c.starts_at.desc(), table.c.id.desc())
    rows, total = paged(connection, _mine(tenant_id), order, window)
    return [_outage(row) for row in rows], total


def _mine(tenant_id: int) -> sa.Select[Any]:
    return sa.select(table).where(table.c.tenant_id == tenant_id)


def _revise(connection: Connection, tenant_id: int, changed: Outage) -> None:
    """Give the definitions that an outage concerns the spans of all of theirs."""
    every = [_outage(row) for row in connection.execute(_mine(tenant_id))]
    for streak in states.definitions.all_of(connection, tenant_id):
        if changed.concerns(streak.id):
            _set_spans(connection, streak, spans_of(every, streak.id))


def _set_spans(connection: Connection, streak: Streak, spans: Ranges) -> None:
    if spans != streak.outages:
        states.definitions.revise(connection, streak, {"outages": spans or None})


def spans_of(outages: Sequence[Outage], streak_id: int) -> Ranges:
    """The merged spans (microseconds) of the outages that concern a streak."""
    spans: Ranges = ()
    for outage in outages:
        if outage.concerns(streak_id):
            starts_us, ends_us = clock.to_us(outage.starts_at), clock.to_us(outage.ends_at)
            spans = add_range(spans, starts_us, ends_us)
    return spans


def of_every_streak(connection: Connection, tenant_id: int) -> Ranges | None:
    """The spans that a new definition begins with; None without any."""
    rows = connection.execute(_mine(tenant_id).where(table.c.streak_ids.is_(None)))
    return spans_of([_outage(row) for row in rows], 0) or None
