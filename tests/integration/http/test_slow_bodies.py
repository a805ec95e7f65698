"""Bodies that stop half way, on the real server: others are served, and no thread is taken."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
import requests
from flask import Flask

from api.http.problems import Problem
from api.server.asgi import FREE_BYTES_MAX
from api.server.body_room import Room
from api.server.sockets import notice_the_dead
from models.db import Engine
from tests.calls import client_of, count, entries, make_key, make_streak, tick
from tests.conftest import BASE, Account
from tests.integration.serving import THREADS, Served, hear

RECORD = f"{BASE}/streaks/record"
BATCH = f"{RECORD}/batch"
SIGN_IN = "/dashboard/sign-in"
OPEN = "01"  # as /proc/net/tcp writes it
HALF_SENT = 200
ROUTES = [RECORD, BATCH, f"{BASE}/badges/award", f"{BASE}/points/award", f"{BASE}/streaks",
          f"{BASE}/admin/webhooks", "/v1/participants", SIGN_IN, "/nowhere", "/livez"]  # fmt: skip


def head(key: str, length: int, path: str = RECORD, more: str = "") -> bytes:
    """The head of a POST whose body shall have so many bytes."""
    who = f"X-API-Key: {key}\r\n" if key else ""
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\n{who}Connection: close\r\n{more}"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def code_of(answer: bytes) -> str:
    """The code of a refusal."""
    return str(json.loads(answer.partition(b"\r\n\r\n")[2])["code"])


def half_sent(served: Served, stack: ExitStack, text: bytes) -> socket.socket:
    """A connection on which so much was said, and no more is."""
    one = stack.enter_context(served.connect())
    one.sendall(text + b"{")
    return one


def warm(served: Served, key: str) -> None:
    """Have the process read a key, so that it waits for bodies that come with it."""
    url = f"{served.url}{BASE}/participants/user_42/state"
    assert requests.get(url, headers={"X-API-Key": key}, timeout=20).ok


def test_two_hundred_half_sent_requests_stop_nobody_and_each_is_ended(
    served: Served, account: Account, engine: Engine, redis_client: redis.Redis
) -> None:
    slow, key = make_key(engine, account.live), account.keys["live"]
    warm(served, slow)
    with ExitStack() as stack:
        keys = (slow, "", "bq_live_nobody", key)
        hanging = [
            half_sent(
                served, stack, head(keys[nth % 4], 9 if nth % 3 else 900_000, ROUTES[nth % 10])
            )
            for nth in range(HALF_SENT)
        ]
        for _ in range(2 * THREADS):  # each of these has a body, too
            made = requests.post(
                f"{served.url}{RECORD}",
                json={"participant_id": "user_42", "streak_code": "unknown"},
                headers={"X-API-Key": key},
                timeout=5,
            )
            assert made.json()["code"] == "streak_not_found"
            assert requests.get(f"{served.url}/livez", timeout=5).ok
        statuses = {hear(one)[9:12] for one in hanging}  # until the server hangs up
        assert statuses == {b"401", b"404", b"405", b"408", b"413"}
        assert requests.get(f"{served.url}/livez", timeout=5).ok
    assert entries(redis_client, account.live) == 0
    assert count(engine, "participants", account.live) == 0


def test_it_never_waits_for_the_body_of_a_caller_without_a_key(served: Served) -> None:
    with ExitStack() as stack:
        hanging = [
            half_sent(served, stack, head(key, 100)) for key in ("bq_live_nobody", "") * THREADS
        ]
        assert {code_of(hear(one)) for one in hanging} == {"unauthorized"}


def test_whole_bodies_of_one_key_on_many_connections_are_all_taken(
    served: Served, app: Flask, account: Account, redis_client: redis.Redis
) -> None:
    make_streak(client_of(app, account.keys["live"]))
    body = json.dumps({"ticks": [tick(f"user_{nth}") for nth in range(500)]}).encode()
    assert len(body) > FREE_BYTES_MAX
    statuses: list[int] = []

    headers = {"X-API-Key": account.keys["live"], "Content-Type": "application/json"}

    def post() -> None:
        with requests.Session() as session:
            for _ in range(4):
                answered = session.post(f"{served.url}{BATCH}", body, headers=headers, timeout=60)
                statuses.append(answered.status_code)

    threads = [threading.Thread(target=post) for _ in range(32)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert statuses == [202] * 128


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("chunks", [False, True])
def test_it_accepts_nothing_of_a_body_that_broke_off(
    served: Served, account: Account, redis_client: redis.Redis, chunks: bool, is_known: bool
) -> None:
    if is_known:
        warm(served, account.keys["live"])
    whole = head(account.keys["live"], 200)
    text = b'{"participant_id":"user_42","streak_code":"daily_login"}'
    if chunks:
        whole = whole.replace(b"Content-Length: 200", b"Transfer-Encoding: chunked")
        text = b"f0\r\n" + text[:-1]
    answer = served.say(whole + text, is_all=True)
    assert code_of(answer) == "bad_request"
    assert entries(redis_client, account.live) == 0


@pytest.mark.parametrize("is_known", [False, True])
def test_a_body_may_come_in_chunks_zipped_late_or_once_it_is_asked_for(
    served: Served, app: Flask, account: Account, redis_client: redis.Redis, is_known: bool
) -> None:
    key = account.keys["live"]
    make_streak(client_of(app, key))
    text = json.dumps(tick()).encode()
    if is_known:
        warm(served, key)
    packed = gzip.compress(text)
    with served.connect() as one:
        one.sendall(
            head(key, len(packed), more="Content-Encoding: gzip\r\nExpect: 100-continue\r\n")
        )
        assert one.recv(1_000).startswith(b"HTTP/1.1 100 ")
        one.sendall(packed[:9])
        one.sendall(packed[9:])
        assert b" 202 " in hear(one)[:20]
    chunked = head(key, 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    parts = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (text[:5], text[5:]))
    assert b" 202 " in served.say(chunked + parts + b"0\r\n\r\n")[:20]
    assert entries(redis_client, account.live) == 2


@pytest.mark.parametrize("is_known", [False, True])
def test_a_body_that_is_too_long_is_refused_before_it_is_read(
    served: Served, account: Account, is_known: bool
) -> None:
    key = account.keys["live"]
    if is_known:
        warm(served, key)
    with served.connect() as one:
        one.sendall(head(key, 1_000_001))
        assert code_of(hear(one)) == "body_too_large"
    endless = head(key, 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    part = b"%x\r\n%s\r\n" % (100_000, b" " * 100_000)
    with served.connect() as one:
        one.sendall(endless + part * 11)
        assert one.recv(1_000).startswith(b"HTTP/1.1 413 ")


# -- the room that bodies take ----------------------------------------------------------------


@pytest.fixture
def loop() -> Iterator[asyncio.Runner]:
    """A loop of this test's own."""
    with asyncio.Runner() as runner:
        yield runner


