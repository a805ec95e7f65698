"""The names of everything in Redis.

Everything one script call touches carries the stream's hash tag, so that a cluster can spread
the streams. Which stream is the tenant's choice alone: a tenant that floods fills its own stream
and shares each round with the others.
"""

from __future__ import annotations

STREAMS = 8  # fixed for ever: a tenant's stream must not move while entries are in it
GROUP = "drain"

DRAINS = "unbroken:drains"  # sorted set: consumer → when it was last alive
DELIVERERS = "unbroken:deliverers"  # likewise
DELIVERY_WAKE = "unbroken:delivery:wake"  # list: one item means there is something due
DELIVERY_KICKED = "unbroken:delivery:kicked"  # set for a moment after a kick
SWEEP_LOCK = "unbroken:sweep"


def stream_of(tenant_id: int) -> int:
    """The number of a tenant's stream."""
    return tenant_id % STREAMS


def stream(number: int) -> str:
    """The stream of accepted writes."""
    return f"unbroken:{{{number}}}:intake"


def config(number: int) -> str:
    """Hash: tenant id → the version of its configuration."""
    return f"unbroken:{{{number}}}:config"


def awake(number: int) -> str:
    """Set while a drain is reading, or one has been kicked just now."""
    return f"unbroken:{{{number}}}:awake"


def rate(number: int, tenant_id: int) -> str:
    """Prefix of the write counters of a tenant's participants."""
    return f"unbroken:{{{number}}}:rate:{tenant_id}:"


def idempotency(number: int, tenant_id: int, key: str) -> str:
    """What an Idempotency-Key was first used for."""
    return f"unbroken:{{{number}}}:idempotency:{tenant_id}:{key}"


def reply(tick_id: str) -> str:
    """The answer that a waiting request pops."""
    return f"unbroken:reply:{tick_id}"
