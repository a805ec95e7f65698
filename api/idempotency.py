"""Idempotency keys: a second request with the same key and body is the first one (contract §2)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from api.context import this_request
from api.errors import invalid_field
from api.operations import Parameter
from workers.intake import Idempotency

_KEY = re.compile(r"[A-Za-z0-9_\-:.]{1,255}", re.ASCII)
IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    {"type": "string", "pattern": f"^{_KEY.pattern}$"},
    "A second request with the same key and body is answered with the first result.",
    where="header",
)


def idempotency(operation: str, posted: object) -> Idempotency | None:
    """The key of a request and the fingerprint of what it asks for; None without a key.

    The operation is part of the fingerprint: one key used for two of them is a conflict. That of a
    tick is empty, as the release before wrote it.
    """
    key = this_request().environ.get("HTTP_IDEMPOTENCY_KEY")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        message = "must be 1 to 255 of A-Z a-z 0-9 _ - : ."
        raise invalid_field("Idempotency-Key", "string_pattern_mismatch", message)
    return Idempotency(key, _digest(operation + repr(posted)))


def batch_idempotency(
    operation: str, valid: Sequence[int], items: Sequence[object]
) -> Idempotency | None:
    """The key of a batch. Which items were valid is part of the fingerprint: where a definition
    changed in between, a repetition is a conflict rather than a wrong answer."""
    if "HTTP_IDEMPOTENCY_KEY" not in this_request().environ:
        return None
    return idempotency(operation, (list(valid), list(items)))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
