"""The composition root of the API: settings, connections, routes, headers."""

from __future__ import annotations

import os
import re
from typing import Any, cast

from flask import Flask, Request, Response, current_app, g
from werkzeug.exceptions import NotFound
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.wrappers import Response as AnyResponse

from api.dashboard import pages as dashboard
from api.http import access_log, error_handler, load_shedding, paths
from api.http.auth import authenticate, principal
from api.http.describe import Operation
from api.http.failed_key_throttle import Throttle
from api.http.flask_tuning import Application
from api.http.key_cache import Directory
from api.http.key_list import KeyList
from api.http.prefer import Waiters
from api.http.problems import Problem
from api.http.request_context import (
    BASE_PATH,
    EXTENSION,
    SCRIP_PATH,
    ApiSettings,
    AppContext,
    app_context,
    this_request,
)
from api.http.responses import Answer, NoSessions
from api.input import query, validation
from api.openapi import views
from api.resources.activity import awards, points, redemptions, ticks, tier_assignments
from api.resources.definitions import (
    badges,
    calendars,
    challenges,
    leaderboards,
    outages,
    programs,
    rewards,
    streaks,
    tiers,
)
from api.resources.operator import audit_log, dead_letters, health
from api.resources.participants import (
    at_risk,
    erasures,
    imports,
    participants,
    personal_data,
    scrip,
    search,
)
from api.resources.participants import challenges as participant_challenges
from api.resources.participants import streaks as participant_streaks
from api.resources.repair import (
    freezes,
    merges,
    pauses,
    repairs,
    restores,
    retractions,
    streak_changes,
)
from api.resources.webhooks import deliveries, destinations, facts, replays, secrets, test_sends
from models import failpoints
from models.db import engine as make_engine
from models.db import tenant_isolation
from settings import Settings
from webhooks import egress
from webhooks.egress import EgressSettings
from workers.intake import loop_calls
from workers.intake.client import IntakeSettings, open_intake

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)  # safe to log and to return


DIRECTORY_CONNECTIONS = 4  # a key is looked up once in seconds, not per request
# A look-up takes 1 ms. Readiness uses these connections too and must report within 5 s that
# Postgres does not answer: after this time-out, 1 s for the round trip and 3 s to connect.
DIRECTORY_TIMEOUT_MS_MAX = 1_000
# No key is needed; the dashboard checks its session.
_OPEN = frozenset({health.blueprint.name, views.blueprint.name, dashboard.blueprint.name})


_NOT_DESCRIBED = Operation("", {})


def create_app(settings: Settings | None = None) -> Flask:
    """The Flask application; without settings it reads the environment."""
    settings = (settings or Settings.from_env()).require_urls()
    failpoints.arm(settings.failpoints)
    app = Application("unbroken", static_folder=None)
    app.request_class = query.Utf8Request
    app.response_class = Answer
    app.session_interface = NoSessions()
    app.url_map.merge_slashes = False  # an id may contain //
    app.url_map.strict_slashes = True
    for name in ("default", "string", "participant"):
        app.url_map.converters[name] = paths.Segment
    app.url_map.converters["path"] = paths.Rest
    app.extensions[EXTENSION] = open_context(settings)
    error_handler.register(app)
    app.before_request(_before)
    app.after_request(_after)
    for open_to_all in (health, views):
        app.register_blueprint(open_to_all.blueprint)
    for module in (
        ticks, streaks, calendars, outages, participant_streaks, at_risk, awards, badges, points,
        tiers, tier_assignments, rewards, redemptions, challenges, participant_challenges,
        leaderboards, participants, personal_data, erasures, search, programs, destinations,
        secrets, test_sends, deliveries, replays, facts, dead_letters, audit_log, imports,
        streak_changes, pauses, freezes, repairs, restores, retractions, merges,
    ):  # fmt: skip
        app.register_blueprint(module.blueprint, url_prefix=BASE_PATH)
    app.register_blueprint(scrip.blueprint, url_prefix=SCRIP_PATH)
    if settings.dashboard:
        app.register_blueprint(dashboard.blueprint)
    _trust_proxies(app, settings.proxies)
    return app


