"""The layout of every page: access, CSRF protection, headers, navigation, error pages."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlencode

from flask import Blueprint, Response, g, make_response, redirect, render_template, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from api.dashboard import filters, session
from api.dashboard.form_body import form
from api.http import auth, paths
from api.http.problems import RETRY_SECONDS, Problem
from api.http.request_context import DASHBOARD_PATH as PATH
from api.http.request_context import own_url, this_request
from models.db import DatabaseUnavailable

blueprint = Blueprint(
    "dashboard",
    __name__,
    url_prefix=PATH,
    template_folder="templates",
    static_folder="static",
    static_url_path="/static",
)
filters.register(blueprint)

OPEN = {"dashboard.sign_in", "dashboard.signing_in", "dashboard.static"}
# Nothing from other origins, nothing inline: a participant's name cannot become a script.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

# Section → its pages: endpoint and label.
NAVIGATION: dict[str, list[tuple[str, str, dict[str, str]]]] = {
    "": [("dashboard.overview", "Overview", {})],
    "Progression": [
        ("dashboard.listed", "Streaks", {"kind": "streaks"}),
        ("dashboard.listed", "Calendars", {"kind": "calendars"}),
        ("dashboard.listed", "Badges", {"kind": "badges"}),
        ("dashboard.listed", "Tiers", {"kind": "tiers"}),
        ("dashboard.listed", "Rewards", {"kind": "rewards"}),
        ("dashboard.listed", "Challenges", {"kind": "challenges"}),
        ("dashboard.listed", "Leaderboards", {"kind": "leaderboards"}),
    ],
    "Participants": [
        ("dashboard.participants", "Participants", {}),
        ("dashboard.at_risk", "At risk", {}),
    ],
    "Delivery": [
        ("dashboard.listed", "Destinations", {"kind": "webhooks"}),
        ("dashboard.dead_letters", "Dead letters", {}),
    ],
    "Access": [
        ("dashboard.keys", "Keys", {}),
        ("dashboard.audit_log", "Audit log", {}),
    ],
}


@blueprint.before_request
def guard() -> AnyResponse | None:
    """Require a session, and a CSRF token in every form."""
    here = this_request()
    if here.endpoint in OPEN:
        return None
    signed = session.read(here)
    if signed is None:
        return to_sign_in()
    g.signed = signed
    here.environ["HTTP_X_API_KEY"] = signed.key
    here.environ.pop("HTTP_AUTHORIZATION", None)
    try:
        auth.authenticate(here)
    except Problem as problem:
        if problem.status == 401:
            return to_sign_in()
        raise
    if not auth.principal().key.is_admin:
        return to_sign_in()
    if here.method != "GET" and not signed.is_from_a_form_of_ours(form().get("token")):
        return error_page(
            400, "This form has expired. Go back, reload the page and send the form again."
        )
    return None


def to_sign_in() -> AnyResponse:
    """Go to the sign-in page, and back to this page afterwards."""
    here = this_request()
    to = PATH
    if here.method == "GET":
        path = quote(paths.as_sent(here.environ), safe="/%")
        to = f"{path}?{here.query_string.decode('latin-1')}".rstrip("?")
    if here.headers.get("HX-Request"):  # a part of a page: redirect the whole page
        return Response(status=204, headers={"HX-Redirect": f"{PATH}/sign-in"})
    return redirect(f"{PATH}/sign-in?{urlencode({'next': to})}", 303)


def page(template: str, status: int = 200, **values: Any) -> Response:
    """A page in the layout."""
    caller = g.get("principal")
    html = render_template(
        f"dashboard/{template}",
        navigation=NAVIGATION if caller else {},
        tenant=caller.tenant if caller else None,
        token=g.signed.token if "signed" in g else "",
        notice=_notice(),
        url=own_url(),
        **values,
    )
    return make_response(html, status)


def _notice() -> str:
    with suppress(Problem):  # an undecodable query still gets an error page
        return request.args.get("notice", "")[:200]
    return ""


def error_page(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """A page with an error message."""
    response = page("error.html", status, code=status, detail=detail, title=f"Error {status}")
    if status == 503:
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    response.headers.update(headers or {})
    return response


@blueprint.errorhandler(Exception)
def show_error(error: Exception) -> AnyResponse:
    """The page of an exception: never a problem document, never a stack trace."""
    if isinstance(error, Problem):
        return _of(error.status, error.detail, error.headers)
    if isinstance(error, HTTPException):
        return _of(error.code or 500, error.description or "")
    if isinstance(error, DatabaseUnavailable):
        return _of(503, "The database does not answer. Try again in a moment.")
    raise error


def _of(status: int, detail: str, headers: Mapping[str, str] | None = None) -> AnyResponse:
    if status == 401:
        return to_sign_in()
    return error_page(status, detail, headers)


@blueprint.after_request
def protect(response: Response) -> Response:
    """The headers of every page; static files may be cached for a while."""
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["X-Frame-Options"] = "DENY"
    if this_request().endpoint == "dashboard.static":
        response.headers["Cache-Control"] = "public, max-age=300"
    return response
