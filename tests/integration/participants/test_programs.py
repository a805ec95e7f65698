"""Programs, and Scrip's way of writing participants: enrolment, status, tags, races."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models.db import Engine, reading
from tests.calls import (
    client_of,
    count,
    instant,
    make_key,
    make_streak,
    post_json,
    post_tick,
    problem,
)
from tests.conftest import BASE, Account

PROGRAMS = f"{BASE}/admin/programs"
SCRIP = "/v1/participants"
FIELDS = ["id", "name", "description", "is_active", "created_at", "updated_at"]
SCRIP_FIELDS = [
    "attributes", "balances", "counters", "created_at", "external_id", "id", "program_ids",
    "status", "tags", "tiers", "updated_at",
]  # fmt: skip


def make_program(client: FlaskClient, **values: Any) -> dict[str, Any]:
    response = client.post(PROGRAMS, json={"name": "Loyalty"} | values)
    assert response.status_code == 201, response.text
    assert list(response.get_json()) == FIELDS
    return dict(response.get_json())


def put(client: FlaskClient, status: int = 200, /, **values: Any) -> dict[str, Any]:
    response = post_json(client, SCRIP, {"external_id": "user_42"} | values)
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.get_json()
    assert list(body) == SCRIP_FIELDS
    return body


def test_programs_are_for_admins_and_participants_for_every_key(
    app: Flask, engine: Engine, account: Account
) -> None:
    plain = client_of(app, make_key(engine, account.live))
    problem(plain.get(PROGRAMS), 403, "forbidden")
    problem(plain.post(PROGRAMS, json={"name": "x"}), 403, "forbidden")
    put(plain, 201)
    assert plain.get(f"{BASE}/participants/user_42").status_code == 200
    problem(app.test_client().post(SCRIP, json={"external_id": "x"}), 401, "unauthorized")


def test_it_creates_with_nothing_but_an_id(client: FlaskClient) -> None:
    body = put(client, 201)
    assert uuid.UUID(body["id"]).version == 8
    assert instant(body["created_at"]) == instant(body["updated_at"])
    assert body == body | {
        "attributes": {}, "balances": [], "counters": {}, "external_id": "user_42",
        "program_ids": [], "status": "ACTIVE", "tags": [], "tiers": {},
    }  # fmt: skip
    assert put(client) == body
    assert put(client, attributes=None, tags=None, status=None, program_id=None) == body


def test_it_changes_only_what_is_given(client: FlaskClient) -> None:
    made = put(client, 201, attributes={"a": 1}, tags=["vip", "new", "vip"], status="SUSPENDED")
    assert (made["attributes"], made["status"]) == ({"a": 1}, "SUSPENDED")
    assert made["tags"] == ["vip", "new"]
    expected = made
    changes: list[dict[str, Any]] = [{"status": "ACTIVE"}, {"tags": []}, {"attributes": {}}]
    for change in (*changes, {"tags": ["x"]}):
        body = put(client, **change)
        assert instant(body["updated_at"]) > instant(expected["updated_at"])
        expected = expected | change | {"updated_at": body["updated_at"]}
        assert body == expected


def test_both_surfaces_write_one_participant(
    client: FlaskClient, engine: Engine, account: Account
) -> None:
    put(client, 201, attributes={"a": 1}, tags=["vip"])
    url = f"{BASE}/participants"
    profile = client.post(url, json={"participant_id": "user_42", "display_name": "Jane"})
    assert profile.get_json()["attributes"] == {"a": 1}
    body = put(client, attributes={"b": 2})
    assert (body["tags"], body["attributes"]) == (["vip"], {"b": 2})
    read = client.get(f"{url}/user_42").get_json()
    assert (read["display_name"], read["attributes"]) == ("Jane", {"b": 2})
    assert count(engine, "participants", account.live) == 1


NOBODY = "01920000-0000-4000-8000-000000000000"
SPELLED_SHORT = NOBODY.replace("-", "")


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"external_id": ""}, "external_id"), ({"external_id": "x" * 256}, "external_id"),
        ({"external_id": None}, "external_id"), ({"attributes": []}, "attributes"),
        ({"program_id": "x"}, "program_id"), ({"program_id": SPELLED_SHORT}, "program_id"),
        ({"program_id": f"{{{NOBODY}}}"}, "program_id"), ({"program_id": 1}, "program_id"),
        ({"status": "active"}, "status"), ({"status": ""}, "status"), ({"status": 1}, "status"),
        ({"tags": "vip"}, "tags"), ({"tags": ["x"] * 101}, "tags"), ({"tags": [""]}, "tags.0"),
        ({"tags": ["a", "x" * 65]}, "tags.1"), ({"tags": [1]}, "tags.0"),
        ({"tags": ["a\nb"]}, "tags.0"), ({"tags": ["\ud83d"]}, "tags.0"),
    ],
)  # fmt: skip
def test_it_refuses_what_cannot_be_kept_and_stores_nothing(
    client: FlaskClient, engine: Engine, account: Account, values: dict[str, Any], field: str
) -> None:
    response = post_json(client, SCRIP, {"external_id": "user_42"} | values)
    problem(response, 422, "validation_error", field)
    assert count(engine, "participants", account.live) == 0


def test_it_keeps_the_most_tags(client: FlaskClient) -> None:
    tags = [f"{nth:02}" + "😀" * 62 for nth in range(100)]
    assert put(client, 201, tags=tags)["tags"] == tags


def test_it_enrols_once_in_each_program_in_order(client: FlaskClient) -> None:
    first, second = (make_program(client)["id"] for _ in range(2))
    assert put(client, 201, program_id=second)["program_ids"] == [second]
    assert put(client, program_id=first.upper())["program_ids"] == [second, first]
    assert put(client, program_id=second)["program_ids"] == [second, first]
    client.delete(f"{PROGRAMS}/{second}")
    assert put(client)["program_ids"] == [second, first]


def test_it_does_not_enrol_where_nobody_can_be(
    client: FlaskClient, engine: Engine, account: Account, app: Flask
) -> None:
    inactive = make_program(client, is_active=False)["id"]
    of_test_side = make_program(client_of(app, account.keys["test"]))["id"]
    for program_id in (inactive, of_test_side, str(uuid.uuid4())):
        response = post_json(client, SCRIP, {"external_id": "x", "program_id": program_id})
        document = problem(response, 404, "program_not_found")
        assert document["detail"] == f"Program '{program_id}' not found"
    assert count(engine, "participants", account.live) == 0


def since(engine: Engine, account: Account) -> Any:
    statement = sa.text("SELECT inactive_since FROM participants WHERE tenant_id = :id")
    with reading(engine) as session:
        return session.execute(statement, {"id": account.live.id}).scalar_one()


def test_whoever_is_not_active_takes_nothing_but_a_status(
    client: FlaskClient, engine: Engine, account: Account
) -> None:
    program_id = make_program(client)["id"]
    before = put(client, 201, tags=["vip"], status="SUSPENDED")
    first = since(engine, account)
    refused: list[dict[str, Any]] = [{}, {"tags": []}, {"attributes": {}}]
    for values in (*refused, {"program_id": program_id}):
        response = post_json(client, SCRIP, {"external_id": "user_42"} | values)
        document = problem(response, 409, "participant_inactive")
        assert document["detail"].startswith("Participant 'user_42' is not active: ")
    closed = put(client, status="CLOSED", program_id=program_id)
    assert closed == before | {
        "status": "CLOSED", "program_ids": [program_id], "updated_at": closed["updated_at"],
    }  # fmt: skip
    assert since(engine, account) == first
    assert put(client, status="ACTIVE")["status"] == "ACTIVE"
    assert since(engine, account) is None
    put(client, tags=[])


@pytest.mark.parametrize("status", ["SUSPENDED", "CLOSED"])
def test_a_status_holds_for_the_next_write_at_the_door(client: FlaskClient, status: str) -> None:
    make_streak(client)
    put(client, 201)
    assert post_tick(client).status_code == 202
    put(client, status=status)
    document = problem(post_tick(client), 409, "participant_inactive")
    assert document["detail"].startswith("Participant 'user_42' is not active: ")
    assert post_tick(client, "other").status_code == 202
    put(client, status="ACTIVE")
    assert post_tick(client).status_code == 202


def at_once(app: Flask, account: Account, bodies: list[dict[str, Any]]) -> list[TestResponse]:
    """Send bodies at one moment, each from a thread of its own."""
    barrier = threading.Barrier(len(bodies))

    def send(body: dict[str, Any]) -> TestResponse:
        client = client_of(app, account.keys["live"])
        client.get(f"{BASE}/participants/user_42")
        barrier.wait()
        return client.post(SCRIP, json={"external_id": "user_42"} | body)

    with ThreadPoolExecutor(len(bodies)) as threads:
        return list(threads.map(send, bodies))


def test_of_many_who_create_one_person_exactly_one_is_told_so(
    app: Flask, client: FlaskClient, account: Account, engine: Engine
) -> None:
    program_ids = [make_program(client)["id"] for _ in range(8)]
    answers = at_once(app, account, [{"program_id": one} for one in program_ids])
    assert sorted(one.status_code for one in answers) == [200] * 7 + [201]
    assert len({one.get_json()["id"] for one in answers}) == 1
    assert sorted(put(client)["program_ids"]) == sorted(program_ids)
    assert count(engine, "participants", account.live) == 1


@pytest.mark.parametrize("statuses", [("SUSPENDED", "ACTIVE"), ("ACTIVE", "CLOSED")])
def test_the_door_ends_with_the_status_that_was_written_last(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, statuses: tuple[str, str]
) -> None:
    """The first writer has committed and comes to tell the door after the second has."""
    make_streak(client)
    put(client, 201, status="SUSPENDED")
    first, second = statuses
    intake = app.extensions["unbroken"].intake
    tell = intake.mark

    def tell_late(*args: Any, **kwargs: Any) -> None:
        monkeypatch.undo()
        with ThreadPoolExecutor(1) as other:  # a request of its own: its context is not shared
            other.submit(put, client, status=second).result()
        tell(*args, **kwargs)

    monkeypatch.setattr(intake, "mark", tell_late)
    put(client, status=first)
    assert post_tick(client).status_code == (202 if second == "ACTIVE" else 409)
