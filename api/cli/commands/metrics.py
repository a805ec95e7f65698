"""`unbroken metrics`: serve Prometheus metrics on a port of its own."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from socketserver import TCPServer
from types import FrameType
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import click

from api.cli.connect import service
from api.cli.errors import CannotRun
from api.cli.local.database import speaking_of_database
from api.cli.local.process_specs import METRICS_PORT
from api.cli.options import data_option, host_option, port_option
from api.cli.ports import base_url
from api.prometheus import Exposition
from models.db import engine as make_engine
from workers.intake.client import IntakeSettings, open_intake
from workers.telemetry import logs

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from settings import Settings

log = logging.getLogger("unbroken.metrics")

DATABASE_TIMEOUT_MS = 2_000  # per statement: a scrape times out after ten seconds
CALLER_SECONDS = 2.0  # for a client's request and answer: clients are served in turn
TEXT = "text/plain; version=0.0.4; charset=utf-8"


@click.command()
@host_option
@port_option(METRICS_PORT)
@click.option("--once", is_flag=True, help="Print the metrics once and exit.")
@data_option
def metrics(host: str, port: int, once: bool, path: Path) -> None:
    """Serve metrics at /metrics for Prometheus. Keep the port private: it asks for no key.

    One process serves the metrics of all API and worker processes, which add up their counts in
    Redis. `unbroken up` starts one.

    \b
    Example:
      unbroken metrics --host 0.0.0.0 --port 9464
    """
    settings = service.find(path)
    exposition = open_exposition(settings)
    if once:
        click.echo(exposition.text(), nl=False)
        return
    logs.configure(settings.log_format)
    try:
        server = serve(exposition, host, port)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise CannotRun(f"cannot listen on {host}:{port}: {reason}") from error
    click.echo(f"metrics {base_url(host, server.server_port)}/metrics", err=True)
    signal.signal(signal.SIGTERM, _end)
    with server:
        server.serve_forever()


def _end(number: int, frame: FrameType | None) -> None:
    """Exit without an error on SIGTERM: no work is pending."""
    sys.exit(0)


def open_exposition(settings: Settings) -> Exposition:
    """The metrics of a service; it connects at the first scrape."""
    with speaking_of_database():
        engine = make_engine(settings.database_url, timeout_ms=DATABASE_TIMEOUT_MS, pool=1)
    return Exposition(engine, open_intake(settings.of(IntakeSettings)))


def serve(exposition: Exposition, host: str, port: int) -> WSGIServer:
    """A server that answers one client at a time: enough for two monitors."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] not in ("/metrics", "/"):
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"Metrics are at /metrics\n"]
        text = exposition.text()
        start_response("200 OK", [("Content-Type", TEXT), ("Content-Length", str(len(text)))])
        return [text]

    server = _MetricsServer((host, port), _MetricsHandler)
    server.set_app(answer)
    return server


class _MetricsServer(WSGIServer):
    """A server without name look-ups that logs a client's error in one line."""

    request_queue_size = 16

    def server_bind(self) -> None:
        """Bind; the standard method asks the name service for the host name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect."""
        log.info("a caller was not served", exc_info=True)


class _MetricsHandler(WSGIRequestHandler):
    timeout = CALLER_SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        """Do not log scrapes: there is one every few seconds."""
