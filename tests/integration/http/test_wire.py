"""The API byte by byte on the real server: HTTP as it should not be, and ids that look alike."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.db import Engine
from tests.calls import count, entries, problem
from tests.conftest import BASE, Account
from tests.corpus.values import LOOKALIKES
from tests.integration.serving import PATIENCE_SECONDS, Served

pytestmark = pytest.mark.promise("P5")

PEOPLE = f"{BASE}/participants"
BODY = b'{"participant_id":"user_42","streak_code":"none"}'
GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"
END = b"Host: x\r\nConnection: close\r\n"


# -- HTTP as it should not be ------------------------------------------------------------------


def get(target: str | bytes, *heads: bytes) -> bytes:
    """A GET of exactly these bytes; KEY stands for a key."""
    raw = target.encode() if isinstance(target, str) else target
    lines = b"".join(head + b"\r\n" for head in heads)
    return b"GET " + raw + b" HTTP/1.1\r\n" + END + b"X-API-Key: KEY\r\n" + lines + b"\r\n"


def post(*heads: bytes, body: bytes = BODY) -> bytes:
    """A POST of a tick with exactly these heads."""
    lines = b"".join(head + b"\r\n" for head in heads)
    path = f"{BASE}/streaks/record".encode()
    key = b"X-API-Key: KEY\r\nContent-Type: application/json\r\n"
    return b"POST " + path + b" HTTP/1.1\r\n" + END + key + lines + b"\r\n" + body


LENGTH = b"Content-Length: %d" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked"
NOT_HTTP = None  # refused by the server before it comes to us: no problem document

# What is sent; the status that it gets, and the code of ours.
WIRE: list[tuple[bytes, int, str | None]] = [
    (b"\x00\xff\x00\xff\r\n\r\n", 400, NOT_HTTP),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, NOT_HTTP),
    (b"GET /livez\r\n\r\n", 400, NOT_HTTP),
    (b"GET /livez HTTP/9.9\r\nHost: x\r\n\r\n", 400, NOT_HTTP),
    (b"F\xc3\xb6\xc3\xb6 /livez HTTP/1.1\r\n" + END + b"\r\n", 400, NOT_HTTP),
    (get("/livez").replace(b"GET", b"BREW"), 405, "method_not_allowed"),
    (get("/livez").replace(b"GET", b"TRACE"), 405, "method_not_allowed"),
    (get("/livez").replace(b"GET", b"A" * 10_000), 405, "method_not_allowed"),
    (get("x:1").replace(b"GET", b"CONNECT"), 404, "route_not_found"),
    (get("*").replace(b"GET", b"OPTIONS"), 404, "route_not_found"),
    (get("/" + PEOPLE), 404, "route_not_found"),  # two slashes are not one
    (get(f"http://evil{PEOPLE}/nobody"), 404, "participant_not_found"),
    (get(f"{PEOPLE}/é"), 404, "participant_not_found"),
    (get(f"{PEOPLE}/".encode() + b"\xe9"), 400, NOT_HTTP),
    (get(f"{PEOPLE}?participant_id=".encode() + b"\xff"), 400, NOT_HTTP),
    (get(f"{PEOPLE}/%00"), 400, "invalid_path"),
    (get(f"{PEOPLE}/%FF"), 400, "invalid_path"),
    (get(f"{PEOPLE}/%ED%A0%80"), 400, "invalid_path"),
    (get(f"{PEOPLE}/%0D%0AX-Evil:%201"), 400, "invalid_path"),
    (get(f"{PEOPLE}?participant_id=%FF"), 422, "validation_error"),
    (get(f"{BASE}/facts?participant_id=%FF"), 422, "validation_error"),
    (get(f"{PEOPLE}/".encode() + b"\x00"), 400, NOT_HTTP),
    (get(f"{PEOPLE}/a b"), 400, NOT_HTTP),
    (get(f"{PEOPLE}/a\nb"), 400, NOT_HTTP),
    (get(f"{PEOPLE}/" + "x" * 70_000), 414, NOT_HTTP),
    (get(f"{PEOPLE}/" + "x" * 60_000), 422, "validation_error"),
    (get(f"{BASE}/streaks?page=" + "9" * 60_000), 422, "validation_error"),
    (get("/livez", b"X-A: " + b"x" * 500_000), 431, NOT_HTTP),
    (get("/livez", *(b"X-%d: x" % nth for nth in range(200))), 431, NOT_HTTP),
    (get("/livez", b"X-Request-Id: a\x00b"), 400, NOT_HTTP),
    (get("/livez", b"X-Request-Id: a\rX-Evil: 1"), 400, NOT_HTTP),
    (get("/livez", b"X-Request-Id: a\r\n b"), 400, NOT_HTTP),
    (get("/livez", b"X-A : b"), 400, NOT_HTTP),
    (get("/livez", b": b"), 400, NOT_HTTP),
    (get(f"{BASE}/streaks", b"X-API-Key: bq_live_other"), 401, "unauthorized"),
    (get(f"{BASE}/streaks").replace(b"KEY", b"\xff"), 401, "unauthorized"),
    (get("/livez", b"Upgrade: websocket", b"Connection: Upgrade"), 400, "bad_request"),
    (get("/livez", b"Host: y"), 400, "bad_request"),
    (get("/livez", b"Host: x"), 400, "bad_request"),
    (post(b"Content-Length: 1", LENGTH), 400, NOT_HTTP),
    (post(b"Content-Length: -1"), 400, NOT_HTTP),
    (post(b"Content-Length: +5"), 400, NOT_HTTP),
    (post(b"Content-Length: x"), 400, NOT_HTTP),
    (post(b"Content-Length: 99999999999999999999999"), 400, NOT_HTTP),
    (post(b"Content-Length: 1000001"), 413, "body_too_large"),
    (post(b"Content-Length: 5"), 400, "invalid_json"),
    (post(), 400, "invalid_json"),
    (post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"), 400, NOT_HTTP),
    (post(CHUNKED, b"Transfer-Encoding: identity", body=b"0\r\n\r\n"), 400, NOT_HTTP),
    (post(CHUNKED, b"Content-Length: 4", body=b"0\r\n\r\n" + get("/livez")), 400, "invalid_json"),
    (post(CHUNKED, body=b"-1\r\n"), 400, "bad_request"),
    (post(CHUNKED, body=b"ffffffffffffffffff\r\n"), 400, "bad_request"),
    (post(CHUNKED, body=(b"10000\r\n" + b" " * 65_536 + b"\r\n") * 32 + b"0\r\n\r\n"), 413,
     "body_too_large"),
    (post(LENGTH, b"Expect: 100-continue"), 404, "streak_not_found"),
    (post(LENGTH, b"X-HTTP-Method-Override: DELETE"), 404, "streak_not_found"),
]  # fmt: skip


def test_it_answers_whatever_bytes_come_and_stores_nothing(
    served: Served, account: Account, engine: Engine, redis_client: redis.Redis
) -> None:
    key = account.keys["live"].encode()
    for sent, status, code in WIRE:
        answer = served.say(sent.replace(b"KEY", key)).removeprefix(
            b"HTTP/1.1 100 Continue\r\n\r\n"
        )
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status), (sent[:200], answer)
        assert answer.count(b"HTTP/1.1 ") == 1, (sent[:200], answer)  # one request, one answer
        assert (json.loads(body)["code"] if body else NOT_HTTP) == code, (sent[:200], answer)
        assert b"\nx-evil" not in head.lower()
    assert entries(redis_client, account.live) == 0
    assert count(engine, "participants", account.live) == 0
    assert "Traceback" not in served.log.read_text()


def test_it_takes_no_request_for_part_of_another(served: Served, account: Account) -> None:
    last = get("/livez")
    pipelined = last.replace(b"Connection: close\r\n", b"") * 5 + last
    answers = served.say(pipelined.replace(b"KEY", account.keys["live"].encode()))
    assert answers.count(b"HTTP/1.1 200 OK") == 6
    assert answers.count(b'{"status":"ok"}') == 6


@pytest.mark.parametrize("sent", ["a b", "x" * 129, "<script>", "a%0d%0aX-Evil: 1", "é", ""])
def test_it_makes_up_a_request_id_where_the_callers_is_not_sane(
    client: FlaskClient, sent: str
) -> None:
    response = client.get(f"{PEOPLE}/nobody", headers={"X-Request-Id": sent})
    assert problem(response, 404, "participant_not_found")["request_id"] != sent
    assert len(response.headers["X-Request-Id"]) == 32


# -- ids that look alike -----------------------------------------------------------------------


# A path that ends like that of another route is that route's: `?participant_id=` reads these.
ROUTES = ("/streaks", "/history", "/state", "/badges")


class Caller:
    """Speaks to the server, and leaves paths as they are."""

    def __init__(self, served: Served, key: str) -> None:
        self._connection = HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE_SECONDS)
        self._heads = {"X-API-Key": key, "Content-Type": "application/json"}

    def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """The answer's body; the status is a success."""
        text = None if body is None else json.dumps(body)
        self._connection.request(method, path, text, self._heads)
        response = self._connection.getresponse()
        found: dict[str, Any] = json.loads(response.read())
        assert response.status < 300, (method, path, found)
        return found

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def test_people_whose_ids_look_alike_are_different_people(served: Served, account: Account) -> None:
    assert len(set(LOOKALIKES)) == len(LOOKALIKES)
    caller = Caller(served, account.keys["live"])
    for nth, name in enumerate(LOOKALIKES):
        caller.ask("POST", PEOPLE, {"participant_id": name, "display_name": f"Person {nth}"})
    for nth, name in enumerate(LOOKALIKES):
        spelled = quote(name, safe="")
        ways = [f"{PEOPLE}?participant_id={spelled}"]
        if not name.endswith(ROUTES):
            ways += [f"{PEOPLE}/{spelled}", f"{PEOPLE}/{''.join(map(shouted, name.encode()))}"]
        for way in ways:
            found = caller.ask("GET", way)
            assert (found["participant_id"], found["display_name"]) == (name, f"Person {nth}"), way
    listed = [
        item["participant_id"]
        for page in itertools.takewhile(bool, pages(caller, f"{BASE}/admin/participants"))
        for item in page
    ]
    assert sorted(listed) == sorted(LOOKALIKES)
    caller.close()


