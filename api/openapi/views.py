"""The API's documentation of itself: its OpenAPI document and a reference page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, current_app, render_template
from markupsafe import escape

from api.http.describe import describe
from api.http.request_context import own_url
from api.http.responses import Answer
from api.openapi import document, html

blueprint = Blueprint("reference", __name__, template_folder="templates")

ANYWHERE = "http://127.0.0.1:8000"  # in the page as built; the served page has the caller's address
_STYLE = Path(__file__).parent / "templates" / "reference.css"
_NOTHING_FOREIGN = (
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
_HEADERS = {
    "Cache-Control": "public, max-age=300",  # changes only with a release
    "Content-Security-Policy": _NOTHING_FOREIGN,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@blueprint.get("/openapi.json")
@describe("This API as an OpenAPI 3.1 document", answers={200: dict[str, Any]})
def openapi_json() -> Response:
    """The source for generated clients and tools."""
    return _kept("application/json", lambda: document.text_of(current_app))


@blueprint.get("/reference")
@describe("The reference page of this API", answers={200: str}, answer_type="text/html")
def reference() -> Response:
    """Every operation with its fields, answers, errors and an example; it needs no network."""
    served = _kept("text/html", _page)
    own = escape(own_url()).encode()
    served.data = served.data.replace(ANYWHERE.encode(), own)
    # Only the browser may cache the page: its address depends on the caller.
    served.headers["Cache-Control"] = "private, max-age=300"
    return served


@blueprint.get("/reference.css")
@describe("The style sheet of the reference page", answers={200: str}, answer_type="text/css")
def reference_style() -> Response:
    """The page's style sheet; the page loads nothing from other hosts."""
    return _kept("text/css", _STYLE.read_text)


def _page() -> str:
    return render_template("reference.html", **html.contents(document.document(current_app)))


def _kept(kind: str, make: Callable[[], str]) -> Response:
    """A text built once; two threads that build it at once build the same text."""
    kept = current_app.extensions.setdefault("unbroken.reference", {})
    if kind not in kept:
        kept[kind] = make().encode()
    content_type = kind if kind == "application/json" else f"{kind}; charset=utf-8"
    return Answer(kept[kind], 200, _HEADERS, content_type=content_type)
