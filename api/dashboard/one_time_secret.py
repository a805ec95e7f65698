"""Secrets that are shown once, on a page of their own.

The form that makes a secret answers with a redirect: reloading a direct answer would send the form
again and make another secret. The secret travels in a cookie, encrypted with the operator's key
ring, for that page and session only. So the server stores nothing, and no address contains a
secret. The page deletes the cookie.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from urllib.parse import urlencode

from flask import redirect
from werkzeug.wrappers import Response as AnyResponse

from api.dashboard import api_client, session
from api.dashboard.layout import blueprint, page
from api.http.request_context import DASHBOARD_PATH as PATH
from api.http.request_context import is_https, this_request
from api.resources.webhooks import schemas
from models import clock
from webhooks import secrets
from webhooks.errors import SecretsError

COOKIE = "unbroken_secret"
LIVES_S = 120  # enough to load the page
GONE = "The secret was shown once and cannot be shown again. If it is lost, rotate it."


@dataclass(frozen=True, slots=True)
class Secret:
    """The content of the cookie."""

    webhook_id: str
    secret: str
    title: str
    token: str  # of the session that made it
    ends_us: int


def lead_to(webhook_id: str, secret: str, title: str) -> AnyResponse:
    """Redirect to the page that shows a new secret."""
    ends_us = clock.now_us() + LIVES_S * 1_000_000
    made = Secret(webhook_id, secret, title, api_client.signed_in().token, ends_us)
    response = redirect(_path(webhook_id), 303)
    response.set_cookie(
        COOKIE,
        secrets.encrypt(schemas.ring(), json.dumps(asdict(made))),
        max_age=LIVES_S,
        path=_path(webhook_id),
        secure=is_https(this_request()),
        httponly=True,
        samesite="Strict",
    )
    return response


@blueprint.get("/webhooks/<webhook_id>/secret")
def secret(webhook_id: str) -> AnyResponse:
    """A new secret; the destination's deliveries once it was shown."""
    made = _made(webhook_id)
    webhook = api_client.get("admin", "webhooks", webhook_id)
    if made is None:
        return redirect(f"{PATH}/webhooks/{webhook['id']}?{urlencode({'notice': GONE})}", 303)
    response = page("secret.html", title=made.title, webhook=webhook, secret=made.secret)
    response.delete_cookie(COOKIE, path=_path(webhook_id), httponly=True, samesite="Strict")
    return response


def _made(webhook_id: str) -> Secret | None:
    """The content of the cookie, if it is recent and of this session and destination."""
    text = this_request().cookies.get(COOKIE, "")
    if not text or len(text) > session.COOKIE_CHARS_MAX:
        return None
    try:
        made = Secret(**json.loads(secrets.decrypt(schemas.ring(), text)))
    except (SecretsError, ValueError, TypeError):
        return None
    is_ours = (made.webhook_id, made.token) == (webhook_id, api_client.signed_in().token)
    return made if is_ours and made.ends_us > clock.now_us() else None


def _path(webhook_id: str) -> str:
    return f"{PATH}/webhooks/{webhook_id}/secret"
