"""Reviews: definitions whose every state has to be looked at again, since its deadlines moved.

A change of a definition may move millions of deadlines. It only asks for a review; upkeep walks the
states in portions, and a process that takes over goes on behind the last one.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from models.db import Connection


@dataclass(frozen=True, slots=True)
class Review:
    """How far the states of one definition have been walked."""

    tenant_id: int
    streak_id: int
    version: int  # counts up with each time it is asked for: then it begins anew
    position: int  # the last participant looked at; 0 is before the first


_ASK = sa.text("""
INSERT INTO streak_reviews AS r (tenant_id, streak_id) VALUES (:tenant_id, :streak_id)
ON CONFLICT (tenant_id, streak_id) DO UPDATE SET version = r.version + 1, position = 0
""")


def ask(connection: Connection, tenant_id: int, streak_id: int) -> None:
    """Have every state of a definition looked at, from the first one on."""
    connection.execute(_ASK, {"tenant_id": tenant_id, "streak_id": streak_id})


def some(connection: Connection) -> Review | None:
    """One of the reviews that are under way, of any tenant."""
    row = connection.execute(
        sa.text(
            "SELECT tenant_id, streak_id, version, position FROM streak_reviews"
            " ORDER BY position, tenant_id, streak_id LIMIT 1"
        )
    ).one_or_none()
    return None if row is None else Review(*row)


def go_on(connection: Connection, review: Review, position: int | None) -> None:
    """Note how far a review has come; None: it has come to the end.

    Nothing happens when it was asked for again meanwhile, or somebody else was faster: a state
    that is looked at twice is told of once.
    """
    change = "DELETE FROM streak_reviews"
    if position is not None:
        change = "UPDATE streak_reviews SET position = :position"
    connection.execute(
        sa.text(
            f"{change} WHERE tenant_id = :tenant_id AND streak_id = :streak_id"
            " AND version = :version AND position = :seen"
        ),
        {
            "tenant_id": review.tenant_id,
            "streak_id": review.streak_id,
            "version": review.version,
            "seen": review.position,
            "position": position,
        },
    )
