"""The address that `unbroken up` listens on."""

from __future__ import annotations

import errno
import socket

from api.cli.errors import CannotRun


def reachable(base: str) -> str:
    """The URL at which we reach ourselves when we listen on every address."""
    return base.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def base_url(host: str, port: int) -> str:
    """The URL of the API."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def free_port(host: str, port: int) -> int:
    """The port, or any free one for 0; raise CannotRun when it is taken."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotRun(
                f"port {port} on {host} is taken: stop what listens there, or choose another --port"
            ) from error
        raise CannotRun(f"cannot listen on {host} port {port}: {error.strerror}") from error
