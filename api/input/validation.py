"""Bodies and parameters: read with limits, validated by models, refused with the field's name."""

from __future__ import annotations

import json
import re
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, ClassVar, TypeVar

from flask import Response, g, request
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
from pydantic_core import PydanticCustomError

from api.http.auth import tolerates_unknown
from api.http.problems import FieldError, Problem, invalid_field
from api.http.request_context import this_request
from api.http.responses import answer
from api.input.field_messages import CODE_CHARS, NO_NUL, PRINTABLE, checked, errors_of
from api.input.json_text import parse_json
from api.input.unknown_fields import has_unknown, refusal, unknown, unknown_in
from models import clock
from models.rules.periods import zone_names

BODY_BYTES_MAX = 1_000_000  # contract §1: 1 MB, also after inflating
FREE_FORM_BYTES_MAX = 16 * 1024
FREE_FORM_DEPTH_MAX = 20
_EPOCH = date(1970, 1, 1)
NUMBER_MAX = int(sys.float_info.max)  # a JSON reader with floats reads a larger number as infinity
PAGE_SIZE_MAX = 100


# -- field types -----------------------------------------------------------------------------

ParticipantId = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=255, pattern=PRINTABLE)
]
Code = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=50, pattern=CODE_CHARS)
]
Name = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=100, pattern=PRINTABLE)
]
Text = Annotated[str, StringConstraints(strict=True, max_length=5_000, pattern=NO_NUL)]

