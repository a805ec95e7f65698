"""One run: start everything, load it, break it, heal it, compare what is left with the truth."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import redis

from api.cli.local.supervisor import TICK_SECONDS, say
from tests.chaos import (
    bookkeeping,
    books,
    checker,
    found,
    load,
    logs,
    mending,
    nemesis,
    quiet,
    scene,
    stack,
    telling,
)
from tests.chaos.checker import Verdict
from tests.chaos.history import History, Trouble
from tests.chaos.nemesis import Fault, Nemesis, Outage
from tests.chaos.report import Report
from tests.chaos.scene import Side
from tests.chaos.stack import Stack

UP_SECONDS = 120.0  # on a machine that is busy with other things
QUIET_SECONDS = 120.0  # a lease of 30 s, and the start of whoever was killed last
PROGRESS_SECONDS = 5.0
EDGE_SECONDS = 0.5  # between two clocks' reading: a fault begins when it is noted


class StuckError(RuntimeError):
    """The service did not become whole."""


@dataclass(frozen=True)
class Plan:
    """What to do."""

    seed: int
    seconds: float
    environment: dict[str, str] = field(default_factory=dict)  # more of it, for the roles
    before: Callable[[Stack], None] = lambda stack: None  # once the tables are there
    faults: Sequence[Fault] | None = None  # instead of those that the seed decides
    keep: bool = False


def run(plan: Plan) -> Report:
    """Carry out a plan; always ends, and leaves no process."""
    folder = Path(tempfile.mkdtemp(prefix="ub-chaos-"))
    try:
        with stack.running(folder / "d", Random(f"{plan.seed} start"), plan.environment) as running:
            _wait_whole(running)
            plan.before(running)
            with scene.set_up(running, Random(f"{plan.seed} scene")) as sides:
                return _Run(plan, running, sides).carry_out()
    finally:
        if plan.keep:
            say(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass
class _Run:
    plan: Plan
    stack: Stack
    sides: list[Side]
    verdict: Verdict = field(default_factory=Verdict)

    def carry_out(self) -> Report:
        """Load and break, heal, wait, check."""
        faults = self.plan.faults
        if faults is None:
            random = Random(f"{self.plan.seed} nemesis")
            faults = nemesis.plan(random, self.plan.seconds, self.stack.roles)
        breaking = Nemesis(self.stack, self.sides, list(faults))
        with load.running(self.stack, self.sides, self.plan.seed) as loading:
            self._break(breaking, loading)
            say(f"healing; {len(breaking.log)} faults")
            breaking.heal()
            loading.stop.set()
            self._tend_until(loading.is_over, "callers do not come to an end")
        self._until_whole(breaking)
        self._finish(loading)
        self._wait_quiet()
        history = loading.history()
        return self._check(history, breaking)

    def _break(self, breaking: Nemesis, loading: load.Load) -> None:
        ends, spoken = time.monotonic() + self.plan.seconds, time.monotonic()
        while time.monotonic() < ends:
            self.stack.supervisor.tend()
            breaking.step()
            if time.monotonic() - spoken > PROGRESS_SECONDS:
                spoken = time.monotonic()
                say(_progress(spoken - breaking.began, loading.history(), breaking))
            time.sleep(TICK_SECONDS)

    def _until_whole(self, breaking: Nemesis) -> None:
        """Until the last outage has ended, too: what callers are told then must be right."""
        healed = time.monotonic()

        def is_whole() -> bool:
            breaking.step()
            is_over = all(one.ended is not None for one in breaking.outages)
            return is_over and self.stack.watch.green_at > healed

        self._tend_until(is_whole, "the service did not become whole again")

    def _finish(self, loading: load.Load) -> None:
        thread = threading.Thread(target=loading.finish, daemon=True)
        thread.start()
        self._tend_until(lambda: not thread.is_alive(), "repeats do not come to an end")

    def _tend_until(self, is_so: Callable[[], bool], otherwise: str) -> None:
        """Keep everything running until something is so; a violation when it never is."""
        ends = time.monotonic() + UP_SECONDS
        while not is_so():
            self.stack.supervisor.tend()
            if time.monotonic() > ends:
                self.verdict.violations.append(otherwise)
                return
            time.sleep(TICK_SECONDS)

    def _wait_quiet(self) -> None:
        say("waiting until nothing is left to do")
        with redis.Redis.from_url(self.stack.settings.redis_url, protocol=2) as client:
            tend = self.stack.supervisor.tend
            left = quiet.wait(self.stack.engine, client, tend, QUIET_SECONDS)
        if left:
            self.verdict.violations.append(f"left to be done after {QUIET_SECONDS:.0f} s: {left}")

    def _check(self, history: History, breaking: Nemesis) -> Report:
        say("checking")
        verdict, totals = self.verdict, Counter[str]()
        for side in self.sides:
            rows = found.read(self.stack.engine, side)
            checker.check_ledgers(verdict, side, rows, history.writes)
            kept = books.read(self.stack.engine, side)
            bookkeeping.check(verdict, side, kept, rows, history.writes)
            mending.check(verdict, self.stack.engine, self.stack.url, side, rows, history.writes)
            checker.check_audit(verdict, side, rows, history)
            checker.check_states(verdict, self.stack.engine, side, rows)
            telling.check_facts(verdict, side, rows)
            telling.check_deliveries(verdict, side, rows)
            totals.update(ticks=len(rows.ticks), awards=len(rows.awards), facts=len(rows.facts))
            totals.update(deliveries=len(rows.deliveries))
            totals.update(movements=len(kept.movements), claims=len(kept.claims))
            completed = sum(is_done for _, is_done in kept.progress.values())
            totals.update(tier_changes=len(kept.changes), challenges=completed)
            totals.update(received=sum(one.receiver.count for one in side.destinations))
        verdict.violations += history.violations + breaking.violations
        verdict.violations += unexplained(history.troubles, breaking.outages)
        errors = logs.unexpected(self.stack.folder.logs)
        verdict.violations += [f"log: {number} × {text}" for text, number in errors.items()]
        return Report.of((self.plan.seed, self.plan.seconds), history, breaking, totals, verdict)


def unexplained(troubles: Sequence[Trouble], outages: Sequence[Outage]) -> list[str]:
    """Requests that got nowhere while nothing was declared to be away."""
    found = []
    for one in troubles:
        if not any(
            outage.began - EDGE_SECONDS <= one.ended
            and (outage.ended is None or one.began <= outage.ended)
            for outage in outages
        ):
            before = [outage for outage in outages if outage.began < one.began]
            last = f"{one.began - before[-1].began:.1f} s after {before[-1].what}" if before else ""
            found.append(f"{one.what} while nothing was away ({last})")
    return found


def _wait_whole(running: Stack) -> None:
    ends = time.monotonic() + UP_SECONDS
    while not running.watch.green_at:
        running.supervisor.tend()
        if time.monotonic() > ends:
            raise StuckError(f"not ready after {UP_SECONDS:.0f} s")
        time.sleep(TICK_SECONDS)


def _progress(seconds: float, history: History, breaking: Nemesis) -> str:
    last = breaking.log[-1].strip() if breaking.log else "none yet"
    sent = sum(history.counts.values())
    return (
        f"{seconds:5.0f} s  {sent:,} operations, {len(history.writes):,} writes,"
        f" {len(history.troubles)} without an answer or 503,"
        f" {len(breaking.log)} faults (last: {last})"
    )
