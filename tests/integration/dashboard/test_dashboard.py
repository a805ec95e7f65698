"""The dashboard's pages: what they show, and that they do what they say."""

from __future__ import annotations

import re
from html import unescape

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models import clock
from models.db import Engine
from models.identity import tenants
from settings import Settings
from tests.calls import (
    another_app,
    make_streak,
    noon,
    operator_changes,
    post_batch,
    post_json,
    tick,
)
from tests.conftest import BASE, Account
from tests.integration.browsing import PATH, Person, make_world, pages
from tests.integration.mending import WHO, day, of, pause, record_days
from tests.integration.sides import bury
from tests.pipeline import Pipeline


def test_every_page_is_there(admin: Person, client: FlaskClient, pipeline: Pipeline) -> None:
    make_world(client, pipeline)
    for path in pages(admin, client):
        response = admin.get(path)
        assert response.status_code == 200, (path, response.text)
        assert "<h1" in response.text
        assert 'lang="en"' in response.text
    for path in ("/nope", "/no/pe/", "//", "/d/nope", "/participants/nobody", "/d/streaks/nope"):
        response = admin.get(path)
        assert response.status_code == 404
        assert response.mimetype == "text/html"
        assert "Not found" in response.text


def test_a_streak_is_created_changed_paused_and_resumed(admin: Person, client: FlaskClient) -> None:
    values = {
        "code": "daily_login", "name": "Daily <Login>", "period": "daily", "grace_periods": "1",
        "reset_on_miss": "on", "boundary": "utc", "milestones": '[{"count": 7, "points": 50}]',
    }  # fmt: skip
    page = admin.follow(admin.post("/d/streaks/new", **values))
    assert "Streak created" in page
    made = client.get(f"{BASE}/streaks/daily_login").get_json()
    assert made["milestones"] == [{"count": 7, "badge_code": None, "points": 50, "repeat": "once"}]
    assert "&lt;Login&gt;" in admin.get("/d/streaks").text
    page = admin.follow(
        admin.post("/d/streaks/daily_login", name="Daily", grace_periods="2", boundary="utc")
    )
    assert "Saved" in page
    changed = client.get(f"{BASE}/streaks/daily_login").get_json()
    assert (changed["name"], changed["grace_periods"], changed["reset_on_miss"]) == (
        "Daily", 2, False,
    )  # fmt: skip
    assert "Streak paused" in admin.follow(admin.post("/d/streaks/daily_login/pause"))
    assert client.get(f"{BASE}/streaks/daily_login").get_json()["is_active"] is False
    assert "Streak resumed" in admin.follow(admin.post("/d/streaks/daily_login/resume"))
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
    for told in (
        "Nothing was saved. Check: Code, Name, Grace.",
        "Must consist of letters, digits and _ . : - only.",
        "Must be given.",
        "Must be a whole number, without quotes.",
    ):
        assert told in page
    assert "String should" not in page
    assert "grace_periods" not in page.partition("</h1>")[2].partition("<form")[0]
    assert client.get(f"{BASE}/streaks").get_json()["total"] == 0


def test_every_field_that_is_wrong_says_so_to_a_screen_reader(admin: Person) -> None:
    text = admin.post(
        "/d/streaks/new",
        code="a b",
        name="",
        period="hourly",
        milestones="[nope",
        grace_periods="1",
    ).text
    for name in ("code", "name", "period", "milestones"):
        (field,) = re.findall(rf'<(?:input|select|textarea)[^>]* name="{name}"[^>]*>', text)
        assert 'aria-invalid="true"' in field, field
    assert text.count('aria-invalid="true"') == 4
    assert "This is not valid JSON." in text
    assert 'aria-invalid="true"' not in admin.get("/d/streaks/new").text


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
    values = {"url": "http://127.0.0.1:9/x", "event_types": "behavior.*"}
    made = admin.post("/d/webhooks/new", **values)
    found = re.search(r"whsec_[\w+/=]+", admin.follow(made))
    assert found
    (webhook,) = client.get(f"{BASE}/admin/webhooks").get_json()["items"]
    assert "whsec_" not in admin.get(f"/webhooks/{webhook['id']}").text
    rotated = admin.post(f"/webhooks/{webhook['id']}/rotate")
    fresh = re.search(r"whsec_[\w+/=]+", admin.follow(rotated))
    assert fresh
    assert fresh[0] != found[0]
    for answer in (made, rotated):  # loading its page again makes nothing, and shows nothing
        again = admin.client.get(answer.headers["Location"])
        assert again.status_code == 303
        assert "shown once" in admin.follow(again)
    assert client.get(f"{BASE}/admin/webhooks").get_json()["total"] == 1
    log = client.get(f"{BASE}/admin/audit-log").get_json()["items"]
    assert [one["action"] for one in log] == ["webhook.secret_rotated", "webhook.created"]


