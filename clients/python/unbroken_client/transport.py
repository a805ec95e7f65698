"""One request and its retries: bounded in tries and seconds, with backoff and jitter."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests

from unbroken_client.errors import (
    NotAnApi,
    OutcomeUnknown,
    UnbrokenError,
    Unreachable,
    problem_error,
)

BASE = "/api/v1/gamify"
_HERE = frozenset({"127.0.0.1", "localhost", "::1"})
_AGAIN = frozenset({429, 503})


@dataclass(frozen=True, slots=True)
class Retries:
    """How long to insist."""

    tries_max: int = 5
    first_seconds: float = 0.2  # doubled each time
    pause_seconds_max: float = 30.0
    total_seconds_max: float = 60.0  # over all tries of one request

    def pause(self, nth: int, retry_after: float | None, chance: float) -> float:
        """Seconds before the next try: what the API asks for and a little more, or a random part
        of a doubling time. `chance` is from 0 to 1. Pure."""
        backoff = min(self.first_seconds * (1 << nth), self.pause_seconds_max)
        if retry_after is not None:
            return retry_after + chance * self.first_seconds
        return backoff / 2 + chance * backoff / 2


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked for."""

    method: str
    path: str  # below BASE, percent-encoded
    body: Any = None
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    is_safe: bool = True  # to be sent again when nobody knows whether it arrived


@dataclass
class Transport:
    """A URL, a key and a session for each thread. Neither is ever in a repr."""

    url: str
    key: str = field(repr=False)
    retries: Retries = field(default_factory=Retries)
    timeout_seconds: float = 15.0
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    _threads: threading.local = field(default_factory=threading.local, repr=False)
    _sessions: list[requests.Session] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url must be like http://127.0.0.1:8000")
        if parts.username is not None:
            raise ValueError("url must not hold a user or a password")
        if not self.key or not (self.key.isascii() and self.key.isprintable()):
            raise ValueError("key must be an API key, like bq_live_…")
        self.url = self.url.rstrip("/").removesuffix(BASE)

    def call(self, call: Call) -> Any:
        """The answer's JSON. Raises UnbrokenError when the tries are used up."""
        ends = time.monotonic() + self.retries.total_seconds_max
        for nth in range(self.retries.tries_max):
            try:
                return self._once(call)
            except UnbrokenError as error:
                pause = self._pause(call, nth, error)
                if pause is None or time.monotonic() + pause > ends:
                    raise
            self.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def close(self) -> None:
        """Close the connections of all threads."""
        while self._sessions:
            self._sessions.pop().close()

    def _pause(self, call: Call, nth: int, error: UnbrokenError) -> float | None:
        """Seconds until the next try; None when there is none."""
        if nth + 1 >= self.retries.tries_max:
            return None
        if isinstance(error, (Unreachable, OutcomeUnknown)) and not call.is_safe:
            return None
        if not isinstance(error, Unreachable) and getattr(error, "status", 0) not in _AGAIN:
            return None
        after = getattr(error, "retry_after", None)
        return self.retries.pause(nth, after, random.random())  # noqa: S311 - spreads load

    def _once(self, call: Call) -> Any:
        data = None if call.body is None else json.dumps(call.body).encode()
        headers = dict(call.headers) | (
            {} if data is None else {"Content-Type": "application/json"}
        )
        try:
            answer = self._session().request(
                call.method, f"{self.url}{BASE}{call.path}", data=data, headers=headers,
                params=dict(call.params), timeout=self.timeout_seconds, allow_redirects=False,
            )  # fmt: skip
        except requests.RequestException as error:
            reason = type(error).__name__
            # Not chained: a library's message may quote what was sent.
            raise Unreachable(f"{self.url} does not answer ({reason})") from None
        return _json(answer)

    def _session(self) -> requests.Session:
        found: requests.Session | None = getattr(self._threads, "session", None)
        if found is None:
            found = self._threads.session = requests.Session()
            found.headers["X-API-Key"] = self.key
            found.auth = _as_it_is  # otherwise a .netrc would add a second key
            # No proxy stands between us and ourselves.
            found.trust_env = urlsplit(self.url).hostname not in _HERE
            self._sessions.append(found)
        return found


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _json(answer: requests.Response) -> Any:
    try:
        document = answer.json()
    except ValueError:
        document = None
    if answer.status_code < 300 and document is not None:
        return document
    if isinstance(document, dict) and "code" in document:
        raise problem_error(document, _retry_after(answer))
    if answer.status_code in _AGAIN:  # of a proxy in between
        # A 503 of its own does not say whether the request had gone through.
        code = "outcome_unknown" if answer.status_code == 503 else "unavailable"
        said = {"status": answer.status_code, "code": code, "detail": "not available"}
        raise problem_error(said, _retry_after(answer))
    raise NotAnApi(
        f"the answer was {answer.status_code} and no document of Unbroken: check the url"
    )


def _retry_after(answer: requests.Response) -> float | None:
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else None
