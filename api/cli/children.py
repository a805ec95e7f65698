"""A child process of `unbroken up`: how it is started, known again and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from api.cli import launch, processes
from api.cli.data import Data, open_log, write_private

PROJECT_ROOT = Path(__file__).resolve().parents[2]  # where api, workers and webhooks import from

LEFTOVER_SECONDS = 1.0  # a role must be back within three
STALE_SECONDS = 20.0  # a killed supervisor's children were asked to stop by the kernel already


@dataclass(frozen=True)
class Role:
    """What a child is; `name` is that of its pid file and its log."""

    name: str
    argv: list[str]
    stage: int = 0  # a later stage is started later and stopped earlier
    stop_signal: int = signal.SIGTERM
    stop_seconds: float = 10.0  # then it is killed
    death_signal: int = signal.SIGTERM  # what it gets when the supervisor is killed
    cwd: Path = PROJECT_ROOT
    user: tuple[int, int] | None = None
    binds: Mapping[str, Path] = field(default_factory=dict)
    copies: Mapping[str, Path] = field(default_factory=dict)


def start(role: Role, data: Data, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a role and write its pid file.

    Call it from the main thread: the kernel's notice of a dead parent is one of a dead thread.
    """
    log = open_log(data.log(role.name))
    try:
        child = subprocess.Popen(  # noqa: S603  # the argv is our own
            launch.command(_launch(role)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=role.cwd,
            env=dict(environment),
            start_new_session=True,  # Ctrl-C is for the supervisor, which stops in order
        )
    finally:
        os.close(log)
    write_private(data.pid_file(role.name), f"{child.pid}\n")
    return child


def _launch(role: Role) -> launch.Launch:
    return launch.Launch(
        argv=role.argv,
        parent=os.getpid(),
        death_signal=role.death_signal,
        user=role.user,
        binds={name: str(path) for name, path in role.binds.items()},
        copies={name: str(path) for name, path in role.copies.items()},
    )


def stop(role: Role, data: Data, child: subprocess.Popen[bytes]) -> None:
    """Wait for a child that was asked to stop, kill it when it takes too long, and clear up."""
    try:
        child.wait(role.stop_seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    clear(role, data)
    data.pid_file(role.name).unlink(missing_ok=True)


def clear(role: Role, data: Data) -> None:
    """End what a dead child has left behind: workers of a server, backends of a database."""
    processes.end(_finder(role.name, data), role.stop_signal, LEFTOVER_SECONDS)


def _finder(name: str, data: Data) -> Callable[[], list[int]]:
    """How to find the processes of a role, whoever started them.

    Postgres gave up root, so that a root without privileges may not look into it (containers);
    its processes show the folder's mark on their command lines. All others write to their log.
    """
    if name == "postgres":
        return lambda: processes.named("postgres", data.mark)
    return lambda: processes.writing_to([data.log(name)])


def clear_all(data: Data) -> None:
    """End everything that a killed supervisor of this folder may have left, servers last."""
    logs = {log.stem: log for log in data.logs.glob("*.log")}
    servers = ("redis", "postgres")
    others = [log for name, log in logs.items() if name not in servers]
    processes.end(lambda: processes.writing_to(others), signal.SIGTERM, STALE_SECONDS)
    processes.end(_finder("redis", data), signal.SIGTERM, STALE_SECONDS)
    processes.end(_finder("postgres", data), signal.SIGINT, STALE_SECONDS)
    for pid_file in data.run.glob("*.pid"):
        pid_file.unlink(missing_ok=True)
