"""A real subscriber: an HTTP server on a free loopback port that records what it is sent.

It verifies signatures with the independent `standardwebhooks` library and answers as it is told:
any status, late, never, dripping, endless, redirecting, cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

DRIP_SECONDS = 0.05
ENDLESS_CHUNK = b"x" * 65_536


@dataclass(frozen=True, slots=True)
class Request:
    """What arrived."""

    method: str
    path: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    arrived: float  # time.time()
    connection: int  # counts connections: equal numbers shared one

    @property
    def id(self) -> str:
        """The `webhook-id`."""
        return self.headers.get("webhook-id", "")


@dataclass(frozen=True, slots=True)
class Answer:
    """What to answer."""

    status: int = 200
    body: bytes = b"ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    hangs: bool = False  # never answer
    drips: bool = False  # the body, byte by byte, for ever
    is_endless: bool = False  # a body as fast as it is read
    cuts: bool = False  # close without an answer
    raw: bytes | None = None  # exactly these bytes


OK = Answer()
Reply = Callable[[Request], Answer]


class Receiver:
    """`with Receiver(secret=…) as receiver:` listens on `receiver.url` until the block ends.

    Attributes may be read and `reply` be replaced at any time. With `is_counting_only`, requests
    are counted and verified but not kept: for measurements.
    """

    def __init__(
        self,
        secret: str | None = None,
        reply: Reply | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        is_counting_only: bool = False,
    ) -> None:
        self.reply = reply
        self.requests: list[Request] = []
        self.count = 0
        self.connections = 0
        self.invalid: list[Request] = []  # whose signature does not verify
        self.in_flight = 0
        self.in_flight_max = 0
        self.port = 0
        self._verifier = None if secret is None else Webhook(secret)
        self._tls = tls
        self._is_counting_only = is_counting_only
        self._arrival = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)
        self._ready = threading.Event()
        self._open: set[_Connection] = set()

    @property
    def url(self) -> str:
        """Where it listens."""
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://127.0.0.1:{self.port}/hook"

    def trust(self, secret: str) -> None:
        """Verify every request from now on with this `whsec_…` secret."""
        self._verifier = Webhook(secret)

    def bodies(self) -> dict[str, set[bytes]]:
        """The bodies received under each id: more than one would be a fault."""
        found: dict[str, set[bytes]] = {}
        for request in list(self.requests):
            found.setdefault(request.id, set()).add(request.body)
        return found

    def wait_for(self, count: int, seconds: float = 30.0) -> None:
        """Return once that many requests have arrived in all; raise TimeoutError otherwise."""
        with self._arrival:
            if not self._arrival.wait_for(lambda: self.count >= count, seconds):
                raise TimeoutError(f"{self.count} of {count} requests arrived")

    def __enter__(self) -> Receiver:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            self._loop.create_server(
                lambda: _Connection(self), "127.0.0.1", 0, ssl=self._tls, backlog=1_024
            )
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        self._loop.run_until_complete(self._close())
        self._loop.close()

    async def _close(self) -> None:
        for connection in list(self._open):
            connection.abort()
        mine = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not mine]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # transports of TLS close in a later turn

    def _take(self, request: Request) -> Answer:
        if self._verifier is not None:
            self._verify(request, self._verifier)
        if not self._is_counting_only:
            self.requests.append(request)
        with self._arrival:
            self.count += 1
            self._arrival.notify_all()
        return OK if self.reply is None else self.reply(request)

    def _verify(self, request: Request, verifier: Webhook) -> None:
        try:
            verifier.verify(request.body, dict(request.headers))
        except (WebhookVerificationError, ValueError, KeyError):
            self.invalid.append(request)


class _Connection(asyncio.Protocol):
    """One connection: HTTP/1.1 with Content-Length, which is all that our sender speaks."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._buffer = b""
        self._tasks: set[asyncio.Task[None]] = set()
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._receiver.connections += 1
        self._number = self._receiver.connections
        self._receiver._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._receiver._open.discard(self)
        self._writable.set()
        for task in self._tasks:
            task.cancel()

    def abort(self) -> None:
        self._transport.abort()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (request := self._next()) is not None:
            answer = self._receiver._take(request)
            if _is_plain(answer):
                self._transport.write(_encode(answer))
            else:
                task = asyncio.get_running_loop().create_task(self._answer(answer))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _next(self) -> Request | None:
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return None
        self._buffer = rest[length:]
        method, path, _ = first.split(" ")
        return Request(method, path, headers, rest[:length], time.time(), self._number)

    async def _answer(self, answer: Answer) -> None:
        receiver = self._receiver
        receiver.in_flight += 1
        receiver.in_flight_max = max(receiver.in_flight, receiver.in_flight_max)
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await self._act(answer)
        finally:
            receiver.in_flight -= 1

    async def _act(self, answer: Answer) -> None:
        await asyncio.sleep(answer.delay_seconds)
        if answer.hangs:
            await asyncio.Event().wait()
        elif answer.cuts:
            self._transport.abort()
        elif answer.drips or answer.is_endless:
            await self._pour(answer)
        else:
            self._transport.write(_encode(answer))

    async def _pour(self, answer: Answer) -> None:
        self._transport.write(_head(answer, None))
        while not self._transport.is_closing():
            self._transport.write(b"x" if answer.drips else ENDLESS_CHUNK)
            await asyncio.sleep(DRIP_SECONDS if answer.drips else 0)
            await self._writable.wait()


def _is_plain(answer: Answer) -> bool:
    slow = answer.hangs or answer.drips or answer.is_endless or answer.cuts
    return not slow and answer.delay_seconds == 0.0


def _encode(answer: Answer) -> bytes:
    if answer.raw is not None:
        return answer.raw
    return _PLAIN_OK if answer is OK else _head(answer, len(answer.body)) + answer.body


def _head(answer: Answer, length: int | None) -> bytes:
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    lines.append("Connection: close" if length is None else f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


_PLAIN_OK = _head(OK, len(OK.body)) + OK.body
