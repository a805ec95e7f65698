"""Bodies and parameters: read within bounds, checked by models, refused with the field named."""

from __future__ import annotations

import json
import re
import sys
import zlib
from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any, TypeVar

from flask import g, request
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic import ValidationError as ModelError
from pydantic_core import PydanticCustomError, from_json

from api.context import this_request
from api.errors import FieldError, Problem, invalid, invalid_field
from models import clock
from models.rules.periods import zone_names

BODY_BYTES_MAX = 1_000_000  # contract §1: 1 MB, also after inflating
FREE_FORM_BYTES_MAX = 16 * 1024
FREE_FORM_DEPTH_MAX = 20
_EPOCH = date(1970, 1, 1)
NUMBER_MAX = int(sys.float_info.max)  # beyond it a JSON reader with floats sees infinity
PAGE_SIZE_MAX = 100

M = TypeVar("M", bound=BaseModel)

# -- types of fields -------------------------------------------------------------------------

# Any printable text: no control characters, no line or paragraph separators. Lone surrogates,
# which JSON can spell, pydantic refuses in every string.
PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"

ParticipantId = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=255, pattern=PRINTABLE)
]
Code = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=50, pattern=r"^[A-Za-z0-9_.:-]+$")
]
Name = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=100, pattern=PRINTABLE)
]
Text = Annotated[str, StringConstraints(strict=True, max_length=5_000, pattern=r"^[^\x00]*$")]

REASON_CHARS_MAX = 500
Reason = Annotated[
    str, StringConstraints(strict=True, max_length=REASON_CHARS_MAX, pattern=r"^[^\x00]*$")
]


def _zone(name: str) -> str:
    if name not in zone_names():
        raise PydanticCustomError("timezone", "must be an IANA time zone such as Australia/Sydney")
    return name


Zone = Annotated[
    str,
    StringConstraints(strict=True, max_length=64),
    AfterValidator(_zone),
    Field(description="An IANA time zone, such as `Australia/Sydney`."),
]

_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)


def parse_instant(value: Any) -> int:
    """Microseconds since 1970 of an RFC 3339 timestamp."""
    if isinstance(value, str) and _RFC3339.fullmatch(value):
        try:
            return clock.to_us(datetime.fromisoformat(value.upper()))
        except ValueError:
            pass  # the 30th of February, a leap second: well formed, but no instant we can keep
    raise PydanticCustomError(
        "timestamp", "must be an RFC 3339 timestamp with a zone, such as 2026-05-23T08:15:00Z"
    )


Instant = Annotated[
    int,
    PlainValidator(parse_instant),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


AHEAD_US_MAX = 60_000_000  # by which another machine's clock may be ahead


def _past(instant_us: int) -> int:
    if not 0 <= instant_us <= clock.now_us() + AHEAD_US_MAX:
        raise PydanticCustomError("past", "must be from 1970 on, and not in the future")
    return instant_us


Past = Annotated[Instant, AfterValidator(_past)]


def _free_form(value: Any) -> str:
    """An object's JSON text; free form, but bounded (contract §1)."""
    if not isinstance(value, dict):
        raise PydanticCustomError("object", "must be an object")
    _check_free_form(value, 1)
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) > FREE_FORM_BYTES_MAX:
        raise PydanticCustomError("too_large", "must be at most 16 KB as JSON")
    return text


_SURROGATE = re.compile("[\ud800-\udfff]")


def _check_free_form(value: Any, depth: int) -> None:
    match value:
        case dict() | list() if depth > FREE_FORM_DEPTH_MAX:
            raise PydanticCustomError("too_deep", "must be at most 20 levels deep")
        case str():
            if "\x00" in value or _SURROGATE.search(value):
                raise PydanticCustomError("text", "must not contain U+0000 or lone surrogates")
        case int() | float():
            if not abs(value) <= NUMBER_MAX:  # false for NaN too
                raise PydanticCustomError("number", "must contain finite numbers only")
        case dict():
            for key, inner in value.items():
                _check_free_form(key, depth)
                _check_free_form(inner, depth + 1)
        case list():
            for inner in value:
                _check_free_form(inner, depth + 1)


FreeForm = Annotated[
    str,
    PlainValidator(_free_form),
    WithJsonSchema(
        {
            "type": "object",
            "description": "Any object: at most 16 KB as JSON and 20 levels deep, finite numbers.",
        }
    ),
]


def _unchangeable(value: Any) -> None:
    raise PydanticCustomError("fixed", "cannot be changed")


# In a change: what was set once stays. No value satisfies its schema.
Fixed = Annotated[
    None,
    PlainValidator(_unchangeable),
    WithJsonSchema({"not": {}, "description": "Cannot be changed."}),
]


