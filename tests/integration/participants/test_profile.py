"""A participant's profile: created, changed, refused, and found under every id."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from models import clock
from models.db import Engine, reading, transaction
from models.people import erasure
from settings import Settings
from tests.calls import (
    another_app,
    client_of,
    count,
    instant,
    make_key,
    make_streak,
    post_json,
    problem,
    revoke,
)
from tests.conftest import Account
from tests.integration.people import PEOPLE, create, read, set_status, state, url_of

# -- creating and changing -------------------------------------------------------------------


def test_it_creates_with_nothing_but_an_id(client: FlaskClient) -> None:
    body = create(client)
    assert abs(instant(body["created_at"]) - clock.now_us()) < 60_000_000
    assert body == read(client) | {
        "display_name": None, "avatar_url": None, "attributes": None,
        "points": {"balance": 0, "total_earned": 0, "total_spent": 0},
        "tier": None, "badges": [], "streaks": None, "rewards_claimed": 0,
        "first_seen_at": None, "last_seen_at": None, "total_events": 0, "is_active": True,
        "timezone": None,
    }  # fmt: skip


FULL: dict[str, Any] = {
    "display_name": "Jane 🏆 Doe",
    "avatar_url": "https://example.com/a.png?x=1#y",
    "attributes": {"plan": "premium", "n": [1, 2.5, None, {"ü": "\n"}], "big": 10**40},
    "timezone": "Australia/Sydney",
}


@pytest.mark.parametrize("name", FULL)
def test_an_upsert_changes_only_what_is_given_and_null_clears(
    client: FlaskClient, name: str
) -> None:
    first = create(client, **FULL)
    assert {one: first[one] for one in FULL} == FULL
    assert create(client) == first
    cleared: dict[str, Any] = {name: None}
    assert create(client, **cleared) == first | cleared
    assert create(client, **{name: FULL[name]}) == first == read(client)


@pytest.mark.parametrize("name", FULL)
def test_a_change_touches_only_what_is_given_and_null_clears(
    client: FlaskClient, name: str
) -> None:
    first = create(client, **FULL)
    for value in (None, FULL[name]):
        response = client.patch(url_of("user_42"), json={name: value})
        assert (response.status_code, response.get_json()) == (200, first | {name: value})
        assert read(client) == first | {name: value}


def test_attributes_are_replaced_whole(client: FlaskClient) -> None:
    create(client, attributes={"a": 1, "b": 2})
    for value in ({"c": 3}, {}):
        response = client.patch(url_of("user_42"), json={"attributes": value})
        assert response.get_json()["attributes"] == read(client)["attributes"] == value


def test_updated_at_moves_only_with_a_change(
    client: FlaskClient, engine: Engine, account: Account
) -> None:
    def updated() -> Any:
        statement = sa.text("SELECT updated_at FROM participants WHERE tenant_id = :id")
        with reading(engine) as session:
            return session.execute(statement, {"id": account.live.id}).scalar_one()

    create(client, display_name="Jane")
    first = updated()
    create(client)
    assert updated() == first
    create(client, display_name="Jane")
    assert updated() > first


@pytest.mark.parametrize(
    "kwargs",
    [{"json": {}}, {"json": {"unknown": 1, "participant_id": "x", "status": "CLOSED"}}, {}],
    ids=["empty object", "no recognised field", "no body"],
)
def test_a_change_needs_a_field(client: FlaskClient, kwargs: dict[str, Any]) -> None:
    create(client)
    for participant_id in ("user_42", "nobody"):
        response = client.patch(url_of(participant_id), **kwargs)
        problem(response, 400, "no_fields_to_update", *kwargs.get("json", {}))


def test_it_does_not_find_whom_nobody_has_seen(
    client: FlaskClient, engine: Engine, account: Account
) -> None:
    for response in (
        client.get(url_of("x")),
        client.get(PEOPLE, query_string={"participant_id": "x"}),
        client.patch(url_of("x"), json={"display_name": "Jane"}),
    ):
        document = problem(response, 404, "participant_not_found")
        assert document["detail"] == "Participant 'x' not found"
    assert count(engine, "participants", account.live) == 0


BAD = [
    ("display_name", "x" * 256), ("display_name", 5), ("display_name", "a\nb"),
    ("display_name", "a\x00"), ("display_name", "\ud83d"), ("display_name", ["x"]),
    ("avatar_url", "https://example.com/" + "x" * 481), ("avatar_url", "ftp://example.com/a"),
    ("avatar_url", "javascript:alert(1)"), ("avatar_url", "https://u:p@example.com/a"),
    ("avatar_url", "/a.png"), ("avatar_url", ""), ("avatar_url", "https://"), ("avatar_url", 1),
    ("attributes", []), ("attributes", "{}"), ("attributes", {"a": "\x00"}),
    ("attributes", {"a": "x" * 16_400}), ("attributes", {"a": 10**400}),
    ("timezone", "Mars/Olympus"), ("timezone", ""), ("timezone", 1), ("timezone", "+10:00"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), BAD)
def test_it_refuses_what_cannot_be_kept_and_stores_nothing(
    client: FlaskClient, engine: Engine, account: Account, name: str, value: Any
) -> None:
    before = create(client, **FULL)
    text = json.dumps({name: value})
    for response in (
        post_json(client, PEOPLE, {"participant_id": "new", name: value}),
        post_json(client, PEOPLE, {"participant_id": "user_42", name: value}),
        client.patch(url_of("user_42"), data=text, content_type="application/json"),
    ):
        problem(response, 422, "validation_error", name)
    assert read(client) == before
    assert count(engine, "participants", account.live) == 1


@pytest.mark.parametrize("value", [None, "", "x" * 256, 5, "a\nb", "\x00", "\ud83d", {}])
def test_it_refuses_an_id_that_is_none(
    client: FlaskClient, engine: Engine, account: Account, value: Any
) -> None:
    problem(post_json(client, PEOPLE, {"participant_id": value}), 422, "validation_error",
            "participant_id")  # fmt: skip
    problem(post_json(client, PEOPLE, {}), 422, "validation_error", "participant_id")
    assert count(engine, "participants", account.live) == 0


def test_it_keeps_the_longest_values(client: FlaskClient) -> None:
    values = {
        "display_name": "😀" * 255,
        "avatar_url": "https://example.com/" + "x" * 480,
        "attributes": {"a": "x" * 16_300},
    }
    create(client, "😀" * 255, **values)
    body = read(client, "😀" * 255)
    assert {name: body[name] for name in values} == values


def test_many_who_create_one_participant_make_one(
    app: Flask, account: Account, engine: Engine
) -> None:
    barrier = threading.Barrier(8)

    def register(nth: int) -> tuple[int, str]:
        client = client_of(app, account.keys["live"])
        client.get(url_of("user_42"))
        barrier.wait()
        body = {"participant_id": "user_42", "display_name": f"name {nth}"}
        response = client.post(PEOPLE, json=body)
        return response.status_code, response.get_json()["created_at"]

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(register, range(8)))
    assert {status for status, _ in answers} == {201}
    assert len({created_at for _, created_at in answers}) == 1
    assert count(engine, "participants", account.live) == 1


def test_a_new_participant_remembers_when_an_earlier_one_was_erased(
    client: FlaskClient, engine: Engine, account: Account
) -> None:
    erased_at = clock.now() - timedelta(hours=1)
    with transaction(engine) as session:
        session.execute(
            sa.text("INSERT INTO erasures VALUES (:id, :digest, :erased_at)"),
            {
                "id": account.live.id,
                "digest": erasure.digest(account.live.tick_secret, "user_42"),
                "erased_at": erased_at,
            },
        )
    create(client)
    create(client, "other")
    statement = sa.text("SELECT external_id, erased_at FROM participants WHERE tenant_id = :id")
    with reading(engine) as session:
        rows = session.execute(statement, {"id": account.live.id})
        found = {row.external_id: row.erased_at for row in rows}
    assert found == {"user_42": erased_at, "other": None}


@pytest.mark.parametrize("status", ["SUSPENDED", "CLOSED"])
def test_whoever_is_not_active_is_read_but_not_changed(
    client: FlaskClient, engine: Engine, account: Account, status: str
) -> None:
    before = create(client, **FULL)
    set_status(engine, account, status)
    for response in (
        client.post(PEOPLE, json={"participant_id": "user_42", "display_name": "x"}),
        client.post(PEOPLE, json={"participant_id": "user_42"}),
        client.patch(url_of("user_42"), json={"display_name": "x"}),
    ):
        document = problem(response, 409, "participant_inactive")
        assert document["detail"].startswith("Participant 'user_42' is not active: ")
    assert read(client) == before | {"is_active": False}
    assert state(client)["participant_id"] == "user_42"


def test_a_revoked_key_changes_nobody_in_any_process(
    app: Flask, client: FlaskClient, settings: Settings, engine: Engine, account: Account
) -> None:
    before = create(client)
    key = make_key(engine, account.live)
    with another_app(settings) as other:
        late = client_of(other, key)
        assert late.get(url_of("user_42")).status_code == 200  # the key is cached there
        revoke(app, account.live, key)
        body = {"display_name": "x"}
        for response in (
            late.post(PEOPLE, json=body | {"participant_id": "user_42"}),
            late.patch(url_of("user_42"), json=body),
            late.post("/v1/participants", json={"external_id": "user_42", "status": "CLOSED"}),
        ):
            problem(response, 401, "unauthorized")
    assert read(client) == before


# -- ids in paths ----------------------------------------------------------------------------

IDS = [
    "a/b", "x/streaks", "x/state", "x/badges", "a/streaks/b/history", "/", "//", "streaks", "state",
    "badges", "streaks/b/history", "/streaks", "streaks/", "état/ü", "a?b", "a#b", "a%2Fb", "a+b",
    "a b", " ", "..", ".", "a//b/", "x/streaks/streaks", "\ufffd", "é", "e\u0301",
]  # fmt: skip


def test_it_reads_and_changes_every_id(client: FlaskClient) -> None:
    for nth, one in enumerate(IDS):
        create(client, one, display_name=f"name {nth}")
    for nth, one in enumerate(IDS):
        response = client.get(PEOPLE, query_string={"participant_id": one})
        body = response.get_json()
        assert (body["participant_id"], body["display_name"]) == (one, f"name {nth}")
        changed = client.patch(url_of(one), json={"attributes": {"nth": nth}}).get_json()
        assert changed == body | {"attributes": {"nth": nth}}
        assert read(client, one) == changed
        assert state(client, one)["participant_id"] == one
        for rest in ("/streaks", "/badges"):
            assert client.get(url_of(one, rest)).get_json()["participant_id"] == one


def test_an_id_that_looks_like_a_sub_resource_is_an_id(client: FlaskClient) -> None:
    make_streak(client, "b")
    for one in ("x/streaks", "x/state", "x/badges", "a/streaks/b/history"):
        create(client, one, display_name=one)
        body = client.get(url_of(one)).get_json()
        assert (body["participant_id"], body["display_name"]) == (one, one)


def test_the_query_names_exactly_one_id(client: FlaskClient) -> None:
    create(client, "\ufffd")
    for query in ("", "participant_id=", "participant_id=%ff", "participant_id=%C3"):
        problem(client.get(f"{PEOPLE}?{query}"), 422, "validation_error", "participant_id")
    problem(
        client.get(PEOPLE, query_string={"participant_id": "x" * 256}),
        422, "validation_error", "participant_id",
    )  # fmt: skip