def shouted(byte: int) -> str:
    """A byte percent-encoded, needed or not."""
    return f"%{byte:02X}"


def pages(caller: Caller, path: str) -> Iterator[list[dict[str, Any]]]:
    """The items of one page after another."""
    for page in itertools.count(1):
        yield caller.ask("GET", f"{path}?page={page}&page_size=50")["items"]


NASTY = st.text(
    st.sampled_from("aAbB01 /.%?#;&=+\\é\u0301e\u202e\u05d0\u200bﬁK\u212aß😀\ufeff'\"<>{}|^`~"),
    min_size=1,
    max_size=6,
)


@settings(
    derandomize=True,
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(pair=st.lists(NASTY, min_size=2, max_size=2, unique=True))
def test_two_different_ids_never_meet(client: FlaskClient, pair: list[str]) -> None:
    for name in pair:
        made = client.post(PEOPLE, json={"participant_id": name, "display_name": f"<{name}>"})
        assert made.status_code == 201, made.text
    for name in pair:
        for way in (f"{PEOPLE}/{quote(name, safe='')}", f"{PEOPLE}?participant_id={quote(name)}"):
            found = ask_raw(client, way)
            assert (found["participant_id"], found["display_name"]) == (name, f"<{name}>"), way


def ask_raw(client: FlaskClient, target: str) -> dict[str, Any]:
    """GET with the very bytes of a target: the client would tidy dots away."""
    path, _, query = target.partition("?")
    raw = quoted_bytes(path)
    response = client.get(
        "/", environ_overrides={"PATH_INFO": raw, "REQUEST_URI": path, "QUERY_STRING": query}
    )
    assert response.status_code == 200, (target, response.text)
    return dict(response.get_json())


def quoted_bytes(path: str) -> str:
    """A path as WSGI hands it on: decoded, each byte a character."""
    parts = path.split("%")
    decoded = [parts[0], *(chr(int(part[:2], 16)) + part[2:] for part in parts[1:])]
    return "".join(decoded)


# -- answers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/livez", "/nowhere", f"{BASE}/streaks", f"{PEOPLE}/nobody"])
def test_no_answer_is_kept_or_taken_for_something_else(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers.getlist("Cache-Control") == ["no-store"]
    assert headers.getlist("X-Content-Type-Options") == ["nosniff"]


def test_the_reference_shows_its_own_address(client: FlaskClient) -> None:
    page = client.get("/reference", headers={"Host": "gamify.example:8443"})
    assert "export UNBROKEN=http://gamify.example:8443\n" in page.text
    assert page.headers["Cache-Control"].startswith("private")
    forged = client.get("/reference", headers={"Host": "a<b>.example"})
    assert "<b>.example" not in forged.text


def test_the_reference_may_be_kept_and_loads_nothing_foreign(client: FlaskClient) -> None:
    headers = client.get("/reference").headers
    assert headers.getlist("Cache-Control") == ["private, max-age=300"]
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_a_fault_of_ours_says_nothing_but_where_the_log_has_it(
    app: Flask,
    client: FlaskClient,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken() -> str:
        raise RuntimeError("what nobody outside may read")

    monkeypatch.setitem(app.view_functions, "streaks.list_streaks", broken)
    response = client.get(f"{BASE}/streaks")
    document = problem(response, 500, "internal_error")
    assert "nobody outside" not in response.text
    assert document["request_id"] in caplog.text
    assert "nobody outside" in caplog.text
