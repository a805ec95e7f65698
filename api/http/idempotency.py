"""Idempotency keys: a repeated key with the same body means the same request (contract §2)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from flask import g

from api.http.describe import Parameter
from api.http.problems import Problem, invalid_field
from api.http.request_context import this_request
from workers.intake.client import Idempotency

_KEY = re.compile(r"[A-Za-z0-9_\-:.]{1,255}", re.ASCII)
IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    {"type": "string", "pattern": f"^{_KEY.pattern}$"},
    "A second request with the same key and body returns the first result.",
    where="header",
)


# The fields of the models when fingerprints were made from their `repr`. The previous release wrote
# such fingerprints: they are accepted as long as its keys are kept (UNBROKEN_IDEMPOTENCY_HOURS).
_FIELDS_BEFORE = {
    "TickBody": ("participant_id", "streak_code", "timestamp", "timezone", "metadata"),
    "PointsBody": ("participant_id", "amount", "reason", "metadata"),
    "AssignmentBody": ("participant_id", "tier_code", "reason", "metadata"),
    "_Wanted": ("participant_id", "reward_id", "metadata"),
}


def idempotency(operation: str, posted: object, **named: str) -> Idempotency | None:
    """The key of a request and the fingerprint of its content; None without a key.

    The content is the JSON of the body plus what else identifies the request, such as a part of its
    path. It is no model of ours, so a release with one more field computes the same fingerprint. It
    includes the operation: one key used for two operations is a conflict.
    """
    if "HTTP_IDEMPOTENCY_KEY" not in this_request().environ:
        return None
    sent = _canonical([operation, g.get("sent_json"), named])
    return _idempotency(sent, operation + _repr_before(posted))


def batch_idempotency(
    operation: str, valid: Sequence[int], items: Sequence[object]
) -> Idempotency | None:
    """The key of a batch. The fingerprint includes which items were valid: if a definition changed
    in between, a repetition is a conflict rather than a wrong answer."""
    if "HTTP_IDEMPOTENCY_KEY" not in this_request().environ:
        return None
    sent = [None if isinstance(item, Problem) else item for item in items]
    before = operation + repr((list(valid), list(items)))
    return _idempotency(_canonical([operation, list(valid), sent]), before)


def _idempotency(sent: str, before: str) -> Idempotency:
    key = this_request().environ["HTTP_IDEMPOTENCY_KEY"]
    if not _KEY.fullmatch(key):
        message = "must be 1 to 255 of A-Z a-z 0-9 _ - : ."
        raise invalid_field("Idempotency-Key", "string_pattern_mismatch", message)
    return Idempotency(key, _digest(sent), _digest(before))


def _canonical(value: object) -> str:
    try:
        return canonical(value)
    except RecursionError:
        raise Problem(400, "invalid_json", "The body is nested too deeply") from None


def canonical(value: object) -> str:
    """JSON in one spelling: sorted members, no spaces, 1.0 as 1. Pure."""
    plain = _with_plain_numbers(value)
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _with_plain_numbers(value: Any) -> Any:
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_with_plain_numbers(item) for item in value]
        case dict():
            return {name: _with_plain_numbers(item) for name, item in value.items()}
        case _:
            return value


def _repr_before(posted: object) -> str:
    name = type(posted).__name__
    known = _FIELDS_BEFORE.get(name, ())  # the previous release did not have the others
    fields = (f"{field}={getattr(posted, field)!r}" for field in known)
    return f"{name}({', '.join(fields)})"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
