"""A process of the benchmark: started, held still while its work piles up, ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from api.cli.local import exec_child

PROJECT_ROOT = Path(__file__).parents[2]
STOP_SECONDS = 20.0
POLL_SECONDS = 0.005  # a look at eight streams costs 0.1 ms


@dataclass
class Process:
    """A process (with its children) that can be held still while its work piles up."""

    popen: subprocess.Popen[bytes]

    def pause(self) -> None:
        """Hold it still."""
        os.killpg(self.popen.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.killpg(self.popen.pid, signal.SIGCONT)

    def resident_bytes(self) -> int:
        """Its resident memory."""
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1_024

    def stop(self) -> None:
        """End it, kindly at first."""
        self.resume()
        self.popen.terminate()
        try:
            self.popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.popen.pid, signal.SIGKILL)
            self.popen.wait()


@contextmanager
def started(argv: Sequence[str], log: Path, environment: Mapping[str, str]) -> Iterator[Process]:
    """Run a process that dies with the benchmark; its output is appended to a log."""
    with log.open("ab") as output:
        popen = subprocess.Popen(
            exec_child.command(_launch(argv)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=PROJECT_ROOT,
            env=dict(environment),
            start_new_session=True,
        )
    process = Process(popen)
    try:
        yield process
    finally:
        process.stop()


def _launch(argv: Sequence[str]) -> exec_child.Launch:
    """A process that dies with the benchmark."""
    return exec_child.Launch(
        argv=list(argv), parent=os.getpid(), death_signal=signal.SIGKILL, user=None,
        binds={}, copies={},
    )  # fmt: skip


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def answers(port: int) -> bool:
    """Whether somebody listens on a port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(condition: Callable[[], object], seconds: float) -> None:
    """Look often until a condition holds; raise TimeoutError when it does not in time."""
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends:
            raise TimeoutError(f"waited {seconds} s in vain")
        time.sleep(POLL_SECONDS)
