"""`unbroken listen` and `unbroken trigger`, against a running service and against each other."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import pytest
import requests

from tests.e2e.running import (
    PATIENCE_SECONDS,
    ROOT,
    UNBROKEN,
    Up,
    environment,
    invoke,
    unbroken,
    unbroken_json,
)
from tests.receiver import Answer, Receiver
from webhooks import facts, signing

SECRET = signing.secret_text(b"k" * 32)


@dataclass
class Service:
    """A running service, and a key of a tenant of one's own."""

    up: Up
    key: str

    @property
    def env(self) -> dict[str, str]:
        """What names it to a command."""
        return {"UNBROKEN_URL": self.up.url, "UNBROKEN_KEY": self.key}

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Call the API and return the answer's body."""
        answer = requests.request(
            method, f"{self.up.url}/api/v1/gamify{path}", json=body,
            headers={"X-API-Key": self.key}, timeout=30,
        )  # fmt: skip
        assert answer.ok, answer.text
        return answer.json()

    def subscribe(self, url: str, *event_types: str) -> dict[str, Any]:
        """Create a destination."""
        wanted = {"url": url, "event_types": event_types or ["*"]}
        made: dict[str, Any] = self.call("POST", "/admin/webhooks", wanted)
        return made

    def tick(self) -> str:
        """Record a tick of somebody new; return who."""
        name = f"user_{uuid.uuid4().hex[:8]}"
        self.call("POST", "/streaks/record", {"participant_id": name, "streak_code": "daily"})
        return name


@pytest.fixture
def service(up: Up) -> Service:
    slug = f"t-{uuid.uuid4().hex[:8]}"
    made = unbroken_json("tenant", "create", slug, "--data", str(up.data.root))
    service = Service(up, made["live_key"])
    service.call("POST", "/streaks", {"code": "daily", "name": "Daily", "period": "daily"})
    return service


@dataclass
class Listening:
    """A running `unbroken listen`."""

    process: subprocess.Popen[str]
    url: str
    told: list[str]  # what it said before it listened

    def line(self) -> str:
        """The next line of standard output."""
        return self._stream(self.process.stdout).readline()

    def note(self) -> str:
        """The next line of standard error."""
        return self._stream(self.process.stderr).readline()

    def ended(self) -> tuple[int, str, str]:
        """Wait for its end: its exit code and what else it printed."""
        out, errors = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, out, errors

    @staticmethod
    def _stream(stream: IO[str] | None) -> IO[str]:
        assert stream
        return stream


