"""Paths as they were sent: what is percent-encoded is part of a name and never separates.

WSGI's PATH_INFO is decoded, and in it `x%2Fbadges`, one id, is `x/badges`, a collection of another
participant. The server hands the path on as it came (api/server/heads.py), and routes are found
on that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote, unquote_to_bytes

from werkzeug.routing import PathConverter, UnicodeConverter

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# Stands in a segment for an encoded slash while a route is looked for. No path holds one itself:
# control characters are refused (api/app.py).
_SLASH = "\x1f"


def as_sent(environ: WSGIEnvironment) -> str:
    """The path as it was sent, or decoded where the server does not tell more."""
    path: str = environ["PATH_INFO"]
    sent: str = environ.get("REQUEST_URI", "").partition("?")[0]
    if "%" in sent and unquote_to_bytes(sent).decode("latin-1") == path:
        return sent
    return path if path.isascii() else path.encode("latin-1").decode(errors="replace")


def to_route(environ: WSGIEnvironment) -> str:
    """The path to find a route by: decoded segment by segment."""
    sent = as_sent(environ)
    if "%" not in sent or sent == environ["PATH_INFO"]:
        return sent
    return "/".join(unquote(part).replace("/", _SLASH) for part in sent.split("/"))


def is_spelled_as(rule: str, environ: WSGIEnvironment) -> bool:
    """Whether the fixed segments of a route's rule came as they stand there, and not encoded: a
    proxy that guards a path compares it with what was sent."""
    if "%" not in environ.get("REQUEST_URI", ""):
        return True
    for fixed, sent in zip(rule.split("/"), as_sent(environ).split("/"), strict=False):
        if fixed.startswith("<path:"):
            break
        if not fixed.startswith("<") and fixed != sent:
            return False
    return True


class Segment(UnicodeConverter):
    """A segment of a path: any text, slashes included where they were encoded (contract §1)."""

    def to_python(self, value: str) -> str:
        """The text."""
        return value.replace(_SLASH, "/")


class Rest(PathConverter):
    """All that is left of a path, a slash at its beginning included."""

    part_isolating = False
    regex = ".+"

    def to_python(self, value: str) -> str:
        """The text."""
        return value.replace(_SLASH, "/")
