"""Parsers of single cells: strict, with a message for each refusal. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from api.cli.importing.errors import BadRow
from models.rules.periods import zone_info, zone_names

LEVELS_MAX = 20  # as in the API
_NUMBER = re.compile(r"\d{1,12}(\.\d{1,6})?", re.ASCII)
_WHOLE = re.compile(r"-?\d{1,18}", re.ASCII)


def is_empty(value: Any) -> bool:
    """Whether a cell is empty."""
    return value is None or (isinstance(value, str) and not value.strip())


def text(value: Any) -> str:
    """Text unchanged; a whole number of NDJSON as its digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise BadRow(f"must be text, not {json.dumps(value)[:40]}")


def zone(value: Any) -> str:
    """An IANA time zone."""
    name = text(value).strip()
    if name not in zone_names():
        raise BadRow(f"{name[:40]!r} is no IANA time zone such as Australia/Sydney")
    return name


def json_object(value: Any) -> Mapping[str, Any]:
    """An object, or its JSON text. Invalid JSON (NaN, deep nesting) would fail a whole request."""
    found: dict[str, Any] = _json_of(dict, "object", value)
    return found


def json_value(text: str) -> Any:
    """A JSON value, parsed strictly; raises BadRow."""
    try:
        return json.loads(text, object_pairs_hook=_members, parse_constant=_refuse)
    except BadRow:
        raise
    except (ValueError, RecursionError):
        return None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise BadRow(f"has {doubled[:60]!r} twice in one object")
    return found


def _refuse(constant: str) -> None:
    raise BadRow(f"holds {constant}, which is no JSON")


def _is_too_deep(value: Any, levels: int) -> bool:
    if not isinstance(value, (dict, list)):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_too_deep(value, levels - 1) for value in inner)


def json_list(value: Any) -> list[Any]:
    """A list, or its JSON text."""
    found: list[Any] = _json_of(list, "list", value)
    return found


def _json_of(kind: type, noun: str, value: Any) -> Any:
    found = json_value(value) if isinstance(value, str) else value
    if not isinstance(found, kind):
        raise BadRow(f"must be a JSON {noun}")
    _check_json(found)
    return found


def _check_json(value: Any) -> None:
    """Raise BadRow for a value that cannot be sent."""
    if _is_too_deep(value, LEVELS_MAX):
        raise BadRow(f"must be at most {LEVELS_MAX} levels deep")
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        raise BadRow("must contain finite numbers only") from None


def whole_number(value: Any) -> int:
    """A whole number in plain digits."""
    if not _WHOLE.fullmatch(text(value).strip()):
        raise BadRow(f"must be a whole number, not {text(value)[:40]!r}")
    return int(text(value))


def number(value: Any) -> int | float:
    """A number in plain digits, with or without decimals."""
    plain = text(value).strip()
    if not _NUMBER.fullmatch(plain):
        raise BadRow(f"must be a number such as 2.5, not {plain[:40]!r}")
    return float(plain) if "." in plain else int(plain)


def as_it_is(value: Any) -> Any:
    """The value unchanged: `Kind.finish` parses it."""
    return value


def on_calendar(at: datetime, timezone: str | None) -> str:
    """The calendar day of an instant in a zone (None: UTC)."""
    return at.astimezone(zone_info(timezone) if timezone else UTC).date().isoformat()
