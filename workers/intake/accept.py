"""An append as values: the arguments of accept.lua, and its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, NamedTuple
from uuid import UUID

from workers.intake import redis_keys
from workers.intake.messages import Message, encode


class IntakeError(Exception):
    """The write was not accepted."""


class Unavailable(IntakeError):
    """Redis does not answer. Nothing was written, and nothing will be."""


class OutcomeUnknown(IntakeError):
    """Redis received a whole write and did not answer: it may have been accepted."""


class Full(IntakeError):
    """The intake holds the maximum number of entries."""


class Stale(IntakeError):
    """The tenant's configuration has changed since it was read."""


class IdempotencyConflict(IntakeError):
    """The Idempotency-Key was first used with another body."""

    def __init__(self, rate: Rate | None = None) -> None:
        super().__init__()
        self.rate = rate


# The writer is over a cap; or not ACTIVE; or not ACTIVE for Redis and ACTIVE for the database.
# Unknown: sent once more after that, and not answered.
RefusalReason = Literal["tenant", "key", "participant", "inactive", "doubtful", "unknown"]


@dataclass(frozen=True, slots=True)
class Caps:
    """Writes a minute that one participant, one key and one tenant may make; 0: no cap."""

    participant: int = 0
    key: int = 0
    tenant: int = 0


@dataclass(frozen=True, slots=True)
class Rate:
    """The state of the cap with the fewest writes left."""

    limit: int
    remaining: int
    reset_ms: int  # until the end of the minute that began with the first write


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one write was not appended; it used no token of any cap."""

    reason: RefusalReason
    reset_ms: int  # until the cap's minute ends


@dataclass(frozen=True, slots=True)
class Accepted:
    """The result of an append."""

    ahead: int  # entries that are read before these
    rate: Rate | None = None  # after these writes; None: no cap applies
    refused: Mapping[int, Refusal] = field(default_factory=dict)  # by the write's index
    known_id: str | None = None  # the write first accepted under this Idempotency-Key


@dataclass(frozen=True, slots=True)
class Idempotency:
    """An Idempotency-Key and the fingerprint of its request's body.

    `before` is the fingerprint as the previous release wrote it, "" where it wrote none.
    """

    key: str
    fingerprint: str
    before: str = ""


@dataclass(frozen=True, slots=True)
class Append:
    """Writes of one tenant to accept together, under the configuration that validated them.

    A cap on the key needs the key's id.
    """

    tenant_id: int
    version: str
    caps: Caps
    messages: Sequence[Message]
    key_id: UUID | None = None
    idempotency: Idempotency | None = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """The operator's limits."""

    entries_max: int  # in both streams of a number
    fresh_max: int  # of one tenant: with more waiting, its writes go to the backlog
    idempotency_seconds: int


class _Names(NamedTuple):
    """The Redis names that every append of a tenant uses."""

    number: int  # of the tenant's streams
    keys: tuple[str, ...]
    rate: str  # prefix of its participants' counters


@lru_cache(maxsize=10_000)
def _names(tenant_id: int) -> _Names:
    number = redis_keys.stream_of(tenant_id)
    keys = (
        redis_keys.stream(number),
        redis_keys.backlog(number),
        redis_keys.waiting(number),
        redis_keys.config(number),
        redis_keys.awake(number),
        redis_keys.inactive(number, tenant_id),
    )
    return _Names(number, keys, redis_keys.rate(number, tenant_id))


def touched(request: Append) -> tuple[str, ...]:
    """The script's KEYS."""
    number, always, _ = _names(request.tenant_id)
    if request.idempotency is None:
        return always
    return (*always, redis_keys.idempotency(number, request.tenant_id, request.idempotency.key))


def arguments(request: Append, bounds: Bounds) -> list[Any]:
    """The script's ARGV."""
    idempotency, caps, names = request.idempotency, request.caps, _names(request.tenant_id)
    found: list[Any] = [
        request.tenant_id,
        request.version,
        caps.participant,
        bounds.entries_max,
        names.rate,
        bounds.idempotency_seconds,
        f"{idempotency.fingerprint} {idempotency.before}".strip() if idempotency else "",
        request.messages[0].id,
        _shared_caps(names.number, request) if caps.tenant or caps.key else "",
        bounds.fresh_max,
    ]
    for message in request.messages:
        found += (message.participant_id, encode(message))
    return found


@dataclass(frozen=True, slots=True)
class Writer:
    """The writer whose writes are counted."""

    tenant_id: int
    key_id: UUID
    participant_id: str | None  # None: not known


def counters(writer: Writer, caps: Caps) -> list[tuple[int, str]]:
    """The caps that apply to a writer with their counters, in the order in which they refuse."""
    number, tenant_id = redis_keys.stream_of(writer.tenant_id), writer.tenant_id
    found = [
        (caps.tenant, redis_keys.tenant_rate(number, tenant_id)),
        (caps.key, redis_keys.key_rate(number, tenant_id, writer.key_id)),
    ]
    if writer.participant_id is not None:
        found.append((caps.participant, redis_keys.rate(number, tenant_id) + writer.participant_id))
    return [(cap, counter) for cap, counter in found if cap]


def _shared_caps(number: int, request: Append) -> str:
    """The caps on all of an append's writes, as the script reads them."""
    caps, shared = request.caps, ""
    if caps.tenant:
        shared = f"tenant {caps.tenant} {redis_keys.tenant_rate(number, request.tenant_id)} "
    if caps.key and request.key_id:
        counter = redis_keys.key_rate(number, request.tenant_id, request.key_id)
        shared += f"key {caps.key} {counter}"
    return shared


def read(result: Sequence[Any]) -> Accepted:
    """The script's answer as values; raises Stale, Full or IdempotencyConflict."""
    match result[0]:
        case b"ok":
            return Accepted(
                result[2],
                _rate(result[3:6]) if result[3] else None,
                _refusals(result[6:]) if len(result) > 6 else {},
            )
        case b"known":
            known_id = result[1].decode()
            return Accepted(0, _rate(result[2:5]), _refusals(result[5:]), known_id)
        case b"stale":
            raise Stale
        case b"full":
            raise Full
        case _:
            raise IdempotencyConflict(_rate(result[1:4]))


def read_doubting(result: Sequence[Any]) -> Accepted:
    """As `read`, where an earlier try of the same call may have run too.

    The earlier try may have appended writes that this one refused. So only two answers are trusted:
    all writes taken, or their Idempotency-Key known. Otherwise raises OutcomeUnknown.
    """
    try:
        accepted = read(result)
    except (Stale, Full) as refusal:
        raise OutcomeUnknown from refusal
    if accepted.refused and accepted.known_id is None:
        raise OutcomeUnknown
    return accepted


def _rate(numbers: Sequence[int]) -> Rate | None:
    return Rate(*numbers) if numbers[0] else None


def _refusals(result: Sequence[Any]) -> dict[int, Refusal]:
    triples = zip(result[0::3], result[1::3], result[2::3], strict=True)
    return {index: Refusal(reason.decode(), reset_ms) for index, reason, reset_ms in triples}
