"""Whose deliveries are claimed next: fair shares for all destinations with work.

A lane is what is pending for one destination. A slow or dead one fills its own share of what may
be in flight and no more.
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
from models.delivery import destination_health
from models.delivery import destination_queues as table
from models.delivery import ordered as heads
from models.delivery.deliveries import Claimed, LaneKey, Lease, Slots, bury, claim
from models.delivery.destination_queues import Lane
from webhooks import rate_limits

log = logging.getLogger("unbroken.deliveries")

# After a crash the rows wait so long. Longer than a send can last (15 s) with room to record it.
LEASE_SECONDS = 30.0
FRESH_SECONDS = 0.5  # how old the list of lanes may get while it still yields work
BURY_MAX = 5_000  # rows of a deleted destination marked dead at once: a short transaction


@dataclass(frozen=True)
class Limits:
    """How much is done at once."""

    claim_max: int = 256  # rows a claim: a short transaction
    in_flight_max: int = 512  # sockets, and bodies in memory
    lane_in_flight_max: int = 128  # polite to one receiver; still 1,280/s at 100 ms an answer
    idle_seconds: float = 0.0  # stay this long after the last work: connections stay warm
    poll_seconds: float = 0.25  # between looks for new work when there is none
    run_seconds: float = math.inf  # then a run ends, as soon as nobody has to wait for that


@dataclass
class Lanes:
    """The lanes with work, as last read. All its methods talk to the database: not for the loop."""

    engine: Engine
    limits: Limits
    now: Callable[[], datetime] = clock.now
    lanes: dict[LaneKey, Lane] = field(default_factory=dict)
    is_drained: bool = False  # when all had last been read, none had anything to do
    _after: LaneKey = table.FIRST_LANE
    _has_found: bool = False  # since the first lane was last read
    _read_at: float = -math.inf
    _heads: dict[LaneKey, int] = field(default_factory=dict)  # behind whom the next claim goes on

    def claim(self, busy: Mapping[LaneKey, int], room: int) -> list[Claimed]:
        """Claim at most `room` deliveries, given how many of each lane are in flight."""
        claimed: list[Claimed] = []
        if self.lanes and time.monotonic() - self._read_at < FRESH_SECONDS:
            claimed = self._claim(busy, room)
        while not claimed:
            self._read()
            claimed = self._claim(busy, room)
            if self._after == table.FIRST_LANE:
                break
        return claimed

    def forget(self) -> None:
        """Read the lanes anew with the next claim: some destination's health has changed."""
        self._read_at = -math.inf

    def has_room(self, busy: Mapping[LaneKey, int]) -> bool:
        """Whether some lane is below its cap."""
        return bool(free(list(self.lanes.values()), busy, self.limits))

    def _read(self) -> None:
        """Read the next lanes, and mark dead a portion of what deleted destinations left."""
        if self._after == table.FIRST_LANE:
            self._has_found = False
        with transaction(self.engine) as connection:
            found, self._after = table.lanes(connection, self._after, table.LANES_MAX, self.now())
            buried = [bury(connection, lane.key, BURY_MAX) for lane in found if lane.is_orphan]
        if any(buried):
            log.info("%d deliveries of deleted destinations are dead", sum(buried))
        self.lanes = {lane.key: lane for lane in found if not lane.is_orphan}
        self._has_found = self._has_found or bool(found)
        self.is_drained = self._after == table.FIRST_LANE and not self._has_found
        self._read_at = time.monotonic()

    def _claim(self, busy: Mapping[LaneKey, int], room: int) -> list[Claimed]:
        slots = shares(list(self.lanes.values()), busy, room, self.limits)
        if not slots:
            return []
        now = self.now()
        lease = Lease(ids.uuid7(clock.to_us(now)), now, now + timedelta(seconds=LEASE_SECONDS))
        with transaction(self.engine) as connection:
            gated = [slot.key for slot in slots if self.lanes[slot.key].is_gated]
            if not gated:
                return self._lease(connection, slots, lease)
            locked = destination_health.gates(connection, gated)
            slots = rate_limits.admitted(slots, self.lanes, locked, now)
            claimed = self._lease(connection, slots, lease)
            destination_health.pass_gates(
                connection, rate_limits.passed(locked, self.lanes, claimed, lease)
            )
            return claimed

    def _lease(self, connection: Connection, slots: Sequence[Slots], lease: Lease) -> list[Claimed]:
        loose, ordered = kinds(slots, self.lanes)
        claimed = claim(connection, loose, lease) if loose else []
        if ordered:
            mine, reached = heads.claim(connection, ordered, self._heads, lease)
            self._heads = {**self._heads, **{slot.key: 0 for slot in ordered}, **reached}
            claimed += mine
        return claimed


def lane_cap(lanes: int, limits: Limits) -> int:
    """How many of one lane may be in flight: some room is always left for one lane more."""
    return max(1, min(limits.lane_in_flight_max, limits.in_flight_max // (lanes + 1)))


def free(lanes: Sequence[Lane], busy: Mapping[LaneKey, int], limits: Limits) -> dict[LaneKey, int]:
    """How many more of each lane may be sent now; full ones are missing."""
    cap = lane_cap(len(lanes), limits)
    left = {
        lane.key: 1 - busy.get(lane.key, 0)
        if lane.is_parked
        else min(cap, lane.in_flight_max or cap) - busy.get(lane.key, 0)
        for lane in lanes
    }
    return {key: count for key, count in left.items() if count > 0}


def shares(
    lanes: Sequence[Lane], busy: Mapping[LaneKey, int], room: int, limits: Limits
) -> list[Slots]:
    """Shares of one claim: equal ones, within each lane's cap, the lanes in random order."""
    caps = free(lanes, busy, limits)
    left = min(room, limits.claim_max)
    slots = []
    for key in random.sample(list(caps), len(caps)):
        count = min(caps[key], max(1, limits.claim_max // len(caps)), left)
        if count > 0:
            slots.append(Slots(key, count))
            left -= count
    return slots


def kinds(slots: Sequence[Slots], lanes: Mapping[LaneKey, Lane]) -> tuple[list[Slots], list[Slots]]:
    """The slots for what may go in any order and those for what goes in order; a lane with both
    gives each its half, and an odd one to either by chance."""
    loose, ordered = [], []
    for slot in slots:
        lane, count = lanes[slot.key], 0
        if lane.has_heads:
            odd = random.randrange(2)  # noqa: S311 - a coin, not a secret
            count = (slot.count + odd) // 2 if lane.has_loose else slot.count
        ordered.append(replace(slot, count=count))
        loose.append(replace(slot, count=slot.count - count))
    return [slot for slot in loose if slot.count], [slot for slot in ordered if slot.count]
