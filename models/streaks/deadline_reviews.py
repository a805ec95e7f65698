"""Reviews: definitions whose states must all be checked again, since their deadlines moved.

A change of a definition may move millions of deadlines, so it only requests a review. Upkeep walks
the states in portions, and the next process continues after the last one.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from models.db import Connection


@dataclass(frozen=True, slots=True)
class Review:
    """The progress of the walk through one definition's states."""

    tenant_id: int
    streak_id: int
    version: int  # grows with each request: then it begins again
    position: int  # the last participant checked; 0 is before the first


_ASK = sa.text("""
INSERT INTO streak_reviews AS r (tenant_id, streak_id) VALUES (:tenant_id, :streak_id)
ON CONFLICT (tenant_id, streak_id) DO UPDATE SET version = r.version + 1, position = 0
""")


def ask(connection: Connection, tenant_id: int, streak_id: int) -> None:
    """Have every state of a definition checked, from the first one on."""
    connection.execute(_ASK, {"tenant_id": tenant_id, "streak_id": streak_id})


def some(connection: Connection) -> Review | None:
    """One of the running reviews, of any tenant."""
    row = connection.execute(
        sa.text(
            "SELECT tenant_id, streak_id, version, position FROM streak_reviews"
            " ORDER BY position, tenant_id, streak_id LIMIT 1"
        )
    ).one_or_none()
    return None if row is None else Review(*row)


def go_on(connection: Connection, review: Review, position: int | None) -> None:
    """Store a review's progress; None: it is complete.

    Does nothing when it was requested again meanwhile, or another process was faster: a state that
    is checked twice publishes its fact once.
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
