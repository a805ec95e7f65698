"""Keep children running: restart those that die, stop all of them in order."""

from __future__ import annotations

import errno
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby

import click

from api.cli.local import child_process
from api.cli.local.child_process import Role
from api.cli.local.data_dir import Data, log_tail
from api.cli.local.log_files import put_all_aside
from api.resources.operator import disk

RESTART_SECONDS_FIRST = 0.1
RESTART_SECONDS_MAX = 2.5  # with the starting itself a role is back within three
STEADY_SECONDS = 20.0  # one that ran so long is restarted at once again
TICK_SECONDS = 0.05
LOOK_SECONDS = 1.0  # between two looks at the disk, and at how long the logs are
TAIL_LINES = 5

# What keeps a process from being started for a while, and not for good.
_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}

Start = Callable[[Role, Data, Mapping[str, str]], subprocess.Popen[bytes]]


@dataclass
class Child:
    """A role and the process that plays it now; none while it waits to be restarted."""

    role: Role
    start: Start
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0  # monotonic seconds
    due: float = 0.0
    delay: float = RESTART_SECONDS_FIRST
    deaths: int = 0

    def is_running(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.poll() is None


@dataclass
class Supervisor:
    """The children of one `unbroken up`, in the order in which they were started."""

    data: Data
    environment: Mapping[str, str]
    members: list[Child] = field(default_factory=list)
    is_full: bool = False  # the disk of the data folder
    _look_at: float = 0.0

    def add(self, role: Role, start: Start = child_process.start) -> Child:
        """Start a role, and keep it running from now on."""
        child = Child(role, start)
        self.members.append(child)
        self._start(child)
        return child

    def tend(self) -> None:
        """Notice who died, restart who is due; look at the disk and at the logs."""
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_SECONDS
            self._look()
            put_all_aside(self.data.logs)
        for child in self.members:
            if child.process is None:
                if time.monotonic() >= child.due:
                    self._start(child)
            elif child.process.poll() is not None:
                self._reap(child, child.process.returncode)

    def _look(self) -> None:
        """Say when the disk is full, and when it has room again."""
        was_full, self.is_full = self.is_full, disk.is_full(self.data.root)
        if self.is_full and not was_full:
            room = disk.FREE_BYTES_MIN // 2**20
            say(f"the disk of {self.data.root} is full (under {room} MB free): make room")
        elif was_full and not self.is_full:
            say(f"the disk of {self.data.root} has room again")

    def _start(self, child: Child) -> None:
        try:
            child.process = child.start(child.role, self.data, self.environment)
        except OSError as error:
            if error.errno not in _PASSING:
                raise
            self._postpone(child, f"cannot start {child.role.name}: {error.strerror}; trying again")
        child.started = time.monotonic()

    def _postpone(self, child: Child, why: str) -> None:
        say(f"{why} in {child.delay:.1f} s")
        child.due = time.monotonic() + child.delay
        child.delay = min(child.delay * 2, RESTART_SECONDS_MAX)

    def _reap(self, child: Child, code: int) -> None:
        child.process = None
        child.deaths += 1
        self.data.pid_file(child.role.name).unlink(missing_ok=True)
        if time.monotonic() - child.started > STEADY_SECONDS:
            child.delay = RESTART_SECONDS_FIRST
        # Of one that keeps dying the last line is enough: it says the same each time.
        lines = TAIL_LINES if child.delay == RESTART_SECONDS_FIRST else 1
        self._postpone(child, f"{child.role.name} {describe(code)}; restarting")
        for line in log_tail(self.data.log(child.role.name), lines):
            say(f"  {child.role.name}| {line}")
        child_process.clear(child.role, self.data)

    def stop(self) -> None:
        """Stop all, the last stage first; those of one stage together."""
        for _, stage in groupby(reversed(self.members), key=lambda child: child.role.stage):
            together = list(stage)
            for child in together:
                if child.process and child.process.poll() is None:
                    child.process.send_signal(child.role.stop_signal)
            for child in together:
                if child.process:
                    child_process.stop(child.role, self.data, child.process)
        child_process.clear_all(self.data)  # one that was being started when we were asked to stop


def describe(code: int) -> str:
    """What an exit code of a child says."""
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def say(line: str) -> None:
    """A line about what goes on, for the person watching; nobody may be watching any more."""
    with suppress(OSError):
        click.echo(line, err=True)
