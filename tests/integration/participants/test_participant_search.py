"""GET /admin/participants: search, filters, sorting, pages; what cannot be used is named."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from models.db import Engine, transaction
from tests.calls import client_of, make_key, problem
from tests.conftest import BASE, Account

URL = f"{BASE}/admin/participants"

FIELDS = [
    "participant_id", "display_name", "avatar_url", "timezone", "status", "is_active", "tags",
    "total_events", "first_seen_at", "last_seen_at", "created_at", "updated_at",
]  # fmt: skip

PEOPLE: list[dict[str, Any]] = [
    {"external_id": "anna", "display_name": "Anna Möller", "total_events": 3,
     "last_seen_at": "2026-05-03T12:00:00Z", "tags": ["vip", "beta"]},
    {"external_id": "Bert_1", "display_name": "Bert 100%", "total_events": 1,
     "last_seen_at": "2026-05-01T00:00:00Z", "status": "SUSPENDED"},
    {"external_id": "bertx1", "display_name": None, "total_events": 2, "tags": ["vip"]},
    {"external_id": "Ärzte/[a-z].*", "display_name": "anna\\", "total_events": 0,
     "last_seen_at": "2026-05-02T23:59:59.999999Z", "status": "CLOSED"},
]  # fmt: skip


@pytest.fixture
def people(engine: Engine, account: Account) -> None:
    """Four people, created a day after another from 2026-01-01 on; somebody of another tenant."""
    with transaction(engine) as session:
        for day, one in enumerate(PEOPLE, start=1):
            session.execute(_INSERT, _values(account.live.id, day, one))
        session.execute(_INSERT, _values(account.sides["test"].id, 1, PEOPLE[0]))


_INSERT = sa.text("""
INSERT INTO participants (tenant_id, external_id, display_name, total_events, last_seen_at, tags,
  status, inactive_since, created_at)
VALUES (:tenant_id, :external_id, :display_name, :total_events, :last_seen_at, :tags, :status,
  CASE WHEN :status <> 'ACTIVE' THEN now() END, :created_at)
