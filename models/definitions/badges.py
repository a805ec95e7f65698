"""Badges: the definitions, and the badges of a participant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa

from models.db import Connection, array, run
from models.definitions.base import CodedDefinition, Definitions, definition_table, of_columns
from models.identity.participants import ID_OF_PLAIN

Rarity = Literal["common", "uncommon", "rare", "epic", "legendary"]

badges = definition_table(
    "badges",
    sa.Column("icon_url", sa.Text),
    sa.Column("badge_color", sa.Text),
    sa.Column("rarity", sa.Text, nullable=False),
    sa.Column("category", sa.Text),
    sa.Column("is_hidden", sa.Boolean, nullable=False),
    sa.Column("display_order", sa.Integer, nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Badge(CodedDefinition):
    """A badge definition (seed 001)."""

    icon_url: str | None
    badge_color: str | None
    rarity: Rarity
    category: str | None
    is_hidden: bool
    display_order: int


# -- definitions -----------------------------------------------------------------------------


definitions = Definitions(badges, of_columns(Badge), (badges.c.display_order, badges.c.code))


def hold_active(connection: Connection, tenant_id: int, codes: Iterable[str]) -> set[str]:
    """The active badges among some codes; they stay active until this transaction ends.

    A shared lock: a later deactivation waits for this transaction, and an earlier one is seen once
    it is committed.
    """
    wanted = sorted(set(codes))
    if not wanted:
        return set()
    statement = (
        sa.select(badges.c.code)
        .where(badges.c.tenant_id == tenant_id, badges.c.code.in_(wanted), badges.c.is_active)
        .order_by(badges.c.id)
        .with_for_update(read=True)
    )
    return set(connection.execute(statement).scalars())


# -- one participant's -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EarnedBadge:
    """A badge as one participant sees it."""

    code: str
    name: str
    description: str | None
    icon_url: str | None
    rarity: Rarity
    category: str | None
    earned_at: datetime | None  # None: not earned


_OF_PARTICIPANT = f"""
    SELECT b.code, b.name, b.description, b.icon_url, b.rarity, b.category, e.earned_at
    FROM badges b
    LEFT JOIN participant_badges e ON e.tenant_id = b.tenant_id AND e.badge_id = b.id
      AND e.participant_id = {ID_OF_PLAIN}
    WHERE b.tenant_id = %(tenant_id)s
      AND (e.earned_at IS NOT NULL OR (b.is_active AND NOT b.is_hidden AND NOT %(earned_only)s))
      AND (%(any_code)s OR b.code = ANY(CAST(%(codes)s AS text[])))
    ORDER BY b.display_order, b.code
    """  # noqa: S608 - a constant


def of_participant(
    connection: Connection, key: tuple[int, str], codes: Sequence[str] | None, *, earned_only: bool
) -> list[EarnedBadge]:
    """The badges of a participant (tenant, external id) in display order; of some codes only,
    unless None.

    These are the earned badges and, unless `earned_only`, the active definitions that are not
    hidden. An unknown participant has earned nothing.
    """
    tenant_id, external_id = key
    values = {
        "tenant_id": tenant_id,
        "external_id": external_id,
        "earned_only": earned_only,
        "any_code": codes is None,
        "codes": array(codes or ()),
    }
    return [EarnedBadge(*row) for row in run(connection, _OF_PARTICIPANT, values)]
