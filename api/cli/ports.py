"""The address that `unbroken up` listens on."""

from __future__ import annotations

import errno
import socket
from typing import Any

import psutil

from api.cli.errors import CannotRun


def reachable(base: str) -> str:
    """The local URL of a server that listens on every address."""
    return base.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def base_url(host: str, port: int) -> str:
    """The URL of the API."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def free_port(host: str, port: int) -> int:
    """The port, or any free one for 0; raise CannotRun if it is taken."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise taken(host, port) from error
        raise CannotRun(f"cannot listen on {host} port {port}: {error.strerror}") from error


def taken(host: str, port: int) -> CannotRun:
    """The error for a taken port, with the process that holds it."""
    by = listener(port)
    return CannotRun(f"port {port} on {host} is taken by {by}: stop it, or choose another --port")


def listener(port: int) -> str:
    """The name and pid of the process that listens on a port, for a message."""
    try:
        found = psutil.net_connections("tcp")
        pids = {
            socket_entry.pid
            for socket_entry in found
            if socket_entry.status == psutil.CONN_LISTEN and _is_at(socket_entry, port)
        }
        named = [f"{psutil.Process(pid).name()} (pid {pid})" for pid in sorted(filter(None, pids))]
    except psutil.Error:
        named = []
    return ", ".join(named) or "a process of another user"


def _is_at(connection: Any, port: int) -> bool:
    return bool(connection.laddr) and connection.laddr.port == port
