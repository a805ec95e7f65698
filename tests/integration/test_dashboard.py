"""The dashboard's pages: who may see them, what they show, and that they do what they say."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from models import clock, tenants
from models.db import Engine
from settings import Settings
from tests.calls import (
    another_app,
    client_of,
    make_key,
    make_streak,
    noon,
    operator_changes,
    post_batch,
    revoke,
    tick,
)
from tests.conftest import BASE, Account
from tests.integration.earning import award_points
from tests.integration.sides import bury
from tests.pipeline import Pipeline

PATH = "/dashboard"
KINDS = ("streaks", "badges", "tiers", "rewards", "challenges", "leaderboards", "webhooks")


class Person:
    """Somebody with a browser that keeps cookies."""

    def __init__(self, app: Flask) -> None:
        self.client = app.test_client()

    def get(self, path: str = "", **headers: str) -> TestResponse:
        return self.client.get(f"{PATH}{path}", headers=headers)

    def sign_in(self, key: str, to: str = "") -> TestResponse:
        return self.client.post(f"{PATH}/sign-in", data={"key": key, "next": to})

    def token(self) -> str:
        found = re.search(r'name="token" value="([^"]+)"', self.get().text)
        assert found
        return found[1]

    def post(self, path: str, **values: str) -> TestResponse:
        return self.client.post(f"{PATH}{path}", data={"token": self.token()} | values)

    def follow(self, response: TestResponse) -> str:
        """The page that an answer leads to."""
        assert response.status_code == 303, response.text
        page = self.client.get(response.headers["Location"])
        assert page.status_code == 200, page.text
        return unescape(page.text)


@pytest.fixture
def nobody(app: Flask) -> Person:
    return Person(app)


@pytest.fixture
def admin(app: Flask, account: Account) -> Person:
    person = Person(app)
    assert person.sign_in(account.keys["live"]).status_code == 303
    return person


# -- who may see it ----------------------------------------------------------------------------


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
        person = Person(app)
        statuses = [person.sign_in(f"bq_live_{n}").status_code for n in range(5)]
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
        policy = headers["Content-Security-Policy"] if path != "/nope" else "default-src 'none'"
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        if path not in ("/nope", "/static/dashboard.css"):
            assert headers["Cache-Control"] == "no-store"


def test_pages_hold_no_script_and_no_style_of_their_own(
    app: Flask, admin: Person, client: FlaskClient, pipeline: Pipeline
) -> None:
    _make_world(client, pipeline)
    for path in _pages(admin, client):
        text = admin.get(path).text
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", text), path
        assert not re.search(r'(?:src|href)="(?:https?:)?//', text), path


def test_it_can_be_switched_off(settings: Settings) -> None:
    with another_app(settings, dashboard=False) as app:
        assert app.test_client().get(PATH).status_code == 404


def test_live_and_test_are_unmistakable_and_apart(
    app: Flask, account: Account, client: FlaskClient
) -> None:
    make_streak(client, "only_live")
    for mode, word in (("live", "LIVE"), ("test", "TEST")):
        person = Person(app)
        person.sign_in(account.keys["live" if mode == "live" else "test"])
        text = person.get("/d/streaks").text
        assert f"<strong>{word}</strong>" in text
        assert f'class="mode-{mode}"' in text
        assert ("only_live" in text) is (mode == "live")


def test_another_tenants_things_are_not_there(
    app: Flask, client: FlaskClient, pipeline: Pipeline, make_account: Callable[..., Account]
) -> None:
    _make_world(client, pipeline)
    stranger = Person(app)
    stranger.sign_in(make_account().keys["live"])
    for path in _pages(Person(app), client):
        names_something = re.search(r"/(d/\w+/|webhooks/|dead-letters/|participants/)", path)
        if names_something and not path.endswith("/new"):
            assert stranger.get(path).status_code == 404, path


# -- what it shows and does --------------------------------------------------------------------


def _make_world(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client, grace_periods=1)
    hook = {"url": "http://127.0.0.1:9/facts", "event_types": ["*"]}
    assert client.post(f"{BASE}/admin/webhooks", json=hook).status_code == 201
    days = (9, 8, 6, 5, 2, 1)
    post_batch(client, *(tick("user/42", timestamp=noon(day)) for day in days))
    award_points(client, 100, "user/42")
    pipeline.drain()


def _pages(admin: Person, client: FlaskClient) -> list[str]:
    """Every page with something on it."""
    webhook = client.get(f"{BASE}/admin/webhooks").get_json()["items"][0]["id"]
    fact = client.get(f"{BASE}/facts").get_json()["items"][0]["id"]
    return [
        "", "/participants", "/participants/user%2F42", "/at-risk", "/dead-letters", "/keys",
        "/audit-log", f"/webhooks/{webhook}", f"/webhooks/{webhook}/{fact}",
        "/d/streaks/daily_login", f"/d/webhooks/{webhook}",
        *(f"/d/{kind}" for kind in KINDS), *(f"/d/{kind}/new" for kind in KINDS),
    ]  # fmt: skip


def test_every_page_is_there(admin: Person, client: FlaskClient, pipeline: Pipeline) -> None:
    _make_world(client, pipeline)
    for path in _pages(admin, client):
        response = admin.get(path)
        assert response.status_code == 200, (path, response.text)
        assert "<h1" in response.text
        assert 'lang="en"' in response.text
    for path in ("/nope", "/d/nope", "/participants/nobody", "/d/streaks/nope"):
        response = admin.get(path)
        assert response.status_code == 404
        if path != "/nope":
            assert response.mimetype == "text/html"


def test_a_streak_is_created_changed_paused_and_resumed(admin: Person, client: FlaskClient) -> None:
    values = {
        "code": "daily_login", "name": "Daily <Login>", "period": "daily", "grace_periods": "1",
        "reset_on_miss": "on", "boundary": "utc", "milestones": '[{"count": 7, "points": 50}]',
    }  # fmt: skip
    page = admin.follow(admin.post("/d/streaks/new", **values))
    assert "Streak created" in page
    made = client.get(f"{BASE}/streaks/daily_login").get_json()
    assert made["milestones"] == [{"count": 7, "badge_code": None, "points": 50}]
    assert "&lt;Login&gt;" in admin.get("/d/streaks").text
    page = admin.follow(
        admin.post("/d/streaks/daily_login", name="Daily", grace_periods="2", boundary="utc")
    )
    assert "Saved" in page
    changed = client.get(f"{BASE}/streaks/daily_login").get_json()
    assert (changed["name"], changed["grace_periods"], changed["reset_on_miss"]) == (
        "Daily", 2, False,
    )  # fmt: skip
    assert "paused" in admin.follow(admin.post("/d/streaks/daily_login/pause"))
    assert client.get(f"{BASE}/streaks/daily_login").get_json()["is_active"] is False
    assert "active again" in admin.follow(admin.post("/d/streaks/daily_login/resume"))
    log = client.get(f"{BASE}/admin/audit-log").get_json()["items"]
    assert [one["action"] for one in log] == [
        "streak.updated", "streak.deactivated", "streak.updated", "streak.created",
    ]  # fmt: skip


def test_what_is_wrong_stands_beside_its_field(admin: Person, client: FlaskClient) -> None:
    response = admin.post("/d/streaks/new", code="a b", name="", period="daily", grace_periods="x")
    assert response.status_code == 422
    page = unescape(response.text)
    assert page.count('class="field has-error"') == 3
    assert 'value="a b"' in page
    assert client.get(f"{BASE}/streaks").get_json()["total"] == 0


@pytest.mark.parametrize(
    ("kind", "values", "shown"),
    [
        ("badges", {"code": "warrior", "name": "Warrior", "rarity": "rare"}, "rare"),
        (
            "tiers",
            {
                "code": "gold",
                "name": "Gold",
                "level": "3",
                "award_type": "automatic",
                "criteria_config.min_points": "5000",
            },
            "5,000",
        ),
        ("rewards", {"code": "mug", "name": "Mug", "points_cost": "500", "stock": "45"}, "45"),
        (
            "challenges",
            {"code": "goal", "name": "Goal", "objective": '{"type": "points"}', "target": "100"},
            "points",
        ),
        ("leaderboards", {"code": "top", "name": "Top", "metric": "points"}, "points"),
    ],
)
def test_definitions_of_every_kind_are_created_and_listed(
    admin: Person, kind: str, values: dict[str, str], shown: str
) -> None:
    page = admin.follow(admin.post(f"/d/{kind}/new", **values))
    assert values["name"] in page
    listed = unescape(admin.get(f"/d/{kind}").text)
    assert values["code"] in listed
    assert shown in listed


def test_a_destinations_secret_is_shown_once(admin: Person, client: FlaskClient) -> None:
    response = admin.post("/d/webhooks/new", url="http://127.0.0.1:9/x", event_types="behavior.*")
    assert response.status_code == 200
    found = re.search(r"whsec_[\w+/=]+", unescape(response.text))
    assert found
    webhook = client.get(f"{BASE}/admin/webhooks").get_json()["items"][0]["id"]
    assert "whsec_" not in admin.get(f"/webhooks/{webhook}").text
    rotated = admin.post(f"/webhooks/{webhook}/rotate")
    fresh = re.search(r"whsec_[\w+/=]+", unescape(rotated.text))
    assert fresh
    assert fresh[0] != found[0]


def test_a_participant_is_searched_and_shown_with_a_calendar(
    admin: Person, client: FlaskClient, pipeline: Pipeline
) -> None:
    _make_world(client, pipeline)
    rows = admin.get("/participants?search=USER/4", **{"HX-Request": "true"}).text
    assert 'href="/dashboard/participants/user/42"' in rows or "user%2F42" in rows
    assert "<html" not in rows
    page = unescape(admin.get("/participants/user%2F42").text)
    assert page.count('<g class="recorded">') == 6 + 1  # and the legend's
    assert page.count('<g class="grace">') == 1 + 1
    assert "was missed with no grace left: a new run began on" in page
    assert "2 days are recorded since then, so the count is 2." in page
    assert "Why is this count" in page
    assert "100 earned" in page


def test_who_is_at_risk_is_exported_without_formulas(
    admin: Person, client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, grace_periods=0)
    post_batch(client, *(tick(who, timestamp=noon(1)) for who in ("=cmd()", "anna", "@x")))
    pipeline.drain()
    assert "=cmd()" in unescape(admin.get("/at-risk").text)
    response = admin.get("/at-risk.csv?code=daily_login")
    assert response.mimetype == "text/csv"
    lines = response.text.splitlines()
    assert lines[0].startswith("participant_id,")
    assert sorted(line.split(",")[0] for line in lines[1:]) == ["'=cmd()", "'@x", "anna"]


def test_a_dead_letter_is_replayed(
    admin: Person, client: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    make_streak(client)
    letter = bury(engine, account.live.id)
    assert "boom" in admin.get("/dead-letters").text
    page = admin.follow(admin.post(f"/dead-letters/{letter}/replay"))
    assert "It is tried once more" in page
    pipeline.drain()
    assert client.get(f"{BASE}/ticks/{letter}").get_json()["status"] == "applied"


def test_the_overview_counts_what_happens(
    admin: Person, client: FlaskClient, pipeline: Pipeline
) -> None:
    _make_world(client, pipeline)
    part = unescape(admin.get("", **{"HX-Request": "true"}).text)
    assert "<html" not in part
    assert re.search(r"<dt>Facts</dt><dd>7</dd>", part)
    assert "oldest 0.0 s" in part


def test_keys_are_listed_and_none_is_shown(admin: Person, account: Account) -> None:
    page = admin.get("/keys").text
    assert "this session" in page
    assert account.keys["live"] not in page


def test_it_says_so_when_the_tenant_was_disabled(
    admin: Person, app: Flask, account: Account, settings: Settings
) -> None:
    with operator_changes(app, account.live) as session:
        tenants.change(session, account.slug, is_enabled=False)
    with another_app(settings) as fresh:
        person = Person(fresh)
        assert person.sign_in(account.keys["live"]).status_code == 403
