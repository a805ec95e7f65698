"""Standard Webhooks 1.0: the headers by which a receiver verifies the sender of a body. Pure."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SigningKey = bytes | Ed25519PrivateKey  # signs `v1` (HMAC-SHA256), or `v1a` (ed25519)

SECRET_PREFIX = "whsec_"  # noqa: S105 -- names the kind of secret, holds none
SIGNING_KEY_PREFIX = "whsk_"
PUBLIC_KEY_PREFIX = "whpk_"
KEY_BYTES = 32  # the specification allows 24 to 64; 32 fills an HMAC-SHA256 key
KEY_BYTES_MIN, KEY_BYTES_MAX = 24, 64
SEED_BYTES = 32  # of an ed25519 key; stored with its public key, which follows from it

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"


# -- keys as text ----------------------------------------------------------------------------


def secret_text(key: bytes) -> str:
    """A shared secret in the subscriber's form."""
    return SECRET_PREFIX + base64.b64encode(key).decode()


def secret_key(text: str) -> bytes:
    """The key in a `whsec_…` text; raise ValueError, without the text, when it has none."""
    key = _decoded(text, SECRET_PREFIX)
    if key is None or not KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX:
        raise ValueError("not a webhook secret: whsec_ and base64 of 24 to 64 bytes")
    return key


def signing_key_text(seed: bytes) -> str:
    """The stored form of a seed's ed25519 key: `whsk_` and base64 of seed and public key."""
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return SIGNING_KEY_PREFIX + base64.b64encode(seed + public).decode()


def signing_key(text: str) -> Ed25519PrivateKey:
    """The key in a `whsk_…` text; raise ValueError, without the text, when it has none."""
    raw = _decoded(text, SIGNING_KEY_PREFIX) or b""
    if len(raw) == 2 * SEED_BYTES:
        key = Ed25519PrivateKey.from_private_bytes(raw[:SEED_BYTES])
        if key.public_key().public_bytes_raw() == raw[SEED_BYTES:]:
            return key
    raise ValueError("not a signing key: whsk_ and base64 of an ed25519 seed and its public key")


def public_key_text(key: Ed25519PrivateKey) -> str:
    """The key with which the subscriber verifies `v1a` signatures."""
    return PUBLIC_KEY_PREFIX + base64.b64encode(key.public_key().public_bytes_raw()).decode()


def key_of(text: str) -> SigningKey:
    """The key in a text of either kind; raise ValueError."""
    return signing_key(text) if text.startswith(SIGNING_KEY_PREFIX) else secret_key(text)


def _decoded(text: str, prefix: str) -> bytes | None:
    if not text.startswith(prefix):
        return None
    try:
        return base64.b64decode(text.removeprefix(prefix), validate=True)
    except binascii.Error:
        return None


# -- signatures ------------------------------------------------------------------------------


def headers(
    keys: Sequence[SigningKey], message_id: str, timestamp: datetime, body: bytes
) -> dict[str, str]:
    """The three headers of one attempt.

    `message_id` is the same on every attempt, `timestamp` is the attempt's own. One signature for
    each key, newest first: during a rotation the receiver may hold either.
    """
    seconds = str(int(timestamp.timestamp()))
    signed = f"{message_id}.{seconds}.".encode() + body
    return {
        ID_HEADER: message_id,
        TIMESTAMP_HEADER: seconds,
        SIGNATURE_HEADER: " ".join(signature(key, signed) for key in keys),
    }


def signature(key: SigningKey, signed: bytes) -> str:
    """The `v1` or `v1a` signature of `id.timestamp.body`, by the kind of key."""
    if isinstance(key, Ed25519PrivateKey):
        return "v1a," + base64.b64encode(key.sign(signed)).decode()
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
