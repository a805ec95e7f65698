"""The names of everything in Redis, except what workers/telemetry keeps there.

All names of one script call carry the stream's hash tag, so that a cluster can spread the streams.
The tenant alone determines the number. Each number has two streams: the intake for fresh writes,
and the backlog for those of a tenant with many writes waiting (ADR 11).
"""

from __future__ import annotations

from uuid import UUID

STREAM_COUNT = 8  # of each kind; fixed: a tenant's stream must not move while entries are in it
GROUP = "drain"
AWAKE_MS = 5_000  # after a drain's last sign of life the next tick wakes another
MINUTE_MS = 60_000  # how long write counters are kept

DRAINS = "unbroken:drains"  # sorted set: consumer → when it last gave a sign of life
DELIVERERS = "unbroken:deliverers"  # likewise
DELIVERY_WAKE = "unbroken:delivery:wake"  # list: one item means that a delivery is due
DELIVERY_WOKEN = "unbroken:delivery:kicked"  # set for a moment after a wake
SWEEP_LOCK = "unbroken:sweep"
SWEPT = "unbroken:swept"  # when a sweep last ran, in seconds since 1970


def stream_of(tenant_id: int) -> int:
    """The number of a tenant's stream."""
    return tenant_id % STREAM_COUNT


def stream(number: int) -> str:
    """The stream of fresh writes."""
    return f"unbroken:{{{number}}}:intake"


def backlog(number: int) -> str:
    """The stream of writes of tenants with many writes waiting."""
    return f"unbroken:{{{number}}}:backlog"


def waiting(number: int) -> str:
    """Hash: tenant id → how many of its writes wait in both streams; absent: none."""
    return f"unbroken:{{{number}}}:waiting"


def config(number: int) -> str:
    """Hash: tenant id → the version of its configuration."""
    return f"unbroken:{{{number}}}:config"


def awake(number: int) -> str:
    """Set while a drain reads, or for a moment after one was woken."""
    return f"unbroken:{{{number}}}:awake"


def rate(number: int, tenant_id: int) -> str:
    """Prefix of the write counters of a tenant's participants."""
    return f"unbroken:{{{number}}}:rate:{tenant_id}:"


def key_rate(number: int, tenant_id: int, key_id: UUID) -> str:
    """The write counter of an API key."""
    return f"unbroken:{{{number}}}:key-rate:{tenant_id}:{key_id}"


def tenant_rate(number: int, tenant_id: int) -> str:
    """The write counter of a tenant."""
    return f"unbroken:{{{number}}}:tenant-rate:{tenant_id}"


def inactive(number: int, tenant_id: int) -> str:
    """Set: the tenant's participants who are not ACTIVE, by their external ids."""
    return f"unbroken:{{{number}}}:inactive:{tenant_id}"


def idempotency(number: int, tenant_id: int, key: str) -> str:
    """The first use of an Idempotency-Key."""
    return f"unbroken:{{{number}}}:idempotency:{tenant_id}:{key}"


def reply(write_id: str) -> str:
    """The answer that a waiting request pops."""
    return f"unbroken:reply:{write_id}"