def _trust_proxies(app: Flask, count: int) -> None:
    """Take the client's address, and nothing else, from what the operator's proxies add."""
    if count:
        wsgi: Any = ProxyFix(app.wsgi_app, x_for=count, x_proto=0, x_host=0, x_port=0, x_prefix=0)
        cast(Any, app).wsgi_app = wsgi


def open_context(settings: Settings) -> AppContext:
    """The connections of one API process; they are opened on first use."""
    url, timeout_ms = settings.database_url, settings.database_timeout_ms
    soon_ms = min(timeout_ms, DIRECTORY_TIMEOUT_MS_MAX)
    engine = make_engine(
        url, timeout_ms=soon_ms, pool=DIRECTORY_CONNECTIONS, before_use=loop_calls.may_block
    )
    intake = open_intake(settings.of(IntakeSettings))
    return AppContext(
        settings=settings.of(ApiSettings),
        engine=engine,
        rows=tenant_isolation.engine(
            url,
            timeout_ms=timeout_ms,
            pool=settings.api_connections,
            before_use=loop_calls.may_block,
        ),
        intake=intake,
        directory=Directory(engine, intake),
        waiters=Waiters(settings.api_waiters_max),
        memory=load_shedding.Memory(probe_seconds=settings.redis_timeout_ms / 1_000),
        throttle=Throttle(settings.failed_keys_per_minute),
        key_list=KeyList(engine),
        policy=egress.policy_of(settings.of(EgressSettings)),
    )


def _before() -> AnyResponse | None:
    """Assign the request id, refuse invalid paths, authenticate."""
    access_log.began()
    here = this_request()
    given = here.environ.get("HTTP_X_REQUEST_ID")
    g.request_id = given if given and _REQUEST_ID.fullmatch(given) else os.urandom(16).hex()
    path = here.environ["PATH_INFO"]
    _check_path(path)
    if here.url_rule is not None and not paths.is_spelled_as(here.url_rule.rule, here.environ):
        raise NotFound
    if here.blueprint in _OPEN:
        return None
    if path.startswith("//"):
        raise NotFound  # the router would merge the slashes, a proxy that guards paths would not
    if here.blueprint is not None or path.startswith((BASE_PATH, SCRIP_PATH)):
        authenticate(here)
    if here.blueprint is None and app_context().settings.dashboard:
        to = dashboard.to_overview(here)
        if to is not None:
            return to
    if here.routing_exception is not None:
        raise here.routing_exception
    if here.blueprint is None:
        raise NotFound
    _check_names(here)
    return None


def _check_names(here: Request) -> None:
    """Refuse unknown parameters and bodies that the view would not see. A route without a
    description knows none."""
    view = current_app.view_functions[here.endpoint or ""]
    if getattr(view, "is_for_admins", False) and not principal().key.is_admin:
        return  # the view refuses every request
    operation = getattr(view, "operation", _NOT_DESCRIBED)
    if here.query_string:
        query.check(here, operation)
    has_body = operation.body is not None or operation.text_body is not None
    if not has_body and here.method not in ("GET", "HEAD", "OPTIONS"):
        validation.check_no_body()


def _check_path(path: str) -> None:
    """Refuse bytes that are not UTF-8: lenient decoding could turn two ids into one."""
    if path.isascii() and path.isprintable():
        return
    try:
        text = path.encode("latin-1").decode()
    except UnicodeError:
        raise Problem(400, "invalid_path", "The path is not valid UTF-8") from None
    if re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", text):
        raise Problem(400, "invalid_path", "The path holds control characters")


def _after(response: Response) -> Response:
    headers = response.headers
    headers.add("X-Request-Id", g.request_id)
    headers.setdefault("Cache-Control", "no-store")  # answers hold personal data, and some a secret
    headers.setdefault("X-Content-Type-Options", "nosniff")
    for name, value in g.pop("rate_headers", {}).items():
        headers.add(name, value)
    access_log.ended(response)
    return response
