"""Leaderboards: the definitions, and reading ranks and scores.

A read costs the same with any number of entries: the top comes from an index, a rank from counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from models import clock
from models.db import Connection, array, run
from models.definitions.base import CodedDefinition, Definitions, definition_table, of_columns
from models.delivery import facts
from models.errors import NotFound, TooMany
from models.identity.participants import ID_OF_PLAIN
from models.rules.leaderboards import LEVELS, above
from models.rules.periods import DAY_US

Metric = Literal["streak", "points"]
ACTIVE_MAX = 20  # of one tenant: each reads every fact

leaderboards = definition_table(
    "leaderboards",
    sa.Column("metric", sa.Text, nullable=False),
    sa.Column("streak_code", sa.Text),
    sa.Column("window_days", sa.Integer, nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaderboard(CodedDefinition):
    """A leaderboard definition."""

    metric: Metric
    streak_code: str | None  # of a leaderboard of a streak
    window_days: int


class LeaderboardDefinitions(Definitions[Leaderboard]):
    """Leaderboards: an activated one is built."""

    def create(
        self, connection: Connection, tenant_id: int, values: Mapping[str, Any]
    ) -> Leaderboard:
        """Create a leaderboard, to be built; raise CodeTaken or TooMany."""
        _check_room(connection, tenant_id, values["is_active"])
        board = super().create(connection, tenant_id, values)
        start_over(connection, board)
        return board

    def revise(
        self, connection: Connection, before: Leaderboard, values: Mapping[str, Any]
    ) -> Leaderboard:
        """Change a definition; raise TooMany. One that is activated again is rebuilt."""
        resumes = bool(values.get("is_active")) and not before.is_active
        _check_room(connection, before.tenant_id, resumes)
        revised = super().revise(connection, before, values)
        if resumes:
            start_over(connection, revised)
        return revised


definitions = LeaderboardDefinitions(leaderboards, of_columns(Leaderboard), (leaderboards.c.code,))


def _check_room(connection: Connection, tenant_id: int, is_one_more: bool) -> None:
    """One at a time: the tenant's row is the lock."""
    if not is_one_more:
        return
    values = {"tenant_id": tenant_id}
    connection.execute(
        sa.text("SELECT FROM tenants WHERE id = :tenant_id FOR NO KEY UPDATE"), values
    )
    mine = sa.text("SELECT count(*) FROM leaderboards WHERE tenant_id = :tenant_id AND is_active")
    if connection.execute(mine, values).scalar_one() >= ACTIVE_MAX:
        raise TooMany(str(ACTIVE_MAX))


def start_over(connection: Connection, board: Leaderboard, revision: int = 0) -> None:
    """Have a leaderboard built from the current data, and updated by facts from now on."""
    cursor = facts.latest(connection, board.tenant_id)
    connection.execute(
        sa.text("""
            INSERT INTO leaderboard_progress (tenant_id, leaderboard_id, followed_xid, followed_id,
              followed_at, built_to, revision)
            VALUES (:tenant_id, :board_id, :xid, :fact_id, :now, 0, :revision)
            ON CONFLICT (tenant_id, leaderboard_id) DO UPDATE SET
              followed_xid = EXCLUDED.followed_xid, followed_id = EXCLUDED.followed_id,
              followed_at = EXCLUDED.followed_at, built_to = 0, revision = EXCLUDED.revision
        """),
        {
            "tenant_id": board.tenant_id,
            "board_id": board.id,
            "xid": cursor.xid,
            "fact_id": cursor.id,
            "now": clock.now(),
            "revision": revision,
        },
    )


def active(connection: Connection, tenant_id: int, code: str) -> Leaderboard:
    """The active leaderboard of a code; raise NotFound."""
    board = definitions.by_code(connection, tenant_id, code)
    if not board.is_active:
        raise NotFound(code)
    return board


# -- reading ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Followed:
    """The progress of a leaderboard."""

    at: datetime  # the instant up to which it is complete
    is_ready: bool  # whether it is built
    total: int  # participants with a score


def followed(connection: Connection, board: Leaderboard) -> Followed:
    """A leaderboard's progress, and its number of participants."""
    (row,) = run(
        connection,
        """
        SELECT g.followed_at, g.built_to IS NULL, (SELECT COALESCE(sum(c.count), 0)
          FROM leaderboard_counts c WHERE c.tenant_id = g.tenant_id
            AND c.leaderboard_id = g.leaderboard_id AND c.level = %(top)s)
        FROM leaderboard_progress g
        WHERE g.tenant_id = %(tenant_id)s AND g.leaderboard_id = %(board_id)s
        """,
        _of(board) | {"top": LEVELS - 1},
    )
    return Followed(row[0], row[1], int(row[2]))


@dataclass(frozen=True, slots=True)
class RankedEntry:
    """A participant's entry on a leaderboard."""

    external_id: str
    display_name: str | None
    avatar_url: str | None
    score: int


def top(connection: Connection, board: Leaderboard, limit: int) -> list[RankedEntry]:
    """The top entries; of equal scores the earliest first."""
    rows = run(
        connection,
        """
        SELECT p.external_id, p.display_name, p.avatar_url, e.score
        FROM leaderboard_entries e
        JOIN participants p ON p.tenant_id = e.tenant_id AND p.id = e.participant_id
        WHERE e.tenant_id = %(tenant_id)s AND e.leaderboard_id = %(board_id)s
        ORDER BY e.score DESC, e.reached_at, e.participant_id LIMIT %(limit)s
        """,
        _of(board) | {"limit": limit},
    )
    return [RankedEntry(*row) for row in rows]


def score_of(connection: Connection, board: Leaderboard, external_id: str) -> int:
    """A participant's score; 0 without an entry."""
    rows = run(
        connection,
        f"""
        SELECT score FROM leaderboard_entries
        WHERE tenant_id = %(tenant_id)s AND leaderboard_id = %(board_id)s
          AND participant_id = {ID_OF_PLAIN}
        """,  # noqa: S608 - a constant
        _of(board) | {"external_id": external_id},
    )
    return int(rows[0][0]) if rows else 0


def rank(connection: Connection, board: Leaderboard, score: int) -> int:
    """One more than the number of better entries: equal scores share a rank."""
    ranges = above(score)
    if not ranges:
        return 1
    levels, firsts, lasts = zip(*ranges, strict=True)
    ((better,),) = run(
        connection,
        """
        SELECT COALESCE(sum(c.count), 0) FROM unnest(CAST(%(levels)s AS smallint[]),
          CAST(%(firsts)s AS bigint[]), CAST(%(lasts)s AS bigint[])) AS k (level, first, last)
        JOIN leaderboard_counts c ON c.tenant_id = %(tenant_id)s
          AND c.leaderboard_id = %(board_id)s AND c.level = k.level
          AND c.prefix BETWEEN k.first AND k.last
        """,
        _of(board) | {"levels": array(levels), "firsts": array(firsts), "lasts": array(lasts)},
    )
    return int(better) + 1


def _of(board: Leaderboard) -> dict[str, Any]:
    return {"tenant_id": board.tenant_id, "board_id": str(board.id)}


def today(now: datetime | None = None) -> int:
    """The UTC day, in days since 1970."""
    return clock.to_us(now or clock.now()) // DAY_US
