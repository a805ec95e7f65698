"""One connection to Redis for all requests on an event loop: answers find their calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from typing import Any

import pytest
import uvloop
from redis import exceptions

from settings import Settings
from tests.links import Link, target_of
from workers.intake import loop_calls
from workers.intake.accept import OutcomeUnknown, Unavailable
from workers.intake.client import connect
from workers.intake.loop_connection import LoopConnection
from workers.intake.redis_scripts import Script, ScriptCaller, ScriptResult

ECHO = "return ARGV[1]"
MUTE_SECONDS = 0.3


@pytest.fixture
def link(settings: Settings) -> Iterator[Link]:
    """A way to Redis that can be cut."""
    with Link(target_of(settings.redis_url, 6_379)) as made:
        yield made


@pytest.fixture
def url(link: Link) -> str:
    """Redis by that way."""
    return f"redis://127.0.0.1:{link.port}"


def on_loop(url: str, scene: Callable[[LoopConnection], Any], seconds: float = 5.0) -> Any:
    """Play a scene on a loop with a connection of its own."""

    async def played() -> Any:
        made = LoopConnection(url, seconds)
        try:
            return await scene(made)
        finally:
            made.disconnect()

    return asyncio.run(played())


def say(connection: LoopConnection, *command: Any) -> Any:
    """The answer to a command; in a call."""
    connection.send_command(*command, check_health=False)
    return connection.read_response()


def test_calls_at_once_are_each_given_their_own_answer(settings: Settings) -> None:
    async def scene(made: LoopConnection) -> list[bytes]:
        calls = [loop_calls.run(say, made, "ECHO", str(nth)) for nth in range(500)]
        return list(await asyncio.gather(*calls))

    assert on_loop(settings.redis_url, scene) == [b"%d" % nth for nth in range(500)]


def test_an_error_is_that_of_the_client_and_ends_nothing(settings: Settings) -> None:
    async def scene(made: LoopConnection) -> list[Any]:
        commands = (("ECHO", "a"), ("EVALSHA", "0" * 40, 0), ("NOTHING",), ("ECHO", "b"))
        calls = (loop_calls.run(say, made, *command) for command in commands)
        return list(await asyncio.gather(*calls, return_exceptions=True))

    first, no_script, unknown, last = on_loop(settings.redis_url, scene)
    assert (first, last) == (b"a", b"b")
    assert isinstance(no_script, exceptions.NoScriptError)
    assert isinstance(unknown, exceptions.ResponseError)


def test_a_connection_that_was_cut_fails_those_who_wait_and_is_made_again(
    url: str, link: Link
) -> None:
    async def scene(made: LoopConnection) -> list[Any]:
        assert await loop_calls.run(say, made, "ECHO", "before") == b"before"
        waiting = [asyncio.create_task(loop_calls.run(say, made, "BLPOP", "none", 0)) for _ in "ab"]
        await asyncio.sleep(0)
        await asyncio.to_thread(link.cut)
        failed = await asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.to_thread(link.heal)
        return [*failed, await loop_calls.run(say, made, "ECHO", "after")]

    *failed, after = on_loop(url, scene)
    assert [type(error) for error in failed] == [exceptions.ConnectionError] * 2
    assert after == b"after"


def test_a_redis_that_says_nothing_is_waited_for_no_longer_than_it_may_take(
    url: str, link: Link
) -> None:
    async def scene(made: LoopConnection) -> list[Any]:
        await loop_calls.run(say, made, "ECHO", "before")
        await asyncio.to_thread(link.stall)
        calls = (loop_calls.run(say, made, "ECHO", "x") for _ in range(2))
        return list(await asyncio.gather(*calls, return_exceptions=True))

    assert {type(error) for error in on_loop(url, scene, MUTE_SECONDS)} == {exceptions.TimeoutError}


def test_a_call_that_is_given_up_ends_no_other(settings: Settings) -> None:
    async def scene(made: LoopConnection) -> Any:
        await loop_calls.run(say, made, "ECHO", "before")
        gone = asyncio.create_task(loop_calls.run(_guarded, made, "BLPOP", "none", 0.05))
        stays = asyncio.create_task(loop_calls.run(say, made, "ECHO", "stays"))
        await asyncio.sleep(0)
        gone.cancel()
        return await stays

    assert on_loop(settings.redis_url, scene) == b"stays"


def _guarded(connection: LoopConnection, *command: Any) -> Any:
    """As workers/intake/redis_scripts.py calls it: what went wrong ends the connection."""
    try:
        return say(connection, *command)
    except BaseException:
        connection.disconnect()
        raise


def test_nobody_listening_is_unavailable_and_half_an_answer_is_in_doubt(
    url: str, link: Link
) -> None:
    async def scene() -> list[Any]:
        with closing(connect(url, MUTE_SECONDS)) as client:
            caller, script = ScriptCaller(client, url, MUTE_SECONDS), Script(ECHO)

            def call(word: str) -> Coroutine[Any, Any, ScriptResult]:
                return loop_calls.run(caller.call, script, (), (word,))

            first = await call("a")
            await asyncio.to_thread(link.stall)
            in_doubt = await asyncio.gather(call("b"), return_exceptions=True)
            not_sent = await asyncio.gather(call("c"), return_exceptions=True)
            return [first.result, *in_doubt, *not_sent]

    first, in_doubt, not_sent = asyncio.run(scene())
    assert first == b"a"
    assert isinstance(in_doubt, OutcomeUnknown)
    assert isinstance(not_sent, Unavailable)


def test_a_client_that_blocks_is_refused_on_a_loop(settings: Settings) -> None:
    with closing(connect(settings.redis_url, 5.0)) as client:
        assert client.ping()
        with pytest.raises(loop_calls.NeedsThread):
            asyncio.run(loop_calls.run(client.ping))


def on_server_loop(url: str, scene: Callable[[LoopConnection], Any]) -> Any:
    """As `on_loop`, on the kind of loop that the server has."""

    async def played() -> Any:
        made = LoopConnection(url, 5.0)
        try:
            return await scene(made)
        finally:
            made.disconnect()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(played())


def test_a_connection_that_ends_while_it_is_made_is_an_error_of_the_connection(
    settings: Settings,
) -> None:
    async def scene(made: LoopConnection) -> list[Any]:
        make = made._make

        def ending() -> Any:
            connection = make()

            async def connect() -> None:  # what uvloop says of a socket that was reset meanwhile
                raise RuntimeError("unable to perform operation: the handler is closed")

            connection.connect = connect
            return connection

        made._make = ending
        ended = await asyncio.gather(
            loop_calls.run(say, made, "ECHO", "ended"), return_exceptions=True
        )
        made._make = make
        return [*ended, await loop_calls.run(say, made, "ECHO", "after")]

    ended, after = on_server_loop(settings.redis_url, scene)
    assert isinstance(ended, exceptions.ConnectionError)
    assert after == b"after"
