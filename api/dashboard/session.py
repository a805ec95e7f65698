"""The session: the key in an HttpOnly cookie, encrypted with the operator's key ring.

The server stores nothing, so any process serves any request, and revoking a key ends its sessions.
The cookie also holds a CSRF token.
"""

from __future__ import annotations

import hmac
import json
import secrets as random
from dataclasses import dataclass

from flask import Request
from werkzeug.wrappers import Response

from api.http.request_context import app_context, is_https
from api.resources.webhooks import schemas
from models import clock
from models.rules.periods import HOUR_US
from webhooks import secrets
from webhooks.errors import SecretsError

COOKIE = "unbroken_session"
COOKIE_PATH = "/dashboard"
COOKIE_CHARS_MAX = 2_000  # ours has about 350


@dataclass(frozen=True, slots=True)
class Signed:
    """A session as stored in the cookie."""

    key: str
    token: str  # in every form
    ends_us: int

    def is_from_a_form_of_ours(self, token: str | None) -> bool:
        """Whether a form carries this session's token."""
        return token is not None and hmac.compare_digest(token.encode(), self.token.encode())


def begin(key: str) -> Signed:
    """A session for a valid key."""
    hours = app_context().settings.dashboard_session_hours
    return Signed(key, random.token_urlsafe(24), clock.now_us() + hours * HOUR_US)


def read(here: Request) -> Signed | None:
    """The session of a request; None without one, or if it is expired or invalid."""
    text = here.cookies.get(COOKIE, "")
    if not text or len(text) > COOKIE_CHARS_MAX:
        return None
    try:
        ring = secrets.ring(app_context().settings.secret_keys)
        signed = Signed(**json.loads(secrets.decrypt(ring, text)))
    except (SecretsError, ValueError, TypeError):
        return None
    return signed if signed.ends_us > clock.now_us() else None


def write(response: Response, here: Request, signed: Signed) -> None:
    """Set the cookie, over https with `Secure`. 503 without the operator's key ring."""
    values = {"key": signed.key, "token": signed.token, "ends_us": signed.ends_us}
    text = secrets.encrypt(schemas.ring(), json.dumps(values))
    hours = app_context().settings.dashboard_session_hours
    response.set_cookie(
        COOKIE,
        text,
        max_age=hours * 3_600,
        path=COOKIE_PATH,
        secure=is_https(here),
        httponly=True,
        samesite="Strict",
    )


def end(response: Response) -> None:
    """Delete the cookie."""
    response.delete_cookie(COOKIE, path=COOKIE_PATH, httponly=True, samesite="Strict")
