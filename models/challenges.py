"""Challenges: the definitions, and how far each participant is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from models.db import Session, metadata
from models.rules.challenges import Objective

challenges = sa.Table(
    "challenges",
    metadata,
    sa.Column("tenant_id", sa.Integer, primary_key=True),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("objective", sa.JSON, nullable=False),
    sa.Column("target", sa.BigInteger, nullable=False),
    sa.Column("points", sa.Integer),
    sa.Column("badge_code", sa.Text),
    sa.Column("starts_at", sa.DateTime(timezone=True)),
    sa.Column("ends_at", sa.DateTime(timezone=True)),
    sa.Column("is_active", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
)


@dataclass(frozen=True, slots=True)
class Challenge:
    """A challenge definition (contract §6)."""

    tenant_id: int
    id: UUID
    code: str
    name: str
    description: str | None
    objective: Objective
    target: int
    points: int | None  # what completing it gives, beside the badge
    badge_code: str | None
    starts_at: datetime | None
    ends_at: datetime | None
    is_active: bool
    created_at: datetime
    updated_at: datetime

    def is_open_at(self, instant: datetime) -> bool:
        """Whether what happens at an instant counts."""
        return (self.starts_at is None or self.starts_at <= instant) and (
            self.ends_at is None or instant < self.ends_at
        )


# -- definitions -----------------------------------------------------------------------------


def all_of(session: Session, tenant_id: int) -> list[Challenge]:
    """Every definition of a tenant, inactive ones included, by code."""
    rows = session.execute(
        sa.select(challenges).where(challenges.c.tenant_id == tenant_id).order_by(challenges.c.code)
    )
    return [_challenge(row) for row in rows]


def _challenge(row: Any) -> Challenge:
    values = row._asdict()
    return Challenge(**values | {"objective": Objective.of(values["objective"])})
