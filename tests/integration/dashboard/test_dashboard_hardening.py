"""The dashboard against those who mean harm: slow, endless and foreign forms, slow readers."""

from __future__ import annotations

import csv
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from urllib.parse import parse_qs, quote, urlsplit

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient

from api.cli.local.proc import wait_until
from settings import Settings
from tests.calls import another_app, client_of, make_streak, noon, post_batch, tick
from tests.conftest import BASE, Account
from tests.integration.browsing import PATH, Person
from tests.integration.serving import THREADS, Served
from tests.pipeline import Pipeline

FORM = "application/x-www-form-urlencoded"
MB = 1_000_000


def answers(served: Served, account: Account) -> bool:
    """Whether the API answers somebody with a key."""
    headers = {"X-API-Key": account.keys["live"]}
    return requests.get(f"{served.url}{BASE}/streaks", headers=headers, timeout=10).ok


def test_forms_of_strangers_that_never_come_hold_no_threads(
    served: Served, account: Account
) -> None:
    head = (
        f"POST {PATH}/sign-in HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\n"
        "Content-Length: 100\r\n\r\nkey="
    ).encode()
    with ExitStack() as stack:
        for _ in range(2 * THREADS):
            stack.enter_context(served.connect()).sendall(head)
        assert answers(served, account)


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        (FORM, b"key="),
        ("multipart/form-data; boundary=b",
         b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'),
    ],
)  # fmt: skip
def test_a_form_in_chunks_is_as_short_as_any(served: Served, kind: str, first: bytes) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield first
        for _ in range(50):
            sent += 1
            yield b"a" * MB

    status = 413
    try:
        answer = requests.post(
            f"{served.url}{PATH}/sign-in", data=endless(), headers={"Content-Type": kind},
            timeout=30,
        )  # fmt: skip
        status = answer.status_code
    except requests.ConnectionError:
        assert sent < 50  # it hung up meanwhile
    assert status == 413


def test_files_that_are_read_slowly_hold_few_threads(
    served: Served, account: Account, client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, grace_periods=0)
    for start in range(0, 6_000, 500):  # 4.9 MB as a file: more than lies between us and them
        names = (f"{nth:06d}{'雪' * 249}" for nth in range(start, start + 500))
        post_batch(client, *(tick(name, timestamp=noon(1)) for name in names))
        pipeline.drain()
    signed_in = requests.post(
        f"{served.url}{PATH}/sign-in", data={"key": account.keys["live"]}, allow_redirects=False,
        timeout=10,
    )  # fmt: skip
    cookie = signed_in.headers["Set-Cookie"].partition(";")[0]
    ask = f"GET {PATH}/at-risk.csv?code=daily_login HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(THREADS):
            one = stack.enter_context(socket.socket())
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            one.connect(("127.0.0.1", served.port))
            one.sendall(ask.encode())
        for _ in range(3):
            assert answers(served, account)
    # They hung up: there is room again.
    url = f"{served.url}{PATH}/at-risk.csv?code=daily_login"
    assert wait_until(
        lambda: requests.get(url, headers={"Cookie": cookie}, timeout=30).status_code == 200, 30
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://sub.localhost", "Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
)
def test_nobody_is_signed_in_by_somebody_elses_page(
    nobody: Person, account: Account, headers: dict[str, str]
) -> None:
    values = {"key": account.keys["live"]}
    response = nobody.client.post(f"{PATH}/sign-in", data=values, headers=headers)
    assert response.status_code == 403
    assert "Set-Cookie" not in response.headers
    for own in ({"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://localhost"}):
        response = nobody.client.post(f"{PATH}/sign-in", data=values, headers=own)
        assert response.status_code == 303


def test_guesses_lock_nobody_out_who_works(settings: Settings, account: Account) -> None:
    with another_app(settings, failed_keys_per_minute=3) as app:
        key = account.keys["live"]
        assert client_of(app, key).get(f"{BASE}/streaks").status_code == 200
        for nth in range(4):
            Person(app).sign_in(f"bq_live_{nth}")
        assert Person(app).sign_in(key).status_code == 303


