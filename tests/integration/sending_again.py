"""What the tests of resending and of replays say often."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask.testing import FlaskClient

from tests.conftest import BASE
from tests.integration.world import World
from webhooks.facts import Fact, public_id

NOBODY = "01920000-0000-7000-8000-000000000000"
NO_FACT = "evt_01920000000070008000000000000000"
LONG_AGO = {"since": "2020-01-01T00:00:00Z"}


def path(webhook_id: UUID | str, rest: str = "replays") -> str:
    return f"{BASE}/admin/webhooks/{webhook_id}/{rest}"


def resend(client: FlaskClient, webhook_id: UUID, fact: Fact) -> dict[str, Any]:
    response = client.post(path(webhook_id, f"deliveries/{public_id(fact.id)}/resend"))
    assert response.status_code == 202, response.text
    return dict(response.get_json())


def replay(client: FlaskClient, webhook_id: UUID, **body: Any) -> dict[str, Any]:
    response = client.post(path(webhook_id), json=LONG_AGO | body)
    assert response.status_code == 202, response.text
    return dict(response.get_json())


def now_of(client: FlaskClient, made: dict[str, Any]) -> dict[str, Any]:
    return dict(client.get(path(made["webhook_id"], f"replays/{made['id']}")).get_json())


def due(world: World, webhook_id: UUID) -> list[UUID]:
    """The facts that are pending for a destination."""
    rows = [row for row in world.rows() if row.webhook_id == webhook_id]
    assert len({row.fact_id for row in rows}) == len(rows)  # one row a fact, whatever its status
    return [row.fact_id for row in rows if row.status == "pending"]


def ids_of(published: list[Fact]) -> list[UUID]:
    return sorted(fact.id for fact in published)
