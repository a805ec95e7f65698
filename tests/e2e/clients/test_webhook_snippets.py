"""The snippets of docs/webhooks.md that verify: those of Python and Node on real deliveries."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from flask.testing import FlaskClient

from api.cli.local.proc import wait_until
from tests.calls import make_streak, noon, post_tick
from tests.conftest import BASE
from tests.e2e.running import PATIENCE_SECONDS, ROOT
from tests.pipeline import Pipeline
from tests.toolchains import NODE
from webhooks import signing

DOCS = ROOT / "docs"
PAGE = (DOCS / "webhooks.md").read_text()
SNIPPETS = sorted((DOCS / "snippets").glob("verify.*"))


COMMANDS = {"verify.py": [sys.executable], "verify.mjs": [NODE]}


@dataclass
class Snippet:
    """A snippet that listens."""

    url: str
    secret: str
    output: Path

    def lines(self) -> list[str]:
        """What it printed."""
        return self.output.read_text().splitlines()

    def post(self, headers: dict[str, str], body: bytes) -> int:
        """What it answers to a request of ours."""
        return requests.post(self.url, data=body, headers=headers, timeout=30).status_code

    def sign(self, body: bytes, at: datetime | None = None, *more: str) -> dict[str, str]:
        """The headers of a genuine request; with more secrets, of one while they are rotated."""
        keys = [signing.secret_key(secret) for secret in (*more, self.secret)]
        return signing.headers(keys, "evt_1", at or datetime.now(UTC), body)


Start = Callable[[str], Snippet]


@pytest.fixture
def start(client: FlaskClient, tmp_path: Path) -> Iterator[Start]:
    """Start a snippet as a destination of the client's tenant."""
    with _processes() as processes:

        def go(name: str) -> Snippet:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            url = f"http://127.0.0.1:{port}/hook"
            body = {"url": url, "event_types": ["*"]}
            secret = client.post(f"{BASE}/admin/webhooks", json=body).get_json()["secret"]
            output = tmp_path / "lines"
            environment = {"PORT": str(port), "UNBROKEN_WEBHOOK_SECRET": secret}
            with output.open("w") as stream:
                process = subprocess.Popen(
                    [*COMMANDS[name], str(DOCS / "snippets" / name)],
                    env={"PATH": os.environ["PATH"]} | environment, stdout=stream,
                )  # fmt: skip
            processes.append(process)
            assert wait_until(lambda: _listens(port), PATIENCE_SECONDS)
            return Snippet(url, secret, output)

        yield go


@contextmanager
def _processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    try:
        yield started
    finally:
        for process in started:
            with process:
                process.kill()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_a_snippet_takes_real_deliveries(
    name: str, start: Start, client: FlaskClient, pipeline: Pipeline
) -> None:
    snippet = start(name)
    make_streak(client)
    people = ("user_42", "grüße 🏆", 'a/"b"')
    for participant in people:
        for days_ago in (1, 0):
            post_tick(
                client, participant, timestamp=noon(days_ago), metadata={"ü": "\u2028", "n": 1.50}
            )
    pipeline.drain()
    pipeline.deliver()
    expected = [f"behavior.streak_recorded {who} {nth}" for who in people for nth in (1, 2)]
    assert sorted(snippet.lines()) == sorted(expected)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_snippet_refuses_what_is_not_ours_and_takes_a_fact_once(name: str, start: Start) -> None:
    snippet = start(name)
    fact = {"id": "evt_1", "type": "a.b", "participant_id": "user_42", "sequence": 1}
    body = json.dumps(fact).encode()
    genuine = snippet.sign(body)
    other = signing.secret_text(b"x" * 32)
    stranger = Snippet(snippet.url, other, snippet.output)
    now = datetime.now(UTC)
    for headers, sent in (
        ({}, body),
        (genuine, body + b" "),
        (genuine | {"webhook-id": "evt_2"}, body),
        (genuine | {"webhook-timestamp": str(int(genuine["webhook-timestamp"]) + 1)}, body),
        (genuine | {"webhook-timestamp": "x"}, body),
        (genuine | {"webhook-signature": ""}, body),
        (genuine | {"webhook-signature": "v1"}, body),
        (genuine | {"webhook-signature": "v1,AAAA"}, body),
        (genuine | {"webhook-signature": genuine["webhook-signature"].replace("v1", "v2")}, body),
        (stranger.sign(body), body),
        (snippet.sign(body, now - timedelta(minutes=6)), body),
        (snippet.sign(body, now + timedelta(minutes=6)), body),
    ):
        assert snippet.post(headers, sent) == 401
    _cut_off(snippet.url)
    for headers in (genuine, snippet.sign(body, None, other), genuine):
        assert snippet.post(headers, body) == 204
    assert snippet.lines() == ["a.b user_42 1"]


def _cut_off(url: str) -> None:
    """Go away in the middle of a body: the snippet must live on."""
    host, port = url.split("/")[2].split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")


@pytest.mark.parametrize("path", SNIPPETS, ids=lambda path: path.name)
def test_every_snippet_stands_in_the_page_and_checks_all_that_must_be_checked(path: Path) -> None:
    text = path.read_text()
    assert text in PAGE
    assert "HTTP_WEBHOOK_ID" in text or "webhook-id" in text
    assert len(text.splitlines()) < 85
    if path.suffix == ".py":
        return  # the library checks
    for header in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        assert header in text
    assert any(
        compare in text
        for compare in ("timingSafeEqual", "hmac.Equal", "hash_equals", "secure_compare")
    )
    assert "sha256" in text.lower()
    assert "whsec_" in text
    assert "tolerance" in text.lower()


def test_there_is_a_snippet_for_each_language_that_is_promised() -> None:
    assert {path.suffix for path in SNIPPETS} == {".py", ".mjs", ".go", ".php", ".rb"}


@pytest.mark.parametrize("name", ["webhooks.md", "facts.md"])
def test_every_link_of_the_pages_leads_somewhere(name: str) -> None:
    text = (DOCS / name).read_text()
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)]+)\)", prose) if "://" not in link]
    assert links
    for link in links:
        path, _, anchor = link.partition("#")
        target = DOCS / (path or name)
        assert target.exists(), link
        if anchor:
            assert anchor in _anchors(target.read_text()), link


def _anchors(text: str) -> set[str]:
    """As renderers of Markdown make them from headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}
