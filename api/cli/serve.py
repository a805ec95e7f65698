"""`unbroken serve`: the API's processes, and the application of each."""

from __future__ import annotations

import gc
import os
import signal
from importlib import import_module
from typing import TYPE_CHECKING

import click
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.mp import MPServer

from api.cli.errors import CannotRun
from api.cli.local.process_specs import API_KILL_SECONDS
from api.cli.local.up import read_settings
from api.cli.options import PORT_MAX, host_option, number_option
from settings import Settings, SettingsError

if TYPE_CHECKING:
    from api.server.asgi import Api

FACTORY = "api.cli.serve:create_app"
API_PROCESSES = 2  # the design measured 4,000 requests/s with two on two cores, 3,400 with one
# Connections that a process accepts (granian's backpressure). Their requests beyond the limit of
# api/http/load_shedding.py are refused; further connections wait in the kernel.
CONNECTIONS_TAKEN_MAX = 4_096
BACKLOG = 4_096  # connections not accepted yet: Linux' default maximum
BUFFER_BYTES_MAX = 131_072  # per connection: the longest head, 64 KB, and its body


@click.command()
@host_option
@number_option("--port", (1, PORT_MAX), 8000, "Port to listen on.")
@number_option("--processes", (1, 64), API_PROCESSES, "API processes: two for each pair of cores.")
def serve(host: str, port: int, processes: int) -> None:
    """Serve the API only: one role, as containers run it.

    DATABASE_URL and REDIS_URL name its servers. `unbroken up` runs every role.

    \b
    Example:
      unbroken serve --host 0.0.0.0 --port 8000
    """
    settings = read_settings(os.environ)
    try:
        settings.require_urls()
    except SettingsError as error:
        raise CannotRun(str(error)) from error
    _share()
    server(settings, host, port, processes).serve()


def _share() -> None:
    """Import the API before its processes are forked: they begin at once, and share its memory."""
    for module in ("api.app", "api.server.asgi"):
        import_module(module)
    gc.collect()
    gc.freeze()


def server(
    settings: Settings, host: str, port: int, processes: int, factory: str = FACTORY
) -> MPServer:
    """A granian server for an application factory, not yet listening."""
    return MPServer(
        factory,
        factory=True,
        address=host,
        port=port,
        workers=processes,
        interface=Interfaces.ASGINL,
        loop=Loops.auto,  # uvloop, if installed
        http=HTTPModes.http1,
        # The server's only timer: for the head of a request, and for the next request.
        http1_settings=HTTP1Settings(
            header_read_timeout=int(settings.keep_alive_seconds * 1_000),
            max_buffer_size=BUFFER_BYTES_MAX,
        ),
        websockets=False,
        backlog=BACKLOG,
        backpressure=CONNECTIONS_TAKEN_MAX,
        log_level=LogLevels.warning,
        respawn_failed_workers=True,
        workers_kill_timeout=API_KILL_SECONDS,
    )


def create_app() -> Api:
    """The API in a process of the server.

    A process that is asked to stop while loading ends at once. It is forked with its parent's
    signal handlers, which only set a flag in the parent. Until granian sets its own handlers, after
    this, it would ignore the signal.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    settings = Settings.from_env()
    app = import_module("api.app").create_app(settings)
    import_module("api.http.access_log").begin(
        settings.redis_url, settings.log_format, settings.log_requests
    )
    knows = import_module("api.http.auth").knows(app)
    unwaited = import_module("api.writes.submit").unwaited(app)
    served: Api = import_module("api.server.asgi").Api(
        app.wsgi_app, knows, settings.api_threads, on_loop=unwaited
    )
    return served
