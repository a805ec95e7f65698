"""Delivery: claim what is due, send it, record what came of it, until nothing is left to do.

No transaction and no connection is held while something is being sent. Claiming goes on while
sends are in flight, so that a slow receiver holds up nothing but its own lane. A process that dies
between sending and recording leaves a lease that ends: the same fact goes out again, under the
same `webhook-id`.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from aiohttp import ClientSession

from models import clock
from models import deliveries as table
from models.db import Engine, is_away, is_contended, transaction
from models.deliveries import Claimed, LaneKey, Outcome
from webhooks import egress, sender
from webhooks.attempts import attempt, postponed
from webhooks.egress import Lookup, Policy
from webhooks.lanes import Lanes, lane_cap
from webhooks.lanes import Limits as Limits  # part of the terms, so re-exported
from webhooks.secrets import Ring
from webhooks.sender import DEFAULT_TIMEOUTS, Timeouts

log = logging.getLogger("unbroken.deliveries")
T = TypeVar("T")

RECORD_TRIES_SECONDS = 14.0  # within the lease: afterwards others may have claimed the rows
AWAY_SECONDS_MAX = 2.0  # without a database, idle: a cut connection is back by then
RETRY_SECONDS = 0.25  # between tries to reach a database that is away
LINGER_SECONDS = 0.1  # outcomes wait so long for company: a transaction for each is too dear


def _no_failpoint(name: str) -> None:
    """What a failpoint does when no test has armed it."""


@dataclass(frozen=True)
class Terms:
    """On what terms a deliverer works: made once by the composition root."""

    ring: Ring  # secrets.ring(settings.secret_keys)
    policy: Policy  # egress.policy(settings.webhook_allow_cidrs, …)
    limits: Limits = field(default_factory=Limits)
    lookup: Lookup = egress.system_lookup
    tls: ssl.SSLContext | None = None  # None: the system's trust
    timeouts: Timeouts = DEFAULT_TIMEOUTS
    failpoint: Callable[[str], None] = _no_failpoint


def deliver(
    engine: Engine,
    terms: Terms,
    stop: Callable[[], bool],
    wait: Callable[[float], object] = time.sleep,
) -> int:
    """Deliver what is due until there is none or `stop()`; return how many outcomes were recorded.

    `stop()` is asked every turn, some hundred times a second when busy: keep it cheap. Once it says
    so nothing more is claimed, and what is in flight is finished and recorded (at most 15 s).
    `wait(seconds)` is called, in a thread, when nothing is in flight or due: it may return early
    to say that something is. Any number may run side by side. Raises what the database raises when
    it stays away; everything claimed is then due again once its lease has ended.

    A disabled destination's deliveries stay pending and go out once it is enabled again; a deleted
    one's are marked dead.
    """
    return asyncio.run(_deliver(engine, terms, stop, wait))


async def _deliver(
    engine: Engine, terms: Terms, stop: Callable[[], bool], wait: Callable[[float], object]
) -> int:
    http = sender.open_session(terms.policy, terms.lookup, terms.tls, terms.timeouts)
    with ThreadPoolExecutor(1, "delivery-db") as thread:
        run = _Run(engine, terms, http, thread, Lanes(engine, terms.limits))
        try:
            await run.until_done(stop, wait)
        finally:
            run.cancel()
            await sender.close(http)
    return run.recorded


@dataclass
class _Run:
    """One run of a deliverer: what is in flight and what waits to be recorded."""

    engine: Engine
    terms: Terms
    http: ClientSession
    thread: ThreadPoolExecutor  # the one that talks to the database: the loop never blocks on it
    lanes: Lanes
    sending: dict[asyncio.Task[Outcome], Claimed] = field(default_factory=dict)
    busy: Counter[LaneKey] = field(default_factory=Counter)
    outcomes: list[Outcome] = field(default_factory=list)
    away_since: float | None = None  # when claiming first failed, until it works again
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    recorded: int = 0

    async def until_done(self, stop: Callable[[], bool], wait: Callable[[float], object]) -> None:
        """Turn by turn: record what is done, claim what there is room for, wait for either."""
        last_work = time.monotonic()
        while True:
            is_stopping = stop()
            await self._record()
            claimed = [] if is_stopping else await self._claim()
            for delivery in claimed:
                self._start(delivery)
            if self.sending or self.outcomes:
                last_work = time.monotonic()
                await self._pause(bool(claimed))
            elif is_stopping or self._is_idle_since(last_work):
                return
            elif not claimed:
                await self._in_thread(lambda: wait(self.terms.limits.poll_seconds))

    def _is_idle_since(self, last_work: float) -> bool:
        idle_seconds = time.monotonic() - last_work
        return self.lanes.is_drained and idle_seconds >= self.terms.limits.idle_seconds

    # -- with the database ---------------------------------------------------------------------

    async def _claim(self) -> list[Claimed]:
        """Claim what there is room for. A database that stays away ends an idle run."""
        room = self.terms.limits.in_flight_max - len(self.sending)
        if room <= 0:
            return []
        busy = dict(self.busy)
        try:
            claimed = await self._in_thread(lambda: self.lanes.claim(busy, room))
        except Exception as error:
            if not (is_contended(error) or (is_away(error) and self._may_go_on_without())):
                raise
            log.warning("nothing claimed: %s", type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)
            return []
        self.away_since = None
        if claimed:
            self.terms.failpoint("deliver.after_claim")
        return claimed

    def _may_go_on_without(self) -> bool:
        """Whether something is in flight or unrecorded, or the database went only just now."""
        self.away_since = self.away_since or time.monotonic()
        is_busy = bool(self.sending or self.outcomes)
        return is_busy or time.monotonic() - self.away_since < AWAY_SECONDS_MAX

    async def _record(self) -> None:
        """Record what is done, trying again while the leases last."""
        if not self.outcomes:
            return
        self.terms.failpoint("deliver.after_send_before_record")
        outcomes, self.outcomes = self.outcomes, []
        deadline = time.monotonic() + RECORD_TRIES_SECONDS
        while not await self._is_recorded(outcomes, deadline):
            await asyncio.sleep(RETRY_SECONDS)

    async def _is_recorded(self, outcomes: list[Outcome], deadline: float) -> bool:
        try:
            self.recorded += await self._in_thread(lambda: _record(self.engine, outcomes))
        except Exception as error:
            if time.monotonic() > deadline or not (is_away(error) or is_contended(error)):
                raise
            log.warning("outcomes not recorded yet: %s", type(error).__name__)
            return False
        return True

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.thread, work)

    # -- in flight -----------------------------------------------------------------------------

    def _start(self, delivery: Claimed) -> None:
        terms = self.terms
        task = asyncio.create_task(attempt(self.http, terms.ring, terms.policy, delivery))
        self.sending[task] = delivery
        self.busy[delivery.lane] += 1
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Outcome]) -> None:
        delivery = self.sending.pop(task)
        self.busy[delivery.lane] -= 1
        if not self.busy[delivery.lane]:
            del self.busy[delivery.lane]
        if not task.cancelled():
            self.outcomes.append(_outcome(task, delivery))
        if self._is_worth_recording():
            self.wake.set()

    def _is_worth_recording(self) -> bool:
        return not self.sending or len(self.outcomes) >= self.terms.limits.claim_max // 4

    async def _pause(self, is_more_likely: bool) -> None:
        """Wait until enough is done to be worth a transaction, or for a moment."""
        if is_more_likely and self._has_room():
            await asyncio.sleep(0)  # let the sends begin
            return
        self.wake.clear()
        if self._is_worth_recording():
            return
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                await self.wake.wait()
        except TimeoutError:
            return

    def _has_room(self) -> bool:
        """Whether a whole claim fits, and some lane is below its cap."""
        limits, keys = self.terms.limits, self.lanes.keys
        cap = lane_cap(len(keys), limits)
        fits = len(self.sending) + limits.claim_max <= limits.in_flight_max
        return fits and any(self.busy.get(key, 0) < cap for key in keys)

    def cancel(self) -> None:
        """Drop what is in flight (only when a run fails): leases give it back."""
        for task in list(self.sending):
            task.cancel()


def _record(engine: Engine, outcomes: list[Outcome]) -> int:
    with transaction(engine) as session:
        return table.record(session, outcomes)


def _outcome(task: asyncio.Task[Outcome], delivery: Claimed) -> Outcome:
    error = task.exception()
    if error is None:
        return task.result()
    # A fault of this program: it must not use up the attempts of a receiver that is well.
    log.error("delivery of %s failed", delivery.fact_id, exc_info=error)
    return postponed(delivery, clock.now())
