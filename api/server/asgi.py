"""The ASGI application: an event loop receives requests, threads answer complete ones.

A thread that waits for a body cannot be interrupted, so no thread does (docs/decisions, ADR 22):

1. The loop makes an environ of the head (api/server/heads.py) and refuses invalid heads.
2. If the key is known, the loop awaits the body under a deadline and within reserved room. That
   takes no thread. Then a thread runs the application and sends the answer.
   A write that waits only for Redis needs no thread: the application runs on the loop, in a
   greenlet (workers/intake/loop_calls.py). If it would block, it runs again in a thread.
3. If the key is not known, a thread runs the application on the head alone and refuses most
   requests. An application that reads the body raises NotRead, and the loop does step 2.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, cast

from pydantic_core import to_json

from api.http import access_log, load_shedding
from api.http.problems import Problem, document
from api.input.validation import BODY_BYTES_MAX
from api.server import heads, sockets
from api.server.body_room import STRANGERS, Room
from workers.intake import loop_calls

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger("unbroken.api")

BODY_SECONDS_MAX = 10.0  # as long as a request may wait for the worker (contract §2)
LATE_SECONDS_MAX = 0.25  # between a body's deadline and its refusal
REFUSAL_SECONDS_MAX = 1.0  # for a body still on its way when the process has too many requests
FREE_BYTES_MAX = 16_384  # bodies up to this need no reserved room: one per connection

END = {"Connection": "close"}  # the next request must not be read from the rest of this body

Headers = list[tuple[str, str]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Knows = Callable[["WSGIEnvironment"], Hashable | None]
OnLoop = Callable[["WSGIEnvironment"], bool]
Late = Callable[[], Problem]
_BASE: dict[str, Any] = {
    "SERVER_SOFTWARE": "granian",
    "wsgi.version": (1, 0),
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
    "wsgi.input_terminated": True,  # the stream ends with the body, however the body was sent
}


class NotRead(BaseException):
    """The application reads a body not yet awaited. Not an Exception: no handler may catch it."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__(bytes_max)
        self.bytes_max = bytes_max


class Unread:
    """The body of a request whose key is not known. Reading it asks the loop to await it."""

    def read(self, size: int = BODY_BYTES_MAX) -> bytes:
        """Raise NotRead."""
        raise NotRead(size)


@dataclass(slots=True, eq=False)
class Exchange:
    """A request and where its answer goes."""

    environ: WSGIEnvironment
    receive: Receive
    send: Send
    wanted: int | None = None  # bytes that the application asked for before they were awaited
    length: int = 0  # of the body; 0 when the head does not give it
    is_late: bool = False  # its body missed the deadline
    began: float = field(default_factory=time.monotonic)

    @property
    def has_body(self) -> bool:
        """Whether a body follows the head."""
        return "HTTP_TRANSFER_ENCODING" in self.environ or self.length > 0


