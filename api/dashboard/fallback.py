"""Addresses at which there is nothing: typed by hand, or from a bookmark of long ago."""

from __future__ import annotations

from flask import Request, abort, redirect
from werkzeug.wrappers import Response as AnyResponse

from api.dashboard.layout import blueprint
from api.http.request_context import DASHBOARD_PATH as PATH


@blueprint.route("/<path:rest>", methods=["GET", "POST"])
def nowhere(rest: str) -> AnyResponse:
    """A page that says so: what is no route of ours would be answered as the API answers."""
    abort(404, "This page does not exist.")


def to_overview(here: Request) -> AnyResponse | None:
    """Where a browser is sent that asks for the service itself, as people do who know its name
    alone. Programs are answered as ever: they do not ask for HTML by name."""
    if here.path != "/" or here.method not in ("GET", "HEAD"):
        return None
    if "text/html" not in here.headers.get("Accept", ""):
        return None
    return redirect(PATH, 303)
