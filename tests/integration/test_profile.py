"""A participant's profile and state: created, read in one round trip, changed, refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from psycopg2.extensions import cursor

from models import clock, erasures
from models.db import Engine, reading, transaction
from settings import Settings
from tests.calls import (
    another_app,
    client_of,
    count,
    instant,
    make_key,
    make_streak,
    noon,
    post_batch,
    post_json,
    problem,
    revoke,
    tick,
)
from tests.conftest import BASE, Account
from tests.pipeline import Pipeline

PEOPLE = f"{BASE}/participants"
PROFILE = [
    "participant_id", "display_name", "avatar_url", "attributes", "points", "tier", "badges",
    "streaks", "rewards_claimed", "first_seen_at", "last_seen_at", "total_events", "is_active",
    "created_at", "timezone",
]  # fmt: skip
STATE = ["participant_id", "points", "tier", "badges", "streaks", "challenges", "rewards"]
SUB_RESOURCES = ("state", "badges", "streaks", "streaks/daily_login/history")


def url_of(participant_id: str, rest: str = "") -> str:
    return f"{PEOPLE}/{quote(participant_id, safe='')}{rest}"


def create(client: FlaskClient, participant_id: str = "user_42", **values: Any) -> dict[str, Any]:
    response = post_json(client, PEOPLE, {"participant_id": participant_id} | values)
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.get_json()
    assert list(body) == PROFILE
    assert body["participant_id"] == participant_id
    return body


def read(client: FlaskClient, participant_id: str = "user_42") -> dict[str, Any]:
    response = client.get(url_of(participant_id))
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.get_json()
    assert list(body) == PROFILE
    return body


def state(client: FlaskClient, participant_id: str = "user_42", query: str = "") -> dict[str, Any]:
    response = client.get(url_of(participant_id, "/state" + query))
    assert response.status_code == 200, response.text
    return dict(response.get_json())


def make_badge(client: FlaskClient, code: str, **values: Any) -> str:
    response = client.post(f"{BASE}/admin/badges", json={"code": code, "name": code} | values)
    assert response.status_code == 201, response.text
    return str(response.get_json()["id"])


def earn(engine: Engine, account: Account, *codes: str) -> None:
    """What applying an award writes."""
    with transaction(engine) as session:
        session.execute(
            sa.text(
                "INSERT INTO participant_badges SELECT p.tenant_id, p.id, b.id, b.id, now()"
                " FROM participants p JOIN badges b USING (tenant_id)"
                " WHERE p.tenant_id = :id AND b.code = ANY(:codes)"
            ),
            {"id": account.live.id, "codes": list(codes)},
        )


def set_status(engine: Engine, account: Account, status: str) -> None:
    with transaction(engine) as session:
        session.execute(
            sa.text(
                "UPDATE participants SET status = :status, inactive_since = now()"
                " WHERE tenant_id = :id"
            ),
            {"status": status, "id": account.live.id},
        )


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
        response = client.patch(url_of("user_42"), json={name: value, "unknown": 1})
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
        problem(response, 400, "no_fields_to_update")


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
                "digest": erasures.digest(account.live.tick_secret, "user_42"),
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
        assert document["detail"] == "Participant 'user_42' is not active"
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


# -- what the profile and the state show -----------------------------------------------------


@pytest.fixture
def history(client: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account) -> None:
    """Two streaks and one that is paused; three badges, of which one is earned."""
    make_streak(client)
    make_streak(client, "weekly", period="weekly", name="Weekly")
    make_streak(client, "old", name="Old")
    make_badge(client, "first_steps", name="First Steps", display_order=2)
    make_badge(client, "power_user", name="Power User", rarity="rare", display_order=1)
    make_badge(client, "secret", name="Secret", is_hidden=True)
    days = [*range(60, 39, -1), *range(6, -1, -1)]
    post_batch(
        client,
        *(tick(timestamp=noon(day)) for day in days),
        tick(streak_code="weekly", timestamp=noon(0)),
        *(tick(streak_code="old", timestamp=noon(day)) for day in range(100)),
    )
    client.delete(f"{BASE}/streaks/old")
    pipeline.drain()
    earn(engine, account, "first_steps")


@pytest.mark.usefixtures("history")
def test_the_profile_shows_what_was_recorded_and_earned(client: FlaskClient) -> None:
    body = read(client)
    assert body["streaks"] == {"current": 7, "longest": 21, "last_activity_at": noon(0)}
    (badge,) = body["badges"]
    earned_at = badge.pop("earned_at")
    assert badge == {
        "code": "first_steps", "name": "First Steps", "icon": None, "rarity": "common",
        "earned": True,
    }  # fmt: skip
    assert abs(instant(earned_at) - clock.now_us()) < 60_000_000
    assert body["first_seen_at"] == noon(99)
    assert instant(body["last_seen_at"]) >= instant(noon(0))
    assert body["total_events"] == 129
    assert (body["display_name"], body["attributes"], body["is_active"]) == (None, None, True)


@pytest.mark.usefixtures("history")
def test_the_state_shows_what_can_still_be_earned(client: FlaskClient) -> None:
    profile, body = read(client), state(client)
    assert list(body) == STATE
    assert [one["code"] for one in body["badges"]] == ["power_user", "first_steps"]
    assert body["badges"][1] == profile["badges"][0]
    assert body["badges"][0] == {
        "code": "power_user", "name": "Power User", "icon": None, "rarity": "rare",
        "earned": False, "earned_at": None,
    }  # fmt: skip
    assert body["streaks"] == profile["streaks"]
    expected = body | {"participant_id": "nobody", "streaks": None}
    expected["badges"] = [one | {"earned": False, "earned_at": None} for one in body["badges"]]
    assert state(client, "nobody") == expected
    problem(client.get(url_of("nobody")), 404, "participant_not_found")


def test_an_earned_badge_stays_when_hidden_or_deactivated(
    client: FlaskClient, engine: Engine, account: Account
) -> None:
    create(client)
    ids = [make_badge(client, code) for code in ("hidden", "inactive", "other")]
    earn(engine, account, "hidden", "inactive")
    client.patch(f"{BASE}/admin/badges/{ids[0]}", json={"is_hidden": True})
    for one in ids[1:]:
        client.delete(f"{BASE}/admin/badges/{one}")
    for badges in (read(client)["badges"], state(client, query="?include=badges")["badges"]):
        assert [one["code"] for one in badges] == ["hidden", "inactive"]
    assert state(client, "nobody")["badges"] == []


def test_the_summary_follows_changed_rules_and_the_calendar_of_the_participant(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, boundary="participant")
    post_batch(client, *(tick(timestamp=noon(day)) for day in (9, 7, 6, 3)))
    pipeline.drain()
    summary = {"current": 0, "longest": 2, "last_activity_at": noon(3)}
    assert read(client)["streaks"] == summary
    client.patch(f"{BASE}/streaks/daily_login", json={"grace_periods": 5})
    assert read(client)["streaks"] == summary | {"current": 4, "longest": 4}
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago", None):
        client.patch(url_of("user_42"), json={"timezone": zone})
        (entry,) = client.get(url_of("user_42", "/streaks")).get_json()["streaks"]
        assert read(client)["streaks"]["current"] == entry["current_count"]


# -- include ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "sections"),
    [
        ("", STATE[1:]),
        ("?include=", STATE[1:]),
        ("?include=%20,,", STATE[1:]),
        ("?include=points,tier,badges", ["points", "tier", "badges"]),
        ("?include=rewards,%20points,rewards", ["points", "rewards"]),
        ("?include=streaks&include=challenges", ["streaks", "challenges"]),
    ],
)
def test_it_returns_the_sections_asked_for_in_their_order(
    client: FlaskClient, query: str, sections: list[str]
) -> None:
    create(client)
    for participant_id in ("user_42", "nobody"):
        body = state(client, participant_id, query)
        assert list(body) == ["participant_id", *sections]
        empty: dict[str, Any] = {
            "participant_id": participant_id, "tier": None, "badges": [], "streaks": None,
            "points": {"balance": 0, "total_earned": 0, "total_spent": 0},
            "challenges": {"active": 0, "completed": 0}, "rewards": {"total_claimed": 0},
        }  # fmt: skip
        assert body == {name: empty[name] for name in body}


@pytest.mark.parametrize("include", ["badge", "points,everything", "Points", "points;tier", "*"])
def test_it_lists_the_sections_there_are_when_asked_for_others(
    client: FlaskClient, include: str
) -> None:
    response = client.get(url_of("user_42", "/state"), query_string={"include": include})
    document = problem(response, 400, "invalid_include", "include")
    assert all(section in document["detail"] for section in STATE[1:])
    assert "everything" not in response.text


# -- round trips -----------------------------------------------------------------------------


@contextmanager
def statements(app: Flask) -> Iterator[list[str]]:
    """What is sent to the database about participants in a block, by any way of sending it."""
    sent: list[str] = []

    class Recorder(cursor):
        def execute(self, query: Any, values: Any = None) -> None:
            sent.append(str(query))
            super().execute(query, values)

    def lend(connection: Any, *_: Any) -> None:
        connection.cursor_factory = Recorder

    engine: Engine = app.extensions["unbroken"].engine
    sa.event.listen(engine, "checkout", lend)
    try:
        yield sent
    finally:
        sa.event.remove(engine, "checkout", lend)


@pytest.mark.usefixtures("history")
def test_a_profile_and_a_state_are_one_round_trip_each(app: Flask, client: FlaskClient) -> None:
    for url in (url_of("user_42"), url_of("user_42", "/state"), url_of("nobody", "/state")):
        with statements(app) as sent:
            assert client.get(url).status_code == 200
        about_keys = [one for one in sent if "api_keys" in one or "tenants" in one]
        if about_keys:  # the key's cached entry had become too old for a read
            with statements(app) as sent:
                assert client.get(url).status_code == 200
        assert len(sent) == 1, sent


def test_a_change_and_its_answer_are_one_statement(app: Flask, client: FlaskClient) -> None:
    create(client)
    for method, url in (("POST", PEOPLE), ("PATCH", url_of("user_42"))):
        body = {"participant_id": "user_42", "display_name": method}
        with statements(app) as sent:
            assert client.open(url, method=method, json=body).status_code < 300
        about = [one for one in sent if "participants" in one]
        assert len(about) == 1, sent


# -- ids in paths ----------------------------------------------------------------------------

IDS = [
    "a/b", "x/streaks", "x/state", "x/badges", "a/streaks/b/history", "/", "//", "streaks", "state",
    "badges", "streaks/b/history", "/streaks", "streaks/", "état/ü", "a?b", "a#b", "a%2Fb", "a+b",
    "a b", " ", "..", ".", "a//b/", "x/streaks/streaks", "\ufffd", "é", "e\u0301",
]  # fmt: skip
TAKEN = ("/streaks", "/state", "/badges", "/streaks/b/history")  # with something before them


def test_it_reads_and_changes_every_id(client: FlaskClient) -> None:
    for nth, one in enumerate(IDS):
        create(client, one, display_name=f"name {nth}")
    for nth, one in enumerate(IDS):
        response = client.get(PEOPLE, query_string={"participant_id": one})
        body = response.get_json()
        assert (body["participant_id"], body["display_name"]) == (one, f"name {nth}")
        changed = client.patch(url_of(one), json={"attributes": {"nth": nth}}).get_json()
        assert changed == body | {"attributes": {"nth": nth}}
        if not any(one.endswith(end) and one != end for end in TAKEN):
            assert read(client, one) == changed
        assert state(client, one)["participant_id"] == one
        for rest in ("/streaks", "/badges"):
            assert client.get(url_of(one, rest)).get_json()["participant_id"] == one


def test_a_path_that_may_be_read_in_two_ways_is_a_sub_resource(client: FlaskClient) -> None:
    make_streak(client, "b")
    for one in ("x/streaks", "x/state", "x/badges", "a/streaks/b/history"):
        create(client, one)
        body = client.get(url_of(one)).get_json()
        assert body["participant_id"] == one[0]
        assert "display_name" not in body


def test_the_query_names_exactly_one_id(client: FlaskClient) -> None:
    create(client, "\ufffd")
    for query in ("", "participant_id=", "participant_id=%ff", "participant_id=%C3", "x=1"):
        problem(client.get(f"{PEOPLE}?{query}"), 422, "validation_error", "participant_id")
    problem(
        client.get(PEOPLE, query_string={"participant_id": "x" * 256}),
        422, "validation_error", "participant_id",
    )  # fmt: skip
