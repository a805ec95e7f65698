"""A tenant's side with its leaderboards and a follower of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from flask.testing import FlaskClient

from models.db import Engine, reading
from tests.conftest import BASE
from tests.integration.batches import post
from tests.integration.earning import moved
from tests.pipeline import Pipeline
from workers.maintenance.leaderboards import LeaderboardUpdater

PATH = f"{BASE}/admin/leaderboards"


@dataclass
class Place:
    """A tenant's side with its follower."""

    client: FlaskClient
    pipeline: Pipeline
    tenant_id: int
    engine: Engine

    def make(self, code: str = "board", **values: Any) -> dict[str, Any]:
        """Create a leaderboard: of points, unless a streak's."""
        body = {"code": code, "name": "Board", "metric": "points", "window_days": 30} | values
        response = self.client.post(PATH, json=body)
        assert response.status_code == 201, response.text
        return dict(response.get_json())

    def follow(self) -> int:
        """Let the followers catch up."""
        return LeaderboardUpdater(self.engine, 90).run(20)

    def points(self, **amounts: int) -> None:
        """Award points, and let the boards follow."""
        post(
            self.pipeline.client,
            [moved(self.tenant_id, amount, who) for who, amount in amounts.items()],
        )
        self.pipeline.drain()
        self.follow()

    def top(self, code: str = "board", query: str = "") -> list[tuple[int, str, int]]:
        """Rank, participant, score."""
        response = self.client.get(f"{BASE}/leaderboards/{code}{query}")
        assert response.status_code == 200, response.text
        return [
            (one["rank"], one["participant_id"], one["score"])
            for one in response.get_json()["entries"]
        ]

    def rank(self, who: str, code: str = "board") -> tuple[int | None, int, int]:
        """Rank, score, and how many there are."""
        response = self.client.get(f"{BASE}/leaderboards/{code}/rank/{who}")
        assert response.status_code == 200, response.text
        body = response.get_json()
        return body["rank"], body["score"], body["total_participants"]

    def assert_counts_are_right(self) -> None:
        """The counts are those of the entries, on every level."""
        statement = """
            SELECT leaderboard_id, level, score >> (8 * level) AS prefix, count(*)
            FROM leaderboard_entries, generate_series(0, 4) level WHERE tenant_id = :id
            GROUP BY 1, 2, 3
            EXCEPT SELECT leaderboard_id, level, prefix, count FROM leaderboard_counts
            WHERE tenant_id = :id
        """
        whole = """SELECT COALESCE(sum(count), 0) FROM leaderboard_counts
            WHERE tenant_id = :id AND level = 0"""
        with reading(self.engine) as session:
            values = {"id": self.tenant_id}
            assert list(session.execute(sa.text(statement), values)) == []
            total = session.execute(sa.text(whole), values).scalar_one()
            entries = session.execute(
                sa.text("SELECT count(*) FROM leaderboard_entries WHERE tenant_id = :id"), values
            ).scalar_one()
            assert total == entries
