"""Identifiers: UUIDv7 (RFC 9562), so that rows and their day partitions follow time.

A tick's id carries a short keyed tag in its random bits. It shows the API without a look-up whether
we issued an id that no table holds yet: then its write is accepted and will be applied.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import blake2b
from uuid import UUID

_VERSION_AND_VARIANT = (0x7 << 76) | (0x2 << 62)
_VERSION_AND_VARIANT_MASK = (0xF << 76) | (0x3 << 62)
_VERSION_8 = (0x8 << 76) | (0x2 << 62)
_TAG_BITS = 24  # one guess in 16 million passes as an issued id; 50 random bits remain
_TAG_MASK = (1 << _TAG_BITS) - 1


def uuid7(now_us: int) -> UUID:
    """A fresh UUIDv7 for an instant."""
    return _compose(now_us // 1_000, int.from_bytes(os.urandom(10)))


def uuid7s(now_us: int) -> Iterator[UUID]:
    """An endless series of fresh UUIDv7s of one instant, in ascending order."""
    milliseconds = now_us // 1_000
    start = int.from_bytes(os.urandom(10)) >> 7  # 73 of 74 bits: room to count on
    return (_compose(milliseconds, nth) for nth in itertools.count(start))


def issue(now_us: int, secret: bytes, count: int = 1) -> Iterator[UUID]:
    """Fresh ids of one tenant that `is_issued` recognises; those of one call always differ."""
    milliseconds = now_us // 1_000
    random = int.from_bytes(os.urandom(7))
    for nth in range(count):
        bits = (random + nth) & ((1 << 50) - 1)
        tag = _tag(milliseconds, bits, secret)
        yield _compose(milliseconds, (bits << _TAG_BITS) | tag)


def derived(now_us: int, secret: bytes, text: str) -> UUID:
    """A UUIDv7 of an instant, the same for the same text, and not guessable."""
    bits = int.from_bytes(blake2b(text.encode(), key=secret, digest_size=16).digest())
    return _compose(now_us // 1_000, bits)


def sibling(value: UUID, nth: int, secret: bytes) -> UUID:
    """The id that `issue` gave `nth` ids after another one in the same call."""
    milliseconds, bits = value.int >> 80, (_random_of(value) >> _TAG_BITS) + nth
    bits &= (1 << 50) - 1
    return _compose(milliseconds, (bits << _TAG_BITS) | _tag(milliseconds, bits, secret))


def is_issued(value: UUID, secret: bytes) -> bool:
    """Whether `issue` made this id with the tenant's secret."""
    number, bits = value.int, _random_of(value)
    return value.version == 7 and (bits & _TAG_MASK) == _tag(
        number >> 80, bits >> _TAG_BITS, secret
    )


def issued_at_us(value: UUID) -> int:
    """The instant in a UUIDv7, to the millisecond, in microseconds."""
    return (value.int >> 80) * 1_000


def opaque(secret: bytes, noun: str, number: int) -> UUID:
    """The UUIDv8 by which a tenant sees a numbered row: constant, not guessable, and not stored."""
    text = f"{noun} {number}".encode()
    bits = int.from_bytes(blake2b(text, key=secret, digest_size=16).digest())
    return UUID(int=bits & ~_VERSION_AND_VARIANT_MASK | _VERSION_8)


def floor(day: datetime) -> UUID:
    """The smallest UUIDv7-ordered value of a UTC day: the bound of its partition."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return UUID(int=int(start.timestamp() * 1_000) << 80)


def _random_of(value: UUID) -> int:
    return ((value.int >> 64) & 0xFFF) << 62 | (value.int & ((1 << 62) - 1))


def _compose(milliseconds: int, random: int) -> UUID:
    random &= (1 << 74) - 1
    high, low = random >> 62, random & ((1 << 62) - 1)
    return UUID(int=(milliseconds << 80) | _VERSION_AND_VARIANT | (high << 64) | low)


def _tag(milliseconds: int, bits: int, secret: bytes) -> int:
    text = (milliseconds << 50 | bits).to_bytes(13)
    return int.from_bytes(blake2b(text, key=secret, digest_size=3).digest())
