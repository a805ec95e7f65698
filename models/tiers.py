"""Tiers: the definitions, who is in which, and how they came there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa

from models.db import Session, metadata

AwardType = Literal["automatic", "manual"]

tiers = sa.Table(
    "tiers",
    metadata,
    sa.Column("tenant_id", sa.Integer, primary_key=True),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("level", sa.Integer, nullable=False),
    sa.Column("color", sa.Text),
    sa.Column("min_points", sa.BigInteger),
    sa.Column("award_type", sa.Text, nullable=False),
    sa.Column("is_active", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
)


@dataclass(frozen=True, slots=True)
class Tier:
    """A tier definition (contract §6)."""

    tenant_id: int
    id: UUID
    code: str
    name: str
    description: str | None
    level: int
    color: str | None
    min_points: int | None  # ever earned; None: never reached by points
    award_type: AwardType
    is_active: bool
    created_at: datetime
    updated_at: datetime


# -- definitions -----------------------------------------------------------------------------


def all_of(session: Session, tenant_id: int) -> list[Tier]:
    """Every definition of a tenant, inactive ones included, lowest level first."""
    rows = session.execute(
        sa.select(tiers).where(tiers.c.tenant_id == tenant_id).order_by(tiers.c.level, tiers.c.code)
    )
    return [_tier(row) for row in rows]


def _tier(row: Any) -> Tier:
    return Tier(*row)
