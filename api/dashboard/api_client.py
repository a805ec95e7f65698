"""Requests to the API inside this process, with the routes and checks of outside requests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from flask import Response, abort, current_app, g
from werkzeug.test import EnvironBuilder

from api.dashboard.session import Signed
from api.http.request_context import BASE_PATH, this_request

SIGNED_OUT = 401


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """An answer of the API."""

    status: int
    body: dict[str, Any]

    @property
    def is_ok(self) -> bool:
        """Whether the request succeeded."""
        return self.status < 400

    @property
    def detail(self) -> str:
        """Why it failed, in words."""
        return str(self.body.get("detail", "The request was refused."))

    @property
    def errors(self) -> dict[str, str]:
        """The error of each field."""
        return {
            field_error["field"]: field_error["message"]
            for field_error in self.body.get("errors", [])
        }


def path_of(*steps: str) -> str:
    """A path of the API with each segment percent-encoded."""
    return "/".join([BASE_PATH, *(quote(step, safe="") for step in steps)])


def send(
    method: str,
    path: str,
    body: Any = None,
    query: dict[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> ApiAnswer:
    """Send a request with the session's key; a key that is no longer valid ends the session."""
    given = {name: str(value) for name, value in (query or {}).items() if value not in (None, "")}
    return _answered(
        _dispatched(
            path=path,
            method=method,
            query_string=urlencode(given),
            data=None if body is None else json.dumps(body),
            content_type=None if body is None else "application/json",
            headers=[*(headers or {}).items()],
        )
    )


def file(filename: str, *steps: str) -> Response:
    """A response to save as a file, streamed while it is read; an error page if it is refused."""
    found = _dispatched(path=path_of(*steps))
    if found.status_code >= 400:
        refused = _answered(found)
        abort(refused.status, refused.detail)
    headers = {
        "Content-Disposition": f'attachment; filename="{filename}"',
        "Content-Length": found.headers["Content-Length"],
    }
    response = Response(found.response, 200, headers, content_type=found.content_type)
    response.call_on_close(found.close)
    return response


def _dispatched(headers: Sequence[tuple[str, str]] = (), **request: Any) -> Response:
    """The API's response to a request with the key of the session."""
    here, signed = this_request(), signed_in()
    builder = EnvironBuilder(
        headers=[*headers, ("X-API-Key", signed.key), ("X-Request-Id", g.request_id)],
        environ_base={"REMOTE_ADDR": here.remote_addr or ""},
        **request,
    )
    with current_app.request_context(builder.get_environ()):
        return current_app.full_dispatch_request()


def _answered(response: Response) -> ApiAnswer:
    text = response.get_data()
    if response.status_code == SIGNED_OUT:
        abort(SIGNED_OUT)
    return ApiAnswer(response.status_code, json.loads(text) if text else {})


def get(*steps: str, **query: Any) -> dict[str, Any]:
    """The answer of a path; an error page if it is refused."""
    found = send("GET", path_of(*steps), query=query)
    if not found.is_ok:
        abort(found.status, found.detail)
    return found.body


def signed_in() -> Signed:
    """The session of this request."""
    found: Signed = g.signed
    return found
