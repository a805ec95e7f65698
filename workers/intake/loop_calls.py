"""Synchronous code on an event loop: it runs in a greenlet, and each wait goes back to the loop.

Such a call may wait for what the loop brings. It may not block: what would block raises
NeedsThread, and the caller makes the call again in a thread. After `commit` it cannot be made
again. Then what blocks is let through: to double a write would be worse than to hold up the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar, cast

from greenlet import getcurrent, greenlet

P = ParamSpec("P")
T = TypeVar("T")


class NeedsThread(BaseException):
    """The call would block. No Exception, so that no handler inside the call answers it."""


class LoopCall(greenlet):  # type: ignore[misc]  # it has no types
    """The greenlet of one call."""

    is_committed = False


async def run(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function on this loop. Raises NeedsThread, and what the function raises."""
    call = LoopCall(function)
    awaited = call.switch(*args, **kwargs)
    while not call.dead:
        try:
            result = await awaited
        except BaseException as error:  # noqa: BLE001 - it is raised in the call
            awaited = call.throw(error)
        else:
            awaited = call.switch(result)
    return cast(T, awaited)


def is_on_loop() -> bool:
    """Whether the calling code runs on an event loop."""
    return isinstance(getcurrent(), LoopCall)


def wait(awaitable: Awaitable[T]) -> T:
    """The result of an awaitable; only for code that runs on its loop."""
    return cast(T, cast(Any, getcurrent().parent).switch(awaitable))


def in_thread(function: Callable[[], T]) -> T:
    """Call a function that blocks: in another thread where the caller runs on a loop."""
    return wait(asyncio.to_thread(function)) if is_on_loop() else function()


def commit() -> None:
    """Say that something was done that must not be done twice."""
    call = getcurrent()
    if isinstance(call, LoopCall):
        call.is_committed = True


def may_block() -> None:
    """Raise NeedsThread where the caller runs on a loop, and can be called again."""
    call = getcurrent()
    if isinstance(call, LoopCall) and not call.is_committed:
        raise NeedsThread
