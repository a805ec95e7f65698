"""Rotating secrets: who can verify what, when; and that nobody else ever sees a secret."""

from __future__ import annotations

import base64
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from flask.testing import FlaskClient
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from models.db import Engine, reading, transaction
from models.delivery import destination_keys
from settings import Settings
from tests.calls import problem
from tests.conftest import BASE
from tests.integration.world import World, always
from tests.receiver import Answer, Receiver, Request
from webhooks import key_rotation, secrets

PATH = f"{BASE}/admin/webhooks"
NOBODY = "01920000-0000-7000-8000-000000000000"


def _create(client: FlaskClient, receiver: Receiver, **more: Any) -> dict[str, Any]:
    body = {"url": receiver.url, "event_types": ["*"]} | more
    response = client.post(PATH, json=body)
    assert response.status_code == 201, response.text
    return dict(response.json or {})


def _rotate(client: FlaskClient, created: dict[str, Any], **wish: Any) -> dict[str, Any]:
    response = client.post(f"{PATH}/{created['id']}/rotate", json=wish)
    assert response.status_code == 200, response.text
    return dict(response.json or {})


def _sent(world: World, receiver: Receiver) -> Request:
    """A fact that has just been delivered."""
    world.publish()
    assert world.deliver() == 1
    return receiver.requests[-1]


def _verifies(request: Request, secret: str) -> bool:
    try:
        Webhook(secret).verify(request.body, dict(request.headers))
    except WebhookVerificationError:
        return False
    return True


def _verifies_v1a(request: Request, public_key: str) -> bool:
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key.removeprefix("whpk_")))
    headers = request.headers
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + request.body
    signatures = [one.partition(",") for one in headers["webhook-signature"].split(" ")]
    try:
        for text in [text for version, _, text in signatures if version == "v1a"]:
            key.verify(base64.b64decode(text), signed)
            return True
    except InvalidSignature:
        return False
    return False


# -- the overlap -----------------------------------------------------------------------------


def test_both_secrets_verify_until_the_overlap_ends_and_then_only_the_new_one(
    client: FlaskClient, world: World, receiver: Receiver, engine: Engine
) -> None:
    created = _create(client, receiver)
    before = datetime.now(UTC)
    rotated = _rotate(client, created)
    assert list(rotated) == ["id", "secret", "previous_secret_until", "public_key"]
    assert (rotated["id"], rotated["public_key"]) == (created["id"], None)
    until = datetime.fromisoformat(rotated["previous_secret_until"])
    assert timedelta(0) <= until - before - timedelta(hours=24) < timedelta(minutes=5)
    found = client.get(f"{PATH}/{created['id']}").json or {}
    assert found["previous_secret_until"] == rotated["previous_secret_until"]
    during = _sent(world, receiver)
    assert _verifies(during, created["secret"])
    assert _verifies(during, rotated["secret"])
    world.change(UUID(created["id"]), previous_until=datetime.now(UTC))
    after = _sent(world, receiver)
    assert not _verifies(after, created["secret"])
    assert _verifies(after, rotated["secret"])
    found = client.get(f"{PATH}/{created['id']}").json or {}
    assert found["previous_secret_until"] is None


def test_without_an_overlap_the_old_secret_is_worth_nothing_at_once(
    client: FlaskClient, world: World, receiver: Receiver, engine: Engine
) -> None:
    created = _create(client, receiver)
    _rotate(client, created)
    rotated = _rotate(client, created, overlap_hours=0)
    assert rotated["previous_secret_until"] is None
    request = _sent(world, receiver)
    assert len(request.headers["webhook-signature"].split(" ")) == 1
    assert _verifies(request, rotated["secret"])
    with reading(engine) as session:
        stored = session.execute(
            sa.text("SELECT previous_secret, previous_until FROM webhooks WHERE id = :id"),
            {"id": created["id"]},
        ).one()
    assert stored == (None, None)


def test_rotated_again_within_the_overlap_the_newest_two_verify(
    client: FlaskClient, world: World, receiver: Receiver
) -> None:
    created = _create(client, receiver)
    second = _rotate(client, created)["secret"]
    third = _rotate(client, created, overlap_hours=168)["secret"]
    request = _sent(world, receiver)
    found = [_verifies(request, one) for one in (created["secret"], second, third)]
    assert found == [False, True, True]


def test_the_newest_signature_comes_first(
    client: FlaskClient, world: World, receiver: Receiver
) -> None:
    created = _create(client, receiver, signatures=["v1", "v1a"])
    rotated = _rotate(client, created)
    request = _sent(world, receiver)
    signatures = request.headers["webhook-signature"].split(" ")
    assert [one.partition(",")[0] for one in signatures] == ["v1", "v1", "v1a"]
    sent_at = datetime.fromtimestamp(int(request.headers["webhook-timestamp"]))  # noqa: DTZ006 -- as the library reads it
    expected = Webhook(rotated["secret"]).sign(request.id, sent_at, request.body.decode())
    assert signatures[0] == expected


# -- ed25519 ---------------------------------------------------------------------------------


def test_a_receiver_with_nothing_but_the_public_key_can_verify(
    client: FlaskClient, world: World, receiver: Receiver
) -> None:
    created = _create(client, receiver, signatures=["v1", "v1a"])
    request = _sent(world, receiver)
    assert _verifies(request, created["secret"])
    assert _verifies_v1a(request, created["public_key"])


