"""`unbroken facts` against a running API: following the feed, sending one fact again."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import requests
from flask import Flask
from werkzeug.serving import make_server

from tests.calls import client_of, make_streak, post_tick
from tests.conftest import Account
from tests.e2e.running import PATIENCE_SECONDS, ROOT, UNBROKEN, environment, invoke
from tests.pipeline import Pipeline


@dataclass
class Service:
    """An API that listens, and the workers, run by hand."""

    url: str
    key: str
    app: Flask
    pipeline: Pipeline

    def tick(self, *people: str) -> None:
        """A tick of each, one batch after another."""
        for who in people:
            assert post_tick(client_of(self.app, self.key), who).status_code == 202
            self.pipeline.drain()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return invoke("facts", *arguments, UNBROKEN_URL=self.url, UNBROKEN_KEY=self.key)

    def call(self, method: str, path: str, **details: Any) -> Any:
        url = f"{self.url}/api/v1/gamify{path}"
        headers = {"X-API-Key": self.key}
        answer = requests.request(method, url, headers=headers, timeout=30, **details)
        assert answer.status_code < 300, answer.text
        return answer.json()


@pytest.fixture
def service(app: Flask, account: Account, pipeline: Pipeline) -> Iterator[Service]:
    """A tenant with a streak."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    key = account.keys["live"]
    make_streak(client_of(app, key))
    yield Service(f"http://127.0.0.1:{server.port}", key, app, pipeline)
    server.shutdown()
    thread.join()
    server.server_close()


def follow(service: Service, *arguments: str) -> subprocess.Popen[str]:
    env = environment(UNBROKEN_URL=service.url, UNBROKEN_KEY=service.key)
    return subprocess.Popen(
        [*UNBROKEN, "facts", "tail", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=env,
    )  # fmt: skip


def next_line(tail: subprocess.Popen[str]) -> str:
    assert tail.stdout
    timer = threading.Timer(PATIENCE_SECONDS, tail.kill)
    timer.start()
    try:
        return tail.stdout.readline()
    finally:
        timer.cancel()


def test_tail_prints_what_was_and_follows_what_comes_until_it_is_interrupted(
    service: Service,
) -> None:
    service.tick("ann", "bob")
    tail = follow(service, "--after", "oldest", "--json")
    seen = [json.loads(next_line(tail)) for _ in range(2)]
    service.tick("eve")
    seen.append(json.loads(next_line(tail)))
    assert [one["participant_id"] for one in seen] == ["ann", "bob", "eve"]
    tail.send_signal(signal.SIGINT)
    rest, errors = tail.communicate(timeout=PATIENCE_SECONDS)
    assert (rest, tail.returncode) == ("", 0)
    cursor = errors.split()[-1]
    service.tick("zoe")
    more = service.run("tail", "--after", cursor, "--no-follow", "--json")
    assert [json.loads(line)["participant_id"] for line in more.stdout.splitlines()] == ["zoe"]


def test_tail_prints_one_readable_line_a_fact(service: Service) -> None:
    service.tick("ann", "\u202eevil")
    shown = service.run("tail", "--after", "oldest", "--no-follow")
    first, second = shown.stdout.splitlines()
    assert "behavior.streak_recorded" in first
    assert "ann" in first
    assert "count=1" in first
    assert first.split()[0].startswith("evt_")
    assert "\u202e" not in second
    assert shown.returncode == 0


def test_tail_keeps_to_its_filters_and_begins_at_the_end_unless_told_otherwise(
    service: Service,
) -> None:
    service.tick("ann", "bob")
    assert service.run("tail", "--no-follow").stdout == ""
    oldest = ("tail", "--after", "oldest", "--no-follow", "--json")
    assert service.run(*oldest, "--type", "badge.*").stdout == ""
    found = service.run(*oldest, "--type", "behavior.*", "--participant", "bob").stdout
    assert [json.loads(line)["participant_id"] for line in found.splitlines()] == ["bob"]


def test_resend_makes_a_fact_due_at_a_destination(service: Service) -> None:
    service.tick("ann")
    (fact,) = service.call("GET", "/facts")["items"]
    hook = {"url": "http://127.0.0.1:9/", "event_types": ["badge.*"]}
    webhook_id = service.call("POST", "/admin/webhooks", json=hook)["id"]
    done = service.run("resend", fact["id"], "--webhook", webhook_id)
    assert (done.returncode, done.stderr) == (0, "")
    assert fact["id"] in done.stdout
    told = service.run("resend", fact["id"], "--webhook", webhook_id, "--json")
    assert json.loads(told.stdout)["status"] == "pending"
    (waiting,) = service.call("GET", f"/admin/webhooks/{webhook_id}/deliveries")["items"]
    assert waiting["fact_id"] == fact["id"]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["resend", "evt_x", "--webhook", "01939c7e-6a1b-7c3d-9e4f-0a1b2c3d4e5f"], 2,
         "'evt_x' is not the id of a fact"),
        (["resend", "evt_" + "0" * 32, "--webhook", "01939c7e-6a1b-7c3d-9e4f-0a1b2c3d4e5f"], 1,
         "webhook_not_found"),
        (["resend", "evt_" + "0" * 32], 2, "Missing option '--webhook'"),
        (["tail", "--after", "nonsense"], 1, "after must be"),
        (["tail", "--type", "nope"], 2, "'nope' is no type of fact"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_in_a_sentence(
    service: Service, arguments: list[str], code: int, sentence: str
) -> None:
    done = service.run(*arguments)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_key_is_said_and_the_key_is_not(service: Service) -> None:
    done = replace(service, key="bq_live_nonsense").run("tail")
    assert done.returncode == 1
    assert "unauthorized" in done.stderr
    assert "nonsense" not in done.stderr


@pytest.mark.parametrize("command", [[], ["tail"], ["resend"]])
def test_it_explains_itself_with_an_example(command: list[str]) -> None:
    shown = invoke("facts", *command, "--help").stdout
    assert "Usage: " in shown
    assert "Example:" in shown
