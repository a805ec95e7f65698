"""The dashboard's pages: who may see them, and what gets in."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from models import clock
from models.db import Engine
from settings import Settings
from tests.calls import (
    another_app,
    client_of,
    make_key,
    make_streak,
    problem,
    revoke,
)
from tests.conftest import BASE, Account
from tests.integration.browsing import PATH, Person, make_world, pages
from tests.pipeline import Pipeline

pytestmark = pytest.mark.promise("P16")


def test_an_admin_signs_in_and_out(nobody: Person, account: Account) -> None:
    assert nobody.get().headers["Location"] == f"{PATH}/sign-in?next=%2Fdashboard"
    response = nobody.sign_in(account.keys["live"], f"{PATH}/participants?search=a")
    assert response.headers["Location"] == f"{PATH}/participants?search=a"
    cookie = response.headers["Set-Cookie"]
    for word in ("HttpOnly", "SameSite=Strict", "Path=/dashboard", "Max-Age=43200"):
        assert word in cookie
    assert account.keys["live"] not in cookie
    assert nobody.get().status_code == 200
    assert nobody.post("/sign-out").status_code == 303
    assert nobody.get().status_code == 303


def test_over_https_the_cookie_is_never_sent_without(settings: Settings, account: Account) -> None:
    with another_app(settings, proxies=1) as app:
        response = app.test_client().post(
            f"{PATH}/sign-in",
            data={"key": account.keys["live"]},
            headers={"X-Forwarded-Proto": "https", "X-Forwarded-For": "127.0.0.1"},
        )
        assert "Secure" in response.headers["Set-Cookie"]
    with another_app(settings) as app:
        response = app.test_client().post(
            f"{PATH}/sign-in",
            data={"key": account.keys["live"]},
            headers={"X-Forwarded-Proto": "https"},
        )
        assert "Secure" not in response.headers["Set-Cookie"]


@pytest.mark.parametrize(
    "key", ["", "nonsense", "bq_live_" + "a" * 40, "x" * 5_000, "bq_live_\x00"]
)
def test_nobody_signs_in_with_what_is_no_key(nobody: Person, key: str) -> None:
    response = nobody.sign_in(key)
    assert response.status_code == 403
    assert "Set-Cookie" not in response.headers
    assert key not in response.text or not key


def test_nobody_signs_in_without_the_admin_scope_or_with_a_key_that_is_over(
    nobody: Person, app: Flask, account: Account, engine: Engine
) -> None:
    revoked = make_key(engine, account.live, ["admin"])
    revoke(app, account.live, revoked)
    for key in (
        make_key(engine, account.live),
        make_key(engine, account.live, ["admin"], lives_s=-1),
        revoked,
    ):
        assert nobody.sign_in(key).status_code == 403
    assert nobody.sign_in(make_key(engine, account.live, ["gamify:admin"])).status_code == 303


@pytest.mark.parametrize(
    "to",
    ["https://evil.example/", "//evil.example", "/dashboard\\evil", "/api/v1", "javascript:x", ""],
)
def test_it_leads_nowhere_else(nobody: Person, account: Account, to: str) -> None:
    assert nobody.sign_in(account.keys["live"], to).headers["Location"] == PATH


def test_guesses_are_slowed(settings: Settings) -> None:
    with another_app(settings, failed_keys_per_minute=3) as app:
        participant = Person(app)
        statuses = [participant.sign_in(f"bq_live_{n}").status_code for n in range(5)]
    assert statuses == [403, 403, 403, 429, 429]


def test_a_key_that_is_revoked_ends_its_sessions(
    nobody: Person, app: Flask, account: Account, engine: Engine
) -> None:
    key = make_key(engine, account.live, ["admin"])
    nobody.sign_in(key)
    token = nobody.token()
    revoke(app, account.live, key)
    values = {"token": token, "code": "x", "name": "X", "period": "daily"}
    response = nobody.client.post(f"{PATH}/d/streaks/new", data=values)
    assert response.headers["Location"].startswith(f"{PATH}/sign-in")
    assert client_of(app, account.keys["live"]).get(f"{BASE}/streaks").get_json()["total"] == 0


def test_a_session_ends_by_itself(
    nobody: Person, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody.sign_in(account.keys["live"])
    later = clock.now_us() + 13 * 3_600_000_000
    monkeypatch.setattr(clock, "now_us", lambda: later)
    assert nobody.get().status_code == 303


def _rules(app: Flask) -> list[Rule]:
    return [one for one in app.url_map.iter_rules() if one.rule.startswith(PATH)]


def _url(rule: Rule) -> str:
    names = {"kind": "streaks", "action": "replay", "participant_id": "user_42"}
    return re.sub(r"<(?:[^:>]+:)?(\w+)>", lambda found: names.get(found[1], "x"), str(rule.rule))


OPEN = {"dashboard.sign_in", "dashboard.signing_in", "dashboard.static"}


@pytest.mark.parametrize("cookie", ["", "forged", "gAAAAABforged", "x" * 3_000])
def test_every_page_asks_for_a_session(app: Flask, cookie: str) -> None:
    client = app.test_client()
    if cookie:
        client.set_cookie("unbroken_session", cookie, path=PATH)
    seen = 0
    for rule in _rules(app):
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            if rule.endpoint not in OPEN:
                response = client.open(_url(rule), method=method, data={"token": "x"})
                assert response.status_code in (303, 308), (method, rule.rule)
                seen += 1
    assert seen >= 25


def test_every_form_needs_the_sessions_token(app: Flask, admin: Person) -> None:
    seen = 0
    for rule in _rules(app):
        if "POST" in (rule.methods or set()) and rule.endpoint not in OPEN:
            for token in ({}, {"token": ""}, {"token": "forged"}):
                response = admin.client.post(_url(rule), data=token)
                assert response.status_code == 400, rule.rule
                assert "This form has expired" in response.text
            seen += 1
    assert seen >= 9


def test_every_page_lets_nothing_in_from_elsewhere(app: Flask, admin: Person) -> None:
    for path in ("", "/sign-in", "/d/streaks", "/participants", "/static/dashboard.css", "/nope"):
        response = admin.get(path)
        response.close()
        headers = response.headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        if path != "/static/dashboard.css":
            assert headers["Cache-Control"] == "no-store"


def test_pages_hold_no_script_and_no_style_of_their_own(
    app: Flask, admin: Person, client: FlaskClient, pipeline: Pipeline
) -> None:
    make_world(client, pipeline)
    for path in pages(admin, client):
        text = admin.get(path).text
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", text), path
        assert not re.search(r'(?:src|href)="(?:https?:)?//', text), path


def test_the_name_of_a_participant_becomes_no_script(admin: Person, client: FlaskClient) -> None:
    name = "<script>alert(1)</script>"
    body = {"participant_id": "eve", "display_name": name}
    assert client.post("/api/v1/gamify/participants", json=body).status_code == 201
    text = admin.get("/participants/eve").text
    assert name not in text
    assert "&lt;script&gt;alert(1)" in text


def test_it_can_be_switched_off(settings: Settings) -> None:
    with another_app(settings, dashboard=False) as app:
        assert app.test_client().get(PATH).status_code == 404
        assert app.test_client().get("/", headers=BROWSER).status_code == 404


BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def test_a_browser_that_asks_for_the_service_finds_the_dashboard(nobody: Person) -> None:
    found = nobody.client.get("/", headers=BROWSER)
    assert (found.status_code, found.headers["Location"]) == (303, PATH)
    for answer in (
        nobody.client.get("/"),
        nobody.client.get("/", headers={"Accept": "*/*"}),
        nobody.client.post("/", headers=BROWSER),
        nobody.client.get("/nope", headers=BROWSER),
    ):
        problem(answer, 404, "route_not_found")


def test_nobody_is_told_what_is_no_page_before_they_sign_in(
    nobody: Person, account: Account
) -> None:
    asked = nobody.get("/nosuch")
    assert asked.headers["Location"] == f"{PATH}/sign-in?next=%2Fdashboard%2Fnosuch"
    came = nobody.sign_in(account.keys["live"], f"{PATH}/nosuch")
    assert nobody.client.get(came.headers["Location"]).status_code == 404


def test_live_and_test_are_unmistakable_and_apart(
    app: Flask, account: Account, client: FlaskClient
) -> None:
    make_streak(client, "only_live")
    for mode, word in (("live", "LIVE"), ("test", "TEST")):
        participant = Person(app)
        participant.sign_in(account.keys["live" if mode == "live" else "test"])
        text = participant.get("/d/streaks").text
        assert f"<strong>{word}</strong>" in text
        assert f'class="mode-{mode}"' in text
        assert ("only_live" in text) is (mode == "live")


def test_another_tenants_things_are_not_there(
    app: Flask, client: FlaskClient, pipeline: Pipeline, make_account: Callable[..., Account]
) -> None:
    make_world(client, pipeline)
    stranger = Person(app)
    stranger.sign_in(make_account().keys["live"])
    for path in pages(Person(app), client):
        names_something = re.search(r"/(d/\w+/|webhooks/|dead-letters/|participants/)", path)
        if names_something and not path.endswith("/new"):
            assert stranger.get(path).status_code == 404, path
