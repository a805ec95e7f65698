"""The OpenAPI document as tests use it: every operation, its example, and a world it works in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.app import create_app
from api.cli.commands.openapi import NOWHERE
from api.openapi.document import document
from models.db import transaction
from models.identity import tenants
from models.ledgers import dead_letters
from models.ledgers.dead_letters import DeadLetter
from tests.calls import noon, post_json
from tests.conftest import BASE, Account
from tests.integration.batches import award
from tests.pipeline import Pipeline
from workers.intake.messages import encode

APP = create_app(NOWHERE)  # answers what needs no server: its own description
DOCUMENT: dict[str, Any] = document(APP)
# What the other examples speak of, in the order in which it is made.
MAKERS = (
    "create_program", "create_badge", "create_calendar", "create_streak", "create_participant",
    "create_outage", "create_webhook", "create_tier", "create_reward", "create_challenge",
    "create_leaderboard",
)  # fmt: skip


@dataclass(frozen=True)
class Documented:
    """One operation of the document."""

    method: str
    path: str
    operation: dict[str, Any]

    @property
    def name(self) -> str:
        """Its `operationId`."""
        return str(self.operation["operationId"])

    @property
    def label(self) -> str:
        """As it is said in reports."""
        return f"{self.method} {self.path}"

    def send(self, client: FlaskClient, values: dict[str, str]) -> TestResponse:
        """Send the documented example, with these values in the path and the required query."""
        path, query = self.path, {}
        for one in self.operation.get("parameters", []):
            value = values.get(one["name"], one.get("example", ""))
            if one["in"] == "path":
                path = path.replace("{" + one["name"] + "}", value)
            elif one["in"] == "query" and one["required"]:
                query[one["name"]] = value
        content = self.operation.get("requestBody", {}).get("content", {})
        kind = next(iter(content), None)
        body = content[kind]["example"] if kind else None
        if kind == "application/json":
            body = json.dumps(body)
        return client.open(
            path, method=self.method, query_string=query, data=body, content_type=kind
        )


OPERATIONS = [
    Documented(method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
BY_NAME = {one.name: one for one in OPERATIONS}


def stores_nothing(one: Documented) -> bool:
    """Whether it leaves no trace when it succeeds; an export writes an audit entry."""
    return one.method == "GET" and not one.path.endswith("/export")


@dataclass(frozen=True)
class Scene:
    """A tenant in which every documented example works."""

    client: FlaskClient
    account: Account
    values: dict[str, str]  # of paths

    @property
    def key(self) -> str:
        """Its live admin key."""
        return self.account.keys["live"]


def make_world(client: FlaskClient, pipeline: Pipeline) -> dict[str, str]:
    """Make what the examples speak of, by sending examples; return the values of paths."""
    made = {name: _created(BY_NAME[name].send(client, {})) for name in MAKERS}
    tick = _created(BY_NAME["record"].send(client, {}), 202)
    award = _created(BY_NAME["award"].send(client, {}), 202)
    moved = _created(BY_NAME["award_points"].send(client, {}), 202)
    reward_id = made["create_reward"]["id"]
    claim = _created(BY_NAME["claim_reward"].send(client, {"reward_id": reward_id}), 202)
    assigned = _created(BY_NAME["assign_tier"].send(client, {}), 202)
    earlier = _repaired(client, made, pipeline)
    webhook_id = made["create_webhook"]["id"]
    facts = client.get("/api/v1/gamify/facts?types=behavior.*").get_json()["items"]
    replay = _created(BY_NAME["create_replay"].send(client, {"webhook_id": webhook_id}), 202)
    return {
        "participant_id": made["create_participant"]["participant_id"],
        "code": made["create_streak"]["code"],
        "calendar_code": made["create_calendar"]["code"],
        "outage_id": made["create_outage"]["id"],
        "badge_id": made["create_badge"]["id"],
        "program_id": made["create_program"]["id"],
        "webhook_id": webhook_id,
        "tick_id": tick["tick_id"],
        "award_id": award["award_id"],
        "tier_id": made["create_tier"]["id"],
        "reward_id": reward_id,
        "challenge_id": made["create_challenge"]["id"],
        "leaderboard_id": made["create_leaderboard"]["id"],
        "leaderboard_code": made["create_leaderboard"]["code"],
        "transaction_id": moved["transaction_id"],
        "claim_id": claim["claim_id"],
        "assignment_id": assigned["assignment_id"],
        "fact_id": facts[0]["id"],
        "replay_id": replay["id"],
        **earlier,
        "dead_letter_id": _dead_letter(client, pipeline, made["create_badge"]["id"]),
    }


def _repaired(
    client: FlaskClient, made: dict[str, dict[str, Any]], pipeline: Pipeline
) -> dict[str, str]:
    """A streak with a gap whose freezes are sold, a participant who can pay, and a pause."""
    who, code = made["create_participant"]["participant_id"], made["create_streak"]["code"]
    _created(client.post(f"{BASE}/participants", json={"participant_id": "guest_7f3a"}))
    sold = client.patch(f"{BASE}/streaks/{code}", json={"freezes": {"max": 5, "price_points": 10}})
    assert sold.status_code == 200, sold.text
    tick = {"participant_id": who, "streak_code": code, "timestamp": noon(9)}
    points = {"participant_id": who, "amount": 50}
    pause = {"from": "2026-06-01", "to": "2026-06-02"}
    for path, body in (("streaks/record", tick), ("points/award", points)):
        _created(post_json(client, f"{BASE}/{path}", body), 202)
    paused = _created(post_json(client, f"{BASE}/participants/{who}/pauses", pause), 202)
    pipeline.drain()
    change_id = paused["streak_change_id"]
    counted = {"participant_ids": [who], "is_preview": True}
    restore = _created(post_json(client, f"{BASE}/streaks/{code}/restore", counted), 202)
    lost = {"periods": ["2026-05-23"], "as": "recorded"}  # the batch of retractions speaks of it
    _created(post_json(client, f"{BASE}/participants/user_42/streaks/{code}/repair", lost), 202)
    pipeline.drain()
    return {
        "restore_id": restore["id"],
        "streak_change_id": change_id,
        "pause_id": change_id,
        "period_key": noon(9)[:10],
    }


def _dead_letter(client: FlaskClient, pipeline: Pipeline, badge_id: str) -> str:
    """An award that nobody could apply, and that can be applied by now."""
    with transaction(pipeline.engine) as session:
        key = tenants.find_key(session, client.environ_base["HTTP_X_API_KEY"])
        assert key is not None
        lost = award(key.tenant_id, badge_id, "user_123")
        text = encode(lost).decode()
        told = (lost.participant_id, text, "UnknownDefinition: its badge was not there", 5)
        dead_letters.append(session, DeadLetter(lost.tenant_id, UUID(lost.id), "award", *told))
    return lost.id


def _created(response: TestResponse, status: int = 201) -> dict[str, Any]:
    assert response.status_code == status, response.text
    return dict(response.get_json())
