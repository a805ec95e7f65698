"""Synchronous code on an event loop: what it waits for, and what needs a thread."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest

from workers.intake import loop_calls
from workers.intake.loop_calls import NeedsThread

WORD: ContextVar[str] = ContextVar("word", default="none")


def slowly(value: str) -> str:
    """A value that the loop brings a turn later."""
    return loop_calls.wait(asyncio.sleep(0, value))


def test_a_call_waits_for_the_loop_and_returns() -> None:
    async def scene() -> list[str]:
        def call(name: str) -> str:
            return slowly(name) + slowly("!")

        return list(await asyncio.gather(*(loop_calls.run(call, name) for name in "abc")))

    assert asyncio.run(scene()) == ["a!", "b!", "c!"]
    assert not loop_calls.is_on_loop()


def test_what_the_loop_raises_is_raised_in_the_call_and_what_that_raises_leaves_it() -> None:
    async def broken() -> None:
        raise OSError("gone")

    def call() -> None:
        try:
            loop_calls.wait(broken())
        except OSError as error:
            raise ValueError("as seen in the call") from error

    with pytest.raises(ValueError, match="as seen in the call"):
        asyncio.run(loop_calls.run(call))


def test_each_call_has_context_variables_of_its_own() -> None:
    async def scene() -> list[str]:
        def call(word: str) -> str:
            before = WORD.get()
            WORD.set(word)
            slowly("turn")
            return f"{before} {WORD.get()}"

        return list(await asyncio.gather(*(loop_calls.run(call, word) for word in ("a", "b"))))

    assert asyncio.run(scene()) == ["none a", "none b"]
    assert WORD.get() == "none"


def test_what_blocks_is_refused_until_something_was_done() -> None:
    def call(is_done: bool) -> str:
        if is_done:
            loop_calls.commit()
        try:
            loop_calls.may_block()
        except Exception:  # noqa: BLE001 - no handler of the call may answer it
            return "handled"
        return "let through"

    assert asyncio.run(loop_calls.run(call, True)) == "let through"
    with pytest.raises(NeedsThread):
        asyncio.run(loop_calls.run(call, False))
    assert call(False) == "let through", "a thread may block"


def test_a_part_that_blocks_runs_in_a_thread_when_the_call_is_on_a_loop() -> None:
    def where() -> threading.Thread:
        return loop_calls.in_thread(threading.current_thread)

    assert where() is threading.current_thread()
    assert asyncio.run(loop_calls.run(where)) is not threading.current_thread()
