"""As much of a Kubernetes API server as Helm's `lookup` asks for, with one Secret in it."""

from __future__ import annotations

import json
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any

from tests.e2e.deployment.charts import CHART

_RESOURCES = [
    {"name": "secrets", "singularName": "secret", "namespaced": True, "kind": "Secret"},
    {"name": "namespaces", "singularName": "namespace", "namespaced": False, "kind": "Namespace"},
]


class Cluster:
    """Answers on a port of this machine for the length of a block."""

    def __init__(self) -> None:
        self.secret_version = ""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    def __enter__(self) -> Cluster:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def render(self, helm: Path, secret_version: str) -> str:
        """What `helm upgrade` would send, the Secret having that version."""
        self.secret_version = secret_version
        host, port = self._server.server_address[:2]
        command = [str(helm), "template", "prod", str(CHART), "--namespace", "gamify"]
        flags = [
            "--dry-run=server",
            "--kube-version",
            "1.33",
            "--kube-apiserver",
            f"http://{host!s}:{port}",
        ]
        done = subprocess.run(
            [*command, *flags, "--set", "existingSecret=keys"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def answer(self, path: str) -> dict[str, Any] | None:
        """What is at a path."""
        found: dict[str, dict[str, Any]] = {
            "/version": {"major": "1", "minor": "33", "gitVersion": "v1.33.0"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
            "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": _RESOURCES},
            "/api/v1/namespaces/gamify/secrets/keys": {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "keys", "resourceVersion": self.secret_version},
            },
        }
        return found.get(path)

    def _handler(cluster) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = cluster.answer(self.path.partition("?")[0])
                body = json.dumps(found or {"kind": "Status", "status": "Failure", "code": 404})
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(body.encode())

            def log_request(self, *_: Any) -> None:
                """Nothing: a test reads what is rendered."""

        return Handler
