"""One cell as the value of a field: strict, with a sentence for what is refused. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from api.cli.importing.errors import BadRow
from models.rules.periods import zone_info, zone_names

_WHOLE = re.compile(r"-?\d{1,18}", re.ASCII)


def is_empty(value: Any) -> bool:
    """Whether a cell holds nothing."""
    return value is None or (isinstance(value, str) and not value.strip())


def text(value: Any) -> str:
    """Text as it is; a whole number of NDJSON as its digits."""
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
    """An object, or its JSON text."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadRow("must be a JSON object")
    return found


def whole_number(value: Any) -> int:
    """A whole number in plain digits."""
    if not _WHOLE.fullmatch(text(value).strip()):
        raise BadRow(f"must be a whole number, not {text(value)[:40]!r}")
    return int(text(value))


def as_it_is(value: Any) -> Any:
    """Whatever it is: `Kind.finish` reads it."""
    return value


def on_calendar(at: datetime, timezone: str | None) -> str:
    """The calendar day of an instant in a zone (None: UTC)."""
    return at.astimezone(zone_info(timezone) if timezone else UTC).date().isoformat()
