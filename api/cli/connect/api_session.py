"""An HTTP session with the API, for the commands that need only a key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click
import requests
from requests import PreparedRequest

from api.cli.errors import CannotRun
from api.cli.fact_line import printable
from api.cli.local import data_dir
from api.cli.local.data_dir import Data
from api.cli.options import data_option
from api.cli.ports import reachable

F = TypeVar("F", bound=Callable[..., Any])

BASE = "/api/v1/gamify"
# More than the API's slowest answer: a test send waits 15 s for the receiver.
ANSWER_SECONDS = 30.0
DOWNLOAD_SECONDS = 300.0  # until the first byte and between two bytes: a long history is read first
CHUNK_BYTES = 65_536
LINE_CHARS_MAX = 400  # of an API message on the terminal
_HERE = frozenset({"127.0.0.1", "localhost", "::1"})

C = TypeVar("C", bound=Callable[..., Any])

url_option = click.option(
    "--url",
    envvar="UNBROKEN_URL",
    show_envvar=True,
    help="Base URL of the API.  [default: the `unbroken up` that runs on --data]",
)
key_option = click.option(
    "--key",
    envvar="UNBROKEN_KEY",
    show_envvar=True,
    help="An API key. Prefer the environment: `ps` shows options.",
)


def api_options(command: C) -> C:
    """The options of a command that uses the API: where it is, and the key."""
    return url_option(key_option(data_option(command)))


class ApiRefusal(click.ClickException):
    """The API refused the request; the message is the API's."""

    exit_code = 1

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code  # of the problem document


@dataclass(frozen=True)
class Remote:
    """An API to call."""

    url: str  # without a path
    http: requests.Session

    def call(self, method: str, path: str, **details: Any) -> Any:
        """The JSON of the answer; `details` are arguments of `requests` (`json=`, `params=`).

        Raises ApiRefusal if the API refuses, CannotRun if it cannot be reached.
        """
        try:
            answer = self.http.request(
                method, f"{self.url}{BASE}{path}",
                timeout=ANSWER_SECONDS, allow_redirects=False, **details,
            )  # fmt: skip
        except requests.RequestException as error:
            reason = type(error).__name__
            raise CannotRun(f"the API at {self.url} does not answer ({reason})") from error
        if answer.status_code >= 300:
            raise _refusal(answer)
        return _json(answer)

    def download(self, path: str) -> Iterator[bytes]:
        """The body of the answer in chunks. Raises ApiRefusal or CannotRun before the first chunk,
        and CannotRun if the body is cut off."""
        try:
            answer = self.http.get(
                f"{self.url}{BASE}{path}",
                timeout=DOWNLOAD_SECONDS, allow_redirects=False, stream=True,
            )  # fmt: skip
            if answer.status_code >= 300:
                raise _refusal(answer)
            yield from answer.iter_content(CHUNK_BYTES)
        except requests.RequestException as error:
            reason = type(error).__name__
            raise CannotRun(f"the API at {self.url} does not answer ({reason})") from error


@contextmanager
def remote(url: str | None, key: str | None, path: Path) -> Iterator[Remote]:
    """The API of `--url`, or of `unbroken up` on a data folder; CannotRun without a key."""
    base = url or url_of(path)
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CannotRun("--url must be like http://127.0.0.1:8000")
    if not key:
        raise CannotRun("no API key: give --key, or set UNBROKEN_KEY")
    if not (key.isascii() and key.isprintable()):
        raise CannotRun("that is no API key: they are like bq_live_…")
    with requests.Session() as http:
        http.headers["X-API-Key"] = key
        http.auth = _as_it_is  # else a .netrc would add a second key
        http.trust_env = parts.hostname not in _HERE  # no proxy for this machine
        yield Remote(base.rstrip("/").removesuffix(BASE), http)


def _as_it_is(request: PreparedRequest) -> PreparedRequest:
    return request


def url_of(path: Path) -> str:
    """The URL of `unbroken up` on a data folder; raises CannotRun if none runs."""
    folder = Data(path.absolute().resolve())
    found = data_dir.running(folder)
    if found is None:
        raise CannotRun(f"{data_dir.nothing_runs(folder)}, or the API with --url or UNBROKEN_URL")
    return reachable(str(found["url"]))


def _json(answer: requests.Response) -> Any:
    try:
        return answer.json()
    except ValueError as error:
        raise CannotRun(f"{answer.url} does not answer as an API does: check --url") from error


def _refusal(answer: requests.Response) -> ApiRefusal:
    """A problem document in one line, plus one line per field."""
    problem = _json(answer)
    if not isinstance(problem, dict) or "detail" not in problem:
        return ApiRefusal(f"the API at {answer.url} answered {answer.status_code}")
    code = str(problem.get("code"))
    said = [f"{problem['detail']} ({code})"]
    said += [
        f"{field_error.get('field')} {field_error.get('message')}"
        for field_error in problem.get("errors", [])
    ]
    return ApiRefusal("\n  ".join(printable(line, LINE_CHARS_MAX) for line in said), code)
