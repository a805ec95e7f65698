"""Destinations over HTTP: created with a secret shown once, changed, deleted, kept apart."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from api.app import create_app
from models.db import Engine, reading, transaction
from models.delivery import destinations
from models.identity import tenants
from settings import Settings
from tests.conftest import BASE, Account
from webhooks import secrets, signing

PATH = f"{BASE}/admin/webhooks"
NEW = {"url": "http://127.0.0.1:9999/hook", "event_types": ["behavior.*"]}
NOBODY = "01920000-0000-7000-8000-000000000000"


def _create(client: FlaskClient, **changes: Any) -> dict[str, Any]:
    response = client.post(PATH, json=NEW | changes)
    assert response.status_code == 201, response.text
    return dict(response.json or {})


def _with_key(client: FlaskClient, key: str) -> FlaskClient:
    other = client.application.test_client()
    other.environ_base["HTTP_X_API_KEY"] = key
    return other


def _problem(response: Any) -> tuple[int, str]:
    assert response.mimetype == "application/problem+json"
    return response.status_code, response.json["code"]


def _fields(response: Any) -> list[tuple[str, str]]:
    assert _problem(response) in [(422, "validation_error"), (422, "unknown_field")], response.text
    return [(error["field"], error["code"]) for error in response.json["errors"]]


# -- creating --------------------------------------------------------------------------------


def test_it_shows_the_secret_once_and_never_again(client: FlaskClient) -> None:
    created = _create(client, description="CRM")
    assert len(signing.secret_key(created["secret"])) == 32
    shown = {key: value for key, value in created.items() if key != "secret"}
    assert shown == {
        "id": created["id"],
        "url": NEW["url"],
        "description": "CRM",
        "event_types": ["behavior.*"],
        "streak_codes": None,
        "is_enabled": True,
        "disabled_reason": None,
        "is_ordered": False,
        "rate_per_second": None,
        "in_flight_max": None,
        "retry_seconds": None,
        "signatures": ["v1"],
        "public_key": None,
        "previous_secret_until": None,
        "health": {
            "status": "ok",
            "failing_since": None,
            "parked_until": None,
            "failures": 0,
            "last_failure": None,
            "next_probe_at": None,
        },
        "created_at": created["created_at"],
        "updated_at": created["updated_at"],
    }
    assert created["created_at"].endswith("Z")
    one = client.get(f"{PATH}/{created['id']}")
    listed = client.get(PATH)
    changed = client.patch(f"{PATH}/{created['id']}", json={"description": None})
    assert one.json == shown | {"pending": 0}
    assert created["secret"] not in one.text + listed.text + changed.text
    assert '"secret"' not in listed.text


def test_it_stores_the_secret_encrypted(
    client: FlaskClient, engine: Engine, settings: Settings
) -> None:
    created = _create(client)
    with reading(engine) as session:
        stored = session.execute(
            sa.text("SELECT secret FROM webhooks WHERE id = :id"), {"id": created["id"]}
        ).scalar_one()
    assert created["secret"].removeprefix("whsec_") not in stored
    assert secrets.decrypt(secrets.ring(settings.secret_keys), stored) == created["secret"]


def test_it_accepts_known_types_and_globs_and_names_each_once(client: FlaskClient) -> None:
    wanted = ["behavior.streak_recorded", "badge.awarded", "badge.*", "*", "badge.awarded"]
    created = _create(client, event_types=wanted)
    assert created["event_types"] == wanted[:-1]


@pytest.mark.parametrize(
    ("changes", "field", "code"),
    [
        ({"event_types": ["behavior.streak_recorded", "nope"]}, "event_types.1", "event_type"),
        ({"event_types": ["nope.*"]}, "event_types.0", "event_type"),
        ({"event_types": ["behavior*"]}, "event_types.0", "event_type"),
        ({"event_types": [""]}, "event_types.0", "event_type"),
        ({"event_types": []}, "event_types", "too_short"),
        ({"event_types": ["*"] * 101}, "event_types", "too_long"),
        ({"event_types": "behavior.*"}, "event_types", "list_type"),
        ({"event_types": [1]}, "event_types.0", "string_type"),
        ({"url": 1}, "url", "string_type"),
        ({"url": ""}, "url", "string_too_short"),
        ({"url": "http://127.0.0.1/" + "x" * 2_048}, "url", "string_too_long"),
        ({"is_enabled": "yes"}, "is_enabled", "bool_type"),
        ({"description": "\x00"}, "description", "string_pattern_mismatch"),
        ({"description": "x" * 5_001}, "description", "string_too_long"),
        ({"secret": "whsec_mine"}, "secret", "unknown_field"),
        ({"tenant_id": 1}, "tenant_id", "unknown_field"),
        ({"id": NOBODY}, "id", "unknown_field"),
    ],
)
def test_it_names_the_field_that_cannot_be_used(
    client: FlaskClient, changes: dict[str, Any], field: str, code: str
) -> None:
    assert _fields(client.post(PATH, json=NEW | changes)) == [(field, code)]
    assert (client.get(PATH).json or {})["total"] == 0


@pytest.mark.parametrize("missing", ["url", "event_types"])
def test_it_asks_for_what_is_missing(client: FlaskClient, missing: str) -> None:
    given = {key: value for key, value in NEW.items() if key != missing}
    assert _fields(client.post(PATH, json=given)) == [(missing, "missing")]


def test_it_bounds_what_it_says_about_unknown_fields(client: FlaskClient) -> None:
    response = client.post(PATH, json=NEW | {f"{nth:03}" + "x" * 1_000: 1 for nth in range(500)})
    assert len(_fields(response)) == 10
    assert len(response.data) < 5_000


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:127.0.0.1]/",
        "http://2130706433/",
        "http://user:hunter2@127.0.0.1/",
        "ftp://127.0.0.1/",
        "127.0.0.1",
        "http://127.0.0.1/\n",
    ],
)
def test_it_refuses_urls_that_may_not_be_called(client: FlaskClient, url: str) -> None:
    created = _create(client)
    for response in (
        client.post(PATH, json=NEW | {"url": url}),
        client.patch(f"{PATH}/{created['id']}", json={"url": url}),
    ):
        assert _fields(response) == [("url", "url_refused")]
        assert "hunter2" not in response.text
    assert (client.get(f"{PATH}/{created['id']}").json or {})["url"] == NEW["url"]


def test_it_allows_only_public_https_unless_the_operator_says_otherwise(
    settings: Settings, account: Account
) -> None:
    defaults = Settings()
    strict = replace(
        settings,
        webhook_allow_cidrs=defaults.webhook_allow_cidrs,
        webhook_allow_http=defaults.webhook_allow_http,
        webhook_ports=defaults.webhook_ports,
    )
    client = _with_key(create_app(strict).test_client(), account.keys["live"])
    for url in ("http://93.184.216.34/", "https://127.0.0.1/", "https://93.184.216.34:22/"):
        assert _fields(client.post(PATH, json=NEW | {"url": url})) == [("url", "url_refused")]
    _create(client, url="https://93.184.216.34/hook")
    _close(client.application)


def test_it_says_what_is_missing_when_no_key_ring_is_set(
    settings: Settings, account: Account
) -> None:
    app = create_app(replace(settings, secret_keys=""))
    response = _with_key(app.test_client(), account.keys["live"]).post(PATH, json=NEW)
    assert _problem(response) == (503, "unavailable")
    assert "UNBROKEN_SECRET_KEYS" in response.text
    assert response.headers["Retry-After"]
    _close(app)


def _close(app: Flask) -> None:
    context = app.extensions["unbroken"]
    context.close()


# -- listing, changing, deleting -------------------------------------------------------------


def test_it_lists_in_pages_oldest_first(client: FlaskClient) -> None:
    made = [_create(client, description=str(nth))["id"] for nth in range(5)]
    second = client.get(f"{PATH}?page=2&page_size=2").json or {}
    assert [item["id"] for item in second["items"]] == made[2:4]
    assert {key: second[key] for key in ("total", "page", "page_size")} == {
        "total": 5,
        "page": 2,
        "page_size": 2,
    }
    empty = client.get(f"{PATH}?page=9").json or {}
    assert (empty["items"], empty["total"], empty["page_size"]) == ([], 5, 50)


@pytest.mark.parametrize("query", ["page=0", "page=1_000", "page_size=101", "page_size=x"])
def test_it_refuses_pages_that_do_not_exist(client: FlaskClient, query: str) -> None:
    assert _fields(client.get(f"{PATH}?{query}")) == [(query.split("=")[0], "int_range")]


def test_it_changes_what_is_given_and_nothing_else(client: FlaskClient) -> None:
    created = _create(client, description="CRM")
    path = f"{PATH}/{created['id']}"
    changes: dict[str, Any] = {
        "is_enabled": False,
        "event_types": ["badge.awarded"],
        "url": f"{NEW['url']}/2",
    }
    changed = dict(client.patch(path, json=changes).json or {})
    assert changed.pop("updated_at") > created["updated_at"]
    del created["secret"], created["updated_at"]
    assert changed.pop("health")["status"] == "disabled"
    del created["health"]
    assert changed == created | changes
    assert (client.get(path).json or {})["is_enabled"] is False


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"url": None}, "url"),
        ({"event_types": None}, "event_types"),
        ({"event_types": ["nope"]}, "event_types.0"),
        ({"is_enabled": None}, "is_enabled"),
        ({"secret": "whsec_mine"}, "secret"),
    ],
)
def test_it_refuses_changes_that_cannot_be_made(
    client: FlaskClient, changes: dict[str, Any], field: str
) -> None:
    created = _create(client)
    path = f"{PATH}/{created['id']}"
    assert [name for name, _ in _fields(client.patch(path, json=changes))] == [field]
    del created["secret"]
    assert client.get(path).json == created | {"pending": 0}


def test_it_refuses_a_change_of_nothing(client: FlaskClient) -> None:
    path = f"{PATH}/{_create(client)['id']}"
    assert _problem(client.patch(path, json={})) == (400, "no_fields_to_update")


def test_it_deletes(client: FlaskClient) -> None:
    path = f"{PATH}/{_create(client)['id']}"
    deleted = client.delete(path)
    assert (deleted.status_code, deleted.json) == (200, {"message": "Webhook deleted"})
    assert _problem(client.get(path)) == (404, "webhook_not_found")
    assert _problem(client.delete(path)) == (404, "webhook_not_found")


@pytest.mark.parametrize("webhook_id", [NOBODY, "x", "0", "%7B" + NOBODY + "%7D", "a%20b", "é"])
@pytest.mark.parametrize("method", ["get", "patch", "delete"])
def test_it_says_404_for_ids_of_nobody(client: FlaskClient, method: str, webhook_id: str) -> None:
    kwargs = {"json": {"is_enabled": False}} if method == "patch" else {}
    response = getattr(client, method)(f"{PATH}/{webhook_id}", **kwargs)
    assert _problem(response) == (404, "webhook_not_found")
    if webhook_id == NOBODY:
        assert response.json["detail"] == f"Webhook '{NOBODY}' not found"


# -- apart -----------------------------------------------------------------------------------


def test_it_keeps_live_and_test_and_other_tenants_apart(
    client: FlaskClient, account: Account, make_account: Any
) -> None:
    path = f"{PATH}/{_create(client)['id']}"
    for key in (account.keys["test"], make_account().keys["live"]):
        other = _with_key(client, key)
        assert (other.get(PATH).json or {})["total"] == 0
        assert _problem(other.get(path)) == (404, "webhook_not_found")
        assert _problem(other.patch(path, json={"is_enabled": False}))[0] == 404
        assert _problem(other.delete(path))[0] == 404
    assert (client.get(path).json or {})["is_enabled"] is True


def test_it_lets_only_admins_in(client: FlaskClient, account: Account, engine: Engine) -> None:
    path = f"{PATH}/{_create(client)['id']}"
    with transaction(engine) as session:
        _, key = tenants.create_key(session, account.live, [])
    for other, status in ((_with_key(client, key), 403), (client.application.test_client(), 401)):
        for response in (
            other.get(PATH),
            other.post(PATH, json=NEW),
            other.get(path),
            other.patch(path, json={"is_enabled": False}),
            other.delete(path),
        ):
            assert _problem(response)[0] == status


def test_it_subscribes_only_enabled_destinations_of_the_tenants_asked_for(
    client: FlaskClient, account: Account, engine: Engine
) -> None:
    kept, off = _create(client), _create(client, is_enabled=False)
    _create(_with_key(client, account.keys["test"]))
    with reading(engine) as session:
        found = destinations.destination_filters(session, [account.live.id])
    assert [(str(one.webhook_id), one.event_types) for one in found] == [
        (kept["id"], ["behavior.*"])
    ]
    assert off["id"] not in json.dumps([str(one.webhook_id) for one in found])