REASON_CHARS_MAX = 500
ReasonText = Annotated[
    str, StringConstraints(strict=True, max_length=REASON_CHARS_MAX, pattern=NO_NUL)
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
    """An RFC 3339 timestamp in microseconds since 1970."""
    if isinstance(value, str) and _RFC3339.fullmatch(value):
        try:
            return clock.to_us(datetime.fromisoformat(value.upper()))
        except ValueError:
            pass  # February 30th, a leap second: well-formed, but not storable
    raise PydanticCustomError(
        "timestamp", "must be an RFC 3339 timestamp with a zone, such as 2026-05-23T08:15:00Z"
    )


Instant = Annotated[
    int,
    PlainValidator(parse_instant),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


AHEAD_US_MAX = 60_000_000  # allowed clock skew of another machine


def _past(instant_us: int) -> int:
    if not 0 <= instant_us <= clock.now_us() + AHEAD_US_MAX:
        raise PydanticCustomError("past", "must be from 1970 on, and not in the future")
    return instant_us


PastInstant = Annotated[Instant, AfterValidator(_past)]


def _free_form(value: Any) -> str:
    """The JSON text of a free-form object within limits (contract §1)."""
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
            if not abs(value) <= NUMBER_MAX:  # `>` would let NaN pass
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


# A field that cannot be changed. No value satisfies its schema.
Fixed = Annotated[
    Any,
    PlainValidator(_unchangeable),
    WithJsonSchema({"not": {}, "description": "Cannot be changed."}),
]


class Body(BaseModel):
    """A request's JSON object. Fields that it does not know are refused, at every depth, unless
    the operator lets its tenant send them; then they are ignored."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)
    is_always_strict: ClassVar[bool] = False  # whatever the operator allows


B = TypeVar("B", bound=Body)

# -- reading ---------------------------------------------------------------------------------


def body(model: type[B]) -> B:
    """The request's JSON body as a model; 400, 413, 415 or 422 otherwise."""
    return validated(model, json_body())


def json_body() -> Any:
    """The request's JSON body as sent; 400, 413 or 415 otherwise."""
    if "sent_json" not in g:
        require_type("application/json")
        g.sent_json = parse_json(read_body())  # its fingerprint belongs to the Idempotency-Key
    return g.sent_json


def validated(model: type[B], value: Any) -> B:
    """Validate a value; 422 if it does not fit the model."""
    try:
        return model.model_validate(value)
    except ModelError as error:
        found = errors_of(error)
        if model.is_always_strict or not has_unknown(found) or not tolerates_unknown():
            raise refusal(model, found) from None
    try:
        return model.model_validate(value, extra="ignore")
    except ModelError as error:
        raise refusal(model, errors_of(error)) from None


def has_no_body() -> bool:
    """Whether the body is empty, whatever its content type."""
    here = this_request()
    return not here.content_length and "HTTP_TRANSFER_ENCODING" not in here.environ


def check_no_body() -> None:
    """422 for an unexpected body: the sender of `{"dry_run": true}` expects an effect."""
    text = b"" if has_no_body() else read_body().strip()
    if text in (b"", b"{}", b"null") or tolerates_unknown():
        return
    value = parse_json(text)
    if not isinstance(value, dict):
        raise invalid_field("body", "unexpected", "must be empty: this request takes none")
    if value:
        raise unknown(unknown_in((), value), len(value))


def require_type(*allowed: str) -> str:
    """The request's media type; it must be an allowed one."""
    if request.environ.get("CONTENT_TYPE") == allowed[0]:
        return allowed[0]  # the usual spelling needs no parsing
    if request.mimetype not in allowed:
        raise Problem(415, "unsupported_media_type", f"Send Content-Type: {' or '.join(allowed)}")
    return request.mimetype


def read_body() -> bytes:
    """The body, inflated, up to 1 MB."""
    here = this_request()
    if (here.content_length or 0) > BODY_BYTES_MAX:
        raise _too_large()  # before waiting for the body
    raw = here.stream.read(BODY_BYTES_MAX + 1)
    if len(raw) > BODY_BYTES_MAX:
        raise _too_large()
    encoding = here.environ.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    if encoding == "gzip":
        return _inflate(raw)
    if encoding not in ("", "identity"):
        raise Problem(415, "unsupported_media_type", "Send Content-Encoding: gzip or none")
    return raw


def _too_large() -> Problem:
    return Problem(413, "body_too_large", "The body may be at most 1 MB")


def _inflate(raw: bytes) -> bytes:
    inflater = zlib.decompressobj(wbits=31)
    try:
        inflated = inflater.decompress(raw, BODY_BYTES_MAX + 1)
    except zlib.error:
        raise Problem(400, "invalid_encoding", "The body is not valid gzip") from None
    if len(inflated) > BODY_BYTES_MAX:
        raise _too_large()
    if not inflater.eof or inflater.unused_data:
        raise Problem(400, "invalid_encoding", "The body is not one whole gzip member")
    return inflated


def some_fields(change: Mapping[str, Any]) -> None:
    """400 unless a field is to be changed."""
    if not change:
        raise no_fields()


def no_fields(errors: Sequence[FieldError] = ()) -> Problem:
    """400: no field is to be changed."""
    return Problem(400, "no_fields_to_update", "Give at least one field to change", errors)


# -- parameters ------------------------------------------------------------------------


_PARTICIPANT_ID = TypeAdapter(ParticipantId)


def participant_id_in_path(text: str) -> str:
    """The participant id in a path, validated as in a body."""
    found: str = checked("participant_id", _PARTICIPANT_ID, text)
    return found


def query_int(name: str, default: int, low: int, high: int) -> int:
    """An integer in ASCII digits within limits."""
    text = request.args.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or not low <= int(text) <= high:
        raise invalid_field(name, "int_range", f"must be a whole number from {low} to {high}")
    return int(text)


def query_day(name: str) -> int | None:
    """A date (`2026-05-23`) in days since 1970-01-01; None if not given."""
    text = request.args.get(name)
    if text is None:
        return None
    try:
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
            raise ValueError  # noqa: TRY301 - fromisoformat also reads week dates
        return (date.fromisoformat(text) - _EPOCH).days
    except ValueError:
        raise invalid_field(name, "date", "must be a date such as 2026-05-23") from None


def query_bool(name: str) -> bool | None:
    """`true` or `false`; None if not given."""
    text = request.args.get(name)
    if text is None:
        return None
    if text not in ("true", "false"):
        raise invalid_field(name, "bool", "must be true or false")
    return text == "true"


_REASON: TypeAdapter[str] = TypeAdapter(ReasonText)


def reason_in_query() -> str | None:
    """The parameter `reason`."""
    text = request.args.get("reason")
    if text is None:
        return None
    found: str = checked("reason", _REASON, text)
    return found


@dataclass(frozen=True, slots=True)
class PageWindow:
    """The requested page of a list (contract §1)."""

    page: int
    page_size: int

    @property
    def slice(self) -> tuple[int, int]:
        """Limit and offset."""
        return self.page_size, (self.page - 1) * self.page_size

    def answer(
        self, items: Sequence[Any], total: int, name: str = "items", **more: Any
    ) -> Response:
        """The page with its items; `total` is the number of items on all pages."""
        page = {name: items, "total": total, "page": self.page, "page_size": self.page_size}
        return answer(page | more)


def page_window() -> PageWindow:
    """`page` and `page_size` of the query."""
    page = query_int("page", 1, 1, 1_000_000)
    return PageWindow(page, query_int("page_size", 50, 1, PAGE_SIZE_MAX))
