"""Processes as /proc shows them: whose they are, and ending them for certain."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

Condition = Callable[[], bool]

POLL_SECONDS = 0.02


def all_pids() -> list[int]:
    """Every pid but our own."""
    own = os.getpid()
    return [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and int(p.name) != own]


def writing_to(logs: Iterable[Path]) -> list[int]:
    """The processes whose standard output is one of these files: children and grandchildren.

    Survives renamed processes and lost parents, which names and process groups do not.
    """
    wanted = {_identity(log) for log in logs} - {None}
    return [pid for pid in all_pids() if _identity(Path(f"/proc/{pid}/fd/1")) in wanted]


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:  # no such file; or a process that is gone or not ours to look into
        return None
    return found.st_dev, found.st_ino


def leading(pids: list[int]) -> list[int]:
    """Those that lead a session: whom a supervisor started, not what they started themselves."""
    return [pid for pid in pids if _session(pid) == pid]


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def named(name: str, mark: str) -> list[int]:
    """The processes of a name whose command line holds `mark`; needs no privileges."""
    return [
        pid for pid in all_pids() if name_of(pid) == name and mark.encode() in _read(pid, "cmdline")
    ]


def name_of(pid: int) -> str:
    """The name of a process's program; empty when it is gone."""
    return _read(pid, "comm").decode(errors="replace").strip()


def may_work_in(pid: int, folder: Path) -> bool:
    """Whether a process has a folder as its working directory, or does not let us know."""
    working = _identity(Path(f"/proc/{pid}/cwd"))
    return working in (None, _identity(folder))


def _read(pid: int, what: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes()
    except OSError:
        return b""


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")


def send(pids: Iterable[int], number: int) -> None:
    """Signal each process that is still there and ours to signal."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


Find = Callable[[], list[int]]


def end(find: Find, gentle: int, seconds: float, leaders: Find | None = None) -> None:
    """Ask what `find` finds (or only its leaders) to stop, wait so long, kill what is left."""
    send((leaders or find)(), gentle)
    if not wait_until(lambda: not any(map(is_alive, find())), seconds):
        send(find(), signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, find())), seconds)


def wait_until(condition: Condition, seconds: float) -> bool:
    """Poll a condition; False when the time ran out first."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