@contextmanager
def listening(*arguments: str, **env: str) -> Iterator[Listening]:
    with subprocess.Popen(
        [*UNBROKEN, "listen", "--port", "0", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment(**env),
    ) as process:  # fmt: skip
        assert process.stderr
        told = []
        for line in process.stderr:
            told.append(line)
            if line.startswith("Listening at "):
                break
        assert told and told[-1].startswith("Listening at "), told
        try:
            yield Listening(process, told[-1].split()[2].rstrip(";"), told)
        finally:
            process.kill()


def post(url: str, body: bytes, secret: str = SECRET, message_id: str = "evt_1") -> int:
    """Post as the service does."""
    key = signing.secret_key(secret)
    headers = signing.headers([key], message_id, datetime.now(UTC), body)
    return requests.post(url, data=body, headers=headers, timeout=30).status_code


BODY = b'{"type":"badge.awarded","participant_id":"ann","sequence":3,"payload":{"badge_code":"b"}}'


def test_it_creates_a_destination_shows_verified_facts_and_removes_it(service: Service) -> None:
    with listening("--create", **service.env) as found:
        name = service.tick()
        line = found.line()
        assert f"✓ {facts.STREAK_RECORDED}" in line
        assert f"{name} #1" in line
        assert "count=1" in line
        (made,) = service.call("GET", "/admin/webhooks")["items"]
        assert made["url"] == found.url
        found.process.send_signal(signal.SIGINT)
        code, _, errors = found.ended()
    assert (code, "Traceback" in errors) == (0, False)
    assert service.call("GET", "/admin/webhooks")["items"] == []


def test_terminated_it_removes_its_destination_too(service: Service) -> None:
    with listening("--create", "--type", "badge.*", **service.env) as found:
        (made,) = service.call("GET", "/admin/webhooks")["items"]
        assert made["event_types"] == ["badge.*"]
        found.process.terminate()
        assert found.ended()[0] == 0
    assert service.call("GET", "/admin/webhooks")["items"] == []


def test_answering_500_it_sees_the_fact_come_again_under_its_id(service: Service) -> None:
    with listening("--create", "--status", "500", "--count", "2", **service.env) as found:
        name = service.tick()
        code, out, _ = found.ended()
    first, again = out.splitlines()
    assert code == 0
    assert name in first
    assert "→ 500" in first
    assert "repeated, time 2" in again


def test_as_json_it_prints_each_body_as_it_was_sent() -> None:
    with listening("--secret", SECRET, "--json", "--count", "2") as found:
        assert (post(found.url, BODY), post(found.url, b'{"a":\n 1}')) == (200, 200)
        code, out, _ = found.ended()
    first, second = out.splitlines()
    assert code == 0
    assert first.encode() == BODY
    assert json.loads(second) == {"a": 1}


def test_a_forged_fact_is_answered_401_and_counts_for_nothing() -> None:
    other = signing.secret_text(b"o" * 32)
    newest = signing.secret_text(b"n" * 32)
    secrets = f"{SECRET} {newest}"
    with listening("--count", "2", UNBROKEN_WEBHOOK_SECRET=secrets) as found:
        assert post(found.url, BODY, other) == 401
        assert "✗ signed with no known secret" in found.line()
        unsigned = requests.post(found.url, data=BODY, timeout=30)
        assert unsigned.status_code == 401
        assert [post(found.url, BODY, SECRET), post(found.url, BODY, newest)] == [200, 200]
        assert found.ended()[0] == 0


def test_without_a_secret_it_says_so_and_how_to_have_facts_sent() -> None:
    with listening("--count", "1") as found:
        hint = "".join(found.note() for _ in range(4))
        assert f'"url": "{found.url}"' in hint
        assert "nothing is verified" in hint
        assert requests.post(found.url, data=b"\x1b[2Jno JSON", timeout=30).status_code == 200
        code, out, _ = found.ended()
    assert (code, "? 11 bytes, no JSON object" in out, "\x1b" in out) == (0, True, False)


def test_what_a_sender_made_up_cannot_move_the_cursor() -> None:
    with listening("--count", "1") as found:
        post(found.url, json.dumps({"type": "a\x1b[2J\nb", "participant_id": "\x07"}).encode())
        _, out, _ = found.ended()
    assert len(out.splitlines()) == 1
    assert not {"\x1b", "\x07"} & set(out)


@pytest.mark.parametrize(
    ("head", "status"),
    [("Content-Length: 1000001", "413"), ("Content-Length: -1", "411"), ("X: y", "411")],
)
def test_a_body_is_bounded_and_the_next_sender_is_heard(head: str, status: str) -> None:
    with listening("--count", "1") as found:
        port = int(found.url.rsplit(":", 1)[1].split("/")[0])
        with socket.create_connection(("127.0.0.1", port), timeout=30) as sender:
            sender.sendall(f"POST /facts HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode())
            answer = b"".join(iter(lambda: sender.recv(4_096), b""))
        assert answer.split()[1] == status.encode()
        assert post(found.url, BODY) == 200
        assert found.ended()[0] == 0


def test_it_ends_when_nobody_reads_what_it_prints() -> None:
    with listening("--json") as found:
        assert found.process.stdout
        found.process.stdout.close()
        assert post(found.url, BODY) == 503
        assert found.process.wait(PATIENCE_SECONDS) == 1
        assert found.process.stderr
        assert "Traceback" not in found.process.stderr.read()


def test_a_delay_holds_the_answer_back_and_the_end_does_not_wait_for_it() -> None:
    with listening("--delay", "300") as found:
        port = int(found.url.rsplit(":", 1)[1].split("/")[0])
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as sender:
            length = f"Content-Length: {len(BODY)}"
            sender.sendall(f"POST / HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n".encode() + BODY)
            assert "badge.awarded" in found.line()
            found.process.terminate()
            assert sender.recv(4_096).startswith(b"HTTP/1.1 200 ")
        assert found.ended()[0] == 0


def test_trigger_sends_a_sample_to_every_destination_that_wants_it(service: Service) -> None:
    with Receiver() as all_of_it, Receiver() as badges, Receiver() as other:
        all_of_it.trust(service.subscribe(all_of_it.url)["secret"])
        badges.trust(service.subscribe(badges.url, "badge.*")["secret"])
        service.subscribe(other.url, "webhook.*")
        done = invoke("trigger", facts.BADGE_AWARDED, **service.env)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["✓", all_of_it.url],
        ["✓", badges.url],
    ]
    assert (len(all_of_it.requests), len(badges.requests), len(other.requests)) == (1, 1, 0)
    assert not all_of_it.invalid + badges.invalid
    assert json.loads(badges.requests[0].body)["type"] == facts.BADGE_AWARDED


def test_trigger_fails_when_one_destination_does_and_says_what_it_said(service: Service) -> None:
    with Receiver() as well, Receiver(reply=lambda _: Answer(500, b"out of \x1b disk")) as ill:
        service.subscribe(well.url)
        made = service.subscribe(ill.url)
        done = invoke("trigger", facts.STREAK_BROKEN, **service.env)
        only = invoke("trigger", facts.STREAK_BROKEN, "--webhook", made["id"], "--json",
                        **service.env)  # fmt: skip
    assert done.returncode == 1
    assert f"✓ {well.url}  taken: 200" in done.stdout
    assert f"✗ {ill.url}  not taken: 500" in done.stdout
    assert "out of \N{REPLACEMENT CHARACTER} disk" in done.stdout
    assert only.returncode == 1
    (outcome,) = json.loads(only.stdout)
    assert (outcome["webhook_id"], outcome["status_code"]) == (made["id"], 500)
    assert outcome["delivered"] is False


def test_every_type_can_be_triggered_and_listened_to(service: Service) -> None:
    with listening("--create", "--json", "--count", str(len(facts.TYPES)), **service.env) as found:
        for kind in facts.TYPES:
            assert invoke("trigger", kind, **service.env).returncode == 0
        _, out, _ = found.ended()
    assert [json.loads(line)["type"] for line in out.splitlines()] == list(facts.TYPES)


@pytest.mark.parametrize("command", ["listen", "trigger"])
def test_each_explains_itself_with_an_example(command: str) -> None:
    shown = invoke(command, "--help").stdout
    assert "Usage: " in shown
    assert "Example:" in shown


def test_what_cannot_be_done_is_said_in_one_line(service: Service, tmp_path: Path) -> None:
    def refused(*arguments: str, **env: str) -> str:
        run = invoke if arguments[0] == "trigger" else unbroken
        done = run(*arguments, **env)
        assert (done.returncode in (1, 2), done.stdout) == (True, ""), done
        assert done.stderr.splitlines()[0].startswith(("Error: ", "Usage: "))
        assert "Traceback" not in done.stderr
        return done.stderr

    kind = facts.BADGE_AWARDED
    assert all(one in refused("trigger", "badge.stolen", **service.env) for one in facts.TYPES)
    assert "no API key" in refused("trigger", kind, UNBROKEN_URL=service.up.url)
    assert "nothing runs on" in refused("trigger", kind, "--data", str(tmp_path), "--key", "k")
    assert "receives badge.awarded" in refused("trigger", kind, **service.env)
    nobody = str(uuid.uuid4())
    assert "(webhook_not_found)" in refused("trigger", kind, "--webhook", nobody, **service.env)
    gone = {"UNBROKEN_URL": "http://127.0.0.1:1", "UNBROKEN_KEY": service.key}
    assert "does not answer" in refused("trigger", kind, **gone)
    assert "(unauthorized)" in refused("trigger", kind, **{**service.env, "UNBROKEN_KEY": "x"})
    said = refused("listen", "--secret", "whsec_hush")
    assert "not a webhook secret" in said
    assert "hush" not in said
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"port {port} on 127.0.0.1 is taken by" in refused("listen", "--port", port)
    create = ("listen", "--port", "0", "--create", "--type", "badge.stolen")
    assert "(validation_error)" in refused(*create, **service.env)


def test_a_destination_that_was_removed_meanwhile_is_no_trouble_at_the_end(
    service: Service,
) -> None:
    with listening("--create", **service.env) as found:
        (made,) = service.call("GET", "/admin/webhooks")["items"]
        service.call("DELETE", f"/admin/webhooks/{made['id']}")
        found.process.terminate()
        code, _, errors = found.ended()
    assert code == 0
    assert "is still there" not in errors
