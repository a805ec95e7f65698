"""What the tests of points, tiers, rewards and challenges say often."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models import clock, ids
from models.db import Engine, reading
from settings import Settings
from tests.calls import another_app, client_of, draining, post_json
from tests.conftest import BASE, Account
from tests.integration.batches import replace_message
from tests.pipeline import Pipeline
from workers.intake.messages import PointsV1, RedemptionV1

WAIT = {"Prefer": "wait=10"}
ASYNC = {"Prefer": "respond-async"}
MOVED = ["transaction_id", "participant_id", "amount", "new_balance", "tier_upgrade"]


@contextmanager
def waiting(settings: Settings, account: Account, pipeline: Pipeline) -> Iterator[FlaskClient]:
    """A client that waits for a drain which runs beside the block."""
    with another_app(settings, wait_seconds=10.0) as app, draining(pipeline):
        yield client_of(app, account.keys["live"])


def award_points(
    client: FlaskClient,
    amount: Any = 100,
    participant_id: Any = "user_123",
    headers: dict[str, str] | None = None,
    **values: Any,
) -> TestResponse:
    """POST /points/award."""
    body = {"participant_id": participant_id, "amount": amount} | values
    return post_json(client, f"{BASE}/points/award", body, headers)


def deduct_points(
    client: FlaskClient,
    amount: Any = 50,
    participant_id: Any = "user_123",
    headers: dict[str, str] | None = None,
    **values: Any,
) -> TestResponse:
    """POST /points/deduct."""
    body = {"participant_id": participant_id, "amount": amount} | values
    return post_json(client, f"{BASE}/points/deduct", body, headers)


def claim(
    client: FlaskClient,
    reward_id: str,
    participant_id: Any = "user_123",
    headers: dict[str, str] | None = None,
    **values: Any,
) -> TestResponse:
    """POST /rewards/{id}/claim."""
    body = {"participant_id": participant_id} | values
    return post_json(client, f"{BASE}/rewards/{reward_id}/claim", body, headers)


def assign(
    client: FlaskClient,
    tier_code: Any,
    participant_id: Any = "user_123",
    headers: dict[str, str] | None = None,
    **values: Any,
) -> TestResponse:
    """POST /tiers/assign."""
    body = {"participant_id": participant_id, "tier_code": tier_code} | values
    return post_json(client, f"{BASE}/tiers/assign", body, headers)


def make_tier(
    client: FlaskClient, code: str, level: int, min_points: int | None = None, **values: Any
) -> dict[str, Any]:
    """Create a tier: automatic with a threshold, by hand without."""
    criteria = {"criteria_config": {"min_points": min_points}} if min_points is not None else {}
    kind = {} if min_points is not None else {"award_type": "manual"}
    body = {"code": code, "name": code.title(), "level": level} | criteria | kind | values
    return _made(client, "tiers", body)


def make_reward(client: FlaskClient, code: str = "coupon", **values: Any) -> dict[str, Any]:
    """Create a reward."""
    return _made(client, "rewards", {"code": code, "name": code.title()} | values)


def make_challenge(
    client: FlaskClient, objective: dict[str, Any], target: int, code: str = "goal", **values: Any
) -> dict[str, Any]:
    """Create a challenge."""
    body = {"code": code, "name": code.title(), "objective": objective, "target": target}
    return _made(client, "challenges", body | values)


def _made(client: FlaskClient, nouns: str, body: dict[str, Any]) -> dict[str, Any]:
    response = client.post(f"{BASE}/admin/{nouns}", json=body)
    assert response.status_code == 201, response.text
    return dict(response.get_json())


def of_participant(
    client: FlaskClient, rest: str, participant_id: str = "user_123"
) -> dict[str, Any]:
    """What a path below a participant answers."""
    response = client.get(f"{BASE}/participants/{participant_id}/{rest}")
    assert response.status_code == 200, response.text
    return dict(response.get_json())


def moved(tenant_id: int, amount: int, participant: str = "user_123", **values: Any) -> PointsV1:
    """An award or deduction of now, with a fresh id."""
    plain = PointsV1(tenant_id, str(ids.uuid7(clock.now_us())), participant, amount)
    return replace_message(plain, **values)


def claimed(
    tenant_id: int, reward_id: str, participant: str = "user_123", **values: Any
) -> RedemptionV1:
    """A claim of now, with a fresh id."""
    plain = RedemptionV1(tenant_id, str(ids.uuid7(clock.now_us())), participant, reward_id)
    return replace_message(plain, **values)


# -- what is true ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Movement:
    """A row of the ledger."""

    id: str
    who: str
    debit: str
    credit: str
    amount: int
    balance_after: int


def ledger(engine: Engine, tenant_id: int) -> list[Movement]:
    """A tenant's movements in the order of their ids."""
    statement = """SELECT t.id::text, p.external_id, debit, credit, amount, balance_after
        FROM point_transactions t
        JOIN participants p ON p.tenant_id = t.tenant_id AND p.id = t.participant_id
        WHERE t.tenant_id = :tenant_id ORDER BY t.id"""
    with reading(engine) as session:
        rows = session.execute(sa.text(statement), {"tenant_id": tenant_id})
        return [Movement(*row) for row in rows]


def balances(engine: Engine, tenant_id: int) -> dict[str, tuple[int, int]]:
    """What stands beside each participant: earned, spent."""
    statement = """SELECT external_id, points_earned, points_spent FROM participants
        WHERE tenant_id = :tenant_id"""
    with reading(engine) as session:
        rows = session.execute(sa.text(statement), {"tenant_id": tenant_id})
        return {row[0]: (row[1], row[2]) for row in rows}


def assert_the_books_balance(engine: Engine, tenant_id: int) -> None:
    """Every balance is the sum of its rows, nothing is below zero, and what one account lost the
    others gained."""
    sums: dict[str, tuple[int, int]] = dict.fromkeys(balances(engine, tenant_id), (0, 0))
    accounts: dict[str, int] = {}
    for one in ledger(engine, tenant_id):
        assert one.amount > 0
        assert one.balance_after >= 0
        assert (one.debit == "available") != (one.credit == "available")
        accounts[one.debit] = accounts.get(one.debit, 0) - one.amount
        accounts[one.credit] = accounts.get(one.credit, 0) + one.amount
        earned, spent = sums[one.who]
        if one.credit == "available":
            sums[one.who] = (earned + one.amount, spent)
        else:
            sums[one.who] = (earned, spent + one.amount)
    assert balances(engine, tenant_id) == sums
    assert sum(accounts.values()) == 0
    assert accounts.get("available", 0) == sum(earned - spent for earned, spent in sums.values())


def facts_of(engine: Engine, tenant_id: int) -> list[dict[str, Any]]:
    """A tenant's facts in the order of their participants' sequences."""
    statement = """SELECT CAST(body AS json) FROM facts WHERE tenant_id = :tenant_id
        ORDER BY participant_id, sequence"""
    with reading(engine) as session:
        return list(session.execute(sa.text(statement), {"tenant_id": tenant_id}).scalars())
