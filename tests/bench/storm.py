"""A load generator that does not wait: a request goes out when it is due, on a connection of its
own if need be, and what becomes of it is counted, whatever that is.

`python -m tests.bench.storm` reads a plan from stdin and writes an outcome. It costs about 40 µs a
request, on the machine that it measures.
"""

from __future__ import annotations

import json
import re
import select
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.bench.load import Plan, VoidRunError, request_bytes

PROJECT_ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 10.0  # longer than a caller waits for an answer: then it is counted as none
RESET, SILENCE = "reset", "silence"  # what is not a status: cut off, never answered
_RECEIVE_BYTES = 65_536
_POLL_SECONDS = 0.05
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_ACCEPTED = re.compile(rb'"accepted":(\d+),"rejected":')
_CLOSES = re.compile(rb"(?i)\r\nconnection: *close")
_RETRY = re.compile(rb"(?i)\r\nretry-after: *[1-9]")


@dataclass
class Outcome:
    """What became of the requests of a storm."""

    seconds: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    accepted: int = 0  # writes: a batch says how many
    without_retry_after: int = 0  # 429 and 503 that do not say when to come back
    p50_ms: float = 0.0  # of answers, from when a request was due
    p99_ms: float = 0.0
    connections: int = 0  # at most, at once

    @property
    def faults(self) -> list[str]:
        """Whatever was not accepted and not an honest refusal."""
        found = [f"{n} × {one}" for one, n in self.statuses.items() if one not in _HONEST]
        missing = self.without_retry_after
        return found + ([f"{missing} without Retry-After"] if missing else [])


_HONEST = ("202", "429", "503")


def begin(plan: Plan, per_second: float) -> subprocess.Popen[str]:
    """Start a storm in a process of its own; it reports to `end`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.storm"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT_ROOT,
    )
    assert process.stdin
    process.stdin.write(json.dumps({"plan": asdict(plan), "per_second": per_second}))
    process.stdin.close()
    process.stdin = None
    assert process.stdout
    process.stdout.readline()  # it begins now
    return process


def end(process: subprocess.Popen[str]) -> Outcome:
    """Wait for a storm's end; VoidRunError when it failed itself."""
    text, _ = process.communicate()
    if process.returncode:
        raise VoidRunError(f"the storm ended with {process.returncode}")
    return Outcome(**json.loads(text))


class _Open:
    """A connection, and the request that is under way on it."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect_ex(("127.0.0.1", port))
        self.number = self.socket.fileno()
        self.unsent, self.received, self.due, self.is_busy = b"", b"", 0.0, False

    def begin(self, request: bytes, due: float) -> None:
        self.unsent, self.received, self.due, self.is_busy = request, b"", due, True

    def write(self) -> None:
        """Send what is left to send; an answer may come before its end."""
        try:
            self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except BlockingIOError:
            return

    def read(self) -> str | None:
        """The status, once the answer is whole."""
        chunk = self.socket.recv(_RECEIVE_BYTES)
        if not chunk:
            raise ConnectionResetError
        self.received += chunk
        head = self.received.find(b"\r\n\r\n")
        if head < 0:
            return None
        length = _LENGTH.search(self.received, 0, head)
        whole = length is not None and len(self.received) >= head + 4 + int(length[1])
        return self.received[9:12].decode() if whole else None


class Storm:
    """A plan being sent."""

    def __init__(self, plan: Plan, per_second: float) -> None:
        self._plan, self._per_second = plan, per_second
        self._requests = [request_bytes(plan, body) for body in plan.bodies]
        self._poll = select.epoll()
        self._open: dict[int, _Open] = {}
        self._idle: list[_Open] = []
        self._statuses: Counter[str] = Counter()
        self._latencies: list[float] = []
        self._outcome = Outcome()

    def send(self) -> Outcome:
        """Send everything; return when everything is answered or given up."""
        self._began = time.monotonic()
        due = self._dues()
        following = next(due, None)
        while following or len(self._idle) < len(self._open):
            now = time.monotonic()
            while following and following[0] <= now and (line := self._line()):
                line.begin(following[1], following[0])
                self._write(line)
                following = next(due, None)
            wait = min(_POLL_SECONDS, max(0.0, following[0] - now)) if following else _POLL_SECONDS
            for number, events in self._poll.poll(wait):
                self._answer(self._open[number], events)
            self._give_up(time.monotonic() - PATIENCE_SECONDS)
        return self._finish()

    def _dues(self) -> Iterator[tuple[float, bytes]]:
        for nth, request in enumerate(self._requests):
            yield self._began + nth / self._per_second, request

    def _line(self) -> _Open | None:
        """A connection to send on; None when there are as many as there may be."""
        if self._idle:
            return self._idle.pop()
        if len(self._open) >= self._plan.connections:
            return None
        line = _Open(self._plan.port)
        self._open[line.number] = line
        self._poll.register(line.number, select.EPOLLIN | select.EPOLLOUT)
        self._outcome.connections = max(self._outcome.connections, len(self._open))
        return line

    def _write(self, line: _Open) -> None:
        try:
            line.write()
        except OSError:
            return  # the poll says so again, and `_answer` counts it
        events = select.EPOLLIN | (select.EPOLLOUT if line.unsent else 0)
        self._poll.modify(line.number, events)

    def _answer(self, line: _Open, events: int) -> None:
        if events & select.EPOLLOUT and line.unsent:
            self._write(line)
        if not events & ~select.EPOLLOUT:
            return
        try:
            status = line.read()
        except OSError:
            self._close(line, RESET)
            return
        if status is None:
            return
        self._latencies.append(time.monotonic() - line.due)
        if status == "202":
            batch = _ACCEPTED.search(line.received)
            self._outcome.accepted += int(batch[1]) if batch else 1
        if status in ("429", "503") and not _RETRY.search(line.received):
            self._outcome.without_retry_after += 1
        if line.unsent or _CLOSES.search(line.received):
            self._close(line, status)
            return
        self._statuses[status] += 1
        line.is_busy = False
        self._idle.append(line)

    def _close(self, line: _Open, status: str) -> None:
        if line.is_busy:
            self._statuses[status] += 1
        else:
            self._idle.remove(line)
        self._poll.unregister(line.number)
        line.socket.close()
        del self._open[line.number]

    def _give_up(self, before: float) -> None:
        for line in [one for one in self._open.values() if one.is_busy and one.due < before]:
            self._close(line, SILENCE)

    def _finish(self) -> Outcome:
        done, ordered = self._outcome, sorted(self._latencies)
        done.seconds = time.monotonic() - self._began
        done.statuses = dict(self._statuses)
        if ordered:
            done.p50_ms = 1_000 * ordered[len(ordered) // 2]
            done.p99_ms = 1_000 * ordered[int(len(ordered) * 0.99)]
        return done


def main() -> None:
    """Read a plan, send it, write its outcome."""
    wanted = json.load(sys.stdin)
    storm = Storm(Plan(**wanted["plan"]), wanted["per_second"])
    sys.stdout.write("begins\n")
    sys.stdout.flush()
    json.dump(asdict(storm.send()), sys.stdout)


if __name__ == "__main__":
    main()
