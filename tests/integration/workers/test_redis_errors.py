"""A Redis that runs and refuses is away; a command that is wrong is not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from api.cli.local.proc import wait_until
from tests.bench.process import free_port
from tests.debian import PATIENCE_SECONDS, listening, program
from tests.links import Link
from workers.intake.client import Unavailable, connect
from workers.intake.redis_scripts import Script, ScriptCaller
from workers.runtime.redis_errors import brief, is_away
from workers.tasks import unless_away

SCRIPT = "return redis.call('SET', 'x', 1)"


@contextmanager
def server(folder: Path) -> Iterator[int]:
    port = free_port()
    argv = [program("redis-server"), "--port", str(port), "--save", "", "--dir", str(folder)]
    with listening(argv, port, folder / f"{port}.log"):
        yield port


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """A Redis of one's own."""
    with server(tmp_path) as port:
        yield port


@pytest.fixture
def client(port: int) -> Iterator[redis.Redis]:
    """A client of it."""
    with redis.Redis(port=port, protocol=2) as client:
        yield client


def pipelined(client: redis.Redis, transaction: bool) -> list[Any]:
    pipeline = client.pipeline(transaction=transaction)
    pipeline.set("x", 1)
    return pipeline.execute()


Write = Callable[[redis.Redis], Any]
WRITES: dict[str, Write] = {
    "a command": lambda client: client.set("x", 1),
    "a script": lambda client: client.eval(SCRIPT, 0),
    "a pipeline": lambda client: pipelined(client, transaction=False),
    "a transaction": lambda client: pipelined(client, transaction=True),
}


def command(client: redis.Redis, text: str) -> None:
    """Run a command as one types it."""
    untyped: Any = client
    untyped.execute_command(*text.split())


STATES = {
    "READONLY": ["REPLICAOF 127.0.0.1 1"],
    "NOREPLICAS": ["CONFIG SET min-replicas-to-write 1"],
    "OOM": ["CONFIG SET maxmemory 1"],
    "MASTERDOWN": ["REPLICAOF 127.0.0.1 1", "CONFIG SET replica-serve-stale-data no"],
}


def error_of(work: Callable[[], Any]) -> redis.RedisError:
    with pytest.raises(redis.RedisError) as caught:
        work()
    return caught.value


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("code", STATES)
def test_a_server_that_cannot_write_now_is_away(code: str, write: str, client: redis.Redis) -> None:
    for text in STATES[code]:
        command(client, text)
    work: Write = (lambda client: client.get("x")) if code == "MASTERDOWN" else WRITES[write]
    error = error_of(lambda: work(client))
    assert is_away(error), error
    assert brief(error) in (code, "EXECABORT")


def test_a_server_that_runs_a_long_script_is_away(client: redis.Redis, port: int) -> None:
    client.config_set("lua-time-limit", 1)

    def hang() -> None:
        with redis.Redis(port=port, protocol=2) as other:
            error_of(lambda: other.eval("while true do end", 0))

    thread = threading.Thread(target=hang)
    thread.start()
    try:
        assert wait_until(lambda: brief_of_ping(client) == "BUSY", PATIENCE_SECONDS)
        assert is_away(error_of(client.ping))
    finally:
        client.script_kill()
        thread.join()


def brief_of_ping(client: redis.Redis) -> str:
    try:
        client.ping()
    except redis.RedisError as error:
        return brief(error)
    return ""


def test_a_reader_that_waits_while_its_server_becomes_a_replica_is_away(
    client: redis.Redis, port: int
) -> None:
    caught: list[redis.RedisError] = []

    def wait() -> None:
        with redis.Redis(port=port, protocol=2) as other:
            caught.append(error_of(lambda: other.blpop(["nothing"], PATIENCE_SECONDS)))

    thread = threading.Thread(target=wait)
    thread.start()
    assert wait_until(lambda: client.info("clients")["blocked_clients"] == 1, PATIENCE_SECONDS)
    command(client, "REPLICAOF 127.0.0.1 1")
    thread.join()
    assert brief(caught[0]) == "UNBLOCKED"
    assert is_away(caught[0])


@pytest.mark.parametrize(
    "wrong",
    [
        ["LPUSH", "text", "READONLY OOM "],
        ["XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">"],
        ["EVAL", "return redis.call('LPUSH', 'text', ' -READONLY ')", "0"],
        ["NONSENSE", " -OOM "],
        ["EVALSHA", "0" * 40, "0"],
    ],
)
def test_a_wrong_command_is_not_away(wrong: list[str], client: Any) -> None:
    client.set("text", "READONLY ")
    assert not is_away(error_of(lambda: client.execute_command(*wrong)))
    pipeline = client.pipeline(transaction=False).execute_command(*wrong)
    assert not is_away(error_of(pipeline.execute))


# -- what is done about it -------------------------------------------------------------------


def test_a_task_ends_quietly_while_redis_is_away_and_fails_on_its_own_mistakes(
    client: redis.Redis, context: Any
) -> None:
    own = replace(context, client=client)
    client.config_set("min-replicas-to-write", 1)
    assert unless_away(lambda context: context.client.set("x", 1), own) is None
    client.config_set("min-replicas-to-write", 0)
    assert unless_away(lambda context: context.client.set("x", 1), own) is True
    with pytest.raises(redis.ResponseError):
        unless_away(lambda context: context.client.lpush("x", 1), own)


@pytest.fixture
def failover(tmp_path: Path) -> Iterator[tuple[Link, Callable[[], None]]]:
    """A name that leads to a primary, and what makes it a replica and leads to the next one."""
    with server(tmp_path) as first, server(tmp_path) as second, Link(("127.0.0.1", first)) as link:

        def fail_over() -> None:
            with redis.Redis(port=first, protocol=2) as old:
                command(old, f"REPLICAOF 127.0.0.1 {second}")
            link.target = ("127.0.0.1", second)

        yield link, fail_over


def test_a_client_finds_the_next_primary_though_the_old_one_keeps_its_connection(
    failover: tuple[Link, Callable[[], None]],
) -> None:
    link, fail_over = failover
    with closing(connect(f"redis://127.0.0.1:{link.port}", 5.0)) as client:
        assert client.set("x", 1)
        fail_over()
        assert client.set("x", 2)
        assert client.eval(SCRIPT, 0)


def test_the_api_accepts_again_though_the_old_primary_keeps_its_connection(
    failover: tuple[Link, Callable[[], None]],
) -> None:
    link, fail_over = failover
    script = Script(SCRIPT)
    url = f"redis://127.0.0.1:{link.port}"
    with closing(connect(url, 5.0)) as client:
        caller = ScriptCaller(client, url, 5.0)
        assert caller.call(script, (), ()).result
        fail_over()
        with pytest.raises(Unavailable):
            caller.call(script, (), ())
        assert caller.call(script, (), ()).result
        caller.close()
