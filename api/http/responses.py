"""Answers: JSON bodies made and sent with as little as it takes."""

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
    """A whole response with nothing left to correct: Location is a path of ours already, and the
    length of the body was added with it."""

    def get_wsgi_headers(self, environ: WSGIEnvironment) -> Headers:
        """The headers as they are."""
        return self.headers


def answer(
    payload: Any,
    status: int = 200,
    headers: dict[str, str] | None = None,
    content_type: str = "application/json",
) -> Response:
    """A response whose body is the payload as compact JSON in UTF-8, keys in their order, and the
    end of a line, for those who read it in a terminal."""
    return Answer(to_json(payload) + b"\n", status, headers, content_type=content_type)


class NoSessions(SessionInterface):
    """Keys authenticate: no request has a session, so none is opened or saved."""

    _none = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        """The same empty one for all; it cannot be written to."""
        return self._none
