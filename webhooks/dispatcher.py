"""Delivery: claim what is due, send it, record what came of it, until nothing is left to do.

No transaction and no connection is held while something is being sent. Claiming goes on while
sends are in flight, so that a slow receiver holds up nothing but its own lane. A process that dies
between sending and recording leaves a lease that ends: the same fact goes out again, under the
same `webhook-id`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar, TypeVarTuple

from aiohttp import ClientSession

from models.db import Connection, Contended, DatabaseUnavailable, Engine, transaction
from models.delivery import deliveries as table
from models.delivery import destination_queues
from models.delivery.deliveries import AttemptOutcome, DestinationId, LeasedDelivery
from webhooks import destination_health, http_client
from webhooks.attempt import SendOptions, attempt, postponed
from webhooks.destination_queues import DestinationQueues
from webhooks.destination_queues import Limits as Limits  # part of the options, so re-exported

log = logging.getLogger("unbroken.deliveries")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

RECORD_TRIES_SECONDS = 14.0  # within the lease: afterwards others may have claimed the rows
AWAY_SECONDS_MAX = 2.0  # without a database, idle: a cut connection is back by then
RETRY_SECONDS = 0.25  # between tries to reach a database that is away
LINGER_SECONDS = 0.1  # outcomes wait so long for company: a transaction for each is too dear
TURN_SECONDS_MIN = 0.005  # between looks for new work: each is a transaction
SLOW_SECONDS = 0.25  # a receiver that takes longer would make the others wait for a run's end
WIND_DOWN_SECONDS_MAX = 30.0  # a run ends then, whoever is slow
ORDERED_LINGER_SECONDS = 0.01  # likewise, where a participant's next fact waits for it


def deliver(
    engine: Engine,
    options: SendOptions,
    stop: Callable[[], bool],
    wait: Callable[[float], object] = time.sleep,
) -> int:
    """Deliver what is due until there is none or `stop()`; return how many outcomes were recorded.

    `stop()` is asked every turn, some hundred times a second when busy: keep it cheap. Once it says
    so nothing more is claimed, and what is in flight is finished and recorded (at most 15 s).
    `wait(seconds)` is called, in a thread of its own, whenever there is room for more than is due:
    it may return early to say that something is. Any number may run side by side. Raises what the
    database raises when it stays away; everything claimed is then due again once its lease has
    ended.

    A disabled destination's deliveries stay pending and go out once it is enabled again, a parked
    one's once it answers; a deleted one's are marked dead.
    """
    return asyncio.run(_deliver(engine, options, stop, wait))


async def _deliver(
    engine: Engine, options: SendOptions, stop: Callable[[], bool], wait: Callable[[float], object]
) -> int:
    http = options.open_session()
    listener = WakeupListener(wait, options.limits.poll_seconds)
    with ThreadPoolExecutor(1, "delivery-db") as thread, contextlib.closing(listener):
        run = _Run(
            engine,
            options,
            http,
            thread,
            listener,
            DestinationQueues(engine, options.limits, options.now),
        )
        try:
            await run.until_done(stop)
        finally:
            run.cancel()
            await http_client.close(http)
    return run.recorded


@dataclass
class _Run:
    """One run of a deliverer: what is in flight and what waits to be recorded."""

    engine: Engine
    options: SendOptions
    http: ClientSession
    thread: ThreadPoolExecutor  # the one that talks to the database: the loop never blocks on it
    listener: WakeupListener
    queues: DestinationQueues
    # What is in flight, since when (monotonic).
    sending: dict[asyncio.Task[AttemptOutcome], tuple[LeasedDelivery, float]] = field(
        default_factory=dict
    )
    busy: Counter[DestinationId] = field(default_factory=Counter)
    outcomes: list[AttemptOutcome] = field(default_factory=list)
    away_since: float | None = None  # when claiming first failed, until it works again
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    done_since: float = 0.0  # when the first of the outcomes came
    is_in_hurry: bool = False  # somebody's next fact waits for an outcome to be recorded
    recorded: int = 0
    began: float = field(default_factory=time.monotonic)
    is_ending: bool = False  # nothing more is claimed
    turned: float = 0.0  # when something was last claimed, or tried to be
    was_woken: bool = False  # since then: that something is due

    async def until_done(self, stop: Callable[[], bool]) -> None:
        """Turn by turn: record what is done, claim what there is room for, wait for either."""
        last_work = time.monotonic()
        while True:
            self.is_ending = self.is_ending or stop() or self._is_time_over()
            await self._record()
            leased = [] if self.is_ending else await self._lease()
            for delivery in leased:
                self._start(delivery)
            if self.sending or self.outcomes:
                last_work = time.monotonic()
                await self._pause(bool(leased))
            elif self.is_ending or (
                self.queues.is_drained
                and time.monotonic() - last_work >= self.options.limits.idle_seconds
            ):
                return
            elif not leased:
                await self.listener.listen(self._on_wakeup)

    def _is_time_over(self) -> bool:
        """Whether the run is to end now: its time is up, and no slow receiver would make the
        others wait for the end. Meanwhile slow ones get nothing new, so that end comes."""
        late_seconds = time.monotonic() - self.began - self.options.limits.run_seconds
        return late_seconds >= WIND_DOWN_SECONDS_MAX or (late_seconds >= 0 and not self._slow())

    def _slow(self) -> set[DestinationId]:
        """The lanes with something in flight for long."""
        long_ago = time.monotonic() - SLOW_SECONDS
        return {one.destination_id for one, started in self.sending.values() if started <= long_ago}

    # -- with the database ---------------------------------------------------------------------

    async def _lease(self) -> list[LeasedDelivery]:
        """Claim what there is room for. A database that stays away ends an idle run."""
        self.turned, self.was_woken = time.monotonic(), False
        room = self.options.limits.in_flight_max - len(self.sending)
        if room <= 0:
            return []
        busy = dict(self.busy)
        if self.turned - self.began >= self.options.limits.run_seconds:
            busy |= dict.fromkeys(self._slow(), self.options.limits.in_flight_max)
        try:
            leased = await self._in_thread(self.queues.lease, busy, room)
        except (Contended, DatabaseUnavailable) as error:
            if isinstance(error, DatabaseUnavailable) and not self._may_go_on_without():
                raise
            log.warning("nothing claimed: %s", type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)
            return []
        self.away_since = None
        if leased:
            self.options.failpoint("deliver.after_claim")
        return leased

    def _may_go_on_without(self) -> bool:
        """Whether something is in flight or unrecorded, or the database went only just now."""
        self.away_since = self.away_since or time.monotonic()
        is_busy = bool(self.sending or self.outcomes)
        return is_busy or time.monotonic() - self.away_since < AWAY_SECONDS_MAX

    async def _record(self) -> None:
        """Record what is done, trying again while the leases last."""
        if not self.outcomes or not self._is_worth_recording():
            return
        self.is_in_hurry = False
        self.options.failpoint("deliver.after_send_before_record")
        outcomes, self.outcomes = self.outcomes, []
        deadline = time.monotonic() + RECORD_TRIES_SECONDS
        while not await self._is_recorded(outcomes, deadline):
            await asyncio.sleep(RETRY_SECONDS)

    async def _is_recorded(self, outcomes: list[AttemptOutcome], deadline: float) -> bool:
        try:
            self.recorded += await self._in_thread(self._write, outcomes)
        except (Contended, DatabaseUnavailable) as error:
            if time.monotonic() > deadline:
                raise
            log.warning("outcomes not recorded yet: %s", type(error).__name__)
            return False
        return True

    def _write(self, outcomes: list[AttemptOutcome]) -> int:
        """Outcomes and what they say of their destinations, in one transaction."""
        with transaction(self.engine) as connection:
            settled = table.record(connection, outcomes)
            is_changed = _says_something(connection, outcomes)
            if is_changed:
                now = self.options.now()
                is_changed = destination_health.record_attempts(connection, outcomes, now)
            self.options.failpoint("deliver.mid_sql")
        self.options.on_recorded(outcomes)
        if is_changed:
            self.queues.forget()
        return settled

    async def _in_thread(self, work: Callable[[*Ts], T], *given: *Ts) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.thread, work, *given)

    # -- in flight -----------------------------------------------------------------------------

    def _start(self, delivery: LeasedDelivery) -> None:
        task = asyncio.create_task(attempt(self.http, self.options, delivery))
        self.sending[task] = delivery, time.monotonic()
        self.busy[delivery.destination_id] += 1
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[AttemptOutcome]) -> None:
        delivery, _ = self.sending.pop(task)
        self.busy[delivery.destination_id] -= 1
        if not self.busy[delivery.destination_id]:
            del self.busy[delivery.destination_id]
        if not task.cancelled():
            self.done_since = self.done_since if self.outcomes else time.monotonic()
            self.outcomes.append(_outcome(task, delivery, self.options.now()))
        if self._is_worth_recording():
            self.wake.set()
        elif delivery.participant_id is not None:  # the next one waits for this to be recorded
            asyncio.get_running_loop().call_later(ORDERED_LINGER_SECONDS, self._hurry)

    def _hurry(self) -> None:
        self.is_in_hurry = bool(self.outcomes)
        self.wake.set()

    def _is_worth_recording(self) -> bool:
        is_many = len(self.outcomes) >= self.options.limits.lease_max // 4
        is_old = bool(self.outcomes) and time.monotonic() - self.done_since >= LINGER_SECONDS
        return not self.sending or is_many or is_old or self.is_in_hurry

    async def _pause(self, is_more_likely: bool) -> None:
        """Wait until enough is done to be worth a transaction, for new work, or for a moment."""
        if is_more_likely and self._has_room():
            await asyncio.sleep(0)  # let the sends begin
            return
        self.wake.clear()
        if self._is_worth_recording() or (self.was_woken and not self.is_ending):
            await asyncio.sleep(0)
            return
        if len(self.sending) < self.options.limits.in_flight_max and not self.is_ending:
            self.listener.listen(self._on_wakeup)
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                await self.wake.wait()
        except TimeoutError:
            return

    def _on_wakeup(self) -> None:
        """There may be something new: look soon, but not for each of many words."""
        self.was_woken = True
        soon = self.turned + TURN_SECONDS_MIN - time.monotonic()
        asyncio.get_running_loop().call_later(max(0.0, soon), self.wake.set)

    def _has_room(self) -> bool:
        """Whether a whole claim fits, and some lane is below its cap."""
        limits = self.options.limits
        fits = len(self.sending) + limits.lease_max <= limits.in_flight_max
        return fits and self.queues.has_room(self.busy)

    def cancel(self) -> None:
        """Drop what is in flight (only when a run fails): leases give it back."""
        for task in list(self.sending):
            task.cancel()


def _says_something(connection: Connection, outcomes: Sequence[AttemptOutcome]) -> bool:
    """Whether outcomes may change a destination's health: not where all arrived and was well."""
    destination_ids = set()
    for one in outcomes:
        if one.status != "delivered" or one.disables is not None:
            return True
        destination_ids.add(one.delivery.destination_id)
    return bool(destination_queues.failing(connection, sorted(destination_ids)))