class Api:
    """An ASGI application around a WSGI application. It belongs to the loop of its first request.

    `knows` returns the identity of the caller if the key in an environ is known, else None.
    `on_loop` returns whether the application may run an environ on the loop.
    """

    def __init__(
        self,
        app: WSGIApplication,
        knows: Knows,
        threads: int,
        *,
        on_loop: OnLoop = lambda environ: False,
        room: Room | None = None,
        seconds_max: float = BODY_SECONDS_MAX,
    ) -> None:
        self._app, self._knows, self._threads = app, knows, threads
        self._on_loop = on_loop
        self._room, self._seconds_max = room or Room(), seconds_max
        self._line: SimpleQueue[tuple[Exchange, asyncio.Future[None]]] = SimpleQueue()
        self._waiting = 0  # requests in the queue or in a thread
        self._done: deque[asyncio.Future[None]] = deque()
        self._is_woken = False
        self._is_started = False
        self._awaited: dict[Exchange, tuple[float, asyncio.Task[None]]] = {}  # deadline, task

    async def __call__(self, scope: heads.Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError(scope["type"])  # the server has websockets and lifespan switched off
        if not self._is_started:
            self._start()
        one = Exchange({}, receive, send)
        try:
            one.environ = _BASE | heads.environ(scope)
            one.length = int(one.environ.get("CONTENT_LENGTH", 0))
            await self._serve(one)
        except Problem as problem:
            _refuse(one, problem)

    def _start(self) -> None:
        self._running = asyncio.get_running_loop()
        self._is_started = True
        load_shedding.allow_open_files()
        sockets.notice_the_dead()  # the listening socket exists by now
        for _ in range(self._threads):
            Thread(target=self._work, name="request", daemon=True).start()
        self._end_late_bodies()

    # -- in the loop -------------------------------------------------------------------------

    async def _serve(self, exchange: Exchange) -> None:
        if (
            self._waiting >= load_shedding.REQUESTS_MAX
            and exchange.environ["PATH_INFO"] != load_shedding.ALIVE
        ):
            await self._turn_away(exchange)
        elif not exchange.has_body:
            await self._answered(exchange, BytesIO())
        else:
            is_too_long = exchange.length > BODY_BYTES_MAX  # whatever the key
            caller = None if is_too_long else self._knows(exchange.environ)
            if caller is not None:
                await self._with_body(exchange, caller, BODY_BYTES_MAX + 1)
                return
            await self._answered(exchange, Unread())
            if exchange.wanted is not None:
                caller = self._knows(exchange.environ) or STRANGERS
                await self._with_body(exchange, caller, exchange.wanted)

    async def _turn_away(self, exchange: Exchange) -> None:
        """503. The body is read first: closing a connection with unread bytes resets it, and the
        caller may never see the answer."""
        with suppress(Problem):
            if exchange.has_body:
                until = self._running.time() + REFUSAL_SECONDS_MAX
                await self._body(exchange, BODY_BYTES_MAX, until, load_shedding.too_many_requests)
        raise load_shedding.too_many_requests()

    async def _with_body(self, exchange: Exchange, caller: Hashable, bytes_max: int) -> None:
        length = min(exchange.length or bytes_max, bytes_max)
        until = self._running.time() + self._seconds_max
        if length <= FREE_BYTES_MAX:
            body = BytesIO(await self._body(exchange, bytes_max, until, too_slow))
            if not self._on_loop(exchange.environ) or not await self._answered_here(exchange, body):
                await self._answered(exchange, body)
            return
        async with self._room.of(caller, length, until):
            await self._answered(
                exchange, BytesIO(await self._body(exchange, bytes_max, until, too_slow))
            )

    async def _body(self, exchange: Exchange, bytes_max: int, until: float, late: Late) -> bytes:
        """The body, at most `bytes_max` bytes; `late` is the answer after `until`.

        Raises Problem. One timer checks all bodies: `asyncio.timeout` starts one per request, which
        cost a tenth of a single `record`.
        """
        task = cast("asyncio.Task[None]", asyncio.current_task(self._running))
        self._awaited[exchange] = until, task
        try:
            return await _received(exchange, bytes_max)
        except asyncio.CancelledError:
            if not exchange.is_late:
                raise
            task.uncancel()
            raise late() from None
        finally:
            del self._awaited[exchange]

    def _end_late_bodies(self) -> None:
        """Cancel the wait for each late body. Nothing refers to the body then, so the server closes
        its connection with the answer."""
        now = self._running.time()
        for request, (until, task) in self._awaited.items():
            if until <= now and not request.is_late:
                request.is_late = True
                task.cancel()
        self._running.call_later(LATE_SECONDS_MAX, self._end_late_bodies)

    async def _answered(self, exchange: Exchange, body: BytesIO | Unread) -> None:
        """Let a thread answer, and wait for it."""
        exchange.environ["wsgi.input"] = body
        answered = self._running.create_future()
        self._waiting += 1
        self._line.put((exchange, answered))
        try:
            await answered
        finally:
            self._waiting -= 1

    async def _answered_here(self, exchange: Exchange, body: BytesIO) -> bool:
        """Answer on the loop. False, with nothing done, if the request needs a thread."""
        exchange.environ["wsgi.input"] = body
        self._waiting += 1
        try:
            await loop_calls.run(self._answer_surely, exchange)
        except loop_calls.NeedsThread:
            body.seek(0)
            return False
        finally:
            self._waiting -= 1
        return True

    def _tell_answered(self) -> None:
        self._is_woken = False
        while self._done:
            answered = self._done.popleft()
            if not answered.done():  # the caller may have hung up
                answered.set_result(None)

    # -- in a thread -------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            self._take_turn(*self._line.get())

    def _take_turn(self, exchange: Exchange, answered: asyncio.Future[None]) -> None:
        """Answer one request and drop every reference to it: the server keeps a connection open
        while its unread body is referenced."""
        try:
            self._answer_surely(exchange)
        except NotRead as asked:
            exchange.wanted = asked.bytes_max
            asked.with_traceback(None)  # its frames refer to the body and to the request
        self._done.append(answered)
        if not self._is_woken:  # one call wakes the loop for all threads that have finished by then
            self._is_woken = True
            with suppress(RuntimeError):  # the loop has ended
                self._running.call_soon_threadsafe(self._tell_answered)

    # -- in a thread, or on the loop ---------------------------------------------------------

    def _answer_surely(self, exchange: Exchange) -> None:
        """Answer one request, with a 500 if that fails. Raises NotRead and NeedsThread."""
        try:
            self._answer(exchange)
        except Exception:
            log.exception("a request ended without an answer")
            with suppress(Exception):  # part of an answer may already be sent
                _refuse(exchange, Problem(500, "internal_error", "The server has a fault."))

    def _answer(self, exchange: Exchange) -> None:
        said: list[Any] = []

        def start_response(status: str, headers: Headers, exc_info: Any = None) -> Any:
            said[:] = int(status[:3]), headers

        parts = self._app(dict(exchange.environ), cast("StartResponse", start_response))
        try:
            _start(exchange, *said)
            if loop_calls.is_on_loop() or _is_whole(exchange, *said):
                _ = exchange.send({"type": "http.response.body", "body": b"".join(parts)})
            else:
                self._stream(exchange, parts)
        finally:
            if (close := getattr(parts, "close", None)) is not None:
                close()

    def _stream(self, exchange: Exchange, parts: Iterable[bytes]) -> None:
        """Send a long answer part by part, as fast as the caller reads.

        The system ends the connection of a caller that stops reading (api/server/sockets.py).
        """
        gone = asyncio.run_coroutine_threadsafe(_gone(exchange), self._running)
        try:
            for part in parts:
                if gone.done():
                    return
                message = {"type": "http.response.body", "body": part, "more_body": True}
                asyncio.run_coroutine_threadsafe(_sent(exchange, message), self._running).result()
            _ = exchange.send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()


async def _gone(exchange: Exchange) -> None:
    """Return when the caller has hung up."""
    while (await exchange.receive())["type"] != "http.disconnect":
        pass


async def _sent(exchange: Exchange, message: dict[str, Any]) -> None:
    await exchange.send(message)


def _is_whole(exchange: Exchange, status: int, headers: Headers) -> bool:
    """Whether an answer is complete: it has a length, or no body."""
    if status in (204, 304) or exchange.environ["REQUEST_METHOD"] == "HEAD":
        return True
    return any(name.lower() == "content-length" for name, _ in headers)


def _start(exchange: Exchange, status: int, headers: Headers) -> None:
    lines = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    _ = exchange.send({"type": "http.response.start", "status": status, "headers": lines})


async def _received(exchange: Exchange, bytes_max: int) -> bytes:
    parts, size = [], 0
    while True:
        message = await exchange.receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "bad_request", "The body broke off.", (), END)
        parts.append(message["body"])
        size += len(message["body"])
        if size == exchange.length or size >= bytes_max or not message["more_body"]:
            return b"".join(parts)


def too_slow() -> Problem:
    """The answer to a body that missed its deadline."""
    detail = f"The body did not come within {BODY_SECONDS_MAX:.0f} s"
    return Problem(408, "body_too_slow", detail, (), END)


def _refuse(exchange: Exchange, problem: Problem) -> None:
    request_id = os.urandom(16).hex()
    body = to_json(document(problem, request_id)) + b"\n"
    headers = {
        "Content-Type": "application/problem+json",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "X-Request-Id": request_id,
        **problem.headers,
    }
    _start(exchange, problem.status, list(headers.items()))
    _ = exchange.send({"type": "http.response.body", "body": body})
    access_log.refused(
        exchange.environ.get("REQUEST_METHOD", ""), problem, request_id, exchange.began
    )
