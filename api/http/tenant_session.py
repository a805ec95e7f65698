"""Access to one tenant's rows; Postgres enforces it with row-level security."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from api.http.auth import tenant
from api.http.problems import unavailable
from api.http.request_context import app_context
from models.db import Connection, Contended, tenant_isolation
from models.failpoints import failpoint

T = TypeVar("T")


@contextmanager
def reading() -> Iterator[Connection]:
    """A connection that reads without a transaction: one round trip per statement."""
    with tenant_isolation.reading(app_context().rows, tenant().id) as connection:
        yield connection


@contextmanager
def transaction() -> Iterator[Connection]:
    """A transaction: committed when the block ends, rolled back when it raises."""
    with tenant_isolation.transaction(app_context().rows, tenant().id) as connection:
        yield connection
    failpoint("api.after_commit")


@contextmanager
def snapshot() -> Iterator[Connection]:
    """A transaction in which all statements read the same snapshot."""
    with tenant_isolation.snapshot(app_context().rows, tenant().id) as connection:
        yield connection


def retried(once: Callable[[], T], tries_max: int) -> T:
    """The result of a transaction, run again while others are in its way; 503 after the last."""
    for _ in range(tries_max):
        with suppress(Contended):
            return once()
    raise unavailable()
