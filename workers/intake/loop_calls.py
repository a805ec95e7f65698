"""Synchronous code on an event loop: it runs in a greenlet, and each wait returns to the loop.

Such a call may wait for events of the loop, but may not block: a blocking step raises NeedsThread,
and the caller repeats the call in a thread. After `commit` it cannot be repeated, so a blocking
step is allowed: writing twice would be worse than blocking the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar, cast

from greenlet import getcurrent, greenlet

P = ParamSpec("P")
T = TypeVar("T")


class NeedsThread(BaseException):
    """The call would block. Not an Exception, so that no handler inside the call catches it."""


class LoopCall(greenlet):  # type: ignore[misc]
    """The greenlet of one call."""

    is_committed = False


async def run(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function on this loop. Raises NeedsThread, and what the function raises."""
    call = LoopCall(function)
    awaited = call.switch(*args, **kwargs)
    while not call.dead:
        try:
            result = await awaited
        except BaseException as error:  # noqa: BLE001 - raised again in the call
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
    """Call a blocking function; in another thread where the caller runs on a loop."""
    return wait(asyncio.to_thread(function)) if is_on_loop() else function()


def commit() -> None:
    """Mark that the call has done something that must not happen twice."""
    call = getcurrent()
    if isinstance(call, LoopCall):
        call.is_committed = True


def may_block() -> None:
    """Raise NeedsThread where the caller runs on a loop and can repeat the call."""
    call = getcurrent()
    if isinstance(call, LoopCall) and not call.is_committed:
        raise NeedsThread
