"""Strict JSON parsing, with clear errors."""

from __future__ import annotations

import codecs
import json
from typing import Any

from pydantic_core import from_json

from api.http.problems import Problem

_GZIP = b"\x1f\x8b"
# Longer marks first: the UTF-16 mark is a prefix of the UTF-32 mark.
_MARKS = (
    (codecs.BOM_UTF8, "UTF-8 with a byte order mark"),
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def parse_json(text: bytes, noun: str = "body") -> Any:
    """Parse a JSON value; 400 `invalid_json` for invalid JSON, NaN included."""
    try:
        return from_json(text, allow_inf_nan=False, cache_strings="keys")
    except ValueError:
        return _parse_slowly(text, noun)


def check_encoding(text: bytes, noun: str = "body") -> None:
    """400 unless a text may be UTF-8 without a byte order mark."""
    encoding = _encoding(text)
    if encoding:
        detail = f"The {noun} is {encoding}: send JSON in UTF-8 without a byte order mark"
        raise Problem(400, "invalid_json", detail)
    if text.startswith(_GZIP):
        detail = f"The {noun} is compressed: send Content-Encoding: gzip with it"
        raise Problem(400, "invalid_json", detail)


def _encoding(text: bytes) -> str | None:
    """The encoding if it is not plain UTF-8, guessed from the zero bytes (RFC 4627)."""
    for mark, name in _MARKS:
        if text.startswith(mark):
            return name
    zeros = [byte == 0 for byte in text[:4]]
    if zeros in ([True, True, True, False], [False, True, True, True]):
        return "UTF-32"
    return "UTF-16" if zeros in ([True, False, True, False], [False, True, False, True]) else None


def _parse_slowly(text: bytes, noun: str) -> Any:
    """Parse with the standard library. It accepts lone surrogates (half an emoji in JavaScript), so
    the error names the field that holds one and other fields stay valid."""
    check_encoding(text, noun)
    try:
        return json.loads(text.decode(), parse_constant=_refuse, object_pairs_hook=_members)
    except (ValueError, RecursionError) as error:
        raise Problem(400, "invalid_json", f"The {noun} {_why(text, error)}") from None


def _why(text: bytes, error: Exception) -> str:
    match error:
        case _ if not text.strip():
            return "is empty: send JSON"
        case json.JSONDecodeError():
            return f"is not valid JSON in UTF-8: see line {error.lineno}, column {error.colno}"
        case UnicodeDecodeError():
            return f"is not valid JSON in UTF-8: byte {error.start + 1} is not UTF-8"
        case RecursionError():
            return "is not valid JSON in UTF-8: it is nested too deep"
        case _Unreadable():
            return f"is not valid JSON in UTF-8: {error}"
        case _:  # a number with thousands of digits
            return "is not valid JSON in UTF-8: a number is too long"


class _Unreadable(ValueError):
    """A value that the standard library accepts but JSON does not allow."""


def _refuse(constant: str) -> None:
    raise _Unreadable(f"it holds {constant}")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name, _ in pairs:
        if not _is_text(name):  # an answer could not repeat the name
            raise _Unreadable("a name in it holds a lone surrogate")
    return dict(pairs)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
