"""Signing secrets at rest: made here, stored encrypted with the operator's key ring."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken

from webhooks import signing
from webhooks.errors import SecretsError


@dataclass(frozen=True, eq=False, repr=False)
class Ring:
    """The operator's keys, newest first: the newest encrypts, all decrypt."""

    keys: tuple[Fernet, ...]


# -- the ring --------------------------------------------------------------------------------


@lru_cache(maxsize=16)  # the same ring for the same setting keeps its cache of decrypted secrets
def ring(secret_keys: str) -> Ring:
    """The key ring of comma-separated Fernet keys, newest first.

    Prepend a key to rotate (`unbroken secrets rotate-key`). Raises SecretsError, whose text holds
    no key, when there is none or one is malformed.
    """
    texts = [text.strip() for text in secret_keys.split(",") if text.strip()]
    if not texts:
        raise SecretsError(
            "UNBROKEN_SECRET_KEYS is empty: webhook secrets cannot be stored. Make a key with"
            " `unbroken secrets new-key` and keep it as safe as the database."
        )
    return Ring(tuple(_key(text, nth) for nth, text in enumerate(texts, start=1)))


def _key(text: str, nth: int) -> Fernet:
    try:
        return Fernet(text)
    except ValueError:
        raise SecretsError(
            f"Key {nth} of UNBROKEN_SECRET_KEYS is not a Fernet key (url-safe base64 of 32 bytes)."
        ) from None


def new_ring_key() -> str:
    """A fresh key for the ring, in the form of UNBROKEN_SECRET_KEYS."""
    return Fernet.generate_key().decode()


def encrypt(ring: Ring, secret: str) -> str:
    """The secret in its stored form."""
    return ring.keys[0].encrypt(secret.encode()).decode()


def decrypt(ring: Ring, stored: str) -> str:
    """The secret in clear; raise SecretsError when no key of the ring fits."""
    return _opened(ring, stored)[1]


def key_index(ring: Ring, stored: str) -> int | None:
    """The index of the ring's key that fits a stored secret: 0 is the newest; None: no key fits."""
    try:
        return _opened(ring, stored)[0]
    except SecretsError:
        return None


def _opened(ring: Ring, stored: str) -> tuple[int, str]:
    for key_index, key in enumerate(ring.keys):
        try:
            return key_index, key.decrypt(stored).decode()
        except InvalidToken:
            continue
    raise SecretsError(
        "A webhook secret cannot be decrypted: a key may be missing in UNBROKEN_SECRET_KEYS."
    )


# -- the keys of a destination ---------------------------------------------------------------


def generate() -> str:
    """A fresh shared secret in the form its owner sees, once only."""
    return signing.secret_text(os.urandom(signing.KEY_BYTES))


def generate_signing_key() -> str:
    """A fresh ed25519 key; its owner sees the public part only."""
    return signing.signing_key_text(os.urandom(signing.SEED_BYTES))


@lru_cache(maxsize=1_024)
def public_key(ring: Ring, stored: str) -> str:
    """The `whpk_…` text of a stored ed25519 key; raise SecretsError when no key of the ring fits.

    Cached, so that listing destinations decrypts nothing.
    """
    return signing.public_key_text(signing.signing_key(decrypt(ring, stored)))


@lru_cache(maxsize=1_024)
def signer(ring: Ring, stored: str) -> signing.SigningKey:
    """Decrypted once per process and secret; a SecretsError is not cached."""
    return signing.key_of(decrypt(ring, stored))
