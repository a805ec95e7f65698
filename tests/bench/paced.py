"""A load generator with a pace: each request goes out when it is due, whatever became of others.

`python -m tests.bench.paced` reads a plan from stdin and writes when each was due and answered.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.load import Plan, VoidRunError, request_bytes

PROJECT_ROOT = Path(__file__).parents[2]
ANSWER_SECONDS_MAX = 30.0  # longer than any answer may take: then the run is void
_BEGIN_NS = 100_000_000  # from now: connections are opened meanwhile


@dataclass(frozen=True)
class Answered:
    """One request: instants of the machine's monotonic clock, and the status."""

    due_ns: int
    answered_ns: int
    status: str


@dataclass
class _Open:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


def run(plan: Plan, per_second: float, expected: str) -> list[Answered]:
    """Send a plan at a pace from a process of its own; VoidRunError when one is answered otherwise.

    The outcomes stand in the order of the bodies.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.paced"],
        input=json.dumps({"plan": asdict(plan), "per_second": per_second}),
        capture_output=True,
        text=True,
        cwd=PROJECT_ROOT,
        check=False,
    )
    if done.returncode:
        raise VoidRunError(done.stderr[-2_000:])
    outcomes = [Answered(**one) for one in json.loads(done.stdout)]
    statuses = {one.status for one in outcomes}
    if statuses != {expected}:
        raise VoidRunError(f"expected {expected} only, got {statuses}")
    return outcomes


async def send(plan: Plan, per_second: float) -> Sequence[Answered]:
    """Send a plan at a pace; a request that finds no idle connection opens one."""
    requests = [request_bytes(plan, body) for body in plan.bodies]
    begin_ns = time.monotonic_ns() + _BEGIN_NS
    idle = [await _connect(plan.port) for _ in range(plan.connections)]
    under_way = []
    for nth, request in enumerate(requests):
        due_ns = begin_ns + round(nth * 1e9 / per_second)
        await asyncio.sleep(max(0.0, (due_ns - time.monotonic_ns()) / 1e9))
        under_way.append(asyncio.create_task(_ask(plan.port, idle, request, due_ns)))
    async with asyncio.timeout(ANSWER_SECONDS_MAX):
        return await asyncio.gather(*under_way)


async def _connect(port: int) -> _Open:
    return _Open(*await asyncio.open_connection("127.0.0.1", port))


async def _ask(port: int, idle: list[_Open], request: bytes, due_ns: int) -> Answered:
    connection = idle.pop() if idle else await _connect(port)
    connection.writer.write(request)
    head = await connection.reader.readuntil(b"\r\n\r\n")
    await connection.reader.readexactly(_length(head))
    answered_ns = time.monotonic_ns()
    idle.append(connection)
    return Answered(due_ns, answered_ns, head[9:12].decode())


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise VoidRunError(f"an answer without a length: {head!r}")


def main() -> None:
    """Read a plan, write its outcomes."""
    wanted = json.load(sys.stdin)
    outcomes = asyncio.run(send(Plan(**wanted["plan"]), wanted["per_second"]))
    json.dump([asdict(one) for one in outcomes], sys.stdout)


if __name__ == "__main__":
    main()
