"""Paths as sent: a percent-encoded character is part of a name and never separates segments.

WSGI decodes PATH_INFO. There the single id `x%2Fbadges` becomes `x/badges`, a collection of another
participant. The server keeps the raw path (api/server/heads.py), and routes are matched on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote, unquote_to_bytes

from werkzeug.routing import PathConverter, UnicodeConverter

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# Replaces an encoded slash in a segment while a route is matched. No path contains this character:
# control characters are refused (api/app.py).
_SLASH = "\x1f"


def as_sent(environ: WSGIEnvironment) -> str:
    """The raw path, or the decoded one if the server gives no raw path."""
    path: str = environ["PATH_INFO"]
    sent: str = environ.get("REQUEST_URI", "").partition("?")[0]
    if "%" in sent and unquote_to_bytes(sent).decode("latin-1") == path:
        return sent
    return path if path.isascii() else path.encode("latin-1").decode(errors="replace")


def to_route(environ: WSGIEnvironment) -> str:
    """The path used to match a route: decoded segment by segment."""
    sent = as_sent(environ)
    if "%" not in sent or sent == environ["PATH_INFO"]:
        return sent
    return "/".join(unquote(part).replace("/", _SLASH) for part in sent.split("/"))


def is_spelled_as(rule: str, environ: WSGIEnvironment) -> bool:
    """Whether the fixed segments of a route's rule came unencoded. A proxy that guards a path
    compares it with the raw path."""
    if "%" not in environ.get("REQUEST_URI", ""):
        return True
    for fixed, sent in zip(rule.split("/"), as_sent(environ).split("/"), strict=False):
        if fixed.startswith("<path:"):
            break
        if not fixed.startswith("<") and fixed != sent:
            return False
    return True


class Segment(UnicodeConverter):
    """A segment of a path: any text, including encoded slashes (contract §1)."""

    def to_python(self, value: str) -> str:
        """The text."""
        return value.replace(_SLASH, "/")


class Rest(PathConverter):
    """The rest of a path, including a leading slash."""

    part_isolating = False
    regex = ".+"

    def to_python(self, value: str) -> str:
        """The text."""
        return value.replace(_SLASH, "/")
