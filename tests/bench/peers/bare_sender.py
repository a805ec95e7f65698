"""A bare concurrent sender: the same signed bytes over kept-alive connections, and no database.

`python -m tests.bench.peers.bare_sender` reads a plan from stdin and writes how many it posted a
second.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from aiohttp import ClientSession, TCPConnector

from tests.bench.load import VoidRunError

PROJECT_ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Post:
    """One body and its headers, signed beforehand: the sender has nothing to do but send."""

    body: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """What to post where, and how much of it at once; the first ones open the connections."""

    url: str
    posts: Sequence[Post]
    in_flight: int
    warm: int


def rate(plan: Plan) -> float:
    """Post from a process of its own; how many a second. VoidRunError unless all were 200."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.peers.bare_sender"],
        input=json.dumps(asdict(plan)),
        capture_output=True,
        text=True,
        cwd=PROJECT_ROOT,
        check=False,
    )
    if done.returncode:
        raise VoidRunError(done.stderr[-2_000:])
    return float(done.stdout)


async def send(plan: Plan) -> float:
    """Post a plan; how many a second once the connections are open."""
    async with ClientSession(connector=TCPConnector(limit=0)) as session:
        await _send(session, plan, plan.posts[: plan.warm])
        rest = plan.posts[plan.warm :]
        started = time.perf_counter()
        await _send(session, plan, rest)
        return len(rest) / (time.perf_counter() - started)


async def _send(session: ClientSession, plan: Plan, posts: Iterable[Post]) -> None:
    waiting = iter(posts)

    async def take_turns() -> None:
        for post in waiting:
            async with session.post(plan.url, data=post.body, headers=post.headers) as response:
                await response.read()
                if response.status != 200:
                    raise VoidRunError(f"the receiver answered {response.status}")

    await asyncio.gather(*(take_turns() for _ in range(plan.in_flight)))


def _read() -> Plan:
    plan = json.load(sys.stdin)
    posts = [Post(**post) for post in plan.pop("posts")]
    return Plan(posts=posts, **plan)


if __name__ == "__main__":
    sys.stdout.write(str(asyncio.run(send(_read()))))
