"""Keeps child processes running: restarts dead ones, stops all in order."""

from __future__ import annotations

import errno
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby

import click

from api.cli.local import child_process
from api.cli.local.child_process import Process, Role
from api.cli.local.data_dir import Data, log_tail
from api.cli.local.log_files import put_all_aside
from api.resources.operator import disk

RESTART_SECONDS_FIRST = 0.1
RESTART_SECONDS_MAX = 2.5  # plus the start itself, a role is back within three seconds
STEADY_SECONDS = 20.0  # after running this long, a role is again restarted at once
TICK_SECONDS = 0.05
LOOK_SECONDS = 1.0  # between two checks of the disk and of the logs' size
TAIL_LINES = 5

# Temporary reasons why a process cannot start.
_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}

Start = Callable[[Role, Data, Mapping[str, str]], Process]


@dataclass
class Child:
    """A role and its current process; None while it waits for a restart."""

    role: Role
    start: Start
    process: Process | None = None
    started: float = 0.0  # monotonic seconds
    due: float = 0.0
    delay: float = RESTART_SECONDS_FIRST
    deaths: int = 0

    def is_running(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.poll() is None


@dataclass
class Supervisor:
    """The children of one `unbroken up`, in the order of starting."""

    data: Data
    environment: Mapping[str, str]
    members: list[Child] = field(default_factory=list)
    is_full: bool = False  # the disk of the data folder
    _look_at: float = 0.0

    def add(self, role: Role, start: Start = child_process.start) -> Child:
        """Start a role, and keep it running."""
        child = Child(role, start)
        self.members.append(child)
        self._start(child)
        return child

    def tend(self) -> None:
        """Restart dead children that are due; check the disk and the logs."""
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_SECONDS
            self._look()
            put_all_aside(self.data.logs)
        for child in self.members:
            if child.process is None:
                if time.monotonic() >= child.due:
                    self._start(child)
            elif child.process.poll() is not None:
                self._reap(child, child.process.returncode or 0)

    def _look(self) -> None:
        """Report when the disk becomes full, and when it has room again."""
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
        # For a child that keeps dying the last line is enough: it is the same each time.
        lines = TAIL_LINES if child.delay == RESTART_SECONDS_FIRST else 1
        self._postpone(child, f"{child.role.name} {describe(code)}; restarting")
        for line in log_tail(self.data.log(child.role.name), lines):
            say(f"  {child.role.name}| {line}")
        child_process.clear(child.role, self.data)

    def stop(self) -> None:
        """Stop all children, the last stage first; those of a stage together."""
        for _, stage in groupby(reversed(self.members), key=lambda child: child.role.stage):
            together = list(stage)
            for child in together:
                if child.process and child.process.poll() is None:
                    child.process.send_signal(child.role.stop_signal)
            for child in together:
                if child.process:
                    child_process.stop(child.role, self.data, child.process)
        child_process.clear_all(self.data)  # one may have been starting at the stop


def describe(code: int) -> str:
    """An exit code in words."""
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def say(line: str) -> None:
    """Print a progress line; stderr may be closed by now."""
    with suppress(OSError):
        click.echo(line, err=True)
