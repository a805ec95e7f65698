"""A child process of `unbroken up`: start it, identify it, stop it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from api.cli.local import exec_child, proc
from api.cli.local.data_dir import Data, write_private
from api.cli.local.log_files import open_log

PROJECT_ROOT = Path(__file__).resolve().parents[3]  # import root of api, workers and webhooks

LEFTOVER_SECONDS = 1.0  # a role must be back within three seconds
STALE_SECONDS = 15.0  # for processes of a killed supervisor; longer than a request or a batch


@dataclass(frozen=True)
class Role:
    """The role of a child; `name` is the name of its pid file and log."""

    name: str
    argv: list[str]
    stage: int = 0  # a later stage starts later and stops earlier
    stop_signal: int = signal.SIGTERM
    stop_seconds: float = 10.0  # then it is killed
    death_signal: int = signal.SIGTERM  # sent when the supervisor is killed
    cwd: Path = PROJECT_ROOT
    user: tuple[int, int] | None = None
    binds: Mapping[str, Path] = field(default_factory=dict)
    copies: Mapping[str, Path] = field(default_factory=dict)


def start(role: Role, data: Data, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a role and write its pid file.

    Call it from the main thread: the kernel signals the child when the starting thread ends.
    """
    log = open_log(data.log(role.name))
    try:
        child = subprocess.Popen(  # noqa: S603  # the argv is our own
            exec_child.command(_launch(role)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=role.cwd,
            env=dict(environment),
            start_new_session=True,  # Ctrl-C reaches only the supervisor, which stops in order
        )
    finally:
        os.close(log)
    write_pid(role, data, child.pid)
    return child


def write_pid(role: Role, data: Data, pid: int) -> None:
    """Write a role's pid file. It is informative: on a full disk it is missing."""
    with suppress(OSError):
        write_private(data.pid_file(role.name), f"{pid}\n")


def _launch(role: Role) -> exec_child.Launch:
    return exec_child.Launch(
        argv=role.argv,
        parent=os.getpid(),
        death_signal=role.death_signal,
        user=role.user,
        binds={name: str(path) for name, path in role.binds.items()},
        copies={name: str(path) for name, path in role.copies.items()},
    )


class Process(Protocol):
    """What a supervisor needs of a child: a `subprocess.Popen`, or a fork."""

    @property
    def pid(self) -> int:
        """Its process id."""

    @property
    def returncode(self) -> int | None:
        """As of the last `poll`."""

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raise TimeoutExpired after `timeout` seconds."""

    def send_signal(self, number: int, /) -> None:
        """Signal it."""

    def kill(self) -> None:
        """End it at once."""


def stop(role: Role, data: Data, child: Process) -> None:
    """Wait for a child that was asked to stop; kill it after the time-out; clean up."""
    try:
        child.wait(role.stop_seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    clear(role, data)
    data.pid_file(role.name).unlink(missing_ok=True)


def clear(role: Role, data: Data) -> None:
    """End the leftover processes of a dead child: workers of a server, backends of a database."""
    if role.name == "postgres":
        _end_postgres(data, LEFTOVER_SECONDS)
    else:
        _end_writers([data.log(role.name)], LEFTOVER_SECONDS)


def _end_writers(logs: list[Path], seconds: float) -> None:
    """End the processes that write to some logs. A worker's master stops it, if there is one.

    A granian worker that is signalled twice does not end.
    """

    def find() -> list[int]:
        return proc.writing_to(logs)

    proc.end(find, signal.SIGTERM, seconds, lambda: proc.leading(find()) or find())


def _end_postgres(data: Data, seconds: float) -> None:
    """End Postgres, found by the mark on its command lines.

    It has given up root, so a root without privileges (in a container) cannot inspect it further.
    Only the postmaster is signalled: to other processes the signal means something else, and
    without a postmaster they end by themselves.
    """
    proc.end(
        lambda: proc.named("postgres", data.mark),
        signal.SIGINT,
        seconds,
        leaders=lambda: proc.named("postgres", f"cluster_name={data.mark}"),
    )


def clear_all(data: Data) -> None:
    """End all processes that a killed supervisor of this folder may have left, servers last."""
    servers = {data.log("redis"), data.log("postgres")}
    others = [log for log in data.logs.glob("*.log") if log not in servers]
    # The kernel has signalled them already, and some ignore a second signal.
    proc.wait_until(lambda: not proc.leading(proc.writing_to(others)), STALE_SECONDS)
    _end_writers(others, LEFTOVER_SECONDS)
    _end_writers([data.log("redis")], STALE_SECONDS)
    _end_postgres(data, STALE_SECONDS)
    for pid_file in data.run.glob("*.pid"):
        pid_file.unlink(missing_ok=True)
