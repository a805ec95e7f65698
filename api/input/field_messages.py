"""What is wrong with a field, in our own sentences: of pydantic's errors only the code is kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, get_args

from pydantic import TypeAdapter
from pydantic import ValidationError as ModelError
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from api.http.problems import FieldError, invalid_field

FIELD_CHARS_MAX = 64  # of a name that was sent: a megabyte of it is not sent back
# Any printable text: no control characters, no line or paragraph separators. Lone surrogates,
# which JSON can spell, pydantic refuses in every string.
PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
CODE_CHARS = r"^[A-Za-z0-9_.:-]+$"
NO_NUL = r"^[^\x00]*$"
COLOR = r"^#([0-9A-Fa-f]{3}|[0-9A-Fa-f]{4}|[0-9A-Fa-f]{6}|[0-9A-Fa-f]{8})$"
UUID_TEXT = r"^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$"
ACTION = r"^[a-z_]+\.[a-z_]+$"

# Every pattern that a field may have, and what it asks for.
PATTERNS = {
    PRINTABLE: "must not contain control characters or line breaks",
    CODE_CHARS: "must consist of letters, digits and _ . : - only",
    NO_NUL: "must not contain U+0000",
    COLOR: "must be a hex colour such as #7C3AED",
    UUID_TEXT: "must be a UUID such as 01939c7e-6a1b-7c3d-9e4f-0a1b2c3d4e5f",
    ACTION: "must be an action such as streak.updated",
}
EXTRA = "extra_forbidden"  # pydantic's name of a field that a model does not know
_OF_PYDANTIC = frozenset(get_args(ErrorType))  # the types of errors that pydantic words itself
_UNUSABLE = "cannot be used"  # of an error that nobody has met: a test fails before it is seen

MessageContext = Mapping[str, Any]


def _length(context: MessageContext) -> str:
    return _counted(context["max_length"], "character")


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _entries(count: int) -> str:
    return f"{count:,} {'entry' if count == 1 else 'entries'}"


def _one_of(expected: str) -> str:
    """Of `'daily', 'weekly' or 'monthly'` each word."""
    words = re.findall(r"'([^']*)'", expected)
    return f"must be one of {', '.join(words)}"


def _at_least(context: MessageContext) -> str:
    count = context["min_length"]
    if count == 1:
        return "must not be empty"
    return f"must have at least {_counted(count, 'character')}"


# Pydantic's error type → our sentence. A type that is not here is a fault that a test finds.
MESSAGES: dict[str, Callable[[MessageContext], str]] = {
    "missing": lambda _: "must be given",
    "string_type": lambda _: "must be a string",
    "string_unicode": lambda _: "must be valid Unicode, without lone surrogates",
    "string_too_short": _at_least,
    "string_too_long": lambda found: f"must have at most {_length(found)}",
    "string_pattern_mismatch": lambda found: PATTERNS.get(found["pattern"], _UNUSABLE),
    "int_type": lambda _: "must be a whole number, without quotes",
    "bool_type": lambda _: "must be true or false, without quotes",
    "greater_than_equal": lambda found: f"must be at least {found['ge']:,}",
    "less_than_equal": lambda found: f"must be at most {found['le']:,}",
    "list_type": lambda _: "must be a list",
    "model_type": lambda _: "must be a JSON object",
    "model_attributes_type": lambda _: "must be a JSON object",
    "too_short": lambda found: f"must have at least {_entries(found['min_length'])}",
    "too_long": lambda found: f"must have at most {_entries(found['max_length'])}",
    "literal_error": lambda found: _one_of(found["expected"]),
    "union_tag_invalid": lambda found: _one_of(found["expected_tags"]),
    "union_tag_not_found": lambda _: "must be given",
}
# These are told of the object that the tag stands in, and mean the tag.
_OF_A_TAG = frozenset({"union_tag_invalid", "union_tag_not_found"})


def errors_of(error: ModelError) -> list[ErrorDetails]:
    """What a model found wrong, without what was sent."""
    return error.errors(include_url=False, include_input=False)


def field_error(found: ErrorDetails) -> FieldError:
    """One thing that a model found wrong: the field by its path, without the input."""
    return FieldError(path_of(found) or "body", found["type"], message_of(found))


def message_of(found: ErrorDetails) -> str:
    """The sentence of one error. Those of our own types bring theirs along."""
    make = MESSAGES.get(found["type"])
    if make is not None:
        return make(found.get("ctx", {}))
    return _UNUSABLE if found["type"] in _OF_PYDANTIC else found["msg"]


def path_of(found: ErrorDetails) -> str:
    """Where a field stands. Below an `objective` the model's path names its type too, which is no
    step of the body's."""
    steps = found["loc"]
    at = steps.index("objective") if "objective" in steps else len(steps)
    path = [shown(step) for nth, step in enumerate(steps) if nth != at + 1 or len(steps) <= 2]
    if found["type"] in _OF_A_TAG:
        path.append(found["ctx"]["discriminator"].strip("'"))
    return ".".join(path)


def shown(step: int | str) -> str:
    """A name as an answer repeats it: one that we do not know may be anything."""
    text = str(step)[:FIELD_CHARS_MAX]
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else "\ufffd" for one in text)


def checked(name: str, kind: TypeAdapter[Any], value: object) -> Any:
    """The value of a parameter, if it is of a kind; 422 with the reason otherwise."""
    try:
        return kind.validate_python(value)
    except ModelError as error:
        found = errors_of(error)[0]
        raise invalid_field(name, found["type"], message_of(found)) from None
