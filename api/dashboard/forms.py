"""What a form sent, read within bounds: it may be long, slow, or never come, and from anybody."""

from __future__ import annotations

from urllib.parse import parse_qsl

from flask import Request, g
from werkzeug.exceptions import (
    BadRequest,
    RequestEntityTooLarge,
    RequestTimeout,
    ServiceUnavailable,
)

from api import bodies
from api.context import this_request
from api.throttle import client_address, network

FORM_BYTES_MAX = 200_000  # the longest description, percent-encoded, and some to spare

# Whoever signs in has shown no key: their bodies take no place from those who have, and hold
# eight threads of 16 at most, for two seconds.
_strangers = bodies.Bodies(seconds_max=2.0, at_once_max=0, readers_max=8)


def form() -> dict[str, str]:
    """The fields of a form that was sent, the first of each name; read once, within bounds."""
    if "form" not in g:
        pairs = parse_qsl(_sent().decode(errors="replace"), keep_blank_values=True)
        g.form = dict(reversed(pairs))
    found: dict[str, str] = g.form
    return found


def _sent() -> bytes:
    """The bytes of a form: it has no length where it comes in chunks, and may never come."""
    here = this_request()
    if (here.content_length or 0) > FORM_BYTES_MAX:
        raise RequestEntityTooLarge
    try:
        raw = _take(here)
    except bodies.TooSlow:
        raise RequestTimeout from None
    except bodies.TooMany:
        raise ServiceUnavailable from None
    if len(raw) > FORM_BYTES_MAX:
        raise RequestEntityTooLarge
    if len(raw) < (here.content_length or 0):
        raise BadRequest
    return raw


def _take(here: Request) -> bytes:
    if who := g.get("principal"):
        return bodies.take(here.stream, FORM_BYTES_MAX + 1, who.key.id)
    address = network(client_address(here))
    return _strangers.take(here.stream, FORM_BYTES_MAX + 1, address)