async def use(room: Room, caller: str, size: int, seconds: float, done: asyncio.Event) -> None:
    async with room.of(caller, size, soon(seconds)):
        await done.wait()


def soon(seconds: float = 0.01) -> float:
    return asyncio.get_running_loop().time() + seconds


def test_one_caller_waits_for_room_of_its_own_and_others_do_not(loop: asyncio.Runner) -> None:
    async def scene() -> None:
        room, done = Room(100, 40), asyncio.Event()
        async with room.of("long", 40, soon()):
            async with room.of("other", 40, soon()):
                pass
            waits = asyncio.create_task(use(room, "long", 1, 60, done))
            with pytest.raises(Problem) as refused:
                await use(room, "long", 1, 0.01, done)
            assert (refused.value.status, refused.value.code) == (503, "overloaded")
            assert refused.value.headers["Retry-After"]
        done.set()
        await waits

    loop.run(scene())


def test_all_callers_together_have_bounded_room(loop: asyncio.Runner) -> None:
    async def scene() -> None:
        room, done = Room(100, 60), asyncio.Event()
        async with room.of("a", 60, soon()), room.of("b", 40, soon()):
            with pytest.raises(Problem):
                await use(room, "c", 1, 0.01, done)

    loop.run(scene())


# -- callers who are gone ---------------------------------------------------------------------


def test_the_system_asks_quiet_callers_whether_they_are_still_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        notice_the_dead()
        with socket.create_connection(listener.getsockname()):
            taken, _ = listener.accept()
            with taken:
                assert taken.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)


def test_it_leaves_no_file_open_behind() -> None:
    before = len(list(Path("/dev/fd").iterdir()))
    notice_the_dead()
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_a_connection_to_the_server_is_asked(served: Served) -> None:
    with served.connect() as one:
        one.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        one.recv(1_000)
        port = f"{one.getsockname()[1]:04X}"
        table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        timers = [row[5] for row in table if row[2].endswith(f":{port}") and row[3] == OPEN]
        assert [timer[:2] for timer in timers] == ["02"]  # a keep-alive timer runs
