"""The rows that a request may see: those of the tenant that asks, and Postgres sees to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from api.auth import tenant
from api.context import app_context
from models import rows
from models.db import Session
from workers.failpoints import failpoint


@contextmanager
def reading() -> Iterator[Session]:
    """A connection that reads without a transaction: one round trip a statement."""
    with rows.reading(app_context().rows, tenant().id) as session:
        yield session


@contextmanager
def transaction() -> Iterator[Session]:
    """A transaction: committed when the block ends, rolled back when it raises."""
    with rows.transaction(app_context().rows, tenant().id) as session:
        yield session
    failpoint("api.after_commit")


@contextmanager
def snapshot() -> Iterator[Session]:
    """A transaction that reads what one moment saw, however many statements it takes."""
    with rows.snapshot(app_context().rows, tenant().id) as session:
        yield session