def test_a_secret_on_its_way_to_its_page_is_seen_by_nobody_else(
    admin: Person, app: Flask, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"url": "http://127.0.0.1:9/x", "event_types": "behavior.*"}
    made = admin.post("/d/webhooks/new", **values)
    path, cookie = made.headers["Location"], made.headers["Set-Cookie"]
    assert "whsec_" not in path + cookie + made.text
    for word in ("HttpOnly", "SameSite=Strict", f"Path={path};", "Max-Age=120"):
        assert word in f"{cookie};"
    other = Person(app)  # another session of the same key
    other.sign_in(account.keys["live"])
    text = cookie.partition(";")[0].partition("=")[2]
    other.client.set_cookie("unbroken_secret", text, path=path)
    assert other.client.get(path).status_code == 303
    now = clock.now_us()
    with monkeypatch.context() as patch:
        patch.setattr(clock, "now_us", lambda: now + 121_000_000)
        assert admin.client.get(path).status_code == 303
    shown = admin.client.get(path)
    assert "whsec_" in shown.text
    assert shown.headers["Cache-Control"] == "no-store"
    assert "unbroken_secret=;" in shown.headers["Set-Cookie"]


@pytest.mark.parametrize("text", ["", "forged", "x" * 3_000])
def test_a_forged_secret_is_not_shown(admin: Person, client: FlaskClient, text: str) -> None:
    values = {"url": "http://127.0.0.1:9/x", "event_types": "behavior.*"}
    path = admin.post("/d/webhooks/new", **values).headers["Location"]
    session = admin.client.get_cookie("unbroken_session", path=PATH)
    assert session
    for forged in (text, session.value):
        admin.client.set_cookie("unbroken_secret", forged, path=path)
        assert admin.client.get(path).status_code == 303


def test_the_example_is_of_the_newest_streak(admin: Person, client: FlaskClient) -> None:
    assert '"streak_code": "daily_login"' in unescape(admin.get().text)
    assert "define one" in admin.get().text
    make_streak(client, "zumba")
    make_streak(client, "app_open")
    shown = unescape(admin.get().text)
    assert '"streak_code": "app_open"' in shown
    assert "export KEY=" in shown
    assert "define one" not in shown
    assert client.delete(f"{BASE}/streaks/app_open").status_code == 200
    assert '"streak_code": "zumba"' in unescape(admin.get().text)


def test_whoever_made_a_streak_sees_how_to_send_it_a_tick(admin: Person) -> None:
    example = '"streak_code": "runs"}'
    made = admin.post("/d/streaks/new", code="runs", name="Runs", period="daily", boundary="utc")
    page = admin.follow(made)
    assert page.index("Streak created") < page.index(example) < page.index("<form class")
    page = unescape(admin.get("/d/streaks/runs").text)
    assert page.index("<form class") < page.index(example)
    assert "curl -X POST http://localhost/api/v1/gamify/streaks/record" in page
    admin.post("/d/streaks/runs/pause")
    assert example not in unescape(admin.get("/d/streaks/runs").text)
    assert "curl" not in admin.get("/d/streaks/new").text


def test_a_participant_is_searched_and_shown_with_a_calendar(
    admin: Person, client: FlaskClient, pipeline: Pipeline
) -> None:
    make_world(client, pipeline)
    rows = admin.get("/participants?search=USER/4", **{"HX-Request": "true"}).text
    assert 'href="/dashboard/participants/user/42"' in rows or "user%2F42" in rows
    assert "<html" not in rows
    page = unescape(admin.get("/participants/user%2F42").text)
    assert page.count('<g class="recorded"') == 6 + 1  # and the legend's
    assert page.count('<g class="grace"') == 1 + 1
    assert "was missed with no grace left: a new run began on" in page
    assert "2 days are recorded since then, so the count is 2." in page
    assert "Why is this count" in page
    assert "100 earned" in page


def test_the_calendar_shows_the_cause_of_each_protected_day(
    admin: Person, client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    record_days(client, pipeline, 5, 3, 0)
    pause(client, 4, 4)
    post_json(client, f"{of()}/repair", {"periods": [day(2)]})
    outage = {"starts_at": noon(1), "ends_at": noon(1).replace("12:", "13:"), "reason": "down"}
    assert post_json(client, f"{BASE}/admin/outages", outage).status_code == 201
    pipeline.drain()
    page = unescape(admin.get(f"/participants/{WHO}").text)
    legend = page.partition('<ul class="legend"')[2].partition("</ul>")[0]
    for cause, mark in (("pause", "M4.5 3.5v5m3 -5v5"), ("repaired", "M6 3v6m-3 -3h6"),
                        ("outage", "M7 2.5l-3 4h4l-3 3.5")):  # fmt: skip
        assert f"</svg>{cause}</li>" in legend
        assert page.count(f'<path d="{mark}"/>') == 1 + 1
    assert "holiday" not in legend


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
    assert "The dead letter is replayed" in page
    pipeline.drain()
    assert client.get(f"{BASE}/ticks/{letter}").get_json()["status"] == "applied"


def test_the_overview_counts_what_happens(
    admin: Person, client: FlaskClient, pipeline: Pipeline
) -> None:
    make_world(client, pipeline)
    part = unescape(admin.get("", **{"HX-Request": "true"}).text)
    assert "<html" not in part
    assert re.search(r"<dt>Facts</dt><dd>7</dd>", part)
    assert "<p>none</p>" in part


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
        participant = Person(fresh)
        assert participant.sign_in(account.keys["live"]).status_code == 403
