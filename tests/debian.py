"""Servers of Debian's that no wheel brings: Redis with TLS, PgBouncer."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from api.cli.local.proc import wait_until

ROOT = Path(__file__).parents[1]
UNPACKED = ROOT / "build" / "servers"
PATIENCE_SECONDS = 30.0


def program(name: str) -> str:
    """A program as `make servers` unpacks it, or the one of this machine."""
    here = [path for part in ("bin", "sbin") if (path := UNPACKED / "usr" / part / name).exists()]
    found = str(here[0]) if here else shutil.which(name)
    assert found, f"{name} is missing: run `make servers`"
    return found


@contextmanager
def listening(argv: Sequence[str], port: int, log: Path, user: int | None = None) -> Iterator[int]:
    """One of them for the length of a block; it takes connections when the block begins."""
    libraries = ":".join(str(path) for path in (UNPACKED / "usr" / "lib").glob("*-linux-gnu"))
    with log.open("w") as stream:
        process = subprocess.Popen(
            argv,
            stdout=stream,
            stderr=stream,
            env={**os.environ, "LD_LIBRARY_PATH": libraries},
            user=user,
        )
    try:
        assert wait_until(lambda: _takes(port), PATIENCE_SECONDS), log.read_text()
        yield port
    finally:
        process.kill()
        process.wait()


def _takes(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
