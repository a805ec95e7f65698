"""What the tests of profiles say often: a participant created, read, given a badge or a status."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from flask.testing import FlaskClient

from models.db import Engine, transaction
from tests.calls import post_json
from tests.conftest import BASE, Account

PEOPLE = f"{BASE}/participants"
PROFILE = [
    "participant_id", "display_name", "avatar_url", "attributes", "points", "tier", "badges",
    "streaks", "rewards_claimed", "first_seen_at", "last_seen_at", "total_events", "is_active",
    "created_at", "timezone",
]  # fmt: skip
STATE = ["participant_id", "points", "tier", "badges", "streaks", "challenges", "rewards"]


def url_of(participant_id: str, rest: str = "") -> str:
    return f"{PEOPLE}/{quote(participant_id, safe='')}{rest}"


def create(client: FlaskClient, participant_id: str = "user_42", **values: Any) -> dict[str, Any]:
    response = post_json(client, PEOPLE, {"participant_id": participant_id} | values)
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.get_json()
    assert list(body) == PROFILE
    assert body["participant_id"] == participant_id
    return body


def read(client: FlaskClient, participant_id: str = "user_42") -> dict[str, Any]:
    response = client.get(url_of(participant_id))
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.get_json()
    assert list(body) == PROFILE
    return body


def state(client: FlaskClient, participant_id: str = "user_42", query: str = "") -> dict[str, Any]:
    response = client.get(url_of(participant_id, "/state" + query))
    assert response.status_code == 200, response.text
    return dict(response.get_json())


def make_badge(client: FlaskClient, code: str, **values: Any) -> str:
    response = client.post(f"{BASE}/admin/badges", json={"code": code, "name": code} | values)
    assert response.status_code == 201, response.text
    return str(response.get_json()["id"])


def earn(engine: Engine, account: Account, *codes: str) -> None:
    """What applying an award writes."""
    with transaction(engine) as session:
        session.execute(
            sa.text(
                "INSERT INTO participant_badges SELECT p.tenant_id, p.id, b.id, b.id, now()"
                " FROM participants p JOIN badges b USING (tenant_id)"
                " WHERE p.tenant_id = :id AND b.code = ANY(:codes)"
            ),
            {"id": account.live.id, "codes": list(codes)},
        )


def set_status(engine: Engine, account: Account, status: str) -> None:
    with transaction(engine) as session:
        session.execute(
            sa.text(
                "UPDATE participants SET status = :status, inactive_since = now()"
                " WHERE tenant_id = :id"
            ),
            {"status": status, "id": account.live.id},
        )
