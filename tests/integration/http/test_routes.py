"""Every route, as the application itself lists them: who is refused, and how."""

from __future__ import annotations

import re
from collections.abc import Callable

import redis
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.app import create_app
from models.db import Engine
from models.identity import tenants
from models.identity.tenants import Mode
from settings import Settings
from tests.calls import (
    assert_nothing_stored,
    client_of,
    count,
    make_key,
    make_streak,
    operator_changes,
    post_tick,
    problem,
    revoke,
)
from tests.conftest import BASE, Account
from tests.pipeline import Pipeline

STREAKS = f"{BASE}/streaks"


def rules() -> list[tuple[str, str]]:
    """Every route behind a key, as the application itself lists them."""
    url_map = create_app(
        Settings(database_url="postgresql://nobody@127.0.0.1:1/x", redis_url="redis://127.0.0.1:1")
    ).url_map
    return sorted(
        (method, rule.rule)
        for rule in url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule.startswith((BASE, "/v1/"))
    )


RULES = rules()


def path_of(rule: str) -> str:
    """A path that a rule matches."""
    names = {"code": "daily_login", "participant:participant_id": "user_42"}
    return re.sub(
        r"<([^>]+)>",
        lambda found: names.get(found[1], "01939c7e-6a1b-7c3d-9e4f-0a1b2c3d4e5f"),
        rule,
    )


REPAIRS = (
    "/pauses", "/pauses/<pause_id>", "/pauses/batch", "/restores/batch", "/repair", "/restore",
    "/freezes/batch", "/repairs/batch", "/retractions/batch",
    "/periods/<period_key>", "/freezes/grant", "/merge", "/merges/batch",
    "/restores", "/restores/<restore_id>",
)  # fmt: skip


def is_for_admins(method: str, rule: str) -> bool:
    """What manages: everything under /admin, and definitions of streaks under both spellings; what
    repairs a streak or merges participants; and what tells all about a person."""
    path = rule.removeprefix(BASE)
    if path.endswith(REPAIRS) or (method, path) == ("DELETE", "/ticks/<tick_id>"):
        return True
    if path == "/participants/<participant:participant_id>/export":
        return True
    return path.startswith("/admin/") or path in ("/streaks", "/streaks/<code>")


def call(client: FlaskClient, method: str, rule: str) -> TestResponse:
    return client.open(path_of(rule), method=method, json={} if method != "GET" else None)


def test_it_lists_the_routes_that_are_checked() -> None:
    assert {(method, rule.removeprefix(BASE)) for method, rule in RULES} >= {
        ("POST", "/streaks/record"),
        ("POST", "/streaks/record/batch"),
        ("GET", "/ticks/<tick_id>"),
        ("GET", "/participants/<participant:participant_id>/streaks"),
        ("GET", "/participants/<participant:participant_id>/streaks/<code>/history"),
        ("PATCH", "/streaks/<code>"),
        ("DELETE", "/admin/streaks/<code>"),
        ("POST", "/admin/webhooks"),
    }


def test_it_refuses_on_every_route_who_must_not_get_in(
    app: Flask,
    engine: Engine,
    account: Account,
    make_account: Callable[..., Account],
    redis_client: redis.Redis,
) -> None:
    disabled, side = make_account(), account.live
    make_streak(client_of(app, account.keys["live"]))
    with operator_changes(app, *disabled.sides.values()) as session:
        tenants.change(session, disabled.slug, is_enabled=False)
    revoked = make_key(engine, side, ["admin"])
    revoke(app, side, revoked)
    refused = {
        "no key": (401, app.test_client()),
        "bad key": (401, client_of(app, "bq_live_bad")),
        "unknown key": (401, client_of(app, tenants.new_key("live"))),
        "revoked": (401, client_of(app, revoked)),
        "expired": (401, client_of(app, make_key(engine, side, ["admin"], lives_s=-1))),
        "disabled live": (403, client_of(app, disabled.keys["live"])),
        "disabled test": (403, client_of(app, disabled.keys["test"])),
    }
    for method, rule in RULES:
        for who, (status, client) in refused.items():
            response = call(client, method, rule)
            assert response.status_code == status, (who, method, rule)
            problem(response, status, "unauthorized" if status == 401 else "forbidden")
    assert_nothing_stored(redis_client, engine, side)
    assert count(engine, "webhooks", side) == 0


def test_it_asks_for_the_admin_scope_on_every_route_that_manages(
    app: Flask, engine: Engine, account: Account, client: FlaskClient
) -> None:
    make_streak(client)
    mine = client_of(app, make_key(engine, account.live))
    for method, rule in RULES:
        response = call(mine, method, rule)
        if is_for_admins(method, rule):
            problem(response, 403, "forbidden")
        else:
            assert response.status_code not in (401, 403), (method, rule)
            assert response.status_code < 500, (method, rule)


def test_it_shows_no_route_anything_of_another_tenant_or_mode(
    app: Flask,
    account: Account,
    client: FlaskClient,
    make_account: Callable[..., Account],
    pipeline: Pipeline,
) -> None:
    make_streak(client, name="a secret of ours")
    post_tick(client)
    pipeline.drain()
    strangers: list[tuple[Mode, Account]] = [("test", account), ("live", make_account())]
    for method, rule in RULES:
        for mode, owner in strangers:
            response = call(client_of(app, owner.keys[mode]), method, rule)
            assert response.status_code < 500
            assert "secret of ours" not in response.text
    assert client.get(f"{STREAKS}/daily_login").get_json()["is_active"] is True


def test_it_asks_for_a_key_before_it_says_that_there_is_no_route(
    app: Flask, client: FlaskClient
) -> None:
    stranger = app.test_client()
    for path in ("/nowhere", "/streaks/", "/streaks/x/y", "/participants/", "/badges", ""):
        problem(stranger.get(BASE + path), 401, "unauthorized")
        problem(client.get(BASE + path), 404, "route_not_found")
    response = client.put(f"{STREAKS}/daily_login", json={})
    problem(response, 405, "method_not_allowed")
    assert response.headers["Allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH"
    for path in ("/", "/api", "/favicon.ico", "/livez/"):
        problem(stranger.get(path), 404, "route_not_found")
