"""Types of fields and parameters used in more than one chapter of the documentation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, PlainValidator, WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from api.http.problems import Problem, not_found
from api.input.validation import parse_instant
from models import clock
from models.rules.targets import UNIT

# No white space, no control characters, no characters that end an HTML attribute: no URL contains
# them. The host is not empty and no user name precedes it.
_WEB_URL = (
    r"^[Hh][Tt][Tt][Pp][Ss]?://(\[[0-9A-Fa-f:.]+\]|[^\s\x00-\x1f\x7f-\x9f\x22<>\\/?#@:\[\]]+)"
    r"(:[0-9]{1,5})?([/?#][^\s\x00-\x1f\x7f-\x9f\x22<>\\]*)?$"
)


@dataclass(frozen=True, slots=True)
class _WebUrl:
    """Pydantic's annotation for a URL: its validator and its schema."""

    chars_max: int

    def __get_pydantic_core_schema__(
        self, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        text = core_schema.str_schema(strict=True, min_length=1, max_length=self.chars_max)
        return core_schema.no_info_after_validator_function(_checked, text)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(schema) | {"format": "uri", "pattern": _WEB_URL}


def web_url(chars_max: int) -> _WebUrl:
    """An http(s) URL with a host and without credentials, kept as given.

    Usage: `AvatarUrl = Annotated[str, web_url(500)]`.
    """
    return _WebUrl(chars_max)


def _checked(url: str) -> str:
    if not re.fullmatch(_WEB_URL, url) or not _is_readable(url):
        raise PydanticCustomError(
            "url", "must be an http or https URL such as https://cdn.example.com/a.png"
        )
    return url


def _is_readable(url: str) -> bool:
    """Whether the standard library can parse it: it checks addresses and ports."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


_LATEST = datetime(2200, 1, 1, tzinfo=UTC)  # every clock and library can represent it


def _bound(instant_us: int) -> datetime:
    """One end of a window as a row stores it."""
    if not 0 <= instant_us <= clock.to_us(_LATEST):
        raise PydanticCustomError("timestamp", "must lie between 1970 and 2200")
    return clock.from_us(instant_us)


# Start or end of a window.
Bound = Annotated[
    datetime,
    PlainValidator(lambda value: _bound(parse_instant(value))),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


_EPOCH = date(1970, 1, 1)


def _day(value: Any) -> date:
    """A calendar date; strict, as `fromisoformat` also reads week dates."""
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII):
        try:
            found = date.fromisoformat(value)
        except ValueError:
            pass  # February 30th
        else:
            if _EPOCH <= found < _LATEST.date():
                return found
            raise PydanticCustomError("date", "must be from 1970 to 2199")
    raise PydanticCustomError("date", "must be a date such as 2026-12-25")


Day = Annotated[
    date,
    PlainValidator(_day),
    WithJsonSchema({"type": "string", "format": "date"}),
]


VALUE_MAX = 1_000_000_000


def _thousandths(value: Any) -> int:
    """A number in thousandths, exact: a sum of fractions would depend on the order."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= VALUE_MAX:
        exact = Decimal(str(value)) * UNIT
        if exact == exact.to_integral_value():
            return int(exact)
    raise PydanticCustomError(
        "value", "must be a number above 0, at most 1,000,000,000, with at most three decimals"
    )


TickValue = Annotated[
    int,
    PlainValidator(_thousandths),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "maximum": VALUE_MAX}),
]


def uuid_in_path(noun: str, text: str) -> UUID:
    """The id in a path; 404 `{noun}_not_found` if it is malformed."""
    try:
        parsed = UUID(text)
    except ValueError:
        raise _no_id(noun, text) from None
    if str(parsed) != text.lower():  # UUID() also accepts braces, urn: and missing hyphens
        raise _no_id(noun, text)
    return parsed


def _no_id(noun: str, text: str) -> Problem:
    """404 for a code in place of an id, for example. It does not say whether the code exists."""
    found = not_found(noun, text)
    return Problem(404, found.code, f"{found.detail}: its id is a UUID, as it was answered")
