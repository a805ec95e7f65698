"""Which deliveries are leased next: fair shares for all destinations with work.

A queue holds the pending deliveries of one destination. A slow or dead destination fills only its
own share of what may be in flight.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from models import clock, ids
from models.db import Connection, Engine, transaction
from models.delivery import destination_health, ordered
from models.delivery import destination_queues as table
from models.delivery.deliveries import (
    DestinationId,
    Lease,
    LeasedDelivery,
    LeaseShare,
    exhaust_orphans,
    lease_due,
)
from models.delivery.destination_queues import DestinationQueue
from webhooks import rate_limits

log = logging.getLogger("unbroken.deliveries")

# After a crash the rows wait this long. Longer than a send can last (15 s), plus recording.
LEASE_SECONDS = 30.0
FRESH_SECONDS = 0.5  # the greatest age of the list of queues while it yields work
EXHAUSTED_MAX = 5_000  # rows of a deleted destination marked exhausted at once: a short transaction


@dataclass(frozen=True)
class Limits:
    """Upper limits of the work done at once."""

    lease_max: int = 256  # rows leased at once: a short transaction
    in_flight_max: int = 512  # sockets, and bodies in memory
    queue_in_flight_max: int = 128  # polite to one receiver; still 1,280/s at 100 ms a response
    idle_seconds: float = 0.0  # stay this long after the last work: connections stay warm
    poll_seconds: float = 0.25  # between looks for new work when there is none
    run_seconds: float = math.inf  # then a run ends, once that makes no other delivery wait


@dataclass
class DestinationQueues:
    """The queues with work, as last read. All methods use the database: not for the event loop."""

    engine: Engine
    limits: Limits
    now: Callable[[], datetime] = clock.now
    queues: dict[DestinationId, DestinationQueue] = field(default_factory=dict)
    is_drained: bool = False  # a whole read of all queues found no work
    _after: DestinationId = table.FIRST_DESTINATION
    _has_found: bool = False  # since the first queue was last read
    _read_at: float = -math.inf
    _reached: dict[DestinationId, int] = field(
        default_factory=dict
    )  # the participant after which the next lease continues

    def lease(self, busy: Mapping[DestinationId, int], room: int) -> list[LeasedDelivery]:
        """Lease at most `room` deliveries, given how many of each queue are in flight."""
        leased: list[LeasedDelivery] = []
        if self.queues and time.monotonic() - self._read_at < FRESH_SECONDS:
            leased = self._lease_shares(busy, room)
        while not leased:
            self._read()
            leased = self._lease_shares(busy, room)
            if self._after == table.FIRST_DESTINATION:
                break
        return leased

    def forget(self) -> None:
        """Read the queues again with the next lease: a destination's health has changed."""
        self._read_at = -math.inf

    def has_room(self, busy: Mapping[DestinationId, int]) -> bool:
        """Whether any queue is below its cap."""
        return bool(free(list(self.queues.values()), busy, self.limits))

    def _read(self) -> None:
        """Read the next queues; mark exhausted a portion of the rows of deleted destinations."""
        if self._after == table.FIRST_DESTINATION:
            self._has_found = False
        with transaction(self.engine) as connection:
            found, self._after = table.queues(connection, self._after, table.QUEUES_MAX, self.now())
            exhausted = [
                exhaust_orphans(connection, queue.key, EXHAUSTED_MAX)
                for queue in found
                if queue.is_orphan
            ]
        if any(exhausted):
            log.info("%d deliveries of deleted destinations are dead", sum(exhausted))
        self.queues = {queue.key: queue for queue in found if not queue.is_orphan}
        self._has_found = self._has_found or bool(found)
        self.is_drained = self._after == table.FIRST_DESTINATION and not self._has_found
        self._read_at = time.monotonic()

    def _lease_shares(self, busy: Mapping[DestinationId, int], room: int) -> list[LeasedDelivery]:
        slots = shares(list(self.queues.values()), busy, room, self.limits)
        if not slots:
            return []
        now = self.now()
        lease = Lease(ids.uuid7(clock.to_us(now)), now, now + timedelta(seconds=LEASE_SECONDS))
        with transaction(self.engine) as connection:
            gated = [slot.key for slot in slots if self.queues[slot.key].is_gated]
            if not gated:
                return self._lease(connection, slots, lease)
            locked = destination_health.gates(connection, gated)
            slots = rate_limits.admitted(slots, self.queues, locked, now)
            leased = self._lease(connection, slots, lease)
            destination_health.pass_gates(
                connection, rate_limits.passed(locked, self.queues, leased, lease)
            )
            return leased

    def _lease(
        self, connection: Connection, slots: Sequence[LeaseShare], lease: Lease
    ) -> list[LeasedDelivery]:
        loose, in_order = kinds(slots, self.queues)
        leased = lease_due(connection, loose, lease) if loose else []
        if in_order:
            mine, reached = ordered.lease_due(connection, in_order, self._reached, lease)
            self._reached = {**self._reached, **{slot.key: 0 for slot in in_order}, **reached}
            leased += mine
        return leased


def queue_cap(queues: int, limits: Limits) -> int:
    """How many of one queue may be in flight: room is always left for one more queue."""
    return max(1, min(limits.queue_in_flight_max, limits.in_flight_max // (queues + 1)))


def free(
    queues: Sequence[DestinationQueue], busy: Mapping[DestinationId, int], limits: Limits
) -> dict[DestinationId, int]:
    """How many more of each queue may be sent now; full queues are missing."""
    cap = queue_cap(len(queues), limits)
    left = {
        queue.key: 1 - busy.get(queue.key, 0)
        if queue.is_parked
        else min(cap, queue.in_flight_max or cap) - busy.get(queue.key, 0)
        for queue in queues
    }
    return {key: count for key, count in left.items() if count > 0}


def shares(
    queues: Sequence[DestinationQueue], busy: Mapping[DestinationId, int], room: int, limits: Limits
) -> list[LeaseShare]:
    """Equal shares of one lease, within each queue's cap, the queues in random order."""
    caps = free(queues, busy, limits)
    left = min(room, limits.lease_max)
    slots = []
    for key in random.sample(list(caps), len(caps)):
        count = min(caps[key], max(1, limits.lease_max // len(caps)), left)
        if count > 0:
            slots.append(LeaseShare(key, count))
            left -= count
    return slots


def kinds(
    slots: Sequence[LeaseShare], queues: Mapping[DestinationId, DestinationQueue]
) -> tuple[list[LeaseShare], list[LeaseShare]]:
    """Separate slots for unordered and ordered deliveries; a queue with both gives half to each,
    and an odd slot to either by chance."""
    loose, in_order = [], []
    for slot in slots:
        queue, count = queues[slot.key], 0
        if queue.has_ordered:
            odd = random.randrange(2)  # noqa: S311 - a coin, not a secret
            count = (slot.count + odd) // 2 if queue.has_loose else slot.count
        in_order.append(replace(slot, count=count))
        loose.append(replace(slot, count=slot.count - count))
    return [slot for slot in loose if slot.count], [slot for slot in in_order if slot.count]
