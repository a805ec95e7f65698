"""A peer's Flask application behind the server of the API, with the same options.

`python -m tests.bench.peers.peer_server tests.bench.peers.routes:bare 8000`
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

from api.cli.serve import API_PROCESSES, server
from api.server.asgi import Api
from settings import Settings

_FACTORY = "UNBROKEN_BENCH_FACTORY"


def create_app() -> Api:
    """The peer, in a process of the server's."""
    module, _, name = os.environ[_FACTORY].partition(":")
    app = getattr(import_module(module), name)()
    threads = Settings.from_env().api_threads
    return Api(app.wsgi_app, lambda environ: "peer", threads)


def main(factory: str, port: str) -> None:
    """Serve a factory on a port."""
    os.environ[_FACTORY] = factory
    target = "tests.bench.peers.peer_server:create_app"
    server(Settings.from_env(), "127.0.0.1", int(port), API_PROCESSES, target).serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
