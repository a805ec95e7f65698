"""What a granian worker loads: the API, and before it ears for being asked to stop."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from flask import Flask

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# When a caller is gone without a word, its connection ends after 30 + 3 × 10 s, and with it the
# thread that may wait for the rest of its body (api/bodies.py).
QUIET_SECONDS, PROBE_SECONDS, PROBES = 30, 10, 3


def create_app() -> Flask:
    """The API. A worker that is asked to stop while it still loads ends at once.

    A worker is forked with its parent's handlers, which only make a note for the parent; until
    granian sets its own, after this, it would not hear, and be waited for in vain. The API is
    imported here and not above, because that is most of the loading.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    app: Flask = import_module("api.app").create_app()
    import_module("api.watching").begin(app.extensions["unbroken"].settings)
    wsgi: WSGIApplication = app.wsgi_app

    def first(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        notice_the_dead()  # there is nothing to set it on before the server listens
        cast(Any, app).wsgi_app = wsgi
        return wsgi(environ, start_response)

    cast(Any, app).wsgi_app = first
    return app


def notice_the_dead() -> None:
    """Have the system ask quiet callers whether they are still there.

    The server has no such option. A connection takes it over from the socket it comes in at; so
    all sockets of this process are given it, those that are connected already included.
    """
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - the names are numbers
        try:
            copy = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue  # no socket, or the folder itself, closed by now
        with copy:
            if copy.family in (socket.AF_INET, socket.AF_INET6):
                _keep_asking(copy)


def _keep_asking(one: socket.socket) -> None:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", QUIET_SECONDS),
        ("TCP_KEEPALIVE", QUIET_SECONDS),  # the same, as macOS calls it
        ("TCP_KEEPINTVL", PROBE_SECONDS),
        ("TCP_KEEPCNT", PROBES),
    ):
        if hasattr(socket, name):
            one.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
