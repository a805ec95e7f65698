"""Messages for invalid fields, in our own words; pydantic provides only the error code."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, get_args

from pydantic import TypeAdapter
from pydantic import ValidationError as ModelError
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from api.http.problems import FieldError, invalid_field

FIELD_CHARS_MAX = 64  # of a name that was sent: the answer must not repeat a megabyte
# Any printable text: no control characters, no line or paragraph separators. Pydantic refuses lone
# surrogates (which JSON can spell) in every string.
PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
CODE_CHARS = r"^[A-Za-z0-9_.:-]+$"
NO_NUL = r"^[^\x00]*$"
COLOR = r"^#([0-9A-Fa-f]{3}|[0-9A-Fa-f]{4}|[0-9A-Fa-f]{6}|[0-9A-Fa-f]{8})$"
UUID_TEXT = r"^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$"
TIME_OF_DAY = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
ACTION = r"^[a-z_]+\.[a-z_]+$"

# Every pattern of a field, and its requirement in words.
PATTERNS = {
    PRINTABLE: "must not contain control characters or line breaks",
    CODE_CHARS: "must consist of letters, digits and _ . : - only",
    NO_NUL: "must not contain U+0000",
    COLOR: "must be a hex colour such as #7C3AED",
    UUID_TEXT: "must be a UUID such as 01939c7e-6a1b-7c3d-9e4f-0a1b2c3d4e5f",
    TIME_OF_DAY: "must be a time of day such as 20:00",
    ACTION: "must be an action such as streak.updated",
}
EXTRA = "extra_forbidden"  # pydantic's error type for an unknown field
_OF_PYDANTIC = frozenset(get_args(ErrorType))  # error types that pydantic words itself
_UNUSABLE = "cannot be used"  # for an unforeseen error type; a test fails first

MessageContext = Mapping[str, Any]


def _length(context: MessageContext) -> str:
    return _counted(context["max_length"], "character")


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _entries(count: int) -> str:
    return f"{count:,} {'entry' if count == 1 else 'entries'}"


def _one_of(expected: str) -> str:
    """The words in `'daily', 'weekly' or 'monthly'`."""
    words = re.findall(r"'([^']*)'", expected)
    return f"must be one of {', '.join(words)}"


def _at_least(context: MessageContext) -> str:
    count = context["min_length"]
    if count == 1:
        return "must not be empty"
    return f"must have at least {_counted(count, 'character')}"


def _short(number: float) -> str:
    """A bound, without the decimals of a whole number."""
    return f"{int(number) if number == int(number) else number:,}"


# Pydantic's error type → our message. A test fails on a missing type.
MESSAGES: dict[str, Callable[[MessageContext], str]] = {
    "missing": lambda _: "must be given",
    "string_type": lambda _: "must be a string",
    "string_unicode": lambda _: "must be valid Unicode, without lone surrogates",
    "string_too_short": _at_least,
    "string_too_long": lambda limits: f"must have at most {_length(limits)}",
    "string_pattern_mismatch": lambda limits: PATTERNS.get(limits["pattern"], _UNUSABLE),
    "int_type": lambda _: "must be a whole number, without quotes",
    "float_type": lambda _: "must be a number, without quotes",
    "finite_number": lambda _: "must be a finite number",
    "bool_type": lambda _: "must be true or false, without quotes",
    "greater_than_equal": lambda limits: f"must be at least {_short(limits['ge'])}",
    "less_than_equal": lambda limits: f"must be at most {_short(limits['le'])}",
    "list_type": lambda _: "must be a list",
    "model_type": lambda _: "must be a JSON object",
    "model_attributes_type": lambda _: "must be a JSON object",
    "too_short": lambda limits: f"must have at least {_entries(limits['min_length'])}",
    "too_long": lambda limits: f"must have at most {_entries(limits['max_length'])}",
    "literal_error": lambda limits: _one_of(limits["expected"]),
    "union_tag_invalid": lambda limits: _one_of(limits["expected_tags"]),
    "union_tag_not_found": lambda _: "must be given",
}
# Pydantic reports these for the object around the tag; the message is about the tag.
_OF_A_TAG = frozenset({"union_tag_invalid", "union_tag_not_found"})


def errors_of(error: ModelError) -> list[ErrorDetails]:
    """The errors of a model, without the input."""
    return error.errors(include_url=False, include_input=False)


def field_error(found: ErrorDetails) -> FieldError:
    """One error of a model: the field by its path, without the input."""
    return FieldError(path_of(found) or "body", found["type"], message_of(found))


def message_of(found: ErrorDetails) -> str:
    """The message of one error. Our own error types bring their own message."""
    make = MESSAGES.get(found["type"])
    if make is not None:
        return make(found.get("ctx", {}))
    return _UNUSABLE if found["type"] in _OF_PYDANTIC else found["msg"]


def path_of(found: ErrorDetails) -> str:
    """The path of a field. Below an `objective` pydantic's path includes the type, which the body
    does not have."""
    steps = found["loc"]
    at = steps.index("objective") if "objective" in steps else len(steps)
    path = [shown(step) for nth, step in enumerate(steps) if nth != at + 1 or len(steps) <= 2]
    if found["type"] in _OF_A_TAG:
        path.append(found["ctx"]["discriminator"].strip("'"))
    return ".".join(path)


def shown(step: int | str) -> str:
    """A name as an answer repeats it; an unknown name may be any text."""
    text = str(step)[:FIELD_CHARS_MAX]
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def checked(name: str, kind: TypeAdapter[Any], value: object) -> Any:
    """The value of a parameter as a type; 422 with the reason if it does not fit."""
    try:
        return kind.validate_python(value)
    except ModelError as error:
        found = errors_of(error)[0]
        raise invalid_field(name, found["type"], message_of(found)) from None