def _outcome(
    task: asyncio.Task[AttemptOutcome], delivery: LeasedDelivery, now: datetime
) -> AttemptOutcome:
    error = task.exception()
    if error is None:
        return task.result()
    # A fault of this program: it must not use up the attempts of a receiver that is well.
    log.error("delivery of %s failed", delivery.fact_id, exc_info=error)
    return postponed(delivery, now)


class WakeupListener:
    """Calls `wait(seconds)` once at a time; what it returns for, a word or its time, wakes us.

    To be used in one event loop.
    """

    def __init__(self, wait: Callable[[float], object], seconds: float) -> None:
        self._wait, self._seconds = wait, seconds
        self._thread = ThreadPoolExecutor(1, "delivery-wakeup")
        self._listening: asyncio.Future[object] | None = None
        self._on_wakeup: Callable[[], None] = lambda: None

    def listen(self, on_wakeup: Callable[[], None]) -> asyncio.Future[object]:
        """Listen, unless it does already; `on_word()` is called when something is heard.

        The future is for who has nothing else to do. Raises what `wait` raised the last time.
        """
        self._on_wakeup = on_wakeup
        if self._listening is None or self._listening.done():
            if self._listening is not None:
                self._listening.result()
            loop = asyncio.get_running_loop()
            self._listening = loop.run_in_executor(self._thread, self._wait, self._seconds)
            self._listening.add_done_callback(self._woken)
        return self._listening

    def _woken(self, listening: asyncio.Future[object]) -> None:
        self._on_wakeup()

    def close(self) -> None:
        """Wait for the end of what is being listened to: some tenths of a second at most."""
        self._thread.shutdown(wait=True)
