"""Socket options that end the connections of unresponsive callers."""

from __future__ import annotations

import os
import socket
import stat

# A connection without a response ends after 30 + 3 × 10 s.
QUIET_SECONDS, PROBE_SECONDS, PROBES = 30, 10, 3
UNREAD_SECONDS_MAX = 60  # time for a caller to read a part of an answer; then its connection ends


def notice_the_dead() -> None:
    """Turn on TCP keepalive, and end connections whose caller does not read.

    The server has no such option. A connection inherits it from the listening socket, so it is set
    on all sockets of this process, including those already connected.
    """
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - the names are numbers
        try:
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            copy = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue  # the folder itself, already closed
        with copy:
            if copy.family in (socket.AF_INET, socket.AF_INET6):
                _keep_asking(copy)


def _keep_asking(opened: socket.socket) -> None:
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", QUIET_SECONDS),
        ("TCP_KEEPALIVE", QUIET_SECONDS),  # macOS's name for it
        ("TCP_KEEPINTVL", PROBE_SECONDS),
        ("TCP_KEEPCNT", PROBES),
        ("TCP_USER_TIMEOUT", UNREAD_SECONDS_MAX * 1_000),
    ):
        if hasattr(socket, name):
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
