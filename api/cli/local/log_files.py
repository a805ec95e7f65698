"""Log rotation in a data folder, with a limit on size and number, while roles write.

A role keeps its log open and is identified by it (api/cli/local/child_process.py). So a log is
copied and truncated instead of renamed; each role opens it in append mode and continues at its new
end.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

LOG_BYTES_MAX = 16 * 1024 * 1024  # a longer log is rotated to ROLE.log.1
LOGS_KEPT = 3  # ROLE.log.1 to ROLE.log.3, the newest first


def open_log(log: Path) -> int:
    """A descriptor that appends to a log."""
    put_aside(log)
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)


def put_all_aside(folder: Path) -> None:
    """Rotate each overlong log of a folder; never raises."""
    for log in folder.glob("*.log"):
        with suppress(OSError):
            put_aside(log)


def put_aside(log: Path) -> None:
    """Copy an overlong log and truncate it.

    Lines written between the two steps are lost. If the disk has no room for the copy, the whole
    log is lost: a full disk is worse than an empty log.
    """
    if not log.exists() or log.stat().st_size <= LOG_BYTES_MAX:
        return
    _aside(log, LOGS_KEPT).unlink(missing_ok=True)
    for nth in range(LOGS_KEPT - 1, 0, -1):
        if _aside(log, nth).exists():
            _aside(log, nth).replace(_aside(log, nth + 1))
    try:
        _copy(log, _aside(log, 1))
    except OSError:
        _aside(log, 1).unlink(missing_ok=True)
    os.truncate(log, 0)


def _aside(log: Path, nth: int) -> Path:
    return log.with_name(f"{log.name}.{nth}")


def _copy(log: Path, aside: Path) -> None:
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as copy, log.open("rb") as written:
        shutil.copyfileobj(written, copy)
