"""The example of Scrip's page on creating a participant, verbatim: same request, same answer."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

from models.db import Engine, transaction
from tests.calls import instant, problem
from tests.conftest import Account

PROGRAM_ID = "550e8400-e29b-41d4-a716-446655440000"
BODY = """
{
  "external_id": "user_abc123",
  "attributes": {
    "plan": "premium",
    "region": "us-east"
  },
  "program_id": "550e8400-e29b-41d4-a716-446655440000",
  "status": "ACTIVE",
  "tags": [
    "vip"
  ]
}
"""
# The page's answer; balances, counters and tiers are empty until something has filled them.
ANSWER = """{
  "attributes": {
    "plan": "premium",
    "region": "us-east"
  },
  "balances": [],
  "counters": {},
  "created_at": "2024-01-15T10:30:00Z",
  "external_id": "user_abc123",
  "id": "550e8400-e29b-41d4-a716-446655440000",
  "program_ids": [
    "550e8400-e29b-41d4-a716-446655440000"
  ],
  "status": "ACTIVE",
  "tags": [
    "vip"
  ],
  "tiers": {},
  "updated_at": "2024-01-15T10:30:00Z"
}"""

Send = Callable[..., TestResponse]


@pytest.fixture(params=["X-API-Key", "Authorization"])
def send(request: pytest.FixtureRequest, app: Flask, account: Account) -> Send:
    """POST /v1/participants as the page's curl command does, under either header."""

    def send(body: str) -> TestResponse:
        key = account.keys["live"]
        named = f"Bearer {key}" if request.param == "Authorization" else key
        headers = {"Content-Type": "application/json", request.param: named}
        return app.test_client().post("/v1/participants", headers=headers, data=body)

    return send


@pytest.fixture
def program(engine: Engine, account: Account) -> None:
    """The program of the example, under its own id."""
    with transaction(engine) as session:
        session.execute(
            sa.text("INSERT INTO programs (tenant_id, id, name) VALUES (:tenant, :id, 'Loyalty')"),
            {"tenant": account.live.id, "id": PROGRAM_ID},
        )


def documented(response: TestResponse) -> None:
    """The answer's keys and values, in their order, apart from its id and times."""
    expected, answer = json.loads(ANSWER), response.get_json()
    assert list(answer) == list(expected)
    for name in ("id", "created_at", "updated_at"):
        expected.pop(name)
    assert {name: answer[name] for name in expected} == expected
    assert str(uuid.UUID(answer["id"])) == answer["id"]
    assert instant(answer["created_at"]) <= instant(answer["updated_at"])


@pytest.mark.usefixtures("program")
def test_it_creates_a_participant_and_updates_one_that_exists(send: Send) -> None:
    created = send(BODY)
    assert created.status_code == 201
    documented(created)
    updated = send(BODY)
    assert updated.status_code == 200
    documented(updated)
    assert updated.get_json()["id"] == created.get_json()["id"]


def test_it_needs_a_program_that_there_is(send: Send) -> None:
    document = problem(send(BODY), 404, "program_not_found")
    assert document["detail"] == f"Program '{PROGRAM_ID}' not found"


def test_status_defaults_to_active(send: Send) -> None:
    answer: dict[str, Any] = send('{"external_id": "user_abc123"}').get_json()
    assert (answer["status"], answer["attributes"], answer["tags"]) == ("ACTIVE", {}, [])
