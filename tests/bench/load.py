"""A load generator: keep-alive connections, one request in flight on each, in a process of its own.

One thread, raw sockets and epoll, because it shares the machine with what it measures: it costs
about 30 µs a request. `python -m tests.bench.load` reads a plan from stdin and writes an outcome.
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
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

PROJECT_ROOT = Path(__file__).parents[2]
RESPONSE_SECONDS_MAX = 30.0  # longer than any answer may take: then the run is void
_RECEIVE_BYTES = 262_144
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


@dataclass(frozen=True)
class Plan:
    """What to send: every body once, in order, over some connections."""

    port: int
    path: str
    headers: Mapping[str, str]
    bodies: Sequence[str]
    connections: int
    method: str = "POST"  # with GET, each body is what the path ends with


@dataclass(frozen=True)
class Outcome:
    """What came back."""

    seconds: float
    statuses: dict[str, int]
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        """Answered requests per second."""
        return sum(self.statuses.values()) / self.seconds


class VoidRunError(RuntimeError):
    """The server did not answer as it must for the run to count."""


def run(plan: Plan, expected: str) -> Outcome:
    """Send a plan from a process of its own; VoidRunError when one is answered otherwise."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.load"],
        input=json.dumps(asdict(plan)),
        capture_output=True,
        text=True,
        cwd=PROJECT_ROOT,
        check=False,
    )
    if done.returncode:
        raise VoidRunError(done.stderr[-2_000:])
    outcome = Outcome(**json.loads(done.stdout))
    if set(outcome.statuses) != {expected}:
        raise VoidRunError(f"expected {expected} only, got {outcome.statuses}")
    return outcome


def send(plan: Plan) -> Outcome:
    """Send a plan and measure every request from its first byte out to its last byte in."""
    requests = [request_bytes(plan, body) for body in plan.bodies]
    latencies: list[int] = []
    statuses: Counter[str] = Counter()
    poll = select.epoll()
    open_requests: dict[int, _Open] = {}
    started = time.perf_counter_ns()
    remaining = iter(requests)
    for _ in range(min(plan.connections, len(requests))):
        connection = _Open(socket.create_connection(("127.0.0.1", plan.port)))
        open_requests[connection.socket.fileno()] = connection
        poll.register(connection.socket, select.EPOLLIN)
        connection.send(next(remaining))
    while len(latencies) < len(requests):
        ready = poll.poll(RESPONSE_SECONDS_MAX)
        if not ready:
            raise VoidRunError(f"no answer in {RESPONSE_SECONDS_MAX} s")
        for number, _ in ready:
            connection = open_requests[number]
            if (status := connection.receive()) is None:
                continue
            statuses[status] += 1
            latencies.append(time.perf_counter_ns() - connection.sent_ns)
            if (request := next(remaining, None)) is not None:
                connection.send(request)
    seconds = (time.perf_counter_ns() - started) / 1e9
    latencies.sort()
    return Outcome(
        seconds, dict(statuses), _quantile_ms(latencies, 0.5), _quantile_ms(latencies, 0.99)
    )


class _Open:
    """A connection and the answer that is coming in on it."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket, self.received, self.sent_ns = connection, b"", 0

    def send(self, request: bytes) -> None:
        self.received, self.sent_ns = b"", time.perf_counter_ns()
        self.socket.sendall(request)

    def receive(self) -> str | None:
        """The status, once the answer is whole."""
        chunk = self.socket.recv(_RECEIVE_BYTES)
        if not chunk:
            raise VoidRunError(f"the server closed a connection: {self.received[:200]!r}")
        self.received += chunk
        head = self.received.find(b"\r\n\r\n")
        if head < 0:
            return None
        length = _LENGTH.search(self.received, 0, head)
        if length is None:
            raise VoidRunError(f"an answer without a length: {self.received[:head]!r}")
        whole = len(self.received) >= head + 4 + int(length[1])
        return self.received[9:12].decode() if whole else None


def request_bytes(plan: Plan, body: str) -> bytes:
    """One request of a plan, as it goes over the wire."""
    path, content = (plan.path + body, b"") if plan.method == "GET" else (plan.path, body.encode())
    headers = {
        "Host": f"127.0.0.1:{plan.port}",
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
        **plan.headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{plan.method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + content


def _quantile_ms(ordered_ns: Sequence[int], share: float) -> float:
    return ordered_ns[min(len(ordered_ns) - 1, int(share * len(ordered_ns)))] / 1e6


if __name__ == "__main__":
    json.dump(asdict(send(Plan(**json.load(sys.stdin)))), sys.stdout)
