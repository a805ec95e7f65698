"""An API that listens and workers beside it, in this process, for the commands and the client."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests
from flask import Flask
from werkzeug.serving import make_server

from tests.e2e.running import invoke
from tests.pipeline import Pipeline


@dataclass
class Service:
    """Where it is, and who asks."""

    url: str
    key: str
    app: Flask
    pipeline: Pipeline

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command against it, in this process."""
        return invoke(*arguments, UNBROKEN_URL=self.url, UNBROKEN_KEY=self.key, **env)

    def call(self, method: str, path: str, **details: Any) -> Any:
        """Call the API as anybody does."""
        url = f"{self.url}/api/v1/gamify{path}"
        headers = {"X-API-Key": self.key}
        answer = requests.request(method, url, headers=headers, timeout=30, **details)
        assert answer.status_code < 300, answer.text
        return answer.json()


@contextmanager
def listening(app: Flask, key: str, pipeline: Pipeline) -> Iterator[Service]:
    """Serve an application for the length of a block."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Service(f"http://127.0.0.1:{server.port}", key, app, pipeline)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
