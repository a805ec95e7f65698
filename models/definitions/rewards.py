"""Rewards: the definitions, and their stock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from models import clock
from models.db import Connection, RefusedData, array, change, paged, pairs, run
from models.definitions.base import CodedDefinition, Definitions, definition_table, of_columns
from models.errors import OutOfStock
from models.rules.windows import is_open

rewards = definition_table(
    "rewards",
    sa.Column("image_url", sa.Text),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("points_cost", sa.BigInteger, nullable=False),
    sa.Column("max_claims_per_user", sa.Integer),
    sa.Column("starts_at", sa.DateTime(timezone=True)),
    sa.Column("ends_at", sa.DateTime(timezone=True)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward(CodedDefinition):
    """A reward definition (contract §6); its stock is a separate row."""

    image_url: str | None
    type: str
    points_cost: int
    max_claims_per_user: int | None  # None: no limit
    starts_at: datetime | None
    ends_at: datetime | None

    def is_open_at(self, instant: datetime) -> bool:
        """Whether an instant is in the window for redemptions."""
        return is_open(self.starts_at, self.ends_at, instant)


# -- definitions -----------------------------------------------------------------------------


definitions = Definitions(rewards, of_columns(Reward), (rewards.c.code,))


# -- stock -----------------------------------------------------------------------------------

StockKey = tuple[int, str]  # tenant, reward: the order in which stocks are locked


@dataclass(slots=True)
class Stock:
    """How many of a reward there are in total, and how many were redeemed."""

    stock: int | None  # None: unlimited
    claimed: int

    @property
    def left(self) -> int | None:
        """How many are left; None: unlimited."""
        return None if self.stock is None else self.stock - self.claimed

    @property
    def is_left(self) -> bool:
        """Whether at least one is left."""
        return self.stock is None or self.claimed < self.stock


def stocks(connection: Connection, tenant_id: int, reward_ids: Iterable[UUID]) -> dict[UUID, Stock]:
    """The stocks of some of a tenant's rewards."""
    rows = connection.execute(
        sa.text(
            "SELECT reward_id, stock, claimed FROM reward_stock"
            " WHERE tenant_id = :tenant_id AND reward_id = ANY(CAST(:ids AS uuid[]))"
        ),
        {"tenant_id": tenant_id, "ids": list(reward_ids)},
    )
    return {row.reward_id: Stock(row.stock, row.claimed) for row in rows}


def set_stock(connection: Connection, tenant_id: int, reward_id: UUID, stock: int | None) -> None:
    """Set the total; raise OutOfStock when more than that were redeemed. It waits for redemptions
    under way: the row is their lock."""
    statement = sa.text(
        "INSERT INTO reward_stock (tenant_id, reward_id, stock)"
        " VALUES (:tenant_id, :reward_id, :stock)"
        " ON CONFLICT (tenant_id, reward_id) DO UPDATE SET stock = EXCLUDED.stock"
    )
    values = {"tenant_id": tenant_id, "reward_id": reward_id, "stock": stock}
    try:
        connection.execute(statement, values)
    except RefusedData as error:
        raise OutOfStock(str(reward_id)) from error


def open_now(
    connection: Connection, tenant_id: int, kind: str | None, window: tuple[int, int]
) -> tuple[list[Reward], int]:
    """A page (limit, offset) of the rewards that can be redeemed now, by code, and how many there
    are; of one type only, unless None."""
    now, c = clock.now(), rewards.c
    mine = sa.select(rewards).where(
        c.tenant_id == tenant_id,
        c.is_active,
        sa.or_(c.starts_at.is_(None), c.starts_at <= now),
        sa.or_(c.ends_at.is_(None), c.ends_at > now),
    )
    if kind is not None:
        mine = mine.where(c.type == kind)
    rows, total = paged(connection, mine, (c.code,), window)
    return [definitions.make(row) for row in rows], total


def lock_stocks(connection: Connection, keys: Iterable[StockKey]) -> dict[StockKey, Stock]:
    """Lock the stocks of some rewards in key order, after their participants' rows."""
    rows = run(
        connection,
        """
        SELECT s.tenant_id, s.reward_id::text, s.stock, s.claimed
        FROM unnest(CAST(%(tenants)s AS int[]), CAST(%(ids)s AS uuid[])) AS k (tenant_id, reward_id)
        JOIN reward_stock s USING (tenant_id, reward_id)
        ORDER BY s.tenant_id, s.reward_id FOR NO KEY UPDATE OF s
        """,
        pairs(sorted(keys)),
    )
    return {(row[0], row[1]): Stock(row[2], row[3]) for row in rows}


def write_stocks(connection: Connection, stocks: Mapping[StockKey, Stock]) -> None:
    """Write how many were redeemed. The database refuses more than the total."""
    tenants, rewards = zip(*stocks, strict=True)
    change(
        connection,
        """
        UPDATE reward_stock s SET claimed = k.claimed
        FROM unnest(CAST(%(tenants)s AS int[]), CAST(%(rewards)s AS uuid[]),
          CAST(%(claimed)s AS bigint[])) AS k (tenant_id, reward_id, claimed)
        WHERE s.tenant_id = k.tenant_id AND s.reward_id = k.reward_id
        """,
        {
            "tenants": array(tenants),
            "rewards": array(rewards),
            "claimed": array(stock.claimed for stock in stocks.values()),
        },
        len(stocks),
    )
