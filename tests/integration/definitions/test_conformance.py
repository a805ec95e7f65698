"""One conformance test for the definitions that admins manage: all eight kinds behave alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import jsonschema_rs
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models.db import Engine
from tests.calls import client_of, count, instant, make_key, post_json, problem
from tests.conftest import BASE, Account
from tests.integration.definitions.kinds import (
    BAD_CODES,
    KEPT_BY_ALL,
    KINDS,
    LEADERBOARD,
    NOBODY,
    OF_ALL,
    PROGRAM,
    TIER,
    Kind,
    prepare,
)

every = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.noun)
with_code = pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind.has_code], ids=lambda kind: kind.noun
)


@every
def test_it_creates_reads_changes_and_deactivates_a_definition(
    client: FlaskClient, kind: Kind
) -> None:
    made = kind.make(client)
    assert list(made) == kind.fields
    assert not kind.has_id or UUID(made["id"]).version == 7
    assert instant(made["created_at"]) == instant(made["updated_at"])
    assert made == made | kind.shown | kind.body()
    url = kind.url(made)
    assert client.get(url).get_json() == made
    expected = made | {"name": "Golden"} | kind.change
    assert _changed(client.patch(url, json={"name": "Golden"} | kind.change), made) == expected
    assert client.get(url).get_json() == expected | {"updated_at": _read(client, url)["updated_at"]}
    for _ in range(2):
        deleted = client.delete(url)
        told = {"message": f"{kind.noun.capitalize()} deactivated"}
        assert (deleted.status_code, deleted.get_json()) == (200, told)
    assert _read(client, url)["is_active"] is False
    again = client.patch(url, json={"is_active": True})
    assert (again.status_code, again.get_json()["is_active"]) == (200, True)


def _changed(response: TestResponse, before: dict[str, Any]) -> dict[str, Any]:
    """The answer to a change, with the instant of the change checked and taken out."""
    assert response.status_code == 200, response.text
    after: dict[str, Any] = response.get_json()
    assert instant(after["updated_at"]) > instant(before["updated_at"])
    return after | {"updated_at": before["updated_at"]}


def _read(client: FlaskClient, url: str) -> dict[str, Any]:
    return dict(client.get(url).get_json())


@every
def test_it_keeps_what_is_given_and_clears_what_is_null(client: FlaskClient, kind: Kind) -> None:
    prepare(client)
    for nth, values in enumerate((*KEPT_BY_ALL, *kind.kept)):
        level = {"level": 100 + nth} if kind is TIER else {}
        made = kind.make(client, f"code_{nth}", **level | values)
        assert made == made | values
        assert _read(client, kind.url(made)) == made
        empty = dict.fromkeys(kind.cleared)
        assert _changed(client.patch(kind.url(made), json=empty), made) == made | empty


@with_code
def test_it_refuses_a_code_that_is_taken_even_by_an_inactive_one(
    client: FlaskClient, engine: Engine, account: Account, kind: Kind
) -> None:
    made = kind.make(client)
    client.delete(kind.url(made))
    document = problem(client.post(kind.path, json=kind.body()), 400, f"{kind.noun}_code_conflict")
    assert document["detail"] == f"{kind.noun.capitalize()} with code 'gold' already exists"
    assert _read(client, kind.url(made))["is_active"] is False
    assert count(engine, f"{kind.noun}s", account.live) == 1


@with_code
def test_it_takes_every_character_that_a_code_may_have_and_no_other(
    client: FlaskClient, engine: Engine, account: Account, kind: Kind
) -> None:
    good = ["x", "c" * 50, "A-Z_0:9.", "0"]
    for nth, code in enumerate(good):
        made = kind.make(client, code, **({"level": nth} if kind is TIER else {}))
        assert _read(client, kind.url(made))["code"] == code
    for code in BAD_CODES:
        response = post_json(client, kind.path, kind.body() | {"code": code})
        problem(response, 422, "validation_error", "code")
    assert count(engine, f"{kind.noun}s", account.live) == len(good)


# -- pages -----------------------------------------------------------------------------------


@every
def test_it_pages_in_order_and_filters(client: FlaskClient, kind: Kind) -> None:
    codes = ("c", "a", "e", "b", "d")
    for code in codes:
        level = {"level": ord(code)} if kind is TIER else {}
        kind.make(client, code, is_active=code != "c", **level)
    order = list("CAEBD") if kind is PROGRAM else list("ABCDE")  # programs: oldest first
    active = [name for name in order if name != "C"]
    assert _page(client, kind, "") == (order, 5, 1, 50)
    assert _page(client, kind, "?page=2&page_size=2") == (order[2:4], 5, 2, 2)
    assert _page(client, kind, "?page=9&page_size=2") == ([], 5, 9, 2)
    assert _page(client, kind, "?is_active=true") == (active, 4, 1, 50)
    assert _page(client, kind, "?is_active=true&page=2&page_size=3") == (active[3:], 4, 2, 3)
    assert _page(client, kind, "?is_active=false") == (["C"], 1, 1, 50)


def _page(client: FlaskClient, kind: Kind, query: str) -> tuple[list[str], int, int, int]:
    body = _read(client, kind.path + query)
    assert list(body) == ["items", "total", "page", "page_size"]
    assert all(list(item) == kind.fields for item in body["items"])
    names = [item["name"] for item in body["items"]]
    return names, body["total"], body["page"], body["page_size"]


NO_NUMBER = ["0", "-1", "1_000", "+1", "%2B1", "１", "1.0", "1e2", "", "x", "9" * 30, "%FF", "%00"]
BAD_QUERIES = {
    "page": [*NO_NUMBER, "1000001"],
    "page_size": [*NO_NUMBER, "101"],
    "is_active": ["1", "True", "yes", "", "maybe"],
}


@every
@pytest.mark.parametrize("name", BAD_QUERIES)
def test_it_names_the_parameter_that_cannot_be_used(
    client: FlaskClient, kind: Kind, name: str
) -> None:
    for text in BAD_QUERIES[name]:
        problem(client.get(f"{kind.path}?{name}={text}"), 422, "validation_error", name)
    problem(client.get(f"{kind.path}?is_activ=true"), 422, "unknown_field", "is_activ")


# -- who may ---------------------------------------------------------------------------------


@every
def test_it_does_not_find_what_is_not_there_whatever_is_asked_of_it(
    client: FlaskClient, kind: Kind
) -> None:
    kind.make(client)
    of_ids = [NOBODY.replace("-", ""), f"%7B{NOBODY}%7D"]
    for text in ("nope", "0", NOBODY, *of_ids, "x" * 300, "a%20b", "%F0%9F%98%80", "%2e%2e"):
        url = f"{kind.path}/{text}"
        asked: list[TestResponse] = [client.get(url), client.delete(url)]
        asked += [client.patch(url, json=body) for body in ({"name": "x"}, {}, {"name": ""})]
        for response in asked:
            document = problem(response, 404, f"{kind.noun}_not_found")
            if text in ("nope", NOBODY):
                detail = f"{kind.noun.capitalize()} '{text}' not found"
                assert document["detail"].startswith(detail)


@every
def test_it_finds_an_id_in_either_case_and_a_code_in_its_own(
    client: FlaskClient, kind: Kind
) -> None:
    made = kind.make(client)
    key = made["id" if kind.has_id else "code"]
    response = client.get(f"{kind.path}/{key.upper()}")
    if kind.has_id:
        assert response.get_json() == made
    else:
        problem(response, 404, f"{kind.noun}_not_found")


@every
def test_it_lets_only_the_admins_of_its_side_near(
    app: Flask,
    client: FlaskClient,
    account: Account,
    make_account: Callable[..., Account],
    engine: Engine,
    kind: Kind,
) -> None:
    made = kind.make(client)
    url = kind.url(made)
    for key in (account.keys["test"], make_account().keys["live"]):
        other = client_of(app, key)
        assert other.get(kind.path).get_json()["total"] == 0
        for response in (other.get(url), other.patch(url, json={"name": "x"}), other.delete(url)):
            problem(response, 404, f"{kind.noun}_not_found")
        theirs = kind.make(other)
        assert not kind.has_tenant or theirs["tenant_id"] != made["tenant_id"]
    plain, nobody = client_of(app, make_key(engine, account.live)), app.test_client()
    for asking, status, code in ((plain, 403, "forbidden"), (nobody, 401, "unauthorized")):
        refused = [asking.get(kind.path), asking.post(kind.path, json=kind.body("new"))]
        refused += [asking.get(url), asking.patch(url, json={"name": "x"}), asking.delete(url)]
        for response in refused:
            problem(response, status, code)
    assert _read(client, url) == made
    assert count(engine, f"{kind.noun}s", account.live) == 1
    second = kind.make(client, "second", **({"level": 4} if kind is TIER else {}))
    assert not kind.has_tenant or second["tenant_id"] == made["tenant_id"]


# -- bad input -------------------------------------------------------------------------------

_BAD = [(kind, name) for kind in KINDS for name in kind.bad | OF_ALL]


@pytest.mark.parametrize(("kind", "name"), _BAD, ids=[f"{kind.noun}-{name}" for kind, name in _BAD])
def test_it_refuses_a_bad_value_when_created_and_when_changed(
    client: FlaskClient, engine: Engine, account: Account, kind: Kind, name: str
) -> None:
    made = kind.make(client)
    for value in (kind.bad | OF_ALL)[name]:
        bad = {name.partition(".")[0]: value}
        created = post_json(client, kind.path, kind.body("other") | bad)
        changed = _patch(client, kind.url(made), {"is_active": False} | bad)
        for response in (created, changed):
            problem(response, 422, "validation_error", name)
            assert "hunter2" not in response.text
    assert _read(client, kind.url(made)) == made
    assert count(engine, f"{kind.noun}s", account.live) == 1


def _patch(client: FlaskClient, url: str, body: Any) -> TestResponse:
    """PATCH a value as JSON in ASCII, which can spell what is no text."""
    return client.patch(url, data=json.dumps(body), content_type="application/json")


@every
def test_it_names_every_bad_field_at_once(client: FlaskClient, kind: Kind) -> None:
    needed = ["code"] * kind.has_code + ["name"]
    body = {name: kind.new[name] for name in kind.new} | {"description": 1, "is_active": "hunter2"}
    response = client.post(kind.path, json=body)
    document = problem(response, 422, "validation_error", *needed, "description", "is_active")
    assert document["detail"].startswith(f"Invalid: {', '.join(needed)}, description")
    assert "hunter2" not in response.text


@every
def test_it_does_not_change_what_is_fixed(client: FlaskClient, kind: Kind) -> None:
    made = kind.make(client)
    fixed = kind.fixed | ({"code": [made["code"], "other", None]} if kind.has_code else {})
    for name, values in fixed.items():
        for value in values:
            response = client.patch(kind.url(made), json={name: value, "name": "x"})
            document = problem(response, 422, "validation_error", name)
            assert document["errors"][0]["code"] == "fixed"
    assert _read(client, kind.url(made)) == made


@every
def test_it_asks_for_something_to_change_and_knows_its_fields(
    client: FlaskClient, engine: Engine, account: Account, kind: Kind
) -> None:
    made = kind.make(client)
    url = kind.url(made)
    problem(client.patch(url, json={}), 400, "no_fields_to_update")
    unknown = {"tenant_id": "x", "claimed": 7, "created_at": made["created_at"]}
    problem(client.patch(url, json=unknown | {"name": "x"}), 422, "unknown_field", *unknown)
    problem(client.post(kind.path, json=kind.body("new") | unknown), 422, "unknown_field", *unknown)
    assert _read(client, url) == made
    assert count(engine, f"{kind.noun}s", account.live) == 1


# -- what is kept beside ---------------------------------------------------------------------


@every
def test_every_change_has_an_audit_entry_with_what_was_given(
    client: FlaskClient, kind: Kind
) -> None:
    made = kind.make(client)
    client.patch(kind.url(made), json={"name": "x"})
    client.delete(kind.url(made))
    client.post(kind.path, json={})
    client.patch(kind.url(made), json={})
    entries = _read(client, f"{BASE}/admin/audit-log")["items"]
    given = [one["detail"]["fields"] for one in entries]
    assert given == [["is_active"], ["name"], sorted(kind.body())]
    assert [(one["action"], one["target"]) for one in entries] == [
        (f"{kind.noun}.{done}", kind.audited(made))
        for done in ("deactivated", "updated", "created")
    ]
    assert entries[0]["detail"]["values"] == {"is_active": False}


@every
def test_the_openapi_document_says_what_is_taken_and_answered(
    client: FlaskClient, kind: Kind
) -> None:
    document = _read(client, "/openapi.json")
    one, several = f"{kind.path}/{{{kind.in_path}}}", kind.path
    made = kind.make(client)
    refusals = {"401", "403", "429"}
    for method, path, status, answered in (
        ("get", several, "200", client.get(several).get_json()),
        ("post", several, "201", made),
        ("get", one, "200", client.get(kind.url(made)).get_json()),
        ("patch", one, "200", client.patch(kind.url(made), json={"name": "x"}).get_json()),
        ("delete", one, "200", client.delete(kind.url(made)).get_json()),
    ):
        operation = document["paths"][path][method]
        assert {status, *refusals} - {"429"} <= set(operation["responses"])
        assert (path == one) == ("404" in operation["responses"])
        schema = operation["responses"][status]["content"]["application/json"]["schema"]
        whole = schema | {"components": document["components"]}
        jsonschema_rs.validator_for(whole, validate_formats=True).validate(answered)
    example = document["paths"][several]["post"]["requestBody"]["content"]["application/json"]
    _assert_example_works(client, kind, example)


def _assert_example_works(client: FlaskClient, kind: Kind, content: dict[str, Any]) -> None:
    examples = content.get("examples") or {"only": {"value": content["example"]}}
    for example in examples.values():
        response = client.post(kind.path, json=example["value"])
        assert response.status_code == 201, response.text


def test_all_kinds_that_the_api_has_are_here(client: FlaskClient) -> None:
    """A path that deletes by answering `… deactivated` belongs to a kind of definition."""
    paths = _read(client, "/openapi.json")["paths"]
    found = {
        path
        for path, operations in paths.items()
        if operations.get("delete", {}).get("summary", "").startswith("Deactivate ")
    }
    known = {f"{kind.path}/{{{kind.in_path}}}" for kind in KINDS}
    known.add(f"{BASE}/admin/streaks/{{code}}")
    assert found == known


def test_streaks_have_two_spellings(client: FlaskClient) -> None:
    body = {"code": "daily", "name": "Daily"}
    made = client.post(f"{BASE}/admin/streaks", json=body).get_json()
    for spelling in (f"{BASE}/streaks", f"{BASE}/admin/streaks"):
        assert _read(client, f"{spelling}/daily") == made
        assert _read(client, spelling)["items"] == [made]
        made = client.patch(f"{spelling}/daily", json={"name": spelling[-20:]}).get_json()
    assert client.delete(f"{BASE}/admin/streaks/daily").status_code == 200
    assert _read(client, f"{BASE}/streaks/daily")["is_active"] is False


def test_a_leaderboard_needs_no_streak_for_points(client: FlaskClient) -> None:
    response = client.post(LEADERBOARD.path, json=LEADERBOARD.body() | {"streak_code": "x"})
    document = problem(response, 422, "validation_error", "streak_code")
    assert document["errors"][0]["code"] == "unexpected"
