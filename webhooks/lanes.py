"""Whose deliveries are claimed next: fair shares for all destinations with work.

A lane is what is pending for one destination. A slow or dead one fills its own share of what may
be in flight and no more.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from models import clock, ids
from models import deliveries as table
from models.db import Engine, transaction
from models.deliveries import Claimed, LaneKey, Lease, Slots

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


@dataclass
class Lanes:
    """The lanes with work, as last read. All its methods talk to the database: not for the loop."""

    engine: Engine
    limits: Limits
    keys: list[LaneKey] = field(default_factory=list)
    is_drained: bool = False  # when all had last been read, none had anything to do
    _after: LaneKey = table.FIRST_LANE
    _has_found: bool = False  # since the first lane was last read
    _read_at: float = -math.inf

    def claim(self, busy: Mapping[LaneKey, int], room: int) -> list[Claimed]:
        """Claim at most `room` deliveries, given how many of each lane are in flight."""
        claimed: list[Claimed] = []
        if self.keys and time.monotonic() - self._read_at < FRESH_SECONDS:
            claimed = self._claim(busy, room)
        while not claimed:
            self._read()
            claimed = self._claim(busy, room)
            if self._after == table.FIRST_LANE:
                break
        return claimed

    def _read(self) -> None:
        """Read the next lanes, and mark dead a portion of what deleted destinations left."""
        if self._after == table.FIRST_LANE:
            self._has_found = False
        with transaction(self.engine) as session:
            found, self._after = table.lanes(session, self._after, table.LANES_MAX, clock.now())
            buried = [table.bury(session, lane.key, BURY_MAX) for lane in found if lane.is_orphan]
        if any(buried):
            log.info("%d deliveries of deleted destinations are dead", sum(buried))
        self.keys = [lane.key for lane in found if not lane.is_orphan]
        self._has_found = self._has_found or bool(found)
        self.is_drained = self._after == table.FIRST_LANE and not self._has_found
        self._read_at = time.monotonic()

    def _claim(self, busy: Mapping[LaneKey, int], room: int) -> list[Claimed]:
        slots = shares(self.keys, busy, room, self.limits)
        if not slots:
            return []
        now = clock.now()
        until = now + timedelta(seconds=LEASE_SECONDS)
        with transaction(self.engine) as session:
            return table.claim(session, slots, Lease(ids.uuid7(clock.to_us(now)), now, until))


def lane_cap(lanes: int, limits: Limits) -> int:
    """How many of one lane may be in flight: some room is always left for one lane more."""
    return max(1, min(limits.lane_in_flight_max, limits.in_flight_max // (lanes + 1)))


def shares(
    keys: list[LaneKey], busy: Mapping[LaneKey, int], room: int, limits: Limits
) -> list[Slots]:
    """Shares of one claim: equal ones, within each lane's cap, the lanes in random order."""
    cap = lane_cap(len(keys), limits)
    free = Counter({key: cap - busy.get(key, 0) for key in keys if busy.get(key, 0) < cap})
    left = min(room, limits.claim_max)
    slots = []
    for key in random.sample(list(free), len(free)):
        count = min(free[key], max(1, limits.claim_max // len(free)), left)
        if count > 0:
            slots.append(Slots(key, count))
            left -= count
    return slots
