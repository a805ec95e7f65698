"""Documentation of a route: written beside its view, read by api/openapi/document.py.

A description is an attribute of the view; requests do not use it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, TypeVar, cast
from uuid import UUID

from pydantic import BaseModel, WithJsonSchema
from typing_extensions import TypedDict

from models import clock

View = TypeVar("View", bound=Callable[..., Any])


# Text types of answers, with their JSON Schema.
Moment = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]  # UTC, `Z`
Id = Annotated[str, WithJsonSchema({"type": "string", "format": "uuid"})]


Shown = TypeVar("Shown")


def shown(answer: type[Shown], row: object, **given: Any) -> Shown:
    """An answer with the fields that its type names: as given, otherwise the row's attributes of
    those names, ids and instants as text."""
    names = answer.__annotations__
    return cast(
        Shown, {name: given[name] if name in given else _text(getattr(row, name)) for name in names}
    )


def _text(value: Any) -> Any:
    match value:
        case UUID():
            return str(value)
        case datetime():
            return clock.isoformat(value)
    return value


class MessageAnswer(TypedDict):
    """A summary of the result."""

    message: str


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter or a request header."""

    name: str
    schema: Mapping[str, Any]  # JSON Schema
    description: str
    where: str = "query"  # or "header"
    is_required: bool = False
    may_repeat: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One documented operation."""

    summary: str
    answers: Mapping[int, Any]  # status → the TypedDict of its body
    body: type[BaseModel] | None = None
    example: Mapping[str, Any] | None = None  # body; a test sends it
    text_body: tuple[str, str] | None = None  # of a body that is no JSON: its type, an example
    problems: Sequence[str] = ()  # codes besides those that every route may answer
    parameters: Sequence[Parameter] = ()
    content_types: Sequence[str] = field(default=("application/json",))
    answer_type: str = "application/json"


def describe(summary: str, **details: Any) -> Callable[[View], View]:
    """Describe a view; `details` are fields of Operation."""

    def attach(view: View) -> View:
        cast(Any, view).operation = Operation(summary, **details)
        return view

    return attach


PAGE = (
    Parameter("page", {"type": "integer", "minimum": 1, "maximum": 1_000_000, "default": 1},
              "The page, from 1."),
    Parameter("page_size", {"type": "integer", "minimum": 1, "maximum": 100, "default": 50},
              "The number of items per page."),
)  # fmt: skip
IS_ACTIVE = Parameter("is_active", {"type": "boolean"}, "Only active or only inactive ones.")
