"""The clock: the only module that reads it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def now_us() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1_000


def now() -> datetime:
    """This instant, aware, in UTC."""
    return datetime.now(UTC)


def from_us(instant_us: int) -> datetime:
    """The aware UTC datetime of an instant in microseconds, exactly."""
    return _EPOCH + timedelta(microseconds=instant_us)


def to_us(instant: datetime) -> int:
    """The microseconds of an aware datetime, exactly."""
    return (instant - _EPOCH) // _MICROSECOND


@lru_cache(maxsize=8_192)  # a batch writes each of its instants several times
def to_text(instant_us: int) -> str:
    """RFC 3339 in UTC with `Z`; the fraction only when there is one."""
    return isoformat(from_us(instant_us))


def to_text_or_none(instant_us: int | None) -> str | None:
    """As `to_text`; None stays None."""
    return None if instant_us is None else to_text(instant_us)


def isoformat_or_none(instant: datetime | None) -> str | None:
    """As `isoformat`; None stays None."""
    return None if instant is None else isoformat(instant)


def isoformat(instant: datetime) -> str:
    """RFC 3339 in UTC with `Z` of an aware datetime."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
