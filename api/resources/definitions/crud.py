"""Code shared by the routes of all definition types."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, Protocol, TypeVar

from flask import Response, g
from typing_extensions import TypedDict

from api.http.auth import tenant
from api.http.describe import Id
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
    """A transaction that changes the tenant's configuration. The change is in force for the next
    write in every process, and for this key's next request in this process. Raises Unavailable,
    with nothing changed, if Redis does not answer."""
    mine = [tenant().id]
    try:
        with app_context().intake.changing(mine), transaction() as connection:
            yield connection
    finally:
        app_context().directory.forget(g.key)


@contextmanager
def unique_code(noun: str, code: str) -> Iterator[None]:
    """400 with the documented detail if another definition has the code."""
    try:
        yield
    except CodeTaken:
        detail = f"{noun.capitalize()} with code '{code}' already exists"
        raise Problem(400, f"{noun}_code_conflict", detail) from None


class DefinitionAnswer(TypedDict):
    """The fields that begin the answer about a definition of most types."""

    id: Id
    tenant_id: Id
    code: str
    name: str
    description: str | None


D = TypeVar("D", bound=Definition)


@dataclass(frozen=True, slots=True)
class Page(Generic[D]):
    """The requested page of definitions."""

    found: list[D]
    total: int
    window: PageWindow

    def answer(self, items: Sequence[Any]) -> Response:
        """The response with the definitions as JSON."""
        return self.window.answer(items, self.total)


@dataclass(frozen=True, slots=True)
class Managed(Generic[D]):
    """Definitions of one type, managed by admins."""

    noun: str  # in errors and audit entries: tier → tier_not_found, tier.created
    definitions: Definitions[D]
    path_by: Literal["id", "code"] = "id"  # the identifier in paths
    audit_by: Literal["id", "code"] = "code"  # the identifier in audit entries
    open: Callable[[], AbstractContextManager[Connection]] = changing

    def page(self, **wanted: Any) -> Page[D]:
        """The requested page; `wanted` holds more filters by column, None for any value."""
        window = page_window()
        wanted["is_active"] = query_bool("is_active")
        with reading() as connection:
            found, total = self.definitions.page(connection, tenant().id, wanted, window.slice)
        return Page(found, total, window)

    def find(self, text: str) -> D:
        """The definition in a path; 404."""
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
        """A transaction that creates a definition; 400 if its code is taken."""
        with unique_code(self.noun, code), self.open() as connection:
            yield connection

    def create(self, connection: Connection, values: Mapping[str, Any], given: Body) -> D:
        """Create a definition, with an audit entry of the given fields."""
        created = self.definitions.create(connection, tenant().id, values)
        detail = audit.detail_of(given.model_dump(exclude_unset=True))
        audit.record(connection, f"{self.noun}.created", self._audited(created), **detail)
        return created

    @contextmanager
    def revising(self, definition: D, values: Mapping[str, Any]) -> Iterator[Connection]:
        """A transaction that changes a definition, with an audit entry."""
        some_fields(values)
        with self.open() as connection:
            yield connection
            action = audit.changed(self.noun, values)
            audit.record(connection, action, self._audited(definition), **audit.detail_of(values))

    def change(self, text: str, values: Mapping[str, Any]) -> D:
        """Change the definition in a path; 404, 400."""
        found = self.find(text)  # before the transaction: a 404 keeps the version
        with self.revising(found, values) as connection:
            return self.definitions.revise(connection, found, values)

    def _audited(self, definition: D) -> str:
        return str(getattr(definition, self.audit_by))


def active_badges(connection: Connection, named: Mapping[str, str | None]) -> None:
    """422 for a field that names an unknown or deactivated badge.

    The badges stay locked until the transaction ends, so that they stay active.
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
    """422 for a field that names an unknown or deactivated streak."""
    if not states.hold_active(connection, tenant().id, code):
        text = "must be the code of an active streak: create or activate it first"
        raise invalid_field(field, "unknown_streak", text)


def tenant_shown() -> str:
    """The tenant's id as shown to the tenant."""
    return str(ids.opaque(tenant().tick_secret, "tenant", tenant().id))


class Window(Protocol):
    """A period with an optional start and end."""

    @property
    def starts_at(self) -> datetime | None:
        """The start."""

    @property
    def ends_at(self) -> datetime | None:
        """The end."""


def check_window(window: Window) -> None:
    """422 unless the window ends after it starts."""
    if _is_backwards(window.starts_at, window.ends_at):
        raise invalid_field("ends_at", "range", "must be after starts_at")


def check_window_change(window: Window, given: Mapping[str, Any]) -> None:
    """422 for a given field unless the changed window ends after it starts."""
    starts_at = given.get("starts_at", window.starts_at)
    if _is_backwards(starts_at, given.get("ends_at", window.ends_at)):
        if "ends_at" in given:
            raise invalid_field("ends_at", "range", "must be after starts_at")
        raise invalid_field("starts_at", "range", "must be before ends_at, which stays as it is")


def _is_backwards(starts_at: datetime | None, ends_at: datetime | None) -> bool:
    return starts_at is not None and ends_at is not None and ends_at <= starts_at