def test_the_ed25519_key_is_rotated_only_when_that_is_asked_for(
    client: FlaskClient, world: World, receiver: Receiver
) -> None:
    created = _create(client, receiver, signatures=["v1", "v1a"])
    assert _rotate(client, created)["public_key"] == created["public_key"]
    fresh = _rotate(client, created, rotate_signing_key=True)["public_key"]
    request = _sent(world, receiver)
    assert _verifies_v1a(request, fresh)
    assert not _verifies_v1a(request, created["public_key"])


def test_there_is_no_ed25519_key_to_rotate_without_one(
    client: FlaskClient, world: World, receiver: Receiver
) -> None:
    created = _create(client, receiver)
    refused = client.post(f"{PATH}/{created['id']}/rotate", json={"rotate_signing_key": True})
    problem(refused, 422, "validation_error", "rotate_signing_key")
    assert _verifies(_sent(world, receiver), created["secret"]), "nothing was rotated"


# -- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({"overlap_hours": -1}, "overlap_hours"),
        ({"overlap_hours": 169}, "overlap_hours"),
        ({"overlap_hours": None}, "overlap_hours"),
        ({"overlap_hours": 0.5}, "overlap_hours"),
        ({"rotate_signing_key": "yes"}, "rotate_signing_key"),
        ({"secret": "whsec_mine"}, "secret"),
    ],
)
def test_a_rotation_names_the_field_that_cannot_be_used(
    client: FlaskClient, receiver: Receiver, wish: dict[str, Any], field: str
) -> None:
    created = _create(client, receiver)
    refused = client.post(f"{PATH}/{created['id']}/rotate", json=wish)
    code = "unknown_field" if field == "secret" else "validation_error"
    problem(refused, 422, code, field)
    assert (client.get(f"{PATH}/{created['id']}").json or {})["updated_at"] == created["updated_at"]


@pytest.mark.parametrize("webhook_id", [NOBODY, "x"])
@pytest.mark.parametrize("action", ["rotate", "test"])
def test_there_is_nothing_to_be_done_about_a_destination_of_nobody(
    client: FlaskClient, action: str, webhook_id: str
) -> None:
    response = client.post(f"{PATH}/{webhook_id}/{action}", json={})
    problem(response, 404, "webhook_not_found")


# -- nobody else sees a secret ---------------------------------------------------------------


def test_no_log_and_no_other_answer_ever_shows_a_secret(
    client: FlaskClient,
    world: World,
    receiver: Receiver,
    engine: Engine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    created = _create(client, receiver, signatures=["v1", "v1a"])
    rotated = _rotate(client, created)
    path = f"{PATH}/{created['id']}"
    receiver.reply = always(Answer(500))
    _sent(world, receiver)
    said = [
        client.get(path).text,
        client.get(PATH).text,
        client.patch(path, json={"description": "CRM"}).text,
        client.post(f"{path}/test", json={}).text,
        client.patch(path, json={"url": created["secret"]}).text,
        client.post(f"{path}/rotate", json={"secret": created["secret"]}).text,
    ]
    with transaction(engine) as session:
        stored = session.execute(
            sa.text("SELECT secret, previous_secret, signing_key FROM webhooks WHERE id = :id"),
            {"id": created["id"]},
        ).one()
        session.execute(
            sa.text("UPDATE webhooks SET secret = 'x', signing_key = 'y' WHERE id = :id"),
            {"id": created["id"]},
        )
    broken = client.get(path)
    problem(broken, 503, "unavailable")
    said.append(broken.text)
    world.publish()
    world.deliver()
    everything = caplog.text + "".join(said)
    assert "UNBROKEN_SECRET_KEYS" in caplog.text
    for secret in (created["secret"], rotated["secret"], *stored):
        assert secret.removeprefix("whsec_") not in everything


# -- beside a rotation of the key ring ---------------------------------------------------------


def test_a_secret_rotated_while_it_is_being_encrypted_anew_is_not_lost(
    client: FlaskClient, receiver: Receiver, engine: Engine, settings: Settings
) -> None:
    created = _create(client, receiver)
    ring = secrets.ring(settings.secret_keys)
    newest = secrets.ring(f"{secrets.new_ring_key()},{settings.secret_keys}")
    with ThreadPoolExecutor(1) as pool:
        with transaction(engine) as session:
            found = destination_keys.after(session, destination_keys.FIRST, 1_000_000, lock=True)
            (mine,) = [one for one in found if str(one.webhook_id) == created["id"]]
            rotation = pool.submit(_rotate, client, created)  # waits for this transaction
            destination_keys.replace(session, key_rotation.resealed(newest, mine))
        rotated = rotation.result()
    with reading(engine) as session:
        stored = session.execute(
            sa.text("SELECT secret, previous_secret FROM webhooks WHERE id = :id"),
            {"id": created["id"]},
        ).one()
    assert secrets.decrypt(ring, stored.secret) == rotated["secret"]
    assert secrets.decrypt(newest, stored.previous_secret) == created["secret"]
    assert secrets.key_index(ring, stored.previous_secret) is None, "it was encrypted again"
