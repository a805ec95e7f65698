"""The API as it is served: one process of the server on a port, spoken to byte by byte."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests

from api.cli.local.data_dir import Data, log_tail
from api.cli.local.proc import wait_until
from api.cli.local.process_specs import ProcessPlan, ours
from settings import Settings
from tests.bench.process import Process, free_port, started

THREADS = 16  # as `unbroken up` runs it
PATIENCE_SECONDS = 30.0  # ends a test that hangs; nothing is measured by it
ANSWER_BYTES_MAX = 1 << 20


@dataclass(frozen=True)
class Served:
    """A server process of the API."""

    port: int
    process: Process
    log: Path

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> socket.socket:
        """A connection, to say anything on."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS)

    def say(self, text: bytes, *, is_all: bool = False) -> bytes:
        """All that is answered until the server hangs up.

        With `is_all` our side is closed behind the text; without it the text must ask for an end.
        """
        with self.connect() as one:
            with suppress(ConnectionError):  # it may have heard enough
                one.sendall(text)
            if is_all:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_WR)
            return hear(one)


def hear(one: socket.socket) -> bytes:
    """What comes until the other side hangs up."""
    heard = b""
    with suppress(ConnectionError):
        while (part := one.recv(65_536)) and len(heard) < ANSWER_BYTES_MAX:
            heard += part
    return heard


@contextmanager
def serving(settings: Settings, folder: Path) -> Iterator[Served]:
    """One process of the API, with the options that `unbroken up` gives it."""
    port, log = free_port(), folder / "api.log"
    role = ours(ProcessPlan("127.0.0.1", port, 1, 1), Data(folder))[-1]
    argv = [*role.argv, "--processes", "1"]
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONUNBUFFERED": "1",
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "UNBROKEN_WAIT_SECONDS": "0",
        "UNBROKEN_FAILED_KEYS_PER_MINUTE": "1000000",  # tests come from one address
        "UNBROKEN_SECRET_KEYS": settings.secret_keys,
    }
    with started(argv, log, environment) as process:
        served = Served(port, process, log)
        assert wait_until(lambda: _is_ready(served), PATIENCE_SECONDS), log_tail(log, 40)
        try:
            yield served
        finally:  # threads that wait for a body would have it wait as long as it waits for them
            os.killpg(process.popen.pid, signal.SIGKILL)


def _is_ready(served: Served) -> bool:
    try:
        return requests.get(f"{served.url}/readyz", timeout=5).status_code == 200
    except requests.RequestException:
        return False
