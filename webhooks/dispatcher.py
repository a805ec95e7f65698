"""The dispatcher: lease what is due, send it, record the outcome, until no work is left.

No transaction and no connection is held during a send. Leasing continues while sends are in flight,
so that a slow receiver delays only its own queue. A process that dies between sending and recording
leaves a lease that expires: the same fact is sent again, under the same `webhook-id`.
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

RECORD_TRIES_SECONDS = 14.0  # within the lease: later other deliverers may have leased the rows
AWAY_SECONDS_MAX = 2.0  # idle without a database: a cut connection is back by then
RETRY_SECONDS = 0.25  # between tries to reach a database that is away
LINGER_SECONDS = 0.1  # outcomes wait this long for more: a transaction for each costs too much
TURN_SECONDS_MIN = 0.005  # between looks for new work: each is a transaction
SLOW_SECONDS = 0.25  # a slower receiver would make the others wait for a run's end
WIND_DOWN_SECONDS_MAX = 30.0  # a run ends then, however slow its receivers are
ORDERED_LINGER_SECONDS = 0.01  # likewise, where a participant's next fact waits for it


def deliver(
    engine: Engine,
    options: SendOptions,
    stop: Callable[[], bool],
    wait: Callable[[float], object] = time.sleep,
) -> int:
    """Deliver what is due until there is none or `stop()`; return how many outcomes were recorded.

    `stop()` is called every turn, some hundred times a second when busy: keep it cheap. Once it is
    true nothing more is leased, and sends in flight are finished and recorded (at most 15 s).
    `wait(seconds)` is called, in its own thread, whenever there is room for more than is due; it
    may return early to signal due work. Any number of deliverers may run side by side. Raises the
    error of a database that stays away; all leased deliveries are then due again once their leases
    expire.

    A disabled destination's deliveries stay pending until it is enabled again, a parked one's until
    it responds; a deleted one's are marked exhausted.
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
    """One run of a deliverer: the sends in flight and the outcomes to record."""

    engine: Engine
    options: SendOptions
    http: ClientSession
    thread: ThreadPoolExecutor  # all database calls run in it: the loop never blocks on them
    listener: WakeupListener
    queues: DestinationQueues
    # The sends in flight, each with its start (monotonic).
    sending: dict[asyncio.Task[AttemptOutcome], tuple[LeasedDelivery, float]] = field(
        default_factory=dict
    )
    busy: Counter[DestinationId] = field(default_factory=Counter)
    outcomes: list[AttemptOutcome] = field(default_factory=list)
    away_since: float | None = None  # when leasing first failed, until it works again
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    done_since: float = 0.0  # when the oldest of the outcomes came
    is_in_hurry: bool = False  # a participant's next fact waits for an outcome to be recorded
    recorded: int = 0
    began: float = field(default_factory=time.monotonic)
    is_ending: bool = False  # nothing more is leased
    turned: float = 0.0  # when a lease was last tried
    was_woken: bool = False  # whether a wake-up has come since then

    async def until_done(self, stop: Callable[[], bool]) -> None:
        """Turn by turn: record outcomes, lease what there is room for, wait for either."""
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
        """Whether the run ends now: its time is up, and no slow receiver would make the others wait
        for the end. Meanwhile slow ones get nothing new, so that the end comes."""
        late_seconds = time.monotonic() - self.began - self.options.limits.run_seconds
        return late_seconds >= WIND_DOWN_SECONDS_MAX or (late_seconds >= 0 and not self._slow())

    def _slow(self) -> set[DestinationId]:
        """The queues whose oldest send in flight is slow."""
        long_ago = time.monotonic() - SLOW_SECONDS
        return {
            delivery.destination_id
            for delivery, started in self.sending.values()
            if started <= long_ago
        }

    # -- with the database ---------------------------------------------------------------------

    async def _lease(self) -> list[LeasedDelivery]:
        """Lease what there is room for. A database that stays away ends an idle run."""
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
        """Whether work is in flight or unrecorded, or the database went away only just now."""
        self.away_since = self.away_since or time.monotonic()
        is_busy = bool(self.sending or self.outcomes)
        return is_busy or time.monotonic() - self.away_since < AWAY_SECONDS_MAX

    async def _record(self) -> None:
        """Record the outcomes, retrying while the leases last."""
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
        """Write outcomes and their effect on destination health, in one transaction."""
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
        elif delivery.participant_id is not None:  # the next delivery waits for this record
            asyncio.get_running_loop().call_later(ORDERED_LINGER_SECONDS, self._hurry)

    def _hurry(self) -> None:
        self.is_in_hurry = bool(self.outcomes)
        self.wake.set()

    def _is_worth_recording(self) -> bool:
        is_many = len(self.outcomes) >= self.options.limits.lease_max // 4
        is_old = bool(self.outcomes) and time.monotonic() - self.done_since >= LINGER_SECONDS
        return not self.sending or is_many or is_old or self.is_in_hurry

    async def _pause(self, is_more_likely: bool) -> None:
        """Wait until enough outcomes are worth a transaction, for new work, or for a moment."""
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
        """There may be new work: look soon, but not once for each wake-up."""
        self.was_woken = True
        soon = self.turned + TURN_SECONDS_MIN - time.monotonic()
        asyncio.get_running_loop().call_later(max(0.0, soon), self.wake.set)

    def _has_room(self) -> bool:
        """Whether a whole lease fits, and any queue is below its cap."""
        limits = self.options.limits
        fits = len(self.sending) + limits.lease_max <= limits.in_flight_max
        return fits and self.queues.has_room(self.busy)

    def cancel(self) -> None:
        """Drop the sends in flight (only when a run fails): their leases expire."""
        for task in list(self.sending):
            task.cancel()


def _says_something(connection: Connection, outcomes: Sequence[AttemptOutcome]) -> bool:
    """Whether outcomes may change health: not if all succeeded on healthy destinations."""
    destination_ids = set()
    for outcome in outcomes:
        if outcome.status != "delivered" or outcome.disables is not None:
            return True
        destination_ids.add(outcome.delivery.destination_id)
    return bool(destination_queues.failing(connection, sorted(destination_ids)))


def _outcome(
    task: asyncio.Task[AttemptOutcome], delivery: LeasedDelivery, now: datetime
) -> AttemptOutcome:
    error = task.exception()
    if error is None:
        return task.result()
    # A fault of this program: it must not use up the attempts of a healthy receiver.
    log.error("delivery of %s failed", delivery.fact_id, exc_info=error)
    return postponed(delivery, now)


class WakeupListener:
    """Calls `wait(seconds)`, once at a time; its return, early or in time, wakes the dispatcher.

    For one event loop only.
    """

    def __init__(self, wait: Callable[[float], object], seconds: float) -> None:
        self._wait, self._seconds = wait, seconds
        self._thread = ThreadPoolExecutor(1, "delivery-wakeup")
        self._listening: asyncio.Future[object] | None = None
        self._on_wakeup: Callable[[], None] = lambda: None

    def listen(self, on_wakeup: Callable[[], None]) -> asyncio.Future[object]:
        """Listen, unless it already does; `on_wakeup()` is called when `wait` returns.

        An idle caller may await the future. Raises the error of the last `wait`.
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
        """Wait for the current `wait` to end: some tenths of a second at most."""
        self._thread.shutdown(wait=True)
