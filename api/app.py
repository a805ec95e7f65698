"""The composition root of the API: settings, connections, routes, headers."""

from __future__ import annotations

import os
import re
from typing import Any, cast

from flask import Flask, Request, Response, current_app, g
from werkzeug.exceptions import NotFound
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.wrappers import Response as AnyResponse

from api import (
    at_risk,
    audit,
    awards,
    badges,
    challenges,
    claims,
    dead_letters,
    deliveries,
    erasures,
    errors,
    facts,
    health,
    imports,
    leaderboards,
    overload,
    participant_challenges,
    participant_streaks,
    participants,
    paths,
    people,
    personal_data,
    points,
    programs,
    query,
    reference,
    replays,
    rewards,
    scrip,
    streaks,
    ticks,
    tier_assignments,
    tiers,
    validation,
    watching,
    webhook_secrets,
    webhook_trials,
    webhooks,
)
from api.answers import Answer, NoSessions
from api.auth import authenticate, principal
from api.context import (
    _NAME,
    BASE_PATH,
    SCRIP_PATH,
    AppContext,
    app_context,
    this_request,
)
from api.dashboard import registry as dashboard
from api.directory import Directory
from api.errors import Problem
from api.key_list import KeyList
from api.lean import Application
from api.operations import Operation
from api.throttle import Throttle
from api.waiting import Waiters
from models import rows
from models.db import engine as make_engine
from settings import Settings
from webhooks import egress
from workers import failpoints
from workers.intake import open_intake

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)  # sane enough to log and return


DIRECTORY_CONNECTIONS = 4  # a key is looked up once in seconds, not once a request
# A look-up takes a millisecond. Readiness asks here, too, and has to say within 5 s that Postgres
# does not answer: after this, a second for the way and 3 s for a new connection.
DIRECTORY_TIMEOUT_MS_MAX = 1_000
# No key is asked for; the dashboard asks for its session.
_OPEN = frozenset({health.blueprint.name, reference.blueprint.name, dashboard.blueprint.name})


_NOT_DESCRIBED = Operation("", {})


def create_app(settings: Settings | None = None) -> Flask:
    """The Flask application; reads the environment when it is given no settings."""
    settings = (settings or Settings.from_env()).require_urls()
    failpoints.arm(settings.failpoints)
    app = Application("unbroken", static_folder=None)
    app.request_class = query.Asked
    app.response_class = Answer
    app.session_interface = NoSessions()
    app.url_map.merge_slashes = False  # an id may hold //
    app.url_map.strict_slashes = True
    for name in ("default", "string", "participant"):
        app.url_map.converters[name] = paths.Segment
    app.url_map.converters["path"] = paths.Rest
    app.extensions[_NAME] = open_context(settings)
    errors.register(app)
    app.before_request(_before)
    app.after_request(_after)
    for open_to_all in (health, reference):
        app.register_blueprint(open_to_all.blueprint)
    for module in (
        ticks, streaks, participant_streaks, at_risk, awards, badges, points, tiers,
        tier_assignments, rewards, claims, challenges, participant_challenges, leaderboards,
        participants, personal_data, erasures, people, programs, webhooks, webhook_secrets,
        webhook_trials, deliveries, replays, facts, dead_letters, audit, imports,
    ):  # fmt: skip
        app.register_blueprint(module.blueprint, url_prefix=BASE_PATH)
    app.register_blueprint(scrip.blueprint, url_prefix=SCRIP_PATH)
    if settings.dashboard:
        app.register_blueprint(dashboard.blueprint)
    _trust_proxies(app, settings.proxies)
    return app


def _trust_proxies(app: Flask, count: int) -> None:
    """Take the client's address from what the operator's proxies add; nothing else of theirs."""
    if count:
        wsgi: Any = ProxyFix(app.wsgi_app, x_for=count, x_proto=0, x_host=0, x_port=0, x_prefix=0)
        cast(Any, app).wsgi_app = wsgi


def open_context(settings: Settings) -> AppContext:
    """The connections of one API process; nothing is connected before it is needed."""
    url, timeout_ms = settings.database_url, settings.database_timeout_ms
    soon_ms = min(timeout_ms, DIRECTORY_TIMEOUT_MS_MAX)
    engine = make_engine(url, timeout_ms=soon_ms, pool=DIRECTORY_CONNECTIONS)
    intake = open_intake(settings)
    return AppContext(
        settings=settings,
        engine=engine,
        rows=rows.engine(url, timeout_ms=timeout_ms, pool=settings.api_connections),
        intake=intake,
        directory=Directory(engine, intake),
        waiters=Waiters(settings.api_waiters_max),
        memory=overload.Memory(probe_seconds=settings.redis_timeout_ms / 1_000),
        throttle=Throttle(settings.failed_keys_per_minute),
        key_list=KeyList(engine),
        policy=egress.policy_of(settings),
    )


def _before() -> AnyResponse | None:
    """Name the request, refuse what cannot be a path, find out who asks."""
    watching.began()
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
        raise NotFound  # the router would take it for one slash, whoever guards paths would not
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
    """Refuse what the route does not know, where the view would not see it. One that nobody
    described knows nothing."""
    view = current_app.view_functions[here.endpoint or ""]
    if getattr(view, "is_for_admins", False) and not principal().key.is_admin:
        return  # the view refuses whatever is asked
    operation = getattr(view, "operation", _NOT_DESCRIBED)
    query.check(here, operation)
    if operation.body is None and here.method not in ("GET", "HEAD", "OPTIONS"):
        validation.check_no_body()


def _check_path(path: str) -> None:
    """Refuse bytes that are no UTF-8: read loosely, two ids could become one."""
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
    headers.setdefault("Cache-Control", "no-store")  # answers name people, some show a secret
    headers.setdefault("X-Content-Type-Options", "nosniff")
    for name, value in g.pop("rate_headers", {}).items():
        headers.add(name, value)
    watching.ended(response)
    return response
