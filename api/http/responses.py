"""Responses with JSON bodies, built and sent with little overhead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Response
from flask.sessions import NullSession, SessionInterface
from pydantic_core import to_json
from werkzeug.datastructures import Headers

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment
    from flask import Flask, Request


class Answer(Response):
    """A response that needs no correction: Location is already a path, and Content-Length was set
    with the body."""

    def get_wsgi_headers(self, environ: WSGIEnvironment) -> Headers:
        """The headers unchanged."""
        return self.headers


def answer(
    payload: Any,
    status: int = 200,
    headers: dict[str, str] | None = None,
    content_type: str = "application/json",
) -> Response:
    """A response with the payload as compact JSON in UTF-8, keys in their order, and a final
    newline for terminals."""
    return Answer(to_json(payload) + b"\n", status, headers, content_type=content_type)


class NoSessions(SessionInterface):
    """Keys authenticate: no request has a session, so none is opened or saved."""

    _none = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        """One empty, read-only session for all requests."""
        return self._none
