"""Form bodies, read with limits: a body may be long, slow or endless, from an unknown sender."""

from __future__ import annotations

from urllib.parse import parse_qsl

from flask import g
from werkzeug.exceptions import RequestEntityTooLarge

from api.http.request_context import this_request

FORM_BYTES_MAX = 200_000  # the longest description, percent-encoded, with some reserve


def form() -> dict[str, str]:
    """The fields of a form, the first value of each name; read once, with limits."""
    if "form" not in g:
        pairs = parse_qsl(_sent().decode(errors="replace"), keep_blank_values=True)
        g.form = dict(reversed(pairs))
    found: dict[str, str] = g.form
    return found


def _sent() -> bytes:
    """The bytes of a form; a chunked body has no length and may never end."""
    here = this_request()
    if (here.content_length or 0) > FORM_BYTES_MAX:
        raise RequestEntityTooLarge
    raw = here.stream.read(FORM_BYTES_MAX + 1)
    if len(raw) > FORM_BYTES_MAX:
        raise RequestEntityTooLarge
    return raw
