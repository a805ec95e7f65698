"""Turn any exception of a view into a problem document."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from api.http.nearest_path import is_known, nearest_path
from api.http.problems import TITLES, Problem, document, outcome_unknown, try_again, unavailable
from api.http.responses import answer
from models.db import CommitUnknown, DatabaseUnavailable
from workers.intake.client import Full, IdempotencyConflict, OutcomeUnknown, Unavailable
from workers.telemetry import metrics_store
from workers.telemetry.metrics import ERRORS

log = logging.getLogger("unbroken.api")

_CODES = {413: "body_too_large"}
_OURS = "The server has a fault: report it with the request_id."


def render(problem: Problem) -> Response:
    """The response with a problem's document."""
    g.code = problem.code
    metrics_store.add(ERRORS, 1, problem.code)
    body = document(problem, g.get("request_id"))
    return answer(body, problem.status, problem.headers, "application/problem+json")


def translate(error: Exception) -> Problem:
    """The one table from exceptions to problems."""
    match error:
        case Problem():
            return error
        case OutcomeUnknown() | CommitUnknown():
            return outcome_unknown()
        case Unavailable() | DatabaseUnavailable():
            return unavailable()
        case Full():
            return try_again("overloaded", "The intake is full. Nothing was accepted; try again.")
        case IdempotencyConflict():
            detail = "This Idempotency-Key was first used with another body: use a new one."
            return Problem(409, "idempotency_conflict", detail)
        case HTTPException(code=int(status)):
            return _of_http(error, status)
        case _:
            log.exception("unexpected error in request %s", g.get("request_id"), exc_info=error)
            return Problem(500, "internal_error", _OURS)


def _of_http(error: HTTPException, status: int) -> Problem:
    """Refusals of Flask and its router, and failures while answering."""
    if status == 404:
        return _no_such_path()
    if status == 405:
        return _other_method(getattr(error, "valid_methods", None) or ())
    if status >= 500:  # already logged where it was raised
        return Problem(status, "internal_error", _OURS)
    return Problem(status, _CODES.get(status, "bad_request"), TITLES.get(status, "Error"))


def _no_such_path() -> Problem:
    meant = nearest_path()
    detail = f"did you mean {meant}?" if meant else "GET /openapi.json lists all paths."
    return Problem(404, "route_not_found", f"This path does not exist: {detail}")


def _other_method(methods: Iterable[str]) -> Problem:
    """405; or 404 if a segment only looks like a code or an id and another path was meant."""
    if not is_known(request.path) and nearest_path():
        return _no_such_path()
    allowed = ", ".join(sorted(methods))
    detail = f"{request.method} cannot be used here: use one of {allowed}."
    return Problem(405, "method_not_allowed", detail, (), {"Allow": allowed} if allowed else {})


def register(app: Flask) -> None:
    """Answer every error of an application with a problem document."""
    app.register_error_handler(Exception, lambda error: render(translate(error)))
