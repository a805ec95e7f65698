"""Trying a destination out: one signed sample now, what came of it, and nothing left behind."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient

from models import ids
from models.db import Engine, reading
from models.delivery import destinations
from tests.calls import client_of, count, problem
from tests.conftest import BASE, Account
from tests.integration.world import SHORT, World, always
from tests.receiver import Answer, Receiver
from webhooks import facts, test_send
from webhooks.attempt import SendOptions

PATH = f"{BASE}/admin/webhooks"
OUTCOME = ["fact_id", "type", "delivered", "status_code", "error", "duration_ms", "response"]


def _create(client: FlaskClient, url: str, **more: Any) -> dict[str, Any]:
    response = client.post(PATH, json={"url": url, "event_types": ["badge.*"]} | more)
    assert response.status_code == 201, response.text
    return dict(response.json or {})


def _try(client: FlaskClient, created: dict[str, Any], **wish: Any) -> dict[str, Any]:
    response = client.post(f"{PATH}/{created['id']}/test", json=wish)
    assert response.status_code == 200, response.text
    outcome = dict(response.json or {})
    assert list(outcome) == OUTCOME
    return outcome


@pytest.mark.parametrize("kind", facts.TYPES)
def test_it_sends_one_signed_sample_of_any_type_and_keeps_nothing(
    client: FlaskClient, receiver: Receiver, account: Account, engine: Engine, kind: str
) -> None:
    created = _create(client, receiver.url)
    receiver.trust(created["secret"])
    outcome = _try(client, created, type=kind)
    (request,) = receiver.requests
    assert not receiver.invalid
    body = json.loads(request.body)
    assert (body["id"], body["type"]) == (request.id, kind)
    assert (body["tenant"], body["mode"]) == (account.slug, "live")
    assert outcome.pop("duration_ms") >= 0
    assert outcome == {
        "fact_id": request.id,
        "type": kind,
        "delivered": True,
        "status_code": 200,
        "error": None,
        "response": "ok",
    }
    for table in ("facts", "deliveries", "attempts"):
        assert count(engine, table, account.live) == 0


def test_without_a_type_it_sends_the_one_that_everybody_knows(
    client: FlaskClient, receiver: Receiver
) -> None:
    assert _try(client, _create(client, receiver.url))["type"] == "behavior.streak_recorded"


def test_a_disabled_destination_may_be_tried_and_stays_disabled(
    client: FlaskClient, receiver: Receiver
) -> None:
    created = _create(client, receiver.url, is_enabled=False)
    assert _try(client, created)["delivered"]
    found = client.get(f"{PATH}/{created['id']}").json or {}
    assert found.pop("pending") == 0
    assert {**found, "secret": created["secret"]} == created


@pytest.mark.parametrize("status", [302, 404, 410, 500])
def test_it_says_what_was_answered_once_and_follows_nothing(
    client: FlaskClient, receiver: Receiver, status: int
) -> None:
    created = _create(client, receiver.url)
    answer = Answer(status, b"x" * 5_000, {"Location": receiver.url, "webhook-delivery": "disable"})
    receiver.reply = always(answer)
    outcome = _try(client, created)
    assert (outcome["delivered"], outcome["status_code"], outcome["error"]) == (False, status, None)
    assert outcome["response"] == "x" * 2_048
    assert receiver.count == 1
    assert (client.get(f"{PATH}/{created['id']}").json or {})["is_enabled"] is True


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port at which nobody listens and nobody else will."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_it_says_that_nobody_is_there(client: FlaskClient, closed_port: int) -> None:
    outcome = _try(client, _create(client, f"http://127.0.0.1:{closed_port}/"))
    assert (outcome["delivered"], outcome["status_code"]) == (False, None)
    assert (outcome["error"], outcome["response"]) == ("unreachable", None)


def test_a_receiver_that_hangs_or_drips_does_not_hold_it_for_ever(
    world: World, receiver: Receiver, engine: Engine
) -> None:
    webhook_id, _ = world.subscribe(receiver.url)
    options = SendOptions(world.options.ring, world.options.policy, timeouts=SHORT)
    with reading(engine) as session:
        webhook = destinations.by_id(session, world.tenant.id, webhook_id)
    for answer in (Answer(hangs=True), Answer(drips=True)):
        receiver.reply = always(answer)
        assert test_send.send(options, webhook, ids.uuid7(0), "{}").error == "timeout"


def test_an_address_that_may_not_be_called_any_more_is_not_called(
    client: FlaskClient, world: World, receiver: Receiver
) -> None:
    created = _create(client, receiver.url)
    world.change(UUID(created["id"]), url="http://10.0.0.1/")
    assert _try(client, created)["error"] == "unreachable"
    assert receiver.count == 0


@pytest.mark.parametrize("kind", ["nope", "behavior.*", "*", "", 1, None])
def test_it_sends_only_types_that_there_are(
    client: FlaskClient, receiver: Receiver, kind: Any
) -> None:
    created = _create(client, receiver.url)
    refused = client.post(f"{PATH}/{created['id']}/test", json={"type": kind})
    problem(refused, 422, "validation_error", "type")
    assert receiver.count == 0


def test_no_more_than_four_are_tried_at_once_and_their_places_come_back(
    client: FlaskClient, account: Account
) -> None:
    app, key = client.application, account.keys["live"]
    with ThreadPoolExecutor(4) as pool:
        with Receiver(reply=always(Answer(hangs=True))) as receiver:
            created = _create(client, receiver.url)
            tried = [pool.submit(_try, client_of(app, key), created) for _ in range(4)]
            receiver.wait_for(4)
            refused = client.post(f"{PATH}/{created['id']}/test", json={})
            problem(refused, 503, "overloaded")
            assert refused.headers["Retry-After"] == "5"
            assert receiver.count == 4
        assert {one.result()["error"] for one in tried} == {"disconnected"}
    assert _try(client, created)["error"] == "unreachable"
