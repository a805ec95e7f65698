"""What managing definitions of every kind has in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, Protocol, TypeVar

from flask import Response, g

from api.http.auth import tenant
from api.http.problems import FieldError, Problem, invalid, invalid_field, not_found
from api.http.request_context import app_context
from api.http.tenant_session import reading, transaction
from api.input.field_types import uuid_in_path
from api.input.validation import Body, PageWindow, page_window, query_bool, some_fields
from api.resources.shared import audit
from models import ids
from models.db import Connection
from models.definitions import badges
from models.definitions.base import Definition, Definitions
from models.errors import CodeTaken, NotFound
from models.streaks import states


@contextmanager
def changing() -> Iterator[Connection]:
    """A transaction that changes the tenant's configuration: it holds for the next write, in every
    process, and for whatever this key asks of this one next. Raises Unavailable when Redis does not
    answer: then nothing was changed."""
    mine = [tenant().id]
    try:
        with app_context().intake.changing(mine), transaction() as connection:
            yield connection
    finally:
        app_context().directory.forget(g.key)


@contextmanager
def unique_code(noun: str, code: str) -> Iterator[None]:
    """400 with the documented detail when another definition has that code already."""
    try:
        yield
    except CodeTaken:
        detail = f"{noun.capitalize()} with code '{code}' already exists"
        raise Problem(400, f"{noun}_code_conflict", detail) from None


D = TypeVar("D", bound=Definition)


@dataclass(frozen=True, slots=True)
class Page(Generic[D]):
    """A page of definitions that the query asks for."""

    found: list[D]
    total: int
    window: PageWindow

    def answer(self, items: Sequence[Any]) -> Response:
        """The page, with its definitions as they are shown."""
        return self.window.answer(items, self.total)


@dataclass(frozen=True, slots=True)
class Managed(Generic[D]):
    """Definitions of one kind as admins manage them."""

    noun: str  # in errors and in the audit log: tier → tier_not_found, tier.created
    definitions: Definitions[D]
    path_by: Literal["id", "code"] = "id"  # what a path names
    audit_by: Literal["id", "code"] = "code"  # what audit entries name
    open: Callable[[], AbstractContextManager[Connection]] = changing

    def page(self, **wanted: Any) -> Page[D]:
        """The page that the query asks for; `wanted` are more values by column, None for any."""
        window = page_window()
        wanted["is_active"] = query_bool("is_active")
        with reading() as connection:
            found, total = self.definitions.page(connection, tenant().id, wanted, window.slice)
        return Page(found, total, window)

    def find(self, text: str) -> D:
        """The one that a path names; 404."""
        number = uuid_in_path(self.noun, text) if self.path_by == "id" else None
        with reading() as connection:
            try:
                if number is None:
                    return self.definitions.by_code(connection, tenant().id, text)
                return self.definitions.by_id(connection, tenant().id, number)
            except NotFound:
                raise not_found(self.noun, text) from None

    @contextmanager
    def creating(self, code: str) -> Iterator[Connection]:
        """A transaction that creates one; 400 for a code that is taken."""
        with unique_code(self.noun, code), self.open() as connection:
            yield connection

    def create(self, connection: Connection, values: Mapping[str, Any], given: Body) -> D:
        """Create one, and say so in the audit log: there stands what was given."""
        created = self.definitions.create(connection, tenant().id, values)
        told = audit.detail_of(given.model_dump(exclude_unset=True))
        audit.record(connection, f"{self.noun}.created", self._audited(created), **told)
        return created

    @contextmanager
    def revising(self, definition: D, values: Mapping[str, Any]) -> Iterator[Connection]:
        """A transaction that changes one, and says so in the audit log."""
        some_fields(values)
        with self.open() as connection:
            yield connection
            action = audit.changed(self.noun, values)
            audit.record(connection, action, self._audited(definition), **audit.detail_of(values))

    def change(self, text: str, values: Mapping[str, Any]) -> D:
        """Change the one that a path names; 404, 400."""
        found = self.find(text)  # whoever has no such thing makes nobody read anything afresh
        with self.revising(found, values) as connection:
            return self.definitions.revise(connection, found, values)

    def _audited(self, definition: D) -> str:
        return str(getattr(definition, self.audit_by))


def active_badges(connection: Connection, named: Mapping[str, str | None]) -> None:
    """422 for fields that name a badge which cannot be awarded: unknown, or deactivated.

    The badges stay locked until the transaction ends, so that none is deactivated meanwhile.
    """
    codes = {code for code in named.values() if code is not None}
    active = badges.hold_active(connection, tenant().id, codes)
    text = "must be the code of an active badge: create or activate it first, or leave it out"
    wrong = [
        FieldError(field, "unknown_badge", text)
        for field, code in named.items()
        if code is not None and code not in active
    ]
    if wrong:
        raise invalid(*wrong)


def active_streak(connection: Connection, field: str, code: str) -> None:
    """422 for a field that names a streak which cannot be ticked: unknown, or deactivated."""
    if not states.hold_active(connection, tenant().id, code):
        text = "must be the code of an active streak: create or activate it first"
        raise invalid_field(field, "unknown_streak", text)


def tenant_shown() -> str:
    """The id under which a tenant is shown to itself."""
    return str(ids.opaque(tenant().tick_secret, "tenant", tenant().id))


class Window(Protocol):
    """What has a beginning and an end, if any."""

    @property
    def starts_at(self) -> datetime | None:
        """From when on."""

    @property
    def ends_at(self) -> datetime | None:
        """Until when."""


def check_window(window: Window) -> None:
    """422 unless a window ends after it starts."""
    if _is_backwards(window.starts_at, window.ends_at):
        raise invalid_field("ends_at", "range", "must be after starts_at")


def check_window_change(window: Window, given: Mapping[str, Any]) -> None:
    """422, of a field that was given, unless a changed window ends after it starts."""
    starts_at = given.get("starts_at", window.starts_at)
    if _is_backwards(starts_at, given.get("ends_at", window.ends_at)):
        if "ends_at" in given:
            raise invalid_field("ends_at", "range", "must be after starts_at")
        raise invalid_field("starts_at", "range", "must be before ends_at, which stays as it is")


def _is_backwards(starts_at: datetime | None, ends_at: datetime | None) -> bool:
    return starts_at is not None and ends_at is not None and ends_at <= starts_at
