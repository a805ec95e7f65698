"""What a destination may be given beside its URL and types, and how it says it is doing."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from models.db import Engine, transaction
from tests.calls import client_of, problem
from tests.conftest import BASE, Account

PATH = f"{BASE}/admin/webhooks"
NEW = {"url": "http://127.0.0.1:9999/hook", "event_types": ["behavior.*"]}


def _create(client: FlaskClient, **changes: Any) -> dict[str, Any]:
    response = client.post(PATH, json=NEW | changes)
    assert response.status_code == 201, response.text
    return dict(response.json or {})


EVERYTHING: dict[str, Any] = {
    "description": "CRM",
    "streak_codes": ["daily_login", "weekly"],
    "is_ordered": True,
    "rate_per_second": 10_000,
    "in_flight_max": 128,
    "retry_seconds": [1, 604_800],
}


def test_everything_that_may_be_left_out_may_be_given_changed_and_taken_back(
    client: FlaskClient,
) -> None:
    created = _create(client, **EVERYTHING)
    assert {name: created[name] for name in EVERYTHING} == EVERYTHING
    path = f"{PATH}/{created['id']}"
    changes: dict[str, Any] = {
        "streak_codes": ["weekly", "weekly"],
        "is_ordered": False,
        "rate_per_second": 1,
        "in_flight_max": 1,
        "retry_seconds": [],
    }
    changed = client.patch(path, json=changes).json or {}
    expected = EVERYTHING | changes | {"streak_codes": ["weekly"]}
    assert {name: changed[name] for name in EVERYTHING} == expected
    nothing = dict.fromkeys(EVERYTHING) | {"is_ordered": False}
    changed = client.patch(path, json=nothing).json or {}
    assert {name: changed[name] for name in EVERYTHING} == nothing


@pytest.mark.parametrize(
    ("changes", "field", "code"),
    [
        ({"is_ordered": 1}, "is_ordered", "bool_type"),
        ({"is_ordered": None}, "is_ordered", "bool_type"),
        ({"rate_per_second": 0}, "rate_per_second", "greater_than_equal"),
        ({"rate_per_second": 10_001}, "rate_per_second", "less_than_equal"),
        ({"rate_per_second": 1.5}, "rate_per_second", "int_type"),
        ({"in_flight_max": 129}, "in_flight_max", "less_than_equal"),
        ({"in_flight_max": True}, "in_flight_max", "int_type"),
        ({"retry_seconds": [0]}, "retry_seconds.0", "greater_than_equal"),
        ({"retry_seconds": [5, 604_801]}, "retry_seconds.1", "less_than_equal"),
        ({"retry_seconds": [5] * 21}, "retry_seconds", "too_long"),
        ({"streak_codes": []}, "streak_codes", "too_short"),
        ({"streak_codes": ["x"] * 101}, "streak_codes", "too_long"),
        ({"streak_codes": ["not a code"]}, "streak_codes.0", "string_pattern_mismatch"),
        ({"signatures": []}, "signatures", "too_short"),
        ({"signatures": ["v1a"]}, "signatures", "signatures"),
        ({"signatures": ["v2"]}, "signatures.0", "literal_error"),
        ({"signatures": None}, "signatures", "list_type"),
        ({"public_key": "whpk_mine"}, "public_key", "unknown_field"),
        ({"disabled_reason": None}, "disabled_reason", "unknown_field"),
        ({"health": {}}, "health", "unknown_field"),
    ],
)
def test_it_names_the_option_that_cannot_be_used(
    client: FlaskClient, changes: dict[str, Any], field: str, code: str
) -> None:
    path = f"{PATH}/{_create(client)['id']}"
    for response in (client.post(PATH, json=NEW | changes), client.patch(path, json=changes)):
        whole = code if code == "unknown_field" else "validation_error"
        (error,) = problem(response, 422, whole, field)["errors"]
        assert error["code"] == code
    assert (client.get(PATH).json or {})["total"] == 1


def test_ed25519_is_asked_for_kept_and_taken_away(client: FlaskClient) -> None:
    created = _create(client, signatures=["v1a", "v1"])
    path = f"{PATH}/{created['id']}"
    assert created["signatures"] == ["v1", "v1a"]
    assert len(base64.b64decode(created["public_key"].removeprefix("whpk_"))) == 32
    again = client.patch(path, json={"signatures": ["v1", "v1a"]}).json or {}
    assert again["public_key"] == created["public_key"]
    without = client.patch(path, json={"signatures": ["v1"]}).json or {}
    assert (without["signatures"], without["public_key"]) == (["v1"], None)
    fresh = client.patch(path, json={"signatures": ["v1", "v1a"]}).json or {}
    assert fresh["public_key"] not in (None, created["public_key"])
    assert (client.get(PATH).json or {})["items"][0]["public_key"] == fresh["public_key"]


def test_a_tenant_has_a_hundred_and_not_one_more_whoever_asks_at_once(
    client: FlaskClient, account: Account
) -> None:
    for _ in range(97):
        _create(client)
    _create(
        client_of(client.application, account.keys["test"])
    )  # of the other side: it does not count
    app, key = client.application, account.keys["live"]

    def create() -> int:
        return client_of(app, key).post(PATH, json=NEW).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(one.result() for one in [pool.submit(create) for _ in range(8)])
    assert statuses == [201] * 3 + [400] * 5
    problem(client.post(PATH, json=NEW), 400, "webhook_limit_reached")
    assert (client.get(PATH).json or {})["total"] == 100


# -- health ----------------------------------------------------------------------------------


def _set_health(engine: Engine, webhook_id: str, **values: Any) -> None:
    columns = "".join(f", {name}" for name in values)
    given = "".join(f", :{name}" for name in values)
    with transaction(engine) as session:
        session.execute(
            sa.text(
                f"INSERT INTO webhook_health (tenant_id, webhook_id{columns})"
                f" SELECT tenant_id, id{given} FROM webhooks WHERE id = :id"
            ),
            values | {"id": webhook_id},
        )


HEALTHY = {
    "status": "ok",
    "failing_since": None,
    "parked_until": None,
    "failures": 0,
    "last_failure": None,
    "next_probe_at": None,
}


def test_it_says_how_a_destination_is_doing(client: FlaskClient, engine: Engine) -> None:
    failing, parked = _create(client)["id"], _create(client)["id"]
    since = datetime(2026, 5, 23, 8, tzinfo=UTC)
    _set_health(engine, failing, failing_since=since)
    _set_health(engine, parked, failing_since=since, parked_until=since + timedelta(hours=1))
    said = "2026-05-23T08:00:00Z"
    until = "2026-05-23T09:00:00Z"
    expected = [
        HEALTHY | {"status": "failing", "failing_since": said},
        HEALTHY
        | {
            "status": "parked",
            "failing_since": said,
            "parked_until": until,
            "next_probe_at": until,
        },
    ]
    assert [(client.get(f"{PATH}/{one}").json or {})["health"] for one in (failing, parked)] == (
        expected
    )
    assert [item["health"] for item in (client.get(PATH).json or {})["items"]] == expected
    changed = client.patch(f"{PATH}/{parked}", json={"is_enabled": True}).json or {}
    assert changed["health"] == expected[1]  # it was enabled before: nothing starts anew


def test_enabled_again_it_starts_anew(client: FlaskClient, engine: Engine) -> None:
    created = _create(client)
    path = f"{PATH}/{created['id']}"
    _set_health(engine, created["id"], failing_since=datetime.now(UTC))
    with transaction(engine) as session:
        session.execute(
            sa.text(
                "UPDATE webhooks SET is_enabled = false, disabled_reason = 'gone' WHERE id = :id"
            ),
            {"id": created["id"]},
        )
    found = client.get(path).json or {}
    assert (found["disabled_reason"], found["health"]["status"]) == ("gone", "disabled")
    enabled = client.patch(path, json={"is_enabled": True}).json or {}
    assert (enabled["is_enabled"], enabled["disabled_reason"]) == (True, None)
    assert enabled["health"] == HEALTHY


def test_one_that_was_failing_can_be_deleted(client: FlaskClient, engine: Engine) -> None:
    created = _create(client)
    _set_health(engine, created["id"], failing_since=datetime.now(UTC))
    assert client.delete(f"{PATH}/{created['id']}").status_code == 200
