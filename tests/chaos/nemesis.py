"""The nemesis: a schedule of faults, decided by the seed alone, carried out on the stack."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from models.failpoints import FAILPOINTS
from settings import variable
from tests.chaos.scene import Side
from tests.chaos.stack import SERVERS, Stack
from tests.receiver import OK, Answer

DOING_BADLY = (Answer(status=500), Answer(hangs=True), Answer(cuts=True), Answer(drips=True))
BETWEEN_SECONDS = (2.0, 6.0)
ACTIVE_MAX = 3  # at once: otherwise nothing would ever be done
JUMP_SECONDS = (-7_200, -600, -90, 90, 600, 7_200)
# A receiver refuses signatures that are five minutes old, or ahead.
SENDER_JUMP_SECONDS = (-240, -90, 90, 240)
FAILPOINT_SECONDS = 8.0  # then whoever did not come to it is killed all the same
API_DYING_SECONDS = 5.0  # its workers are started again with the failpoint: so long they all die
DYING_SECONDS = 1.0  # a request process may answer once more after its parent was killed
SLACK_SECONDS = 3.0  # after a fault, on a busy machine, until nobody feels it any more
RECOVERY_SECONDS_MAX = 60.0


@dataclass(frozen=True)
class Fault:
    """One planned fault: when it begins, for how long, what it is and whom it meets."""

    at: float  # seconds since the load began
    seconds: float
    kind: str
    whom: str  # a role, a server, or a destination's number
    failpoint: str = ""  # where whoever it meets is to die
    choice: float = 0.0  # uniform in 0 ≤ x < 1, for what is only known at that moment

    def __str__(self) -> str:
        return f"{self.kind} {self.whom} {self.failpoint}".strip()


@dataclass
class Outage:
    """A time in which callers may be told that the service is not there."""

    began: float  # monotonic seconds
    what: str
    over: float | None = None  # when the fault itself was over
    ended: float | None = None  # when the service was whole again, and a little later


@dataclass
class _Armed:
    """A role that is to die at a failpoint."""

    name: str
    before: int  # the process that was killed for it
    pid: int = 0  # the one that is to die
    until: float = 0.0  # monotonic seconds: then it is killed all the same
    workers: set[int] = field(default_factory=set)  # of the API: each may die of it
    outage: Outage | None = None


KINDS: tuple[tuple[str, int], ...] = (
    ("kill", 10), ("kill server", 4), ("pause", 4), ("pause server", 2), ("cut", 4), ("stall", 4),
    ("jump", 3), ("failpoint", 6), ("receiver", 3), ("kill all drains", 2),
)  # fmt: skip


def plan(random: Random, until: float, roles: Sequence[str]) -> list[Fault]:
    """The faults of a run, in order; the last one begins before the end."""
    faults, at = [], random.uniform(1.0, 2.0)
    names, weights = [kind for kind, _ in KINDS], [weight for _, weight in KINDS]
    while at < until - 1.0:
        kind = random.choices(names, weights)[0]
        at_servers = kind.endswith("server")
        whom = random.choice(SERVERS if at_servers else _meets(kind, roles))
        failpoint = random.choice(FAILPOINTS.get(_kin(whom), ("",))) if kind == "failpoint" else ""
        seconds = random.uniform(1.0, 8.0)
        faults.append(Fault(at, seconds, kind, whom, failpoint, random.random()))
        at += random.uniform(*BETWEEN_SECONDS)
    return faults


def _meets(kind: str, roles: Sequence[str]) -> list[str]:
    """Which roles a kind of fault can meet."""
    if kind == "failpoint":
        return [role for role in roles if role.partition("-")[0] in FAILPOINTS]
    if kind == "jump":
        return [role for role in roles if not role.startswith("beat")]  # it reads another clock
    if kind in ("cut", "stall"):
        return [f"{role} {server}" for role in (*roles, "everybody") for server in SERVERS]
    return list(roles)


@dataclass
class Nemesis:
    """Carries out the plan, step by step, from the main thread."""

    stack: Stack
    sides: Sequence[Side]
    faults: list[Fault]
    began: float = field(default_factory=time.monotonic)
    counts: Counter[str] = field(default_factory=Counter)
    outages: list[Outage] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    _active: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    _armed: dict[str, _Armed] = field(default_factory=dict)  # by role

    def step(self) -> None:
        """Begin and end what is due, and look whether what was broken is whole again."""
        now = time.monotonic()
        for ending in [one for one in self._active if one[0] <= now]:
            self._active.remove(ending)
            ending[1]()
        if self.faults and self.faults[0].at <= now - self.began and len(self._active) < ACTIVE_MAX:
            self._begin(self.faults.pop(0))
        self._watch_armed(now)
        self._watch_outages()

    def heal(self) -> None:
        """End everything at once; nothing new begins."""
        self.faults.clear()
        for _, end in self._active:
            end()
        self._active.clear()
        for role in list(self._armed):
            self._disarm(role)
        for role in self.stack.roles:
            self.stack.skew(role, 0)

    # -- the faults ------------------------------------------------------------------------------

    def _begin(self, fault: Fault) -> None:
        doing = {
            "kill": self._kill, "kill server": self._kill_server, "pause": self._pause,
            "pause server": self._pause, "cut": self._cut, "stall": self._stall,
            "jump": self._jump, "failpoint": self._failpoint, "receiver": self._receiver,
            "kill all drains": self._kill_drains,
        }  # fmt: skip
        self.log.append(f"{time.monotonic() - self.began:6.1f} s  {fault}")
        doing[fault.kind](fault)

    def _kill(self, fault: Fault) -> None:
        """Any process of a role: the one that we started, or one of its own."""
        pids = self.stack.pids(fault.whom)
        if pids:
            self._send([pids[int(fault.choice * len(pids))]], signal.SIGKILL)
            self.counts[f"kill {_kin(fault.whom)}"] += 1
            if fault.whom == "api":
                self._outage("the API was killed", over=True)

    def _kill_server(self, fault: Fault) -> None:
        """A server itself, or one backend of Postgres, which then starts all of them anew."""
        pids = self.stack.pids(fault.whom)
        if pids:
            nth = int(fault.choice * 2) * int(fault.choice * len(pids))
            self._send([pids[nth]], signal.SIGKILL)
            self.counts[f"kill {fault.whom}"] += 1
            self._outage(f"{fault.whom} was killed", over=True)

    def _kill_drains(self, fault: Fault) -> None:
        for role in ("drain", "drain-2"):
            self._send(self.stack.pids(role), signal.SIGKILL)
            self.counts["kill drain"] += 1

    def _pause(self, fault: Fault) -> None:
        """Everything of a role stands still, and goes on as if nothing had been."""
        pids = self.stack.pids(fault.whom)
        self._send(pids, signal.SIGSTOP)
        self.counts[f"pause {_kin(fault.whom)}"] += 1
        outage = self._outage_for(fault.whom)

        def end() -> None:
            self._send(pids, signal.SIGCONT)
            _over(outage)

        self._until(fault.seconds, end)

    def _cut(self, fault: Fault) -> None:
        self._disturb(fault, "cut")

    def _stall(self, fault: Fault) -> None:
        self._disturb(fault, "stall")

    def _disturb(self, fault: Fault, how: str) -> None:
        """The links between a role, or everybody, and a server."""
        whom, _, server = fault.whom.partition(" ")
        links = [
            link
            for (role, its_server), link in self.stack.links.items()
            if its_server == server and whom in (role, "everybody")
        ]
        for link in links:
            link.cut() if how == "cut" else link.stall()
        self.counts[how] += 1
        outage = self._outage_for(server if whom == "everybody" else whom)

        def end() -> None:
            for link in links:
                link.heal()
            _over(outage)

        self._until(fault.seconds, end)

    def _jump(self, fault: Fault) -> None:
        jumps = SENDER_JUMP_SECONDS if _kin(fault.whom) == "webhooks" else JUMP_SECONDS
        self.stack.skew(fault.whom, jumps[int(fault.choice * len(jumps))])
        self.counts["jump"] += 1
        self._until(fault.seconds, lambda: self.stack.skew(fault.whom, 0))

    def _failpoint(self, fault: Fault) -> None:
        """The role starts anew, dies where it is told to, and starts once more without that."""
        role, name = fault.whom, fault.failpoint
        pids = self.stack.pids(role)
        if role in self._armed or not pids:
            return
        self.stack.next_start[role] = {variable("failpoints"): name}
        outage = self._outage(f"the API dies at {name}") if role == "api" else None
        self._armed[role] = _Armed(name, before=pids[0], outage=outage)
        self._send(pids[:1], signal.SIGKILL)
        self.counts[f"failpoint {name}"] += 1

    def _receiver(self, fault: Fault) -> None:
        """A destination does badly for a while."""
        all_of_them = [one.receiver for side in self.sides for one in side.destinations]
        receiver = all_of_them[int(fault.choice * len(all_of_them))]
        badly = DOING_BADLY[int(fault.choice * 1_000) % len(DOING_BADLY)]
        receiver.reply = lambda request: badly
        self.counts["receiver"] += 1
        self._until(fault.seconds, lambda: setattr(receiver, "reply", lambda request: OK))

    # -- what follows from them ------------------------------------------------------------------

    def _until(self, seconds: float, end: Callable[[], None]) -> None:
        self._active.append((time.monotonic() + seconds, end))

    def _send(self, pids: Sequence[int], number: signal.Signals) -> None:
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def _outage(self, what: str, *, over: bool = False) -> Outage:
        now = time.monotonic()
        outage = Outage(now, what, now if over else None)
        self.outages.append(outage)
        return outage

    def _outage_for(self, whom: str) -> Outage | None:
        """Callers feel what happens to the API and to the servers, and nothing else."""
        if whom == "api" or whom in SERVERS:
            return self._outage(f"{whom} is away")
        return None

    def _watch_armed(self, now: float) -> None:
        """See whether who was to die at a failpoint has died, or never comes to it."""
        for role, armed in list(self._armed.items()):
            pid, *workers = self.stack.pids(role) or [0]
            if pid in (0, armed.before):
                continue
            if not armed.pid:
                armed.pid = pid
                armed.until = now + (API_DYING_SECONDS if role == "api" else FAILPOINT_SECONDS)
            elif pid != armed.pid:
                self.counts[f"died at {armed.name}"] += 1
                _over(self._armed.pop(role).outage)
            elif now > armed.until:
                self.counts[f"died at {armed.name}"] += len(armed.workers - set(workers))
                self._disarm(role)
            armed.workers |= set(workers)

    def _disarm(self, role: str) -> None:
        """The next start is one without a failpoint."""
        self.stack.next_start.pop(role, None)
        self._send(self.stack.pids(role)[:1], signal.SIGKILL)
        _over(self._armed.pop(role).outage)

    def _watch_outages(self) -> None:
        """An outage ends some seconds after everything is whole again."""
        is_running = all(child.is_running() for child in self.stack.supervisor.members)
        for one in self.outages:
            if one.ended is None and one.over is not None and is_running:
                seen = self.stack.watch.green_at
                is_seen = seen > one.over + DYING_SECONDS
                one.ended = seen + SLACK_SECONDS if is_seen else None


def _over(outage: Outage | None) -> None:
    if outage is not None:
        outage.over = time.monotonic()


def _kin(role: str) -> str:
    """drain-2 is a drain."""
    return role.partition("-")[0]