class Body(BaseModel):
    """A request's JSON object. Fields that we do not know are ignored, as the documents do."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, hide_input_in_errors=True)


# -- reading ---------------------------------------------------------------------------------


def body(model: type[M]) -> M:
    """The request's JSON body as a model; 400, 413, 415 or 422 otherwise."""
    require_type("application/json")
    try:
        g.sent_json = parse_json(read_body())  # an Idempotency-Key is compared by it
        return model.model_validate(g.sent_json)
    except ModelError as error:
        raise invalid(*field_errors(error)) from None


def require_type(*allowed: str) -> str:
    """The request's media type, which must be one of those allowed."""
    if request.environ.get("CONTENT_TYPE") == allowed[0]:
        return allowed[0]  # as nearly everybody writes it: nothing to parse
    if request.mimetype not in allowed:
        raise Problem(415, "unsupported_media_type", f"Send Content-Type: {' or '.join(allowed)}")
    return request.mimetype


def read_body() -> bytes:
    """The body, inflated, at most 1 MB of it."""
    here = this_request()
    if (here.content_length or 0) > BODY_BYTES_MAX:
        raise _too_large()  # before waiting for all that
    raw = _bounded(here.stream.read(BODY_BYTES_MAX + 1))
    encoding = here.environ.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    if encoding == "gzip":
        return _inflate(raw)
    if encoding not in ("", "identity"):
        raise Problem(415, "unsupported_media_type", "Send Content-Encoding: gzip or none")
    return raw


def _bounded(text: bytes) -> bytes:
    if len(text) > BODY_BYTES_MAX:
        raise _too_large()
    return text


def _too_large() -> Problem:
    return Problem(413, "body_too_large", "The body may be at most 1 MB")


def _inflate(raw: bytes) -> bytes:
    inflater = zlib.decompressobj(wbits=31)
    try:
        inflated = _bounded(inflater.decompress(raw, BODY_BYTES_MAX + 1))
    except zlib.error:
        raise Problem(400, "invalid_encoding", "The body is not valid gzip") from None
    if not inflater.eof or inflater.unused_data:
        raise Problem(400, "invalid_encoding", "The body is not one whole gzip member")
    return inflated


def parse_json(text: bytes) -> Any:
    """A JSON value; 400 `invalid_json` for what is none (NaN included)."""
    try:
        return from_json(text, allow_inf_nan=False, cache_strings="keys")
    except ValueError:
        return _parse_slowly(text)


def _parse_slowly(text: bytes) -> Any:
    """As the standard library reads it: strings may hold lone surrogates, as JavaScript spells
    half an emoji, so that the field that holds one is named and the others are not spoilt."""
    try:
        return json.loads(text.decode(), parse_constant=_refuse, object_pairs_hook=_members)
    except (ValueError, RecursionError):
        raise Problem(400, "invalid_json", "The body is not valid JSON in UTF-8") from None


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name, _ in pairs:
        name.encode()  # raises ValueError: a name that is no text cannot be named in an answer
    return dict(pairs)


def field_errors(error: ModelError) -> Sequence[FieldError]:
    """What a model found wrong: each field by its path, without the input."""
    return [
        FieldError(_path(one["loc"]) or "body", one["type"], one["msg"])
        for one in error.errors(include_url=False, include_input=False, include_context=False)
    ]


def _path(steps: Sequence[int | str]) -> str:
    """Where a field stands. Below an `objective` the model's path names its type too, which is no
    step of the body's."""
    at = steps.index("objective") if "objective" in steps else len(steps)
    return ".".join(str(step) for nth, step in enumerate(steps) if nth != at + 1 or len(steps) <= 2)


# -- parameters ------------------------------------------------------------------------


_PARTICIPANT_ID = TypeAdapter(ParticipantId)


def participant_id_in_path(text: str) -> str:
    """The participant id of a path, under the same rules as in a body."""
    try:
        return _PARTICIPANT_ID.validate_python(text)
    except ModelError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise invalid_field("participant_id", found["type"], found["msg"]) from None


def query_int(name: str, default: int, low: int, high: int) -> int:
    """A whole number in plain ASCII digits within bounds."""
    text = request.args.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or not low <= int(text) <= high:
        raise invalid_field(name, "int_range", f"must be a whole number from {low} to {high}")
    return int(text)


def query_day(name: str) -> int | None:
    """A calendar date, `2026-05-23`, in days since 1970-01-01; None when not given."""
    text = request.args.get(name)
    if text is None:
        return None
    try:
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
            raise ValueError  # noqa: TRY301 - fromisoformat reads week dates too
        return (date.fromisoformat(text) - _EPOCH).days
    except ValueError:
        raise invalid_field(name, "date", "must be a date such as 2026-05-23") from None


def query_bool(name: str) -> bool | None:
    """`true` or `false`; None when not given."""
    text = request.args.get(name)
    if text is None:
        return None
    if text not in ("true", "false"):
        raise invalid_field(name, "bool", "must be true or false")
    return text == "true"


def page_window() -> tuple[int, int]:
    """`page` and `page_size` (contract §1)."""
    return query_int("page", 1, 1, 1_000_000), query_int("page_size", 50, 1, PAGE_SIZE_MAX)
