"""Re-encrypting stored secrets when the operator rotates the key ring. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from models.delivery.destination_keys import Sealed
from webhooks import secrets
from webhooks.errors import SecretsError
from webhooks.secrets import Ring


def key_indexes(ring: Ring, destinations: Iterable[Sealed]) -> Iterator[int | None]:
    """The index of the ring's key for each stored secret: 0 is the newest; None: no key fits."""
    for destination in destinations:
        for stored in (destination.secret, destination.previous_secret, destination.signing_key):
            if stored is not None:
                yield secrets.key_index(ring, stored)


def resealed(ring: Ring, destination: Sealed) -> Sealed:
    """The same keys under the newest key, equal if already so; unreadable ones stay unchanged."""
    previous, key = destination.previous_secret, destination.signing_key
    return replace(
        destination,
        secret=_renewed(ring, destination.secret),
        previous_secret=None if previous is None else _renewed(ring, previous),
        signing_key=None if key is None else _renewed(ring, key),
    )


def _renewed(ring: Ring, stored: str) -> str:
    if secrets.key_index(ring, stored) == 0:
        return stored
    try:
        return secrets.encrypt(ring, secrets.decrypt(ring, stored))
    except SecretsError:
        return stored
