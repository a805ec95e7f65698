"""What managing definitions of every kind has in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from api.auth import tenant
from api.context import app_context
from api.errors import Problem
from api.rows import transaction
from models.db import Session
from models.errors import CodeTaken


@contextmanager
def changing() -> Iterator[Session]:
    """A transaction that changes the tenant's configuration: it holds for the next write, in every
    process. Raises Unavailable when Redis does not answer: then nothing was changed."""
    mine = [tenant().id]
    with app_context().intake.changing(mine), transaction() as session:
        yield session


@contextmanager
def unique_code(noun: str, code: str) -> Iterator[None]:
    """400 with the documented detail when another definition has that code already."""
    try:
        yield
    except CodeTaken:
        detail = f"{noun.capitalize()} with code '{code}' already exists"
        raise Problem(400, f"{noun}_code_conflict", detail) from None


def some_fields(change: Mapping[str, Any]) -> None:
    """400 unless there is something to change."""
    if not change:
        raise Problem(400, "no_fields_to_update", "Give at least one field to change")
