"""A subscriber as the documentation describes one: takes facts over HTTP, verifies each."""

from __future__ import annotations

import json
import socket
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from types import TracebackType
from typing import Any, Literal

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from webhooks.signing import ID_HEADER

BODY_BYTES_MAX = 1_000_000
SILENCE_SECONDS_MAX = 60  # a connection that says nothing for so long is closed
ANSWERING_SECONDS_MAX = 2.0  # at the end: for answers that are being written
REMEMBERED_MAX = 100_000  # ids, to know a fact that comes again; some 10 MB

Verdict = Literal["verified", "forged", "unchecked"]  # the last: there is no secret to check with


@dataclass(frozen=True)
class Arrival:
    """What arrived."""

    id: str  # the `webhook-id`
    body: bytes
    verdict: Verdict
    times: int  # how often this id has come, this time included; 1 for a forged one

    @property
    def fact(self) -> dict[str, Any] | None:
        """The body as a fact; None for a forged one, and for what is not a JSON object."""
        try:
            found = None if self.verdict == "forged" else json.loads(self.body)
        except ValueError:
            return None
        return found if isinstance(found, dict) else None


@dataclass(frozen=True)
class ReceiverReply:
    """What to answer."""

    status: int
    text: str = ""


TAKEN = ReceiverReply(204)
FORGED = ReceiverReply(401, text="the signature does not verify\n")
TOO_LONG = ReceiverReply(413, text=f"a body has at most {BODY_BYTES_MAX} bytes\n")
NO_LENGTH = ReceiverReply(411, text="a body needs a Content-Length\n")

Reply = Callable[[Arrival], ReceiverReply | None]  # None: TAKEN, or FORGED for what is not from us


class Subscriber:
    """Listens from `with` to its end; callers are let in from then on. Call `trust` with secrets.

    The port is bound at once (0: any free one): `url` can be told to others before. `reply` is
    called in a thread of its own for each arrival. What has arrived is answered before the end.
    Raises OSError when the address cannot be listened on.
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
        """Where facts are to be sent."""
        host, port = self._server.server_address[:2]
        name = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"http://{name}:{port}/facts"

    def trust(self, secret: str) -> None:
        """Verify with this destination's secret, beside those already trusted."""
        self._verifiers.append(Webhook(secret))

    def take(self, message_id: str, body: bytes, headers: dict[str, str]) -> ReceiverReply:
        """Judge one arrival and return what to answer; `answered()` must follow."""
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
        """The answer to what was taken has been written."""
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
            return 1  # not from a sender of Standard Webhooks: nothing to know it by
        with self._change:
            times = self._times.pop(message_id, 0) + 1
            self._times[message_id] = times  # the newest stands last
            if len(self._times) > REMEMBERED_MAX:
                self._times.popitem(last=False)
            return times

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
        with self._change:
            self._change.wait_for(lambda: not self._busy, ANSWERING_SECONDS_MAX)
        self._server.server_close()
        self._thread.join()


def _is_signed(verifier: Webhook, body: bytes, headers: dict[str, str]) -> bool:
    try:
        verifier.verify(body, headers, json_parse=False)
    except (WebhookVerificationError, ValueError):  # the latter: headers or bytes it cannot read
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
            self.close_connection = True  # the body is not read: what follows is not a request
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
        """Say nothing: who listens prints."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # a deliverer opens as many connections at once

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A sender that goes away is no error of ours; anything else is said as usual."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def _server_class(host: str) -> type[_Server]:
    if ":" not in host:
        return _Server

    class OverSix(_Server):
        address_family = socket.AF_INET6

    return OverSix
