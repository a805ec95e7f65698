"""Scripts that write, called under a deadline, so that an error answer means that nothing is kept.

1. Redis is known to answer: TIME is asked first, unless an answer came a moment ago.
2. The script gets the instant at which its caller stops waiting, by the clock of Redis. When it
   runs later, it writes nothing and answers 'late'.
3. When a command was sent whole and no answer came, the script may have run in time. Only that is
   OutcomeUnknown; every other failure is Unavailable.

docs/decisions/0017-an-error-keeps-nothing.md has the reasons and the figures.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import redis
from redis import exceptions

from workers.intake import loop_calls
from workers.intake.accept import Full, OutcomeUnknown, Unavailable
from workers.intake.loop_connection import LoopConnection
from workers.runtime.redis_errors import code_of, is_away

QUIET_SECONDS = 0.05  # without an answer: Redis may have stopped since, so TIME is asked first
LEARN_SECONDS = 1.0  # after which a connection reads the clock of its Redis again
TRIES_MAX = 3  # after a restart of Redis: the connection has ended, and the script must be loaded
_MICROS = 1_000_000
_LATE = b"late"  # the answer of a script that ran after its deadline
# redis-py raises these as connection errors, but they are answers: the command did not run.
_ANSWERS = (exceptions.ResponseError, exceptions.BusyLoadingError, exceptions.AuthenticationError)


@dataclass(eq=False)
class Script:
    """A script whose last argument is its deadline, in microseconds of the clock of Redis."""

    text: str
    sha: str = ""


@dataclass(frozen=True, slots=True)
class ScriptResult:
    """A script's answer. In doubt: an earlier try of the same call may have run as well."""

    result: Any
    is_in_doubt: bool


@dataclass(eq=False)
class _Line:
    """The connection of a thread or of the event loop, and how far the clock of its Redis is ahead
    of ours."""

    connection: Any
    ahead_us: int = 0
    learnt_at: float = 0.0  # 0: unknown, as the connection is new

    def learn(self) -> None:
        """Ask Redis for its time; once more where the connection had ended unnoticed."""
        try:
            self._ask()
        except exceptions.ConnectionError:
            self.hang_up()
            self._ask()

    def _ask(self) -> None:
        try:
            self.connection.send_command("TIME", check_health=False)
            seconds, micros = self.connection.read_response()
        except BaseException:
            self.hang_up()
            raise
        self.learnt_at = time.monotonic()
        # Taken at the end of the round trip: a deadline is early by a round trip, never late.
        self.ahead_us = int(seconds) * _MICROS + int(micros) - round(self.learnt_at * _MICROS)

    def load(self, script: str) -> str:
        """Load a script; return its digest."""
        try:
            self.connection.send_command("SCRIPT", "LOAD", script, check_health=False)
            return str(self.connection.read_response().decode())
        except BaseException:
            self.hang_up()
            raise

    def hang_up(self) -> None:
        """Close the connection: a late answer must not be read as the next one."""
        self.connection.disconnect()
        self.learnt_at = 0.0


@dataclass
class ScriptCaller:
    """Calls scripts for the threads of a process, and for its event loop."""

    client: redis.Redis
    url: str
    timeout_seconds: float
    _threads: threading.local = field(default_factory=threading.local)
    _opened: list[_Line] = field(default_factory=list)  # one per thread that ever called
    _of_loop: _Line | None = None
    _answered_at: float = 0.0  # by Redis to any caller, in monotonic seconds

    def call(self, script: Script, names: Sequence[str], arguments: Sequence[Any]) -> ScriptResult:
        """Run a script that takes a deadline as its last argument.

        Raises Full or Unavailable: nothing was written. Raises OutcomeUnknown: it may have been.
        """
        attempt = _Attempt(script, names, arguments)
        try:
            return ScriptResult(self._tried(attempt), attempt.is_in_doubt)
        except exceptions.RedisError as error:
            if attempt.is_in_doubt:
                raise OutcomeUnknown from error
            if isinstance(error, exceptions.ResponseError) and code_of(error) == "OOM":
                raise Full from error
            raise Unavailable from error

    def _tried(self, attempt: _Attempt) -> Any:
        for nth in range(TRIES_MAX):
            line = self._line()
            try:
                self._make_ready(line)
                result = attempt.run(line, self.timeout_seconds)
            except exceptions.NoScriptError:
                attempt.script.sha = line.load(attempt.script.text)
                continue
            except exceptions.ResponseError as error:
                if is_away(error):
                    line.hang_up()  # it may be a replica now: its name leads to the next primary
                raise
            except exceptions.ConnectionError:
                if nth + 1 == TRIES_MAX:
                    raise
                continue  # the connection had ended; the ids in the arguments stay the same
            self._answered_at = time.monotonic()
            if not (isinstance(result, list) and result[0] == _LATE):
                return result
            line.learnt_at = 0.0  # a clock was set, or this process was paused
        raise exceptions.TimeoutError("Redis refused: the deadline had passed")

    def _make_ready(self, line: _Line) -> None:
        """Raises RedisError where Redis does not answer; then nothing was sent."""
        now = time.monotonic()
        if now - line.learnt_at > LEARN_SECONDS or now - self._answered_at > QUIET_SECONDS:
            line.learn()
            self._answered_at = line.learnt_at

    def _line(self) -> _Line:
        if loop_calls.is_on_loop():
            if self._of_loop is None:
                self._of_loop = _Line(LoopConnection(self.url, self.timeout_seconds))
            return self._of_loop
        line: _Line | None = getattr(self._threads, "line", None)
        if line is None:
            # The client's pool, retries and hooks cost more than the command (190 of 310 µs).
            pool = self.client.connection_pool
            line = _Line(pool.connection_class(**pool.connection_kwargs))
            self._threads.line = line
            self._opened.append(line)
        return line

    def close(self) -> None:
        """Close the connections; a loop's own is closed by its loop."""
        for line in self._opened:
            line.connection.disconnect()
        if self._of_loop is not None:
            self._of_loop.connection.disconnect()
            self._of_loop = None


@dataclass
class _Attempt:
    """A call and its tries."""

    script: Script
    names: Sequence[str]
    arguments: Sequence[Any]
    is_in_doubt: bool = False  # a try was sent whole and not answered

    def run(self, line: _Line, timeout_seconds: float) -> Any:
        """One try; returns the script's answer."""
        ends_us = round((time.monotonic() + timeout_seconds) * _MICROS) + line.ahead_us
        connection = line.connection
        packed = connection.pack_command(
            "EVALSHA", self.script.sha, len(self.names), *self.names, *self.arguments, ends_us
        )
        try:
            # Where this raises, Redis has received only a part of the command, so it cannot run.
            connection.send_packed_command(packed, check_health=False)
        except BaseException:
            line.hang_up()
            raise
        try:
            return connection.read_response()
        except _ANSWERS:
            raise
        except BaseException:
            self.is_in_doubt = True
            line.hang_up()
            raise
