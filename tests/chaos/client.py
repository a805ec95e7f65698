"""A client's requests: sent once, and whatever comes back told apart."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import requests
from urllib3.exceptions import NewConnectionError

from models import clock
from tests.chaos.history import History, Kind, Write
from tests.chaos.scene import BASE

PATHS: dict[Kind, str] = {"tick": f"{BASE}/streaks/record", "award": f"{BASE}/badges/award"}
REFUSED_SECONDS = 0.1  # nobody knocks faster at a door that is shut
TIMEOUT_SECONDS = 20.0  # longer than the API may take with a process of it stopped for a while


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; status 0: nothing, -1: nobody was there to take the request."""

    status: int
    body: Any = None
    text: str = ""

    @property
    def is_unknown(self) -> bool:
        """Whether the request may have been taken although nobody said so."""
        return self.status == 0 or self.status >= 500

    @property
    def code(self) -> str:
        """The code of a problem."""
        return str(self.body.get("code", "")) if isinstance(self.body, dict) else ""


@dataclass
class Client:
    """One caller with one connection; notes in its history what no caller should ever see."""

    url: str
    history: History

    def __post_init__(self) -> None:
        self.session = requests.Session()
        self.session.trust_env = False

    def send(self, method: str, path: str, key: str, body: Any = None, **headers: str) -> Answer:
        """Send a value as JSON."""
        data = None if body is None else json.dumps(body).encode()
        plain = {"Content-Type": "application/json"} if data else {}
        return self.send_bytes(method, path, data, {**plain, "X-API-Key": key, **headers})

    def send_bytes(
        self, method: str, path: str, data: bytes | None, headers: dict[str, str]
    ) -> Answer:
        """Send bytes, once."""
        began = time.monotonic()
        try:
            found = self.session.request(
                method, self.url + path, data=data, headers=headers, timeout=TIMEOUT_SECONDS
            )
        except requests.RequestException as error:
            about = f"({len(data or b'')} bytes) {type(error).__name__} {str(error)[-120:]}"
            self.history.trouble(began, f"no answer to {method} {path} {about}")
            if not _is_refused(error):
                return Answer(0)
            time.sleep(REFUSED_SECONDS)
            return Answer(-1)
        self._look(found, began, f"{method} {path}")
        return Answer(found.status_code, _json(found), found.text)

    def _look(self, found: requests.Response, began: float, what: str) -> None:
        """What is never right, whatever was asked."""
        if found.status_code == 413:  # the server ends a connection whose body it has not read
            self.session.close()
        if found.status_code == 503:
            self.history.trouble(began, f"503 to {what}")
        elif found.status_code >= 500:
            self.history.errors += 1
            self.violation(f"{found.status_code} to {what}: {found.text[:300]}")
        if found.status_code in (429, 503) and "Retry-After" not in found.headers:
            self.violation(f"{found.status_code} to {what} without Retry-After")
        if "X-Request-Id" not in found.headers:
            self.violation(f"{found.status_code} to {what} without X-Request-Id")

    def violation(self, text: str) -> None:
        """Note what must not be."""
        self.history.violations.append(text)


def _is_refused(error: requests.RequestException) -> bool:
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(reason, NewConnectionError)


def _json(found: requests.Response) -> Any:
    try:
        return found.json()
    except ValueError:
        return None


def body_of(write: Write) -> dict[str, Any]:
    """A write as it is posted."""
    body = {"participant_id": write.participant, "metadata": {"chaos": write.token}}
    if write.kind == "award":
        return body | {"badge_code": write.code}
    body["streak_code"] = write.code
    if write.occurred_us is not None:
        body["timestamp"] = clock.to_text(write.occurred_us)
    if write.timezone is not None:
        body["timezone"] = write.timezone
    return body
