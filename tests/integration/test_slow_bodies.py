"""Bodies that stop half way, on the real server: others are served, no thread is lost for long."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import pytest
import redis
import requests

from api.bodies import READ_AT_ONCE_MAX, READERS_OF_ONE_MAX, Bodies, TooMany, TooSlow
from api.cli.serve import notice_the_dead
from models.db import Engine
from tests.calls import count, entries, make_key
from tests.conftest import BASE, Account
from tests.integration.serving import THREADS, Served, hear

RECORD = f"{BASE}/streaks/record"
OPEN = "01"  # as /proc/net/tcp writes it


def head(key: str, length: int, path: str = RECORD) -> bytes:
    """The head of a POST whose body shall have so many bytes."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def code_of(answer: bytes) -> str:
    """The code of a refusal."""
    return str(json.loads(answer.partition(b"\r\n\r\n")[2])["code"])


def test_it_serves_everybody_while_one_caller_lets_more_bodies_hang_than_there_are_threads(
    served: Served, account: Account, engine: Engine, redis_client: redis.Redis
) -> None:
    slow, key = make_key(engine, account.live), account.keys["live"]
    with ExitStack() as stack:
        hanging = [stack.enter_context(served.connect()) for _ in range(3 * THREADS)]
        for one in hanging:
            one.sendall(head(slow, 100) + b"{")
        for _ in range(THREADS):  # each of these has a body, too
            made = requests.post(
                f"{served.url}{RECORD}",
                json={"participant_id": "user_42", "streak_code": "unknown"},
                headers={"X-API-Key": key},
                timeout=20,
            )
            assert made.json()["code"] == "streak_not_found"
        # Some are held until their callers go, some were told that they were too slow, the others
        # were refused at once.
        for one in hanging:
            one.settimeout(0.05)
        answers = [answer for one in hanging if (answer := heard(one))]
        codes = [code_of(answer) for answer in answers]
        assert codes.count("overloaded") == len(hanging) - READ_AT_ONCE_MAX - READERS_OF_ONE_MAX
        refusals = [one.lower() for one in answers if b" 503 " in one]
        assert all(b"\r\nretry-after: " in one for one in refusals)
    assert entries(redis_client, account.live) == 0
    assert count(engine, "participants", account.live) == 0


def heard(one: socket.socket) -> bytes:
    """What was answered so far."""
    try:
        return one.recv(65_536)
    except TimeoutError:
        return b""


def test_it_never_waits_for_the_body_of_somebody_without_a_key(served: Served) -> None:
    with ExitStack() as stack:
        hanging = [stack.enter_context(served.connect()) for _ in range(2 * THREADS)]
        for one in hanging:
            one.sendall(head("bq_live_nobody", 100) + b"{")
        assert {code_of(hear(one)) for one in hanging} == {"unauthorized"}


@pytest.mark.parametrize("chunks", [False, True])
def test_it_accepts_nothing_of_a_body_that_broke_off(
    served: Served, account: Account, redis_client: redis.Redis, chunks: bool
) -> None:
    whole = head(account.keys["live"], 200)
    text = b'{"participant_id":"user_42","streak_code":"daily_login"}'
    if chunks:
        whole = whole.replace(b"Content-Length: 200", b"Transfer-Encoding: chunked")
        text = b"f0\r\n" + text[:-1]
    answer = served.say(whole + text, is_all=True)
    assert code_of(answer) == ("invalid_json" if chunks else "bad_request")
    assert entries(redis_client, account.live) == 0


# -- the reader itself -------------------------------------------------------------------------


class Stalled(BytesIO):
    """A body that comes when it is let."""

    def __init__(self) -> None:
        super().__init__(b"late")
        self.entered, self.may_go = threading.Event(), threading.Event()

    def read(self, size: int | None = -1) -> bytes:
        """Wait, then read."""
        self.entered.set()
        self.may_go.wait()
        return super().read(size)


@pytest.fixture
def crowd() -> Iterator[tuple[Bodies, list[Stalled]]]:
    """A reader all of whose places are taken by bodies that do not come."""
    reader = Bodies(seconds_max=0.05)
    stalled = [Stalled() for _ in range(READ_AT_ONCE_MAX)]
    for one in stalled:
        threading.Thread(target=reader.take, args=(one, 10, "slow"), daemon=True).start()
        one.entered.wait()
    yield reader, stalled
    for one in stalled:
        one.may_go.set()


def test_it_gives_up_a_body_that_does_not_come(crowd: tuple[Bodies, list[Stalled]]) -> None:
    reader, _ = crowd
    assert reader.take(BytesIO(b"there"), 10, "quick") == b"there"
    late = [Stalled() for _ in range(READERS_OF_ONE_MAX)]
    for one in late:
        with pytest.raises(TooSlow):
            reader.take(one, 10, "slow")
    with pytest.raises(TooMany):
        reader.take(BytesIO(b"there"), 10, "slow")
    assert reader.take(BytesIO(b"there"), 10, "quick") == b"there"
    for one in late:
        one.may_go.set()


def test_it_raises_what_a_body_raises(crowd: tuple[Bodies, list[Stalled]]) -> None:
    broken = BytesIO()
    broken.close()
    with pytest.raises(ValueError, match="closed file"):
        crowd[0].take(broken, 10, "quick")


def test_the_system_asks_quiet_callers_whether_they_are_still_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        notice_the_dead()
        with socket.create_connection(listener.getsockname()):
            taken, _ = listener.accept()
            with taken:
                assert taken.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_a_connection_to_the_server_is_asked(served: Served) -> None:
    with served.connect() as one:
        one.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        one.recv(1_000)
        port = f"{one.getsockname()[1]:04X}"
        table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        timers = [row[5] for row in table if row[2].endswith(f":{port}") and row[3] == OPEN]
        assert [timer[:2] for timer in timers] == ["02"]  # a keep-alive timer runs
