"""A webhook receiver as the documentation describes it: takes facts over HTTP, verifies each."""

from __future__ import annotations

import json
import socket
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from typing import Any, Literal

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from webhooks.signing import ID_HEADER

BODY_BYTES_MAX = 1_000_000
SILENCE_SECONDS_MAX = 60  # an idle connection is closed after this
ANSWERING_SECONDS_MAX = 2.0  # at the end, for answers being written
REMEMBERED_MAX = 100_000  # ids, to recognise repeated facts; about 10 MB

Verdict = Literal["verified", "forged", "unchecked"]  # unchecked: there is no secret


@dataclass(frozen=True)
class Arrival:
    """A received request."""

    id: str  # the `webhook-id`
    body: bytes
    verdict: Verdict
    times: int  # arrivals of this id so far, including this one; 1 for a forged one

    @property
    def fact(self) -> dict[str, Any] | None:
        """The body as a fact; None if it is forged or not a JSON object."""
        try:
            found = None if self.verdict == "forged" else json.loads(self.body)
        except ValueError:
            return None
        return found if isinstance(found, dict) else None


@dataclass(frozen=True)
class ReceiverReply:
    """The answer to an arrival."""

    status: int
    text: str = ""


TAKEN = ReceiverReply(204)
FORGED = ReceiverReply(401, text="the signature does not verify\n")
TOO_LONG = ReceiverReply(413, text=f"a body has at most {BODY_BYTES_MAX} bytes\n")
NO_LENGTH = ReceiverReply(411, text="a body needs a Content-Length\n")

Reply = Callable[[Arrival], ReceiverReply | None]  # None: TAKEN, or FORGED if not from us


class Subscriber:
    """Listens from `with` to the end of the block. Call `trust` with secrets.

    The port is bound at once (0: any free one), so `url` is known before. `reply` is called in a
    thread for each arrival. All arrivals are answered before the block ends. Raises OSError if the
    address cannot be listened on.
    """

    def __init__(self, reply: Reply, host: str = "127.0.0.1", port: int = 0) -> None:
        self._reply = reply
        self._verifiers: list[Webhook] = []
        self._times: OrderedDict[str, int] = OrderedDict()
        self._busy, self._change = 0, Condition()

        class Handler(_Handler):
            subscriber = self

        self._server = _server_class(host)((host, port), Handler)
        self._thread = Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """The URL for facts."""
        host, port = self._server.server_address[:2]
        name = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"http://{name}:{port}/facts"

    def trust(self, secret: str) -> None:
        """Also accept signatures of this destination's secret."""
        self._verifiers.append(Webhook(secret))

    def take(self, message_id: str, body: bytes, headers: dict[str, str]) -> ReceiverReply:
        """Verify an arrival and return its answer; `answered()` must follow."""
        with self._change:
            self._busy += 1
        try:
            arrival = self._judged(message_id, body, headers)
            answer = self._reply(arrival)
        except BaseException:
            self.answered()
            raise
        if answer is None:
            return FORGED if arrival.verdict == "forged" else TAKEN
        return answer

    def answered(self) -> None:
        """Mark the answer to an arrival as written."""
        with self._change:
            self._busy -= 1
            self._change.notify_all()

    def _judged(self, message_id: str, body: bytes, headers: dict[str, str]) -> Arrival:
        if self._verifiers and not any(
            _is_signed(verifier, body, headers) for verifier in self._verifiers
        ):
            return Arrival(message_id, body, "forged", 1)
        verdict: Verdict = "verified" if self._verifiers else "unchecked"
        return Arrival(message_id, body, verdict, self._count(message_id))

    def _count(self, message_id: str) -> int:
        if not message_id:
            return 1  # not from a Standard Webhooks sender: it has no id
        with self._change:
            times = self._times.pop(message_id, 0) + 1
            self._times[message_id] = times  # the newest last
            if len(self._times) > REMEMBERED_MAX:
                self._times.popitem(last=False)
            return times

    def __enter__(self) -> Subscriber:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        with self._change:
            self._change.wait_for(lambda: not self._busy, ANSWERING_SECONDS_MAX)
        self._server.server_close()
        self._thread.join()


def _is_signed(verifier: Webhook, body: bytes, headers: dict[str, str]) -> bool:
    try:
        verifier.verify(body, headers, json_parse=False)
    except (WebhookVerificationError, ValueError):  # ValueError: unreadable headers or bytes
        return False
    return True


class _Handler(BaseHTTPRequestHandler):
    """One connection: HTTP/1.1 with Content-Length."""

    protocol_version = "HTTP/1.1"
    timeout = SILENCE_SECONDS_MAX
    subscriber: Subscriber

    def do_POST(self) -> None:
        length = self._length()
        if isinstance(length, ReceiverReply):
            self.close_connection = True  # the body is not read, so the next bytes are no request
            self._write(length)
            return
        body = self.rfile.read(length)
        if len(body) < length:
            return  # cut off
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.subscriber.take(headers.get(ID_HEADER, ""), body, headers)
        try:
            self._write(answer)
        finally:
            self.subscriber.answered()

    def _length(self) -> int | ReceiverReply:
        text = self.headers.get("Content-Length", "")
        if not (text.isascii() and text.isdigit()):
            return NO_LENGTH
        return TOO_LONG if len(text) > 10 or int(text) > BODY_BYTES_MAX else int(text)

    def _write(self, answer: ReceiverReply) -> None:
        text = b"" if answer.status in (204, 304) else answer.text.encode()
        self.send_response(answer.status)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(text)))
            self.send_header("Content-Type", "text/plain; charset=utf-8")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(text)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Print nothing: the command prints."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # a dispatcher opens this many connections at once

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore senders that disconnect; report other errors as usual."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def _server_class(host: str) -> type[_Server]:
    if ":" not in host:
        return _Server

    class OverSix(_Server):
        address_family = socket.AF_INET6

    return OverSix
