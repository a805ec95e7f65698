"""Signing secrets at rest: made here, stored encrypted with the operator's key ring."""

from __future__ import annotations

import os

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from webhooks import signing
from webhooks.errors import SecretsError

Ring = MultiFernet


def ring(secret_keys: str) -> Ring:
    """The key ring of comma-separated Fernet keys, newest first.

    The newest encrypts; the others still decrypt, so that a key is rotated by putting another
    before it. Raises SecretsError, without any key, when there is none or one is malformed.
    """
    texts = [text.strip() for text in secret_keys.split(",") if text.strip()]
    if not texts:
        raise SecretsError(
            "UNBROKEN_SECRET_KEYS is empty: webhook secrets cannot be stored. Make a key with"
            " `python -c 'from cryptography.fernet import Fernet as F;"
            " print(F.generate_key().decode())'` and keep it as safe as the database."
        )
    return MultiFernet([_key(text, nth) for nth, text in enumerate(texts, start=1)])


def _key(text: str, nth: int) -> Fernet:
    try:
        return Fernet(text)
    except ValueError:
        raise SecretsError(
            f"Key {nth} of UNBROKEN_SECRET_KEYS is not a Fernet key (url-safe base64 of 32 bytes)."
        ) from None


def generate() -> str:
    """A fresh signing secret as its owner is shown it, this once."""
    return signing.secret_text(os.urandom(signing.KEY_BYTES))


def encrypt(ring: Ring, secret: str) -> str:
    """The secret as it may be stored."""
    return ring.encrypt(secret.encode()).decode()


def decrypt(ring: Ring, stored: str) -> str:
    """The secret as its owner was shown it; raise SecretsError when no key of the ring fits."""
    try:
        return ring.decrypt(stored).decode()
    except InvalidToken:
        raise SecretsError(
            "A webhook secret cannot be decrypted: is a key missing in UNBROKEN_SECRET_KEYS?"
        ) from None
