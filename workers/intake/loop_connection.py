"""One connection to Redis for all requests on an event loop: answers come in the order of calls.

It has the methods of redis-py's connection that workers/intake/redis_scripts.py calls. redis-py
connects, with TLS and authentication. After that, bytes bypass its streams, which would take 30 µs
a call. This relies on `_writer` and `_parser` of redis.asyncio's Connection (read from 8.1;
tests/integration/workers/test_loop_connection.py breaks).
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, cast

import hiredis
from redis import exceptions
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from workers.intake import loop_calls


class LoopConnection(asyncio.Protocol):
    """A connection of the running loop; it connects when used, and reconnects when it ended."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        pool: Any = ConnectionPool.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
        )
        self._make: Callable[[], Any] = pool.make_connection
        self._packer = self._make()
        self._timeout_seconds = timeout_seconds
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._awaited: deque[tuple[float, asyncio.Future[Any]]] = deque()  # since when
        self._watch: asyncio.TimerHandle | None = None

    # -- called by requests ------------------------------------------------------------------

    def pack_command(self, *args: Any) -> list[bytes]:
        """A command in the protocol of Redis."""
        return cast("list[bytes]", self._packer.pack_command(*args))

    def send_command(self, *args: Any, check_health: bool) -> None:
        """Send a command. Raises ConnectionError or TimeoutError: then nothing was sent."""
        self.send_packed_command(self.pack_command(*args), check_health=check_health)

    def send_packed_command(self, packed: Iterable[bytes], *, check_health: bool) -> None:
        """Send a packed command, as `send_command` does. Its caller reads the answer next."""
        if self._transport is None:
            loop_calls.wait(self._connected())
        if self._transport is None:
            raise exceptions.ConnectionError("the connection ended as soon as it was made")
        self._transport.writelines(packed)
        self._awaited.append((self._loop.time(), self._loop.create_future()))
        if self._watch is None:
            self._watch = self._loop.call_later(self._timeout_seconds, self._end_if_mute)

    def read_response(self) -> Any:
        """The answer to the last command sent; raises the errors of redis-py's connection."""
        answer = loop_calls.wait(self._awaited[-1][1])
        if isinstance(answer, exceptions.RedisError):
            raise answer
        return answer

    def disconnect(self) -> None:
        """End the connection: every call that waits for an answer gets an error."""
        if isinstance(sys.exc_info()[1], asyncio.CancelledError):
            return  # one request was cancelled: its answer is dropped when it comes
        self._end(exceptions.ConnectionError("the connection was closed"))

    # -- called by the loop ------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Give each answer to the call that has waited longest."""
        self._reader.feed(data)
        while (answer := self._reader.gets()) is not False:
            _, waiting = self._awaited.popleft()
            if not waiting.done():  # its caller may have been cancelled
                waiting.set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        """Redis ended the connection."""
        self._end(exceptions.ConnectionError("Redis closed the connection"))

    async def _connected(self) -> None:
        if self._connecting is None:
            self._connecting = self._loop.create_task(self._connect())
            self._connecting.add_done_callback(self._has_tried)
        await asyncio.shield(self._connecting)

    def _has_tried(self, task: asyncio.Task[None]) -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()  # the waiting calls get it, if there are any

    async def _connect(self) -> None:
        made = self._make()
        try:
            await made.connect()
            transport: asyncio.Transport = made._writer.transport
            transport.set_protocol(self)
        except RuntimeError as error:  # uvloop's, of a socket that was reset meanwhile
            raise exceptions.ConnectionError("the connection ended while it was made") from error
        self._reader = hiredis.Reader(
            protocolError=exceptions.InvalidResponse, replyError=made._parser.parse_error
        )
        self._made, self._transport = made, transport

    def _end(self, error: exceptions.RedisError) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
            self._made._writer = None  # it would warn that it was not closed
        while self._awaited:
            _, waiting = self._awaited.popleft()
            if not waiting.done():
                waiting.set_exception(error)

    def _end_if_mute(self) -> None:
        """End the connection when its oldest call has waited too long; else check again later."""
        self._watch = None
        if not self._awaited:
            return
        ends_at = self._awaited[0][0] + self._timeout_seconds
        if ends_at <= self._loop.time():
            self._end(exceptions.TimeoutError("Redis did not answer in time"))
        else:
            self._watch = self._loop.call_at(ends_at, self._end_if_mute)
