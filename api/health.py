"""Health: is the process alive, and can it serve."""

from __future__ import annotations

from flask import Blueprint, Response

from api.answers import answer
from api.context import app_context
from models import schema
from models.db import DatabaseError, reading
from workers.intake import Unavailable

blueprint = Blueprint("health", __name__)


@blueprint.get("/livez")
def livez() -> Response:
    """The process answers; nothing else is asked."""
    return answer({"status": "ok"})


@blueprint.get("/readyz")
def readyz() -> Response:
    """Redis and Postgres answer and the schema is the one this release needs."""
    checks = {"redis": _redis(), "postgres": _postgres()}
    is_ready = all(state == "ok" for state in checks.values())
    body = {"status": "ok" if is_ready else "unavailable", "checks": checks}
    return answer(body, 200) if is_ready else answer(body, 503, {"Retry-After": "1"})


def _redis() -> str:
    try:
        app_context().intake.ping()
    except Unavailable:
        return "unavailable"
    return "ok"


def _postgres() -> str:
    try:
        with reading(app_context().engine) as session:
            return "ok" if schema.revision(session) == schema.head() else "migrations missing"
    except DatabaseError:
        return "unavailable"
