"""Processes of this machine: find them, and end them reliably."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psutil

Condition = Callable[[], bool]

POLL_SECONDS = 0.02


def writing_to(logs: Iterable[Path]) -> list[int]:
    """The processes whose standard output is one of these files: children and grandchildren.

    This also finds renamed and orphaned processes, which names and process groups do not. psutil
    reports paths of open files, and a log may be renamed while it is written; /proc identifies the
    file itself.
    """
    wanted = {_identity(log) for log in logs} - {None}
    others = (pid for pid in psutil.pids() if pid != os.getpid())
    return [pid for pid in others if _identity(Path(f"/proc/{pid}/fd/1")) in wanted]


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:  # no such file, or a process that is gone or not ours to inspect
        return None
    return found.st_dev, found.st_ino


def leading(pids: list[int]) -> list[int]:
    """The session leaders among them: children of a supervisor, not grandchildren."""
    return [pid for pid in pids if _session(pid) == pid]


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def named(name: str, mark: str) -> list[int]:
    """The processes of a name whose command line contains `mark`; needs no privileges."""
    return [
        process.pid
        for process in psutil.process_iter(["name", "cmdline"])
        if process.info["name"] == name and mark in " ".join(process.info["cmdline"] or ())
    ]


def name_of(pid: int) -> str:
    """The name of a process's program; empty if it is gone."""
    with suppress(psutil.Error):
        return str(psutil.Process(pid).name())
    return ""


def may_work_in(pid: int, folder: Path) -> bool:
    """Whether a process has a folder as its working directory, or cannot be inspected."""
    try:
        working = Path(psutil.Process(pid).cwd())
    except psutil.Error:
        return True
    return _identity(working) in (None, _identity(folder))


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    return False


def send(pids: Iterable[int], number: int) -> None:
    """Signal each process that still exists and that we may signal."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


Find = Callable[[], list[int]]


def end(find: Find, gentle: int, seconds: float, leaders: Find | None = None) -> None:
    """Signal the processes of `find` (or only its leaders), wait, then kill the rest."""
    send((leaders or find)(), gentle)
    if not wait_until(lambda: not any(map(is_alive, find())), seconds):
        send(find(), signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, find())), seconds)


def wait_until(condition: Condition, seconds: float) -> bool:
    """Poll a condition; False if the time runs out first."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
