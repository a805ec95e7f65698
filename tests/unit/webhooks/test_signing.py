"""Signatures, checked by the independent `standardwebhooks` library; secrets at rest."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from models.delivery.destination_keys import Sealed
from webhooks import key_rotation, secrets, signing
from webhooks.attempt import keys_at
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


# -- ed25519 ---------------------------------------------------------------------------------

# A pair that other implementations of the specification test themselves with, and their signature.
SIGNING_KEY = (
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
)
PUBLIC_KEY = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
SIGNED = b'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}'
SIGNATURE = (
    "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
)


def test_it_signs_with_ed25519_as_other_implementations_do() -> None:
    key = signing.signing_key(SIGNING_KEY)
    assert signing.signature(key, SIGNED) == SIGNATURE
    assert signing.public_key_text(key) == PUBLIC_KEY


def verify_v1a(public_key: str, headers: dict[str, str], body: bytes) -> None:
    """As a receiver does, who has nothing but the public key; raise InvalidSignature."""
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key.removeprefix("whpk_")))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    signatures = [one.partition(",") for one in headers["webhook-signature"].split(" ")]
    (found,) = [text for version, _, text in signatures if version == "v1a"]
    key.verify(base64.b64decode(found), signed)


def test_both_kinds_of_signature_stand_side_by_side() -> None:
    secret, text = secrets.generate(), secrets.generate_signing_key()
    key = signing.signing_key(text)
    keys: list[signing.SigningKey] = [signing.secret_key(secret), key]
    headers = signing.headers(keys, "evt_1", datetime.now(UTC), BODY)
    Webhook(secret).verify(BODY, headers)  # which passes over what it does not know
    verify_v1a(signing.public_key_text(key), headers, BODY)
    with pytest.raises(InvalidSignature):
        verify_v1a(signing.public_key_text(key), headers, BODY + b" ")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsk_",
        SIGNING_KEY.removeprefix("whsk_"),
        SIGNING_KEY.replace("whsk_", "whsec_"),
        SIGNING_KEY[:-4],
        "whsk_" + base64.b64encode(b"s" * 64).decode(),  # not the public key of that seed
    ],
)
def test_it_refuses_what_is_no_signing_key_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match="not a signing key") as caught:
        signing.signing_key(text)
    assert text.removeprefix("whsk_") == "" or text not in str(caught.value)


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


# -- a destination's keys --------------------------------------------------------------------

NOW = datetime(2026, 5, 23, tzinfo=UTC)


@dataclass(frozen=True)
class Keys:
    """The encrypted keys of a destination."""

    secret: str
    previous_secret: str | None = None
    previous_until: datetime | None = None
    signing_key: str | None = None


def test_the_replaced_secret_signs_until_its_overlap_ends_and_not_at_its_end() -> None:
    ring = secrets.ring(Fernet.generate_key().decode())
    new, old = secrets.generate(), secrets.generate()
    until = NOW + timedelta(hours=24)
    keys = Keys(secrets.encrypt(ring, new), secrets.encrypt(ring, old), until)
    both = [signing.secret_key(new), signing.secret_key(old)]
    assert keys_at(ring, keys, until - timedelta(microseconds=1)) == both
    assert keys_at(ring, keys, until) == both[:1]


def test_the_ed25519_key_signs_last() -> None:
    ring = secrets.ring(Fernet.generate_key().decode())
    secret, stored = secrets.generate(), secrets.encrypt(ring, SIGNING_KEY)
    keys = Keys(secrets.encrypt(ring, secret), signing_key=stored)
    first, second = keys_at(ring, keys, NOW)
    assert first == signing.secret_key(secret)
    assert signing.signature(second, SIGNED) == SIGNATURE
    assert secrets.public_key(ring, stored) == PUBLIC_KEY


def test_nothing_shows_the_keys_of_a_ring() -> None:
    key = Fernet.generate_key().decode()
    assert key not in repr(secrets.ring(key)) + str(vars(secrets.ring(key)))


def test_secrets_are_encrypted_anew_with_the_newest_key_alone() -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    elsewhere = secrets.ring(Fernet.generate_key().decode())
    both = secrets.ring(f"{new},{old}")
    found = Sealed(
        1,
        UUID(int=1),
        secrets.encrypt(secrets.ring(old), "whsec_x"),
        secrets.encrypt(elsewhere, "whsec_lost"),
        secrets.encrypt(secrets.ring(new), "whsk_x"),
    )
    assert list(key_rotation.key_indexes(both, [found])) == [1, None, 0]
    renewed = key_rotation.resealed(both, found)
    assert secrets.decrypt(secrets.ring(new), renewed.secret) == "whsec_x"
    assert renewed.previous_secret == found.previous_secret  # no key opens it: left as it is
    assert renewed.signing_key == found.signing_key  # it was under the newest key already
    assert key_rotation.resealed(both, renewed) == renewed
