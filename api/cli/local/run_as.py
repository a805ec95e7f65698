"""Run Postgres as a user without root, with access to its files."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from api.cli.errors import CannotRun
from api.cli.local import exec_child
from api.cli.local.data_dir import Data

User = tuple[int, int]  # uid and gid
_CAP_SYS_ADMIN = 21


@dataclass(frozen=True)
class AccessiblePaths:
    """Postgres' paths: the real ones, or below the private namespace's root."""

    binaries: Path
    postgres: str
    run: str
    binds: Mapping[str, Path] = field(default_factory=dict)
    copies: Mapping[str, Path] = field(default_factory=dict)


def user_for(data: Data) -> User | None:
    """The user who runs Postgres: None for our own, or an unprivileged user if we are root."""
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


def give(folder: Path, user: User | None) -> None:
    """Give a folder and its contents to the user, unless already done; the folder itself last."""
    if user is None or folder.stat().st_uid == user[0]:
        return
    for parent, _, files in os.walk(folder, topdown=False):
        for name in files:
            os.chown(Path(parent) / name, *user, follow_symlinks=False)
        os.chown(parent, *user, follow_symlinks=False)


def give_folder(folder: Path, user: User | None) -> None:
    """Give only the folder to the user: the sockets are Postgres', our own files stay ours."""
    if user is not None:
        os.chown(folder, *user)


def paths(data: Data, cluster: Path, install: Path, user: User | None) -> AccessiblePaths:
    """The paths that Postgres uses when that user runs it."""
    binaries = install / "bin"
    if user is None or (
        all(can_enter(path, user) for path in (cluster, data.run, binaries))
        and can_read(binaries / "postgres", user)
    ):
        return AccessiblePaths(binaries, str(cluster), str(data.run))
    _require_namespaces(data, user)
    return bound_paths(data, cluster, install, user)


def bound_paths(data: Data, cluster: Path, install: Path, user: User) -> AccessiblePaths:
    """Short paths in a private mount namespace, for folders that the user cannot reach."""
    root = Path(exec_child.NAMESPACE_ROOT)
    binds, copies = {"data": cluster, "run": data.run}, {}
    if can_read(install / "bin" / "postgres", user):
        binds |= _parts(install)
    else:
        copies = _parts(install)
    inside = root / install.parent.name / install.name / "bin"
    return AccessiblePaths(inside, str(root / "data"), str(root / "run"), binds, copies)


def _parts(install: Path) -> dict[str, Path]:
    """The folders of the wheel that Postgres needs, by name."""
    package = install.parent
    libraries = package.with_name(f"{package.name}.libs")
    parts = {f"{package.name}/{install.name}": install}
    return parts | ({libraries.name: libraries} if libraries.exists() else {})


def can_enter(folder: Path, user: User) -> bool:
    """Whether a user can reach a folder: x on each parent, by the mode bits."""
    return all(_allows(parent, user, 0o1) for parent in (folder.resolve() / "x").parents)


def can_read(file: Path, user: User) -> bool:
    """Whether a user may read and run a file in a folder, if it can reach it."""
    return _allows(file, user, 0o5) and _allows(file.parent, user, 0o5)


def _allows(path: Path, user: User, wanted: int) -> bool:
    found = path.stat()
    if found.st_uid == user[0]:
        return (found.st_mode >> 6) & wanted == wanted
    shift = 3 if found.st_gid == user[1] else 0
    return (stat.S_IMODE(found.st_mode) >> shift) & wanted == wanted


def _require_namespaces(data: Data, user: User) -> None:
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    if not int(line.split()[1], 16) >> _CAP_SYS_ADMIN & 1:
        raise CannotRun(
            f"root may not run Postgres, and the user {pwd.getpwuid(user[0]).pw_name} cannot"
            f" reach {data.root} or the installed Postgres: choose a --data and a checkout that"
            " this user can enter, or run as an ordinary user"
        )