@pytest.mark.parametrize("path", ["/sign-in?next=%ff", "/sign-in?notice=%ff"])
def test_a_query_that_is_no_text_has_a_page_of_its_error(nobody: Person, path: str) -> None:
    response = nobody.get(path)
    assert response.status_code in (200, 422)
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]


def test_no_column_of_the_file_begins_within_an_id(
    admin: Person, client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, grace_periods=0)
    name = "anna;=cmd|' /C calc'!A0;x"
    post_batch(client, tick(name, timestamp=noon(1)))
    pipeline.drain()
    text = admin.get("/at-risk.csv?code=daily_login").text
    for delimiter in ",;":  # as a spreadsheet reads it here, and where a comma is a decimal point
        for row in csv.reader(text.splitlines(), delimiter=delimiter):
            assert not any(cell.startswith("=") for cell in row)


@pytest.mark.parametrize("typed", ["9" * 5_000, "--5"])
def test_a_number_that_is_none_is_said_to_be_none(admin: Person, typed: str) -> None:
    response = admin.post("/d/streaks/new", code="a", name="A", period="daily", grace_periods=typed)
    assert response.status_code == 422


def test_a_file_is_not_begun_with_what_is_wrong(admin: Person, client: FlaskClient) -> None:
    make_streak(client)
    assert admin.get("/at-risk.csv?code=daily_login&min_count=9999999").status_code == 422


def test_what_others_wait_for_is_not_shown(
    admin: Person, app: Flask, make_account: Callable[..., Account]
) -> None:
    other = client_of(app, make_account().keys["live"])
    make_streak(other)
    post_batch(other, *(tick(f"u{nth}") for nth in range(37)))
    assert "<dd>37</dd>" not in admin.get().text


def test_an_error_page_shows_nothing_of_the_template(admin: Person) -> None:
    assert "Macro" not in admin.get("/d/streaks/nope").text


def test_a_page_of_somebody_with_many_streaks_is_bounded(
    admin: Person, client: FlaskClient, pipeline: Pipeline
) -> None:
    for nth in range(30):
        make_streak(client, f"s{nth}")
    post_batch(client, *(tick(streak_code=f"s{nth}") for nth in range(30)))
    pipeline.drain()
    assert admin.get("/participants/user_42").text.count("Why is this count") <= 20


def test_whoever_guesses_too_often_is_told_when_to_come_back(settings: Settings) -> None:
    with another_app(settings, failed_keys_per_minute=1) as app:
        Person(app).sign_in("bq_live_1")
        refused = Person(app).sign_in("bq_live_2")
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 60


@pytest.mark.parametrize("secret_keys", ["", "no key"])
def test_nobody_is_signed_in_without_a_key_ring_and_is_told_why(
    settings: Settings, account: Account, secret_keys: str
) -> None:
    with another_app(settings, secret_keys=secret_keys) as app:
        response = Person(app).sign_in(account.keys["live"])
    assert response.status_code == 503
    assert "UNBROKEN_SECRET_KEYS" in response.text
    assert response.headers["Retry-After"] == "60"


@pytest.mark.parametrize("name", ["a?b", "a#b", "50%25", "a/b", "雪"])
def test_one_comes_back_to_the_page_that_asked(
    app: Flask, account: Account, client: FlaskClient, pipeline: Pipeline, name: str
) -> None:
    make_streak(client)
    post_batch(client, tick(name))
    pipeline.drain()
    participant = Person(app)
    asked = participant.get(f"/participants/{quote(name, safe='')}?notice=a+b")
    to = parse_qs(urlsplit(asked.headers["Location"]).query)["next"][0]
    page = participant.follow(participant.sign_in(account.keys["live"], to))
    assert f"<h1>{name}</h1>" in page or name in page.partition("</h1>")[0]
    assert "a b" in page
