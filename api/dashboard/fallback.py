"""Addresses without a page: mistyped, or from an old bookmark."""

from __future__ import annotations

from flask import Request, abort, redirect
from werkzeug.wrappers import Response as AnyResponse

from api.dashboard.layout import blueprint
from api.http.request_context import DASHBOARD_PATH as PATH


@blueprint.route("/<path:rest>", methods=["GET", "POST"])
def nowhere(rest: str) -> AnyResponse:
    """A 404 page; without this view the API would answer."""
    abort(404, "This page does not exist.")


def to_overview(here: Request) -> AnyResponse | None:
    """Redirect a browser that opens the service's root to the overview. Programs get the API's
    answer: they do not ask for HTML by name."""
    if here.path != "/" or here.method not in ("GET", "HEAD"):
        return None
    if "text/html" not in here.headers.get("Accept", ""):
        return None
    return redirect(PATH, 303)
