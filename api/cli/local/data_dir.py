"""The data folder of `unbroken up`: its layout, lock, key and permissions."""

from __future__ import annotations

import base64
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from api.cli.errors import CannotRun
from api.cli.program_name import program

SOCKET_PATH_BYTES_MAX = 107  # the kernel's sun_path of 108 bytes without its terminator
DEMO = ".demo"  # the folder of `unbroken demo`
_LONGEST_SOCKET = "run/.s.PGSQL.5432"


@dataclass(frozen=True)
class Data:
    """The absolute path of a data folder, and its parts."""

    root: Path

    @property
    def postgres(self) -> Path:
        """The database cluster."""
        return self.root / "postgres"

    @property
    def redis(self) -> Path:
        """The append-only file."""
        return self.root / "redis"

    @property
    def run(self) -> Path:
        """Sockets, pid files and the lock: needed only while `up` runs."""
        return self.root / "run"

    @property
    def mark(self) -> str:
        """A word on the command lines of this folder's processes, to identify them."""
        return "unbroken-" + blake2b(bytes(self.root), digest_size=6).hexdigest()

    @property
    def logs(self) -> Path:
        """One log per role."""
        return self.root / "logs"

    @property
    def beat(self) -> Path:
        """The schedule of beat. It is unpickled, so Postgres' user may not write it."""
        return self.root / "beat"

    @property
    def own_folders(self) -> tuple[Path, ...]:
        """The folders made with the data folder; initdb makes Postgres'."""
        return self.run, self.redis, self.logs, self.beat

    def log(self, role: str) -> Path:
        """The log of a role."""
        return self.logs / f"{role}.log"

    def pid_file(self, role: str) -> Path:
        """The pid file of a role."""
        return self.run / f"{role}.pid"


def prepare(path: Path) -> Data:
    """Create the folder and its parts; raise CannotRun if it cannot hold the servers."""
    data = Data(path.absolute().resolve())
    _check_length(data)
    try:
        if not data.root.exists():
            data.root.mkdir(parents=True)
            data.root.chmod(0o755)  # servers that gave up root must be able to enter
        for part in data.own_folders:
            part.mkdir(mode=0o700, exist_ok=True)
        _check_writable(data)
    except OSError as error:
        raise CannotRun(f"cannot write to the data folder {data.root}: {error.strerror}") from error
    return data


def _check_length(data: Data) -> None:
    length = len(os.fsencode(data.root / _LONGEST_SOCKET))
    if length > SOCKET_PATH_BYTES_MAX:
        room = SOCKET_PATH_BYTES_MAX - len(_LONGEST_SOCKET) - 1
        raise CannotRun(
            f"the data path {data.root} is too long for a Unix socket:"
            f" {len(os.fsencode(data.root))} bytes, at most {room};"
            " choose a shorter one with --data"
        )


def _check_writable(data: Data) -> None:
    for part in (data.root, *data.own_folders):
        if not os.access(part, os.R_OK | os.W_OK | os.X_OK):
            raise CannotRun(f"the data folder {part} is not writable for this user")


@contextmanager
def locked(data: Data) -> Iterator[None]:
    """Lock the folder; raise CannotRun if another `unbroken up` has locked it."""
    descriptor = _open_lock(data)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CannotRun(f"another `unbroken up` is running on {data.root}") from None
    else:
        yield
    finally:
        os.close(descriptor)


def is_locked(data: Data) -> bool:
    """Whether an `unbroken up` runs on the folder."""
    if not (data.run / "up.lock").exists():
        return False
    descriptor = _open_lock(data)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def running(folder: Data) -> dict[str, Any] | None:
    """What a running `unbroken up` saved: url, pid, database_url and redis_url."""
    record = folder.run / "up.json"
    try:
        if not is_locked(folder):
            return None
        found: dict[str, Any] = json.loads(record.read_text())
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise CannotRun(f"{folder.run} belongs to another user: run as that user") from error
    return found


def nothing_runs(folder: Data) -> str:
    """Why a command finds no service, with advice; it names the demo's folder if the demo runs."""
    beside = Data(folder.root.parent / DEMO)
    known = f" (the demo runs: --data {DEMO})" if beside != folder and is_locked(beside) else ""
    start = f"start `{program()} up`, name its folder with --data"
    return f"nothing runs on {folder.root}{known}: {start}"


def _open_lock(data: Data) -> int:
    return os.open(data.run / "up.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def secret_key(data: Data) -> str:
    """The folder's own encryption key for secrets (a Fernet key), made once."""
    path = data.root / "secret.key"
    if not path.exists():
        write_private(path, base64.urlsafe_b64encode(os.urandom(32)).decode())
    return path.read_text().strip()


def write_private(path: Path, text: str) -> None:
    """Write a file readable only by its owner, atomically, following no symbolic link."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    fresh.replace(path)


def write_private_stream(path: Path, chunks: Iterable[bytes]) -> int:
    """Write a file readable only by its owner, atomically; return its length."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(chunks)
            size = file.tell()
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return size


def log_tail(log: Path, lines: int) -> list[str]:
    """The last lines of a log, for a message about a dead role."""
    if not log.exists():
        return []
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4_096))
        text = file.read(4_096).decode(errors="replace")
    return [line for line in text.splitlines() if line.strip()][-lines:]
