"""Cursors and query filters, shared by feeds and logs."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, TypeVar
from uuid import UUID

from flask import request
from pydantic import TypeAdapter

from api.http.describe import Parameter
from api.http.problems import Problem, invalid_field, not_found
from api.input.field_messages import checked
from api.input.validation import Code, Instant, ParticipantId, participant_id_in_path
from webhooks import facts

C = TypeVar("C", bound=str)
TYPES_CHARS_MAX = 2_000
_INSTANT: TypeAdapter[int] = TypeAdapter(Instant)
_CODE = TypeAdapter(Code)
_FACT_ID = re.compile(r"evt_([0-9a-f]{32})", re.ASCII)

# -- cursors ---------------------------------------------------------------------------------


def encode(position: bytes) -> str:
    """A cursor, opaque to callers and URL-safe."""
    return urlsafe_b64encode(position).rstrip(b"=").decode()


def decode(name: str, size: int) -> bytes | None:
    """The bytes of the cursor in a parameter; None if not given."""
    text = request.args.get(name)
    if text is None:
        return None
    try:
        position = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        position = b""
    if len(position) != size or encode(position) != text:
        raise no_cursor(name)
    return position


def no_cursor(name: str) -> Problem:
    """422: the parameter is not a valid cursor."""
    return invalid_field(name, "cursor", "must be the next_cursor of a page like this one")


def after_parameter(size: int, more: str = "") -> Parameter:
    """The parameter `after` for cursors of `size` bytes."""
    chars = -(-size * 8 // 6)
    return Parameter(
        "after",
        {"type": "string", "minLength": 1, "maxLength": chars},
        f"The `next_cursor` of the previous page.{more}",
    )


# -- filters ---------------------------------------------------------------------------------


def query_instant(name: str) -> int | None:
    """An RFC 3339 timestamp in microseconds; None if not given."""
    text = request.args.get(name)
    return None if text is None else checked(name, _INSTANT, text)


def query_code(name: str) -> str | None:
    """A code; None if not given."""
    text = request.args.get(name)
    return None if text is None else checked(name, _CODE, text)


def query_participant() -> str | None:
    """`participant_id`; None if not given."""
    text = request.args.get("participant_id")
    return None if text is None else participant_id_in_path(text)


def query_choice(name: str, *choices: C) -> C | None:
    """One of the given words; None if not given."""
    text = request.args.get(name)
    if text is None:
        return None
    for choice in choices:
        if choice == text:
            return choice
    raise invalid_field(name, "choice", f"must be one of {', '.join(choices)}")


def query_types(name: str) -> list[str] | None:
    """The known types that match a comma-separated list of types and globs; None for all."""
    text = request.args.get(name)
    if text is None:
        return None
    patterns = text[: TYPES_CHARS_MAX + 1].split(",")
    is_known = all(
        any(facts.matches([pattern], kind) for kind in facts.TYPES) for pattern in patterns
    )
    if len(text) > TYPES_CHARS_MAX or not is_known:
        known = ", ".join((*facts.TYPES, "behavior.*", "*"))
        raise invalid_field(name, "event_type", f"must be some of {known}, separated by commas")
    return [kind for kind in facts.TYPES if facts.matches(patterns, kind)]


def fact_id_in_path(text: str) -> UUID:
    """The fact id (`evt_…`) in a path; 404 `delivery_not_found` if it is malformed."""
    match = _FACT_ID.fullmatch(text)
    if match is None:
        raise not_found("delivery", text)
    return UUID(match[1])


def _text(**limits: Any) -> dict[str, Any]:
    return {"type": "string"} | limits


def limit_parameter(most: int, default: int) -> Parameter:
    """The parameter `limit`."""
    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    return Parameter("limit", schema, "The maximum number of items per page.")


PARTICIPANT = Parameter(
    "participant_id", TypeAdapter(ParticipantId).json_schema(), "Only facts about this participant."
)
STREAK_CODE = Parameter("streak_code", _CODE.json_schema(), "Only facts about this streak.")
SINCE = Parameter("since", _text(format="date-time"), "Only those at or after this instant.")
UNTIL = Parameter("until", _text(format="date-time"), "Only those before this instant.")
TYPES = Parameter(
    "types",
    _text(minLength=1, maxLength=TYPES_CHARS_MAX),
    "Only these types, comma-separated; globs such as `behavior.*` and `*` are allowed.",
)
