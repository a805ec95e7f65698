"""The last steps before a child process executes its server or worker.

Run as a script with one JSON argument: it starts in milliseconds, and its pid is the child's:
1. create a private mount namespace and bind folders to short, reachable paths (root only);
2. give up root;
3. ask the kernel for a signal when the supervisor dies (after 2, which clears the request);
4. exec.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
from dataclasses import asdict, dataclass, field

NAMESPACE_ROOT = "/mnt"  # exists everywhere (FHS); the child covers it with a private tmpfs
_TMPFS_OPTIONS = b"mode=0755,size=128m"  # room for one copy of the Postgres wheel's binaries

_CLONE_NEWNS = 0x20000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_SLAVE = 0x2, 0x4, 0x1000, 0x4000, 0x80000
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Launch:
    """The program to run. `binds` and `copies` map a name below NAMESPACE_ROOT to a real folder."""

    argv: list[str]
    parent: int  # the parent's expected pid
    death_signal: int  # sent to the child when the parent dies
    user: tuple[int, int] | None = None  # uid and gid to switch to; None: no switch
    binds: dict[str, str] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)


def command(launch: Launch) -> list[str]:
    """The argv that starts `launch`; isolated mode, because it may run as root."""
    return [sys.executable, "-I", "-S", __file__, json.dumps(asdict(launch))]


def main(text: str) -> None:
    """Run a Launch given as JSON; does not return."""
    launch = Launch(**json.loads(text))
    if launch.binds or launch.copies:
        _enter_namespace(launch)
    if launch.user:
        _become(*launch.user)
    die_with(launch.parent, launch.death_signal)
    os.execvp(launch.argv[0], launch.argv)  # noqa: S606  # the argv is the supervisor's own


def _enter_namespace(launch: Launch) -> None:
    _call("unshare", _CLONE_NEWNS)
    _mount(b"none", b"/", None, _MS_REC | _MS_SLAVE)
    # Opened before the tmpfs covers a possible parent folder.
    sources = {name: os.open(path, os.O_PATH) for name, path in launch.binds.items()}
    copies = {name: os.open(path, os.O_PATH) for name, path in launch.copies.items()}
    _mount(b"tmpfs", NAMESPACE_ROOT.encode(), b"tmpfs", _MS_NOSUID | _MS_NODEV, _TMPFS_OPTIONS)
    for name, descriptor in sources.items():
        target = f"{NAMESPACE_ROOT}/{name}"
        os.makedirs(target)  # noqa: PTH103  # pathlib doubles the start time of this script
        _mount(f"/proc/self/fd/{descriptor}".encode(), target.encode(), None, _MS_BIND)
    for name, descriptor in copies.items():
        _copy_readable(f"/proc/self/fd/{descriptor}/", f"{NAMESPACE_ROOT}/{name}")
    for descriptor in (*sources.values(), *copies.values()):
        os.close(descriptor)


def _copy_readable(source: str, target: str) -> None:
    """Copy a tree that a strict umask made unreadable; every user may read the copy."""
    shutil.copytree(source, target, symlinks=True)
    for folder, _, files in os.walk(target):
        os.chmod(folder, 0o755)  # noqa: PTH101, S103
        for name in files:
            path = f"{folder}/{name}"
            if not os.path.islink(path):  # noqa: PTH114
                os.chmod(path, 0o755)  # noqa: PTH101, S103


def _become(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def die_with(parent: int, death_signal: int) -> None:
    """Ask the kernel for a signal when the parent dies; end now if it has."""
    _call("prctl", _PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:  # the parent died before the request
        sys.exit(1)


def _mount(source: bytes, target: bytes, kind: bytes | None, flags: int, data: bytes = b"") -> None:
    _call("mount", source, target, kind, ctypes.c_ulong(flags), data or None)


def _call(name: str, *arguments: object) -> None:
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


if __name__ == "__main__":
    main(sys.argv[1])