""")


def _values(tenant_id: int, day: int, one: dict[str, Any]) -> dict[str, Any]:
    created_at = f"2026-01-{day:02}T00:00:00Z"
    plain: dict[str, Any] = {
        "tags": [],
        "status": "ACTIVE",
        "last_seen_at": None,
        "created_at": created_at,
    }
    return plain | {"tenant_id": tenant_id} | one


def ids(client: FlaskClient, **query: Any) -> list[str]:
    """Whom a search finds, in order."""
    response = client.get(URL, query_string=query)
    assert response.status_code == 200, response.text
    document = response.get_json()
    assert document["total"] >= len(document["items"])
    return [item["participant_id"] for item in document["items"]]


def test_it_lists_the_tenants_people_newest_first(client: FlaskClient, people: None) -> None:
    document = client.get(URL).get_json()
    assert list(document) == ["items", "total", "page", "page_size"]
    assert (document["total"], document["page"], document["page_size"]) == (4, 1, 50)
    assert all(list(item) == FIELDS for item in document["items"])
    assert [item["participant_id"] for item in document["items"]] == [
        one["external_id"] for one in reversed(PEOPLE)
    ]
    last = document["items"][-1]
    assert last | {"updated_at": None} == {
        "participant_id": "anna", "display_name": "Anna Möller", "avatar_url": None,
        "timezone": None, "status": "ACTIVE", "is_active": True, "tags": ["vip", "beta"],
        "total_events": 3, "first_seen_at": None, "last_seen_at": "2026-05-03T12:00:00Z",
        "created_at": "2026-01-01T00:00:00Z", "updated_at": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("", ["Bert_1", "anna", "bertx1", "Ärzte/[a-z].*"]),
        ("BERT", ["Bert_1", "bertx1"]),
        ("t_1", ["Bert_1"]),
        ("100%", ["Bert_1"]),
        ("%", ["Bert_1"]),
        ("möL", ["anna"]),
        ("MÖl", ["anna"]),
        ("äRZTE", ["Ärzte/[a-z].*"]),
        ("/[A-Z].*", ["Ärzte/[a-z].*"]),
        ("anna\\", ["Ärzte/[a-z].*"]),
        (".", ["Ärzte/[a-z].*"]),
        ("^a", []),
        ("***=a", []),
        ("nobody", []),
    ],
)
def test_it_searches_ids_and_names_in_any_case_and_takes_no_character_for_special(
    client: FlaskClient, people: None, search: str, found: list[str]
) -> None:
    assert ids(client, search=search, sort="participant_id") == found


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"status": "SUSPENDED"}, ["Bert_1"]),
        ({"is_active": "true"}, ["anna", "bertx1"]),
        ({"is_active": "false"}, ["Bert_1", "Ärzte/[a-z].*"]),
        ({"is_active": "true", "status": "CLOSED"}, []),
        ({"tag": "vip"}, ["anna", "bertx1"]),
        ({"tag": "vi"}, []),
        ({"tag": "vip", "search": "möller"}, ["anna"]),
        ({"program_id": "00000000-0000-0000-0000-000000000001"}, []),
        ({"created_from": "2026-01-02", "created_to": "2026-01-03"}, ["Bert_1", "bertx1"]),
        ({"created_to": "2026-01-02T00:00:00Z"}, ["anna"]),
        ({"created_from": "2026-01-04T00:00:00.000001Z"}, []),
        ({"last_seen_from": "2026-05-02"}, ["anna", "Ärzte/[a-z].*"]),
        ({"last_seen_to": "2026-05-02"}, ["Bert_1", "Ärzte/[a-z].*"]),
        ({"last_seen_to": "2026-05-01T02:00:00+02:00"}, []),
        ({"created_from": "0001-01-01T00:00:00+14:00", "created_to": "9999-12-31"},
         ["Bert_1", "anna", "bertx1", "Ärzte/[a-z].*"]),
    ],
)  # fmt: skip
def test_it_filters(
    client: FlaskClient, people: None, query: dict[str, str], found: list[str]
) -> None:
    assert ids(client, sort="participant_id", **query) == found


def test_it_finds_those_enrolled_in_a_program(client: FlaskClient, people: None) -> None:
    program = client.post(f"{BASE}/admin/programs", json={"name": "Loyalty"}).get_json()
    body = {"external_id": "anna", "program_id": program["id"]}
    assert client.post("/v1/participants", json=body).status_code == 200
    assert ids(client, program_id=program["id"]) == ["anna"]
    assert ids(client, program_id=program["id"].upper(), tag="nothing") == []


@pytest.mark.parametrize(
    ("sort", "found"),
    [
        ("participant_id", ["Bert_1", "anna", "bertx1", "Ärzte/[a-z].*"]),
        ("-participant_id", ["Ärzte/[a-z].*", "bertx1", "anna", "Bert_1"]),
        ("display_name", ["anna", "Bert_1", "Ärzte/[a-z].*", "bertx1"]),
        ("created_at", ["anna", "Bert_1", "bertx1", "Ärzte/[a-z].*"]),
        ("last_seen_at", ["Bert_1", "Ärzte/[a-z].*", "anna", "bertx1"]),
        ("-last_seen_at", ["anna", "Ärzte/[a-z].*", "Bert_1", "bertx1"]),
        ("total_events", ["Ärzte/[a-z].*", "Bert_1", "bertx1", "anna"]),
        ("-total_events", ["anna", "bertx1", "Bert_1", "Ärzte/[a-z].*"]),
    ],
)
def test_it_sorts_and_whoever_has_no_value_comes_last(
    client: FlaskClient, people: None, sort: str, found: list[str]
) -> None:
    assert ids(client, sort=sort) == found


def test_pages_of_equals_hold_everybody_once(
    client: FlaskClient, engine: Engine, account: Account
) -> None:
    with transaction(engine) as session:
        session.execute(
            sa.text(
                "INSERT INTO participants (tenant_id, external_id)"
                " SELECT :tenant_id, 'user_' || n FROM generate_series(1, 25) n"
            ),
            {"tenant_id": account.live.id},
        )
    for sort in ("total_events", "-display_name", "-created_at"):
        seen = [one for page in (1, 2, 3) for one in ids(client, sort=sort, page=page, page_size=9)]
        assert len(set(seen)) == len(seen) == 25
    beyond = client.get(URL, query_string={"page": 1_000_000, "page_size": 100}).get_json()
    assert (beyond["items"], beyond["total"]) == ([], 25)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("search", "x" * 256), ("search", "a\x00b"), ("status", "active"), ("status", ""),
        ("is_active", "yes"), ("tag", "x" * 65), ("tag", "\x00"), ("program_id", "x"),
        ("program_id", "{00000000-0000-0000-0000-000000000001}"), ("created_from", "yesterday"),
        ("created_to", "2026-02-30"), ("last_seen_from", "2026-05-23T08:15:00"),
        ("sort", "name"), ("sort", "--created_at"), ("sort", ""), ("page", "0"),
        ("page_size", "101"),
    ],
)  # fmt: skip
def test_a_parameter_that_cannot_be_used_is_named(
    client: FlaskClient, name: str, value: str
) -> None:
    problem(client.get(URL, query_string={name: value}), 422, "validation_error", name)


def test_it_needs_the_admin_scope(app: Flask, engine: Engine, account: Account) -> None:
    plain = client_of(app, make_key(engine, account.live))
    problem(plain.get(URL), 403, "forbidden")
