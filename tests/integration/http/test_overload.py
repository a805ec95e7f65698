"""Too much at once: refused cheaply and honestly, nothing of it stored, and only for as long."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient

from api.http import load_shedding
from api.http.load_shedding import AWAY_SECONDS, FULL_SECONDS, Memory
from api.server.asgi import Api
from settings import Settings
from tests.calls import (
    another_app,
    cap_key,
    cap_tenant,
    client_of,
    count,
    entries,
    make_badge,
    make_streak,
    post_award,
    post_awards,
    post_batch,
    post_tick,
    problem,
    tick,
)
from tests.conftest import BASE, Account
from tests.integration.serving import Served, hear
from tests.pipeline import Pipeline
from workers.intake.client import Full, Unavailable

pytestmark = pytest.mark.promise("P6")

SENT_MAX = 900_000  # bytes of a body: more than sockets hold on their way


@dataclass
class Clock:
    """A clock that goes when a test says so."""

    seconds: float = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(clock: Clock) -> Memory:
    return Memory(probe_seconds=1.0, now=clock)


# -- what is remembered ----------------------------------------------------------------------


def test_it_remembers_for_a_moment_that_a_body_found_no_room_and_longer_ones_with_it(
    memory: Memory, clock: Clock
) -> None:
    memory.check(1, 500)
    memory.full(1, 400)
    memory.check(1, 399)
    memory.check(2, 500)
    for length in (400, 500):
        with pytest.raises(Full):
            memory.check(1, length)
    memory.full(1, 100)
    with pytest.raises(Full):
        memory.check(1, 100)
    clock.seconds += FULL_SECONDS
    memory.check(1, 500)
    assert memory.is_empty


def test_it_lets_one_request_find_out_whether_redis_answers_again(
    memory: Memory, clock: Clock
) -> None:
    began = clock.seconds
    clock.seconds += 0.9
    memory.away(began)
    for refuses in (memory.ask, lambda: memory.check(1, 0)):
        with pytest.raises(Unavailable):
            refuses()
    clock.seconds += AWAY_SECONDS
    memory.ask()
    with pytest.raises(Unavailable):
        memory.ask()
    memory.answered()
    memory.ask()
    assert memory.is_empty


def test_it_keeps_nobody_out_where_it_was_clear_at_once_that_redis_is_away(
    memory: Memory, clock: Clock
) -> None:
    memory.away(clock.seconds)
    memory.ask()
    assert memory.is_empty


# -- a full intake ---------------------------------------------------------------------------


@contextmanager
def small(settings: Settings, clock: Clock, entries_max: int) -> Iterator[Flask]:
    """An API whose intake holds few entries, and whose memory goes by a clock."""
    with another_app(settings, intake_entries_max=entries_max) as app:
        app.extensions["unbroken"].memory.now = clock
        yield app


def test_it_refuses_what_cannot_get_in_without_reading_it(
    settings: Settings,
    account: Account,
    clock: Clock,
    redis_client: redis.Redis,
    pipeline: Pipeline,
) -> None:
    with small(settings, clock, 1) as app:
        client = client_of(app, account.keys["live"])
        make_streak(client)
        make_badge(client)
        assert post_tick(client).status_code == 202
        problem(post_tick(client), 503, "overloaded")
        pipeline.drain()
        broken = {
            "data": b'{"participant_id": broken' + b" " * 100,
            "content_type": "application/json",
        }
        for path in (
            "streaks/record",
            "streaks/record/batch",
            "badges/award",
            "badges/award/batch",
        ):
            refused = client.post(f"{BASE}/{path}", **broken)
            problem(refused, 503, "overloaded")
            assert 1 <= int(refused.headers["Retry-After"]) <= 3
        assert client.get(f"{BASE}/streaks").status_code == 200
        assert entries(redis_client, account.live) == 0
        clock.seconds += FULL_SECONDS
        problem(client.post(f"{BASE}/streaks/record", **broken), 400, "invalid_json")
        assert post_tick(client).status_code == 202
    pipeline.drain()
    assert count(pipeline.engine, "ticks", account.live) == 2


def test_it_refuses_no_other_tenant_and_no_smaller_write_from_memory(
    settings: Settings,
    make_account: Any,
    clock: Clock,
    pipeline: Pipeline,
) -> None:
    accounts = [make_account() for _ in range(2)]
    with small(settings, clock, 3) as app:
        crowded, other = [client_of(app, one.keys["live"]) for one in accounts]
        for client in (crowded, other):
            make_streak(client)
        problem(post_batch(crowded, *[tick()] * 4), 503, "overloaded")
        problem(post_batch(crowded, *[tick()] * 5), 503, "overloaded")
        assert post_batch(other, *[tick()] * 3).status_code == 202
        assert post_tick(crowded).status_code == 202
    pipeline.drain()
    assert [count(pipeline.engine, "ticks", one.live) for one in accounts] == [1, 3]


# -- a cap that is used up -------------------------------------------------------------------


def test_it_refuses_a_whole_batch_unread_while_a_cap_that_it_shares_is_used_up(
    app: Flask, account: Account, redis_client: redis.Redis, pipeline: Pipeline
) -> None:
    client = client_of(app, account.keys["live"])
    make_streak(client)
    cap_tenant(app, account, writes_per_minute=3)
    cap_key(app, account.live, account.keys["live"], 2)
    codes = [one.get("error", {}).get("code") for one in results(client, *"abc")]
    assert codes == [None, None, "RATE_LIMIT_KEY_EXCEEDED"], "what comes in part stands for itself"
    refused = client.post(f"{BASE}/streaks/record/batch", data=b"{", content_type="text/plain")
    problem(refused, 429, "RATE_LIMIT_KEY_EXCEEDED")
    assert refused.headers["Retry-After"] == refused.headers["X-RateLimit-Reset"]
    assert refused.headers["X-RateLimit-Remaining"] == "0"
    problem(post_awards(client, {}), 429, "RATE_LIMIT_KEY_EXCEEDED")
    cap_key(app, account.live, account.keys["live"], 0)
    assert len(results(client, "d")) == 1
    problem(post_batch(client, tick("e")), 429, "RATE_LIMIT_TENANT_EXCEEDED")
    assert entries(redis_client, account.live) == 3
    pipeline.drain()


def results(client: FlaskClient, *people: str) -> list[dict[str, Any]]:
    response = post_batch(client, *(tick(one) for one in people))
    assert response.status_code == 202, response.text
    return list(response.get_json()["results"])


# -- Redis without memory --------------------------------------------------------------------


@contextmanager
def no_memory_left(client: redis.Redis) -> Iterator[None]:
    """A Redis at its `maxmemory`."""
    client.config_set("maxmemory", "1")  # byte: an idle Redis holds less than 1 MB
    try:
        yield
    finally:
        client.config_set("maxmemory", "0")


def test_a_redis_without_memory_refuses_every_write_and_loses_none_that_it_took(
    app: Flask, clock: Clock, account: Account, redis_client: redis.Redis, pipeline: Pipeline
) -> None:
    app.extensions["unbroken"].memory.now = clock
    client = client_of(app, account.keys["live"])
    make_streak(client)
    make_badge(client)
    cap_tenant(app, account, writes_per_minute=9)
    pipeline.make_drain().streams.create_groups()
    taken = post_tick(client, "before", headers={"Idempotency-Key": "k"}).get_json()["tick_id"]
    with no_memory_left(redis_client):
        for refused in (
            post_tick(client),
            post_tick(client, headers={"Idempotency-Key": "other"}),
            post_award(client),
            post_batch(client, tick(), tick()),
        ):
            clock.seconds += FULL_SECONDS
            problem(refused, 503, "overloaded")
            assert int(refused.headers["Retry-After"]) >= 1
        change = client.post(f"{BASE}/streaks", json={"code": "n", "name": "N", "period": "daily"})
        problem(change, 503, "unavailable")
        assert change.headers["Retry-After"] == "1"
        assert client.get(f"{BASE}/streaks/n").status_code == 404
        pipeline.drain()
        found = client.get(f"{BASE}/ticks/{taken}").get_json()
        assert found["status"] == "applied"
    again = post_tick(client, "before", headers={"Idempotency-Key": "k"})
    assert again.get_json()["tick_id"] == taken
    assert again.headers["X-RateLimit-Remaining"] == "8", "what was refused was not charged"
    assert post_tick(client, headers={"Idempotency-Key": "other"}).status_code == 202
    pipeline.drain()
    assert count(pipeline.engine, "ticks", account.live) == 2


# -- too many requests -----------------------------------------------------------------------


def test_it_refuses_the_requests_beyond_those_that_may_wait_for_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load_shedding, "REQUESTS_MAX", 2)
    may_go = threading.Event()

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        may_go.wait()
        start_response("200 OK", [("Content-Length", "6")])
        return [b"served"]

    async def scene() -> list[tuple[int, dict[str, str], bytes]]:
        api = Api(app, lambda environ: None, 1)
        served = [asyncio.create_task(ask(api)) for _ in range(2)]
        await asyncio.sleep(0)
        refused = [await ask(api), await ask(api, method="POST")]
        alive = asyncio.create_task(ask(api, "/livez"))
        await asyncio.sleep(0)
        may_go.set()
        return [*refused, *[await one for one in (*served, alive)]]

    *refused, first, second, alive = asyncio.run(scene())
    assert {one[2] for one in (first, second, alive)} == {b"served"}
    for status, headers, body in refused:
        assert (status, headers["connection"]) == (503, "close")
        assert 1 <= int(headers["retry-after"]) <= 3
        document = json.loads(body)
        assert (document["code"], document["status"]) == ("overloaded", 503)
        assert document["request_id"] == headers["x-request-id"]
        assert headers["content-length"] == str(len(body))


async def ask(api: Api, path: str = "/", method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """The status, headers and body of one request, as its server is told them."""
    told: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    def send(message: dict[str, Any]) -> Any:
        told.append(message)

    scope = {
        "type": "http", "method": method, "raw_path": path.encode(), "query_string": b"",
        "server": ("127.0.0.1", 80), "client": ("192.0.2.1", 1), "http_version": "1.1",
        "scheme": "http", "headers": [(b"content-length", b"2")] if method == "POST" else [],
    }  # fmt: skip
    await api(scope, receive, send)
    start, body = told
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], headers, body["body"]


def test_idle_connections_keep_nobody_out(served: Served) -> None:
    load_shedding.allow_open_files()
    wanted = 2 * load_shedding.REQUESTS_MAX
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft > wanted + 100, "raise the limit of open files (ulimit -n) for this test"
    with ExitStack() as stack:
        lines = [stack.enter_context(served.connect()) for _ in range(wanted)]
        assert all(answer_on(line, b"/livez").startswith(b"HTTP/1.1 200") for line in lines)
        assert all(answer_on(line).startswith(b"HTTP/1.1 401") for line in lines)


def answer_on(line: socket.socket, path: bytes = b"/v1/participants") -> bytes:
    """The answer to a request on a connection that is kept."""
    line.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
    heard = b""
    while not heard.endswith(b"}\n"):
        part = line.recv(65_536)
        assert part, heard
        heard += part
    return heard


def test_a_refusal_reaches_whoever_still_sends(
    served: Served, app: Flask, account: Account, redis_client: redis.Redis
) -> None:
    make_streak(client_of(app, account.keys["live"]))
    body = json.dumps({"ticks": [tick(metadata={"text": "x" * 15_000})] * 59}).encode()
    assert len(body) < SENT_MAX
    head = (
        f"POST {BASE}/streaks/record/batch HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"X-API-Key: {account.keys['live']}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    with no_memory_left(redis_client):
        for _ in range(5):
            with served.connect() as line:
                line.sendall(head + body)
                assert hear(line).startswith(b"HTTP/1.1 503")
    assert entries(redis_client, account.live) == 0
