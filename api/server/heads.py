"""Make a WSGI environ of a request's head. No name in the environ can mean two headers.

CGI folds `X_API_Key` and `X-API-Key` into one name and decodes the path. So a header with an
underscore is dropped, a header that may come once is refused when it comes twice, and the raw path
is kept in `REQUEST_URI` (read by api/http/paths.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from api.http.problems import Problem

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

Scope = dict[str, Any]  # ASGI's

NAMES_MAX = 500  # cached header names; bounded because callers choose them
_names = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}
_SEPARATORS = {"HTTP_COOKIE": "; "}  # RFC 6265 §5.4; all others use a comma (RFC 9110 §5.3)


def environ(scope: Scope) -> WSGIEnvironment:
    """The WSGI environ, without the entries about the server. Raises Problem."""
    raw_path, query = scope["raw_path"], scope["query_string"].decode("latin-1")
    path = (unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path).decode("latin-1")
    host, port = scope["server"]
    found: WSGIEnvironment = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "REQUEST_URI": raw_path.decode("latin-1") + (f"?{query}" if query else ""),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": scope["client"][0],
        "wsgi.url_scheme": scope["scheme"],
    }
    for raw_name, raw_value in scope["headers"]:
        name = _names.get(raw_name) or _name(raw_name)
        if name:
            value = raw_value.decode("latin-1")
            found[name] = value if name not in found else _both(name, found[name], value)
    return found


def _name(raw: bytes) -> str:
    """CGI's name of a header; empty if CGI would confuse it with another header."""
    name = "" if b"_" in raw else f"HTTP_{raw.decode('latin-1').upper().replace('-', '_')}"
    if len(_names) < NAMES_MAX:
        _names[raw] = name
    return name


def _both(name: str, first: str, second: str) -> str:
    """One value for two lines of a header.

    Two keys stay two: api/http/auth.py sees the comma, which no key contains.
    """
    if name == "HTTP_HOST":
        raise Problem(400, "bad_request", "The request has two Host headers.")
    return f"{first}{_SEPARATORS.get(name, ',')}{second}"
