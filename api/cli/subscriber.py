"""A subscriber as the documentation describes one: takes facts over HTTP, verifies each."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

BODY_BYTES_MAX = 1_000_000

Seen = Callable[[dict[str, Any] | None], None]  # a verified fact, or None for one that is not


class Subscriber:
    """Listens on a free loopback port from `with` to its end; call `trust` with the secret."""

    def __init__(self, seen: Seen) -> None:
        self._seen, self._verifier = seen, None

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(handler) -> None:  # noqa: N805 - the base class names it; self is ours
                self._take(handler)

            def log_message(handler, *_: object) -> None:  # noqa: N805 - as above
                """Say nothing: the demo prints."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, daemon=True)

    _verifier: Webhook | None

    @property
    def url(self) -> str:
        """Where facts are to be sent."""
        return f"http://127.0.0.1:{self._server.server_port}/facts"

    def trust(self, secret: str) -> None:
        """Verify with this destination's secret."""
        self._verifier = Webhook(secret)

    def _take(self, handler: BaseHTTPRequestHandler) -> None:
        length = min(int(handler.headers.get("Content-Length", "0")), BODY_BYTES_MAX)
        fact = self._verified(handler.rfile.read(length), dict(handler.headers.items()))
        self._seen(fact)
        handler.send_response(204 if fact else 401)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def _verified(self, body: bytes, headers: dict[str, str]) -> dict[str, Any] | None:
        if self._verifier is None:
            return None
        lowered = {name.lower(): value for name, value in headers.items()}
        try:
            self._verifier.verify(body, lowered)
        except WebhookVerificationError:
            return None
        fact: dict[str, Any] = json.loads(body)
        return fact

    def __enter__(self) -> Subscriber:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
