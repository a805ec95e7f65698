"""Health: liveness and readiness of the process."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NotRequired

from flask import Blueprint, Response
from typing_extensions import TypedDict

from api.http.describe import describe
from api.http.request_context import app_context
from api.http.responses import answer
from api.resources.operator import disk
from models.db import DatabaseError, reading, schema, tenant_isolation
from workers.intake.client import Unavailable

blueprint = Blueprint("health", __name__)


class Alive(TypedDict):
    """The process answers."""

    status: Literal["ok"]


Postgres = Literal["ok", "unavailable", "migrations missing", "tenant role not taken"]


class Checks(TypedDict):
    """The state of each server; under `unbroken up` also of its disk."""

    redis: Literal["ok", "unavailable"]
    postgres: Postgres
    disk: NotRequired[Literal["ok", "full"]]


class DatabaseCheck(TypedDict):
    """The state of Postgres."""

    postgres: Postgres


class Readiness(TypedDict):
    """Whether requests can be served."""

    status: Literal["ok", "unavailable"]
    checks: Checks


class DatabaseReadiness(TypedDict):
    """Whether Postgres answers."""

    status: Literal["ok", "unavailable"]
    checks: DatabaseCheck


@blueprint.get("/livez")
@describe("Check that the process is alive", answers={200: Alive})
def livez() -> Response:
    """The process answers. Nothing else is checked."""
    return answer({"status": "ok"})


@blueprint.get("/readyz")
@describe("Check that requests can be served", answers={200: Readiness, 503: Readiness})
def readyz() -> Response:
    """Redis and Postgres answer, the schema is this release's or a newer one's, and requests run
    as the role that sees one tenant's rows."""
    checks: Checks = {"redis": _redis(), "postgres": _postgres()}
    if folder := app_context().settings.data_folder:
        checks["disk"] = "full" if disk.is_full(Path(folder)) else "ok"
    is_ready = all(state == "ok" for state in checks.values())
    body: Readiness = {"status": "ok" if is_ready else "unavailable", "checks": checks}
    return answer(body, 200) if is_ready else answer(body, 503, {"Retry-After": "1"})


@blueprint.get("/readyz/postgres")
@describe(
    "Check that reads can be served", answers={200: DatabaseReadiness, 503: DatabaseReadiness}
)
def readyz_postgres() -> Response:
    """Like /readyz, without Redis, which reads do not need."""
    state = _postgres()
    if state == "ok":
        return answer({"status": "ok", "checks": {"postgres": state}})
    body: DatabaseReadiness = {"status": "unavailable", "checks": {"postgres": state}}
    return answer(body, 503, {"Retry-After": "1"})


def _redis() -> Literal["ok", "unavailable"]:
    try:
        app_context().intake.ping()
    except Unavailable:
        return "unavailable"
    return "ok"


def _postgres() -> Postgres:
    try:
        with reading(app_context().engine) as connection:
            if not schema.is_enough(connection):
                return "migrations missing"
        return (
            "ok" if tenant_isolation.is_role_taken(app_context().rows) else "tenant role not taken"
        )
    except DatabaseError:
        return "unavailable"
