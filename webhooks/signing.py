"""Standard Webhooks 1.0: the headers by which a receiver knows who sent a body. Pure."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from datetime import datetime

SECRET_PREFIX = "whsec_"  # noqa: S105 -- names the kind of secret, holds none
KEY_BYTES = 32  # the specification allows 24 to 64; 32 fills an HMAC-SHA256 key
KEY_BYTES_MIN, KEY_BYTES_MAX = 24, 64

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"


def secret_text(key: bytes) -> str:
    """A signing key as the subscriber is given it."""
    return SECRET_PREFIX + base64.b64encode(key).decode()


def secret_key(text: str) -> bytes:
    """The signing key in a `whsec_…` text; raise ValueError, without the text, when it has none."""
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not text.startswith(SECRET_PREFIX) or not KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX:
        raise ValueError("not a webhook secret: whsec_ and base64 of 24 to 64 bytes")
    return key


def headers(
    keys: Sequence[bytes], message_id: str, timestamp: datetime, body: bytes
) -> dict[str, str]:
    """The three headers of one attempt.

    `message_id` is the same on every attempt, `timestamp` is the attempt's own. One signature for
    each key, newest first: while a secret is being rotated the receiver may hold either.
    """
    seconds = str(int(timestamp.timestamp()))
    signed = f"{message_id}.{seconds}.".encode() + body
    return {
        ID_HEADER: message_id,
        TIMESTAMP_HEADER: seconds,
        SIGNATURE_HEADER: " ".join(signature(key, signed) for key in keys),
    }


def signature(key: bytes, signed: bytes) -> str:
    """The `v1` signature of `id.timestamp.body`."""
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
