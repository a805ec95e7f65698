"""How many deliveries of a throttled or parked destination may be sent now. Pure.

The throttle is a token bucket kept as one instant: sends are used up to `next_free_at`. All
deliverers share its row, so they share the rate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from models.delivery.deliveries import DestinationId, Lease, LeasedDelivery, LeaseShare
from models.delivery.destination_health import Gate
from models.delivery.destination_queues import DestinationQueue

# The burst after a silence: as much as a late lease loses. In any T seconds at most
# rate × (T + this) are sent.
BURST_SECONDS = 0.5
_ROUNDING = 1e-3  # of a send: instants are whole microseconds


def admitted(
    slots: Sequence[LeaseShare],
    queues: Mapping[DestinationId, DestinationQueue],
    gates: Mapping[DestinationId, Gate],
    now: datetime,
) -> list[LeaseShare]:
    """The slots of a lease that their gates allow; ungated queues pass unchanged."""
    passed = [
        _behind(slot, queue, gates.get(slot.key), now) if queue.is_gated else slot
        for slot in slots
        for queue in (queues[slot.key],)
    ]
    return [slot for slot in passed if slot.count > 0]


def _behind(
    slot: LeaseShare, queue: DestinationQueue, gate: Gate | None, now: datetime
) -> LeaseShare:
    """A slot behind its gate; empty without the gate's row, which another deliverer holds now."""
    if gate is None or (gate.parked_until is not None and gate.parked_until > now):
        return replace(slot, count=0)
    count = slot.count
    if queue.rate_per_second is not None:
        count = min(count, allowance(gate.next_free_at, queue.rate_per_second, now))
    is_probe = gate.parked_until is not None
    return replace(slot, count=min(count, 1) if is_probe else count, is_probe=is_probe)


def passed(
    gates: Mapping[DestinationId, Gate],
    queues: Mapping[DestinationId, DestinationQueue],
    leased: Sequence[LeasedDelivery],
    lease: Lease,
) -> dict[DestinationId, Gate]:
    """The gates after a lease: sends used, no further probe while the lease lasts."""
    counts = Counter(delivery.destination_id for delivery in leased)
    probes = {delivery.destination_id for delivery in leased if delivery.is_probe}
    left = {}
    for key in gates.keys() & counts.keys():
        gate, rate = gates[key], queues[key].rate_per_second
        left[key] = Gate(
            lease.until if key in probes else gate.parked_until,
            spent(gate.next_free_at, rate, counts[key], lease.now) if rate else gate.next_free_at,
        )
    return left


def allowance(next_free_at: datetime | None, rate: int, now: datetime) -> int:
    """How many may be sent now."""
    since = now - _from(next_free_at, rate, now)
    return max(0, int(since / timedelta(seconds=1) * rate + _ROUNDING))


def spent(next_free_at: datetime | None, rate: int, count: int, now: datetime) -> datetime:
    """The instant up to which sends are used after `count` more."""
    return _from(next_free_at, rate, now) + timedelta(seconds=count / rate)


def _from(next_free_at: datetime | None, rate: int, now: datetime) -> datetime:
    """Sends unused for longer than a burst are forfeited; one may always be saved up."""
    earliest = now - timedelta(seconds=max(BURST_SECONDS, 1 / rate))
    return earliest if next_free_at is None else max(next_free_at, earliest)
