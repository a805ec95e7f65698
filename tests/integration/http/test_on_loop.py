"""Writes that wait for nothing but Redis are answered on the event loop; all else in a thread."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api.http.auth import knows
from api.server.asgi import Api
from api.writes.submit import unwaited
from models.db import Engine
from tests.calls import cap_tenant, count, make_streak, tick
from tests.conftest import BASE, Account
from tests.pipeline import Pipeline
from workers.intake import loop_calls

RECORD = f"{BASE}/streaks/record"
ASYNC = {"Prefer": "respond-async"}


@dataclass
class Asked:
    """What requests were answered, and where each run of the application was."""

    app: Flask
    key: str
    runner: asyncio.Runner
    runs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.api = Api(self._watched, knows(self.app), 2, on_loop=unwaited(self.app))

    def post(self, *bodies: Any, path: str = RECORD, **headers: str) -> list[tuple[int, Any]]:
        """Status and document of requests that come together."""

        async def scene() -> list[tuple[int, Any]]:
            asked = (self._ask(path, body, headers) for body in bodies)
            return list(await asyncio.gather(*asked))

        return self.runner.run(scene())

    def _watched(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        self.runs.append("loop" if loop_calls.is_on_loop() else "thread")
        return self.app.wsgi_app(environ, start_response)

    async def _ask(self, path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any]:
        text, said = json.dumps(body).encode(), []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": text, "more_body": False}

        def send(message: dict[str, Any]) -> Any:
            said.append(message)

        sent = {"X-API-Key": self.key, "Content-Type": "application/json", **ASYNC, **headers}
        lines = [(name.lower().encode(), value.encode()) for name, value in sent.items()]
        await self.api({
            "type": "http", "method": "POST", "raw_path": path.encode(), "query_string": b"",
            "server": ("127.0.0.1", 80), "client": ("192.0.2.1", 1), "http_version": "1.1",
            "scheme": "http", "headers": [*lines, (b"content-length", b"%d" % len(text))],
        }, receive, send)  # fmt: skip
        return said[0]["status"], json.loads(said[1]["body"])


@pytest.fixture
def asked(app: Flask, account: Account, client: FlaskClient) -> Iterator[Asked]:
    """Requests of a key that this process knows."""
    make_streak(client)
    assert client.post(RECORD, json=tick("first"), headers=ASYNC).status_code == 202

    async def close() -> None:
        app.extensions["unbroken"].intake.scripts.close()

    with asyncio.Runner() as runner:
        yield Asked(app, account.keys["live"], runner)
        runner.run(close())


def test_a_tick_is_taken_in_on_the_loop_and_applied_once(
    asked: Asked, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    answers = asked.post(*(tick(f"user_{nth}") for nth in range(40)))
    assert {status for status, _ in answers} == {202}
    assert asked.runs == ["loop"] * 40
    pipeline.drain()
    assert count(engine, "ticks", account.live) == 41


def test_a_body_that_is_wrong_is_refused_on_the_loop(asked: Asked) -> None:
    [(status, document)] = asked.post({"participant_id": ""})
    assert (status, document["code"]) == (422, "validation_error")
    assert asked.runs == ["loop"]


@pytest.mark.parametrize(
    ("body", "headers", "runs"),
    [
        (tick(), {"Prefer": "wait=1"}, ["thread"]),
        (tick(streak_code="none"), {}, ["loop", "thread"]),
        (tick(colour="red"), {}, ["loop", "thread"]),
        (tick(), {"X-API-Key": "unb_live_none"}, ["thread"]),
    ],
    ids=["waits for a worker", "reads what is current", "asks whether it is strict", "unknown key"],
)
def test_what_would_block_is_run_in_a_thread(
    asked: Asked, body: Any, headers: dict[str, str], runs: list[str]
) -> None:
    asked.post(body, **headers)
    assert asked.runs == runs


def test_a_refusal_is_given_in_a_thread_and_takes_nothing(
    asked: Asked, app: Flask, account: Account, engine: Engine, pipeline: Pipeline
) -> None:
    cap_tenant(app, account, writes_per_minute=3)
    answers = [asked.post(tick(f"user_{nth}"))[0] for nth in range(4)]
    assert [status for status, _ in answers] == [202, 202, 202, 429]
    assert answers[-1][1]["code"] == "RATE_LIMIT_TENANT_EXCEEDED"
    assert asked.runs[-2:] == ["loop", "thread"]
    pipeline.drain()
    assert count(engine, "ticks", account.live) == 4


def test_a_key_that_was_used_is_answered_with_the_first_id(
    asked: Asked, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    first, second = (asked.post(tick(), **{"Idempotency-Key": "k"})[0] for _ in range(2))
    assert first == second
    assert asked.runs == ["loop", "loop", "thread"]
    pipeline.drain()
    assert count(engine, "ticks", account.live) == 2


def test_a_changed_configuration_is_read_in_a_thread_and_then_holds(
    asked: Asked, client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    assert client.patch(f"{BASE}/streaks/daily_login", json={"is_active": False}).status_code == 200
    [(status, document)] = asked.post(tick())
    assert (status, document["code"]) == (404, "streak_not_found")
    assert client.patch(f"{BASE}/streaks/daily_login", json={"is_active": True}).status_code == 200
    asked.runs.clear()
    assert [asked.post(tick())[0][0] for _ in range(2)] == [202, 202]
    assert asked.runs[-1] == "loop"
    pipeline.drain()
    assert count(engine, "ticks", account.live) == 3


def test_several_writes_in_one_request_are_not_for_the_loop(asked: Asked) -> None:
    [(status, _)] = asked.post({"ticks": [tick()]}, path=f"{RECORD}/batch")
    assert (status, asked.runs) == (202, ["thread"])
