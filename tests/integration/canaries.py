"""Secrets that would be known again, and ears for where they must not be heard."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import requests

PATIENCE_SECONDS = 60.0  # ends a test that hangs; nothing is measured by it


@dataclass
class Canaries:
    """The secrets of a run by what they are, and whatever was said where they must not be."""

    secrets: dict[str, str] = field(default_factory=dict)
    said: dict[str, bytes] = field(default_factory=dict)

    def heard(self, where: str, text: str | bytes) -> None:
        """Note what a place says."""
        more = text.encode() if isinstance(text, str) else text
        self.said[where] = self.said.get(where, b"") + b"\n" + more

    def found(self, *more: str) -> list[tuple[str, str]]:
        """What is where, of the secrets and of more words."""
        known = self.secrets | {word: word for word in more}
        return [
            (name, where)
            for where, text in self.said.items()
            for name, secret in known.items()
            if any(form in text for form in forms(secret))
        ]


def forms(secret: str) -> Iterator[bytes]:
    """A secret as it is, encoded as programs do, and what a webhook secret stands for."""
    raw = secret.encode()
    yield raw
    yield raw.hex().encode()
    for start in range(3):  # Base64 of something that holds it, however it lies in there
        yield base64.b64encode(b"x" * start + raw)[4:-4]
    if secret.startswith("whsec_"):
        inner = base64.b64decode(secret.removeprefix("whsec_"))
        yield inner
        yield inner.hex().encode()
        yield secret.removeprefix("whsec_").encode()


@dataclass
class Caller:
    """Sends requests, and keeps what was said of those that failed, and of all reads."""

    url: str
    key: str
    canaries: Canaries

    def __call__(self, method: str, path: str, **more: Any) -> requests.Response:
        headers = {"X-API-Key": self.key} | more.pop("headers", {})
        answered = requests.request(
            method, self.url + path, headers=headers, timeout=PATIENCE_SECONDS, **more
        )
        if method == "GET" or answered.status_code >= 400:
            self.canaries.heard("answers", answered.content)
            self.canaries.heard("answers", str(answered.headers))
        return answered


class Spoken(logging.Handler):
    """Keeps whatever is logged at any level, formatted with its traceback."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        if not record.name.startswith("urllib3"):  # the test's own requests: it names secrets
            self.lines.append(self.format(record))
