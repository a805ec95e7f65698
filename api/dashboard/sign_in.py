"""Sign in with an admin key, and sign out."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Request, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from api.dashboard import session
from api.dashboard.form_body import form
from api.dashboard.layout import blueprint, page
from api.http.failed_key_throttle import client_address
from api.http.request_context import DASHBOARD_PATH as PATH
from api.http.request_context import app_context, this_request
from models.identity import tenants

FROM_ELSEWHERE = "Sign in from this page, not from a page of another site."
NOT_LET_IN = "This key is unknown, expired, revoked, or has no admin scope."


@blueprint.get("/sign-in")
def sign_in() -> AnyResponse:
    """Ask for a key."""
    return page("sign_in.html", title="Sign in", to=_to(request.args.get("next")), error="")


@blueprint.post("/sign-in")
def signing_in() -> AnyResponse:
    """Begin a session for an admin key; guesses are throttled like the API's."""
    here = this_request()
    if not _is_from_a_page_of_ours(here):
        return page("sign_in.html", 403, title="Sign in", to=PATH, error=FROM_ELSEWHERE)
    given = form()
    key, to = given.get("key", "").strip(), _to(given.get("next"))
    address = client_address(here)
    if not app_context().directory.was_valid(key):
        app_context().throttle.check(address)
    if not _is_let_in(key):
        app_context().throttle.failed(address)
        return page("sign_in.html", 403, title="Sign in", to=to, error=NOT_LET_IN)
    response = redirect(to, 303)
    session.write(response, here, session.begin(key))
    return response


@blueprint.post("/sign-out")
def sign_out() -> AnyResponse:
    """End the session."""
    response = redirect(f"{PATH}/sign-in", 303)
    session.end(response)
    return response


def _is_from_a_page_of_ours(here: Request) -> bool:
    """Whether the form is ours: a foreign page must not sign a browser in with another key."""
    site = here.headers.get("Sec-Fetch-Site")  # over plain http browsers send only Origin
    if site is not None:
        return site in ("same-origin", "none")
    origin = here.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == here.host


def _is_let_in(key: str) -> bool:
    if not tenants.is_well_formed(key):
        return False
    found = app_context().directory.load(key, for_reading=True)
    return bool(found and found.is_valid and found.key.is_admin and found.tenant.is_enabled)


def _to(text: str | None) -> str:
    """The page to go to: one of ours, whatever was requested."""
    if text and (text == PATH or text.startswith((f"{PATH}/", f"{PATH}?"))) and _is_plain(text):
        return text
    return PATH


def _is_plain(text: str) -> bool:
    """Whether it has no line break (invalid in a header) and nothing that browsers rewrite."""
    return text.isprintable() and "\\" not in text
