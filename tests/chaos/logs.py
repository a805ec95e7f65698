"""What the roles' logs say that they should not: errors that are no lost connection."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# What a process may say when a server, or a connection to it, is gone.
_AWAY = re.compile(
    r"ConnectionError|ConnectionRefusedError|ConnectionResetError|BrokenPipeError|TimeoutError"
    r"|OperationalError|InterfaceError|BusyLoadingError|AdminShutdown|Unavailable|CannotConnectNow"
    r"|DatabaseError: .*server closed|ReadOnlyError|socket\.timeout"
    r"|Timeout reading from socket|Error while reading from|Redis is loading"
    r"|Error \d+ (connecting to|while writing to)"
)
_START = "Traceback (most recent call last)"
_CHAINED = ("During handling of the above exception", "The above exception was the direct cause")


def unexpected(folder: Path) -> Counter[str]:
    """How often which unexpected error ended a traceback in which log."""
    found: Counter[str] = Counter()
    for log in sorted(folder.glob("*.log*")):
        for line in _endings(log.read_text(errors="replace").splitlines()):
            if not _AWAY.search(line):
                found[f"{log.name}: {line[:300]}"] += 1
    return found


def _endings(lines: list[str]) -> Iterator[str]:
    """The last line of each traceback, the first that is not indented; of a chain, the last one."""
    ending, is_inside = "", False
    for line in lines:
        if line.lstrip().startswith(_START):
            is_inside = True
        elif line.startswith(_CHAINED):
            ending = ""
        elif is_inside and line and not line.startswith((" ", "\t")):
            if ending:
                yield ending
            ending, is_inside = line, False
    if ending:
        yield ending
