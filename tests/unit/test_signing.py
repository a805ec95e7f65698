"""Signatures, checked by the independent `standardwebhooks` library; secrets at rest."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.fernet import Fernet
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from webhooks import secrets, signing
from webhooks.errors import SecretsError

BODY = '{"id":"evt_1","note":"grüße"}'.encode()


def _headers(*secret_texts: str, body: bytes = BODY, at: datetime | None = None) -> dict[str, str]:
    keys = [signing.secret_key(text) for text in secret_texts]
    return signing.headers(keys, "evt_1", at or datetime.now(UTC), body)


def test_it_signs_what_the_independent_library_verifies() -> None:
    secret = secrets.generate()
    assert Webhook(secret).verify(BODY, _headers(secret)) == {"id": "evt_1", "note": "grüße"}


def test_it_signs_as_the_example_of_the_specification() -> None:
    key = signing.secret_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = b'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}'
    assert signing.signature(key, signed) == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("change", ["body", "id", "timestamp", "secret"])
def test_it_does_not_verify_once_anything_signed_is_changed(change: str) -> None:
    secret, body = secrets.generate(), BODY
    headers = _headers(secret)
    if change == "body":
        body += b" "
    elif change == "id":
        headers["webhook-id"] = "evt_2"
    elif change == "timestamp":
        headers["webhook-timestamp"] = str(int(headers["webhook-timestamp"]) + 1)
    else:
        secret = secrets.generate()
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, headers)


def test_it_dates_the_signature_so_that_an_old_one_cannot_be_played_again() -> None:
    secret = secrets.generate()
    headers = _headers(secret, at=datetime.now(UTC) - timedelta(minutes=6))
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY, headers)


def test_it_signs_with_every_key_while_a_secret_is_being_rotated() -> None:
    new, old = secrets.generate(), secrets.generate()
    headers = _headers(new, old)
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (new, old):
        Webhook(secret).verify(BODY, headers)


def test_it_makes_secrets_of_32_random_bytes() -> None:
    made = {secrets.generate() for _ in range(100)}
    assert len(made) == 100
    assert {len(base64.b64decode(text.removeprefix("whsec_"))) for text in made} == {32}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        "whsec_!!!",
        base64.b64encode(b"k" * 32).decode(),
        "whsec_" + base64.b64encode(b"k" * 23).decode(),
        "whsec_" + base64.b64encode(b"k" * 65).decode(),
    ],
)
def test_it_refuses_what_is_no_secret_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match="not a webhook secret") as caught:
        signing.secret_key(text)
    assert text.removeprefix("whsec_") == "" or text not in str(caught.value)


# -- at rest ---------------------------------------------------------------------------------


def test_it_stores_secrets_encrypted() -> None:
    ring, secret = secrets.ring(Fernet.generate_key().decode()), secrets.generate()
    stored = secrets.encrypt(ring, secret)
    assert secret not in stored
    assert secrets.decrypt(ring, stored) == secret


def test_it_still_reads_what_an_older_key_of_the_ring_encrypted() -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    stored = secrets.encrypt(secrets.ring(old), "whsec_x")
    ring = secrets.ring(f"{new}, {old}")
    assert secrets.decrypt(ring, stored) == "whsec_x"
    assert secrets.decrypt(secrets.ring(new), secrets.encrypt(ring, "whsec_x")) == "whsec_x"


def test_it_says_which_setting_is_wrong_when_no_key_fits() -> None:
    stored = secrets.encrypt(secrets.ring(Fernet.generate_key().decode()), "whsec_x")
    with pytest.raises(SecretsError, match="UNBROKEN_SECRET_KEYS"):
        secrets.decrypt(secrets.ring(Fernet.generate_key().decode()), stored)


@pytest.mark.parametrize("empty", ["", " ", ",", " , "])
def test_it_says_how_to_make_a_key_when_the_ring_is_empty(empty: str) -> None:
    with pytest.raises(SecretsError, match="UNBROKEN_SECRET_KEYS is empty"):
        secrets.ring(empty)


def test_it_names_a_malformed_key_by_its_place_and_never_shows_it() -> None:
    with pytest.raises(SecretsError, match="Key 2 of") as caught:
        secrets.ring(f"{Fernet.generate_key().decode()},hunter2")
    assert "hunter2" not in str(caught.value)
