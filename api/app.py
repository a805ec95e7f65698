"""The composition root of the API: settings, connections, routes, headers."""

from __future__ import annotations

import os
import re

from flask import Flask, Response, g
from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter

from api import (
    at_risk,
    awards,
    badges,
    deliveries,
    erasures,
    errors,
    facts,
    health,
    participants,
    people,
    programs,
    reference,
    replays,
    scrip,
    streaks,
    ticks,
    webhook_secrets,
    webhook_trials,
    webhooks,
)
from api.answers import Answer, NoSessions
from api.auth import authenticate
from api.context import _NAME, BASE_PATH, SCRIP_PATH, AppContext, this_request
from api.directory import Directory
from api.errors import Problem
from api.waiting import Waiters
from models.db import engine as make_engine
from settings import Settings
from webhooks import egress
from workers.intake import open_intake

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)  # sane enough to log and return


_OPEN = frozenset({health.blueprint.name, reference.blueprint.name})  # no key is asked for


class ParticipantConverter(BaseConverter):
    """A participant id in a path: any text, slashes included (contract §1)."""

    part_isolating = False
    regex = ".+"


def create_app(settings: Settings | None = None) -> Flask:
    """The Flask application; reads the environment when it is given no settings."""
    settings = (settings or Settings.from_env()).require_urls()
    app = Flask("unbroken", static_folder=None)
    app.response_class = Answer
    app.session_interface = NoSessions()
    app.url_map.merge_slashes = False  # an id may hold //
    app.url_map.strict_slashes = True
    app.url_map.converters["participant"] = ParticipantConverter
    app.extensions[_NAME] = _context(settings)
    errors.register(app)
    app.before_request(_before)
    app.after_request(_after)
    for open_to_all in (health, reference):
        app.register_blueprint(open_to_all.blueprint)
    for module in (
        ticks, streaks, at_risk, awards, badges, participants, erasures, people, programs, webhooks,
        webhook_secrets, webhook_trials, deliveries, replays, facts,
    ):  # fmt: skip
        app.register_blueprint(module.blueprint, url_prefix=BASE_PATH)
    app.register_blueprint(scrip.blueprint, url_prefix=SCRIP_PATH)
    return app


def _context(settings: Settings) -> AppContext:
    engine = make_engine(
        settings.database_url,
        timeout_ms=settings.database_timeout_ms,
        pool=settings.api_threads,
    )
    intake = open_intake(settings)
    return AppContext(
        settings=settings,
        engine=engine,
        intake=intake,
        directory=Directory(engine, intake),
        waiters=Waiters(settings.api_waiters_max),
        policy=egress.policy_of(settings),
    )


def _before() -> None:
    """Name the request, refuse what cannot be a path, find out who asks."""
    here = this_request()
    given = here.headers.get("X-Request-Id")
    g.request_id = given if given and _REQUEST_ID.fullmatch(given) else os.urandom(16).hex()
    path = here.environ["PATH_INFO"]
    _check_path(path)
    if here.blueprint in _OPEN:
        return
    if path.startswith((BASE_PATH, SCRIP_PATH)):
        authenticate(here)
    if here.routing_exception is not None:
        raise here.routing_exception
    if here.blueprint is None:
        raise NotFound


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
    response.headers.add("X-Request-Id", g.request_id)
    for name, value in g.pop("rate_headers", {}).items():
        response.headers.add(name, value)
    return response
