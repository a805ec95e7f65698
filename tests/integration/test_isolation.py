"""Two tenants, live and test each: the same ids on all four sides, and nothing in common."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models.db import Engine, reading
from models.tenants import Tenant
from tests.calls import client_of, make_streak, noon, post_tick, problem
from tests.conftest import BASE, Account
from tests.pipeline import Pipeline
from tests.receiver import Receiver

SCRIP = "/v1"
NOBODY = "01920000-0000-7000-8000-000000000000"
PERSON = "user_42"
IDS = {"badge_id", "program_id", "webhook_id", "tick_id", "award_id", "fact_id", "replay_id"}
QUERIES = (
    f"{BASE}/participants?participant_id={PERSON}",
    f"{BASE}/participants/{PERSON}/badges?earned_only=true",
    f"{BASE}/admin/participants?search=user",
)
PROFILE = "/participants/<participant:participant_id>"
# What a side's own writes must show on: otherwise the others' silence would prove nothing.
SHOWN = {
    PROFILE,
    "/participants/<participant:participant_id>/state",
    "/participants/<participant:participant_id>/badges",
    "/participants/<participant:participant_id>/streaks",
    "/participants/<participant:participant_id>/streaks/<code>/history",
    "/streaks/<code>/at-risk",
    "/ticks/<tick_id>",
    "/awards/<award_id>",
    "/admin/participants",
    "/facts",
    "/admin/webhooks/<webhook_id>/deliveries",
    "/admin/webhooks/<webhook_id>/deliveries/<fact_id>",
    "/admin/webhooks/<webhook_id>/attempts",
    "/admin/webhooks/<webhook_id>/replays",
    "/admin/webhooks/<webhook_id>/replays/<replay_id>",
}

Seen = dict[str, Any]


@dataclass
class Side:
    """One side of a tenant: its key, and the ids that it was given."""

    name: str
    tenant: Tenant
    client: FlaskClient
    ids: dict[str, str] = field(default_factory=lambda: dict.fromkeys(IDS, NOBODY))


@pytest.fixture
def sides(app: Flask, make_account: Callable[..., Account], receiver: Receiver) -> list[Side]:
    """Four sides that define the same codes."""
    made = [
        Side(f"{slug} {mode}", account.sides[mode], client_of(app, account.keys[mode]))
        for slug, account in (("first", make_account()), ("second", make_account()))
        for mode in ("live", "test")
    ]
    for side in made:
        define(side, receiver.url)
    return made


def define(side: Side, url: str) -> None:
    make_streak(side.client, name=side.name)
    for noun, path, body in (
        ("badge", "badges", {"code": "power_user", "name": side.name}),
        ("program", "programs", {"name": side.name}),
        ("webhook", "webhooks", {"url": f"{url}/{side.tenant.id}", "event_types": ["*"]}),
    ):
        made = side.client.post(f"{BASE}/admin/{path}", json=body)
        assert made.status_code == 201, made.text
        side.ids[f"{noun}_id"] = made.get_json()["id"]


def act(side: Side, pipeline: Pipeline) -> None:
    """Every write there is, about the same person under the same codes and keys."""
    tick = record(side)
    assert tick.status_code == 202, tick.text
    side.ids["tick_id"] = tick.get_json()["tick_id"]
    award = side.client.post(
        f"{BASE}/badges/award", json={"participant_id": PERSON, "badge_code": "power_user"}
    )
    assert award.status_code == 202, award.text
    side.ids["award_id"] = award.get_json()["award_id"]
    pipeline.drain()
    side.ids["fact_id"] = side.client.get(f"{BASE}/facts").get_json()["items"][0]["id"]
    replay = side.client.post(
        f"{BASE}/admin/webhooks/{side.ids['webhook_id']}/replays",
        json={"since": "2020-01-01T00:00:00Z"},
    )
    assert replay.status_code == 202, replay.text
    side.ids["replay_id"] = replay.get_json()["id"]
    profile = {"participant_id": PERSON, "display_name": side.name, "attributes": {"a": side.name}}
    assert side.client.post(f"{BASE}/participants", json=profile).status_code == 201
    assert enrol(side, side.ids["program_id"]).status_code == 200


def record(side: Side) -> TestResponse:
    return post_tick(side.client, PERSON, {"Idempotency-Key": "same"}, timestamp=noon(1))


def enrol(side: Side, program_id: str) -> TestResponse:
    body = {"external_id": PERSON, "tags": [side.name], "program_id": program_id}
    return side.client.post(f"{SCRIP}/participants", json=body)


def look(side: Side, engine: Engine) -> Seen:
    """Whatever the side's key can read of itself, by route, and how many rows it has."""
    rules = [rule for method, rule in routes(side.client.application) if method == "GET"]
    seen: Seen = {rule.removeprefix(BASE): read(side, path_of(rule, side.ids)) for rule in rules}
    return seen | {path: read(side, path) for path in QUERIES} | {"rows": rows(engine, side)}


def read(side: Side, path: str) -> Any:
    response = side.client.get(path)
    assert response.status_code in (200, 404), (path, response.text)
    body = response.get_json()
    return {name: value for name, value in body.items() if name != "request_id"}


def routes(app: Flask) -> Iterator[tuple[str, str]]:
    """Every route behind a key, as the application itself lists them."""
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith((BASE, SCRIP)) and rule.rule != f"{BASE}/participants":
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield method, rule.rule


def path_of(rule: str, ids: dict[str, str]) -> str:
    names = {"code": "daily_login", "participant:participant_id": PERSON} | ids
    return re.sub(r"<([^>]+)>", lambda found: names[found[1]], rule)


def rows(engine: Engine, side: Side) -> dict[str, int]:
    """How many rows of each table are a side's."""
    with reading(engine) as session:
        tables = session.execute(
            sa.text(
                "SELECT table_name FROM information_schema.columns"
                " WHERE table_schema = 'public' AND column_name = 'tenant_id'"
            )
        ).scalars()
        counted = {
            table: session.execute(
                sa.text(f"SELECT count(*) FROM {table} WHERE tenant_id = :id"),
                {"id": side.tenant.id},
            ).scalar_one()
            for table in tables
        }
    return {table: int(number) for table, number in counted.items() if number}


def changed(before: Seen, after: Seen) -> set[str]:
    return {name for name in after if before[name] != after[name]}


def others(sides: Iterable[Side], side: Side) -> list[Side]:
    return [one for one in sides if one is not side]


# --------------------------------------------------------------------------------------------


def test_it_shows_the_writes_of_a_side_to_nobody_else(
    sides: list[Side], engine: Engine, pipeline: Pipeline, receiver: Receiver
) -> None:
    names = [side.name for side in sides]
    for side in sides:
        before = [look(one, engine) for one in sides]
        act(side, pipeline)
        pipeline.deliver()
        after = [look(one, engine) for one in sides]
        for one, was, now in zip(sides, before, after, strict=True):
            assert [name for name in names if name in json.dumps(now)] == [one.name]
            if one is side:
                assert changed(was, now) >= SHOWN | set(QUERIES) | {"rows"}
                assert now[PROFILE]["display_name"] == side.name
            else:
                assert changed(was, now) == set(), (side.name, one.name)
        paths = {request.path for request in receiver.requests}
        assert paths == {f"/hook/{side.tenant.id}"}
        receiver.requests.clear()


def test_it_gives_every_side_ids_of_its_own(
    sides: list[Side], engine: Engine, pipeline: Pipeline
) -> None:
    for side in sides:
        act(side, pipeline)
    for name in IDS:
        assert len({side.ids[name] for side in sides}) == len(sides), name
    scrip = {enrol(side, side.ids["program_id"]).get_json()["id"] for side in sides}
    tenants = {
        read(side, f"{BASE}/admin/badges/{side.ids['badge_id']}")["tenant_id"] for side in sides
    }
    assert len(scrip) == len(tenants) == len(sides)


def test_it_finds_nothing_by_the_ids_of_another_side(
    sides: list[Side], engine: Engine, pipeline: Pipeline
) -> None:
    for side in sides:
        act(side, pipeline)
    before = [look(one, engine) for one in sides]
    tried = set()
    for side in sides:
        for one in others(sides, side):
            problem(enrol(one, side.ids["program_id"]), 404, "program_not_found")
            for method, rule, noun in routes_by_id(one.client.application):
                body = CHANGES[noun] if method == "PATCH" else {} if method == "POST" else None
                response = one.client.open(path_of(rule, side.ids), method=method, json=body)
                problem(response, 404, f"{noun}_not_found")
                tried.add((method, noun))
    managed = {(method, noun) for method in ("GET", "PATCH", "DELETE") for noun in CHANGES}
    assert tried >= managed | {("GET", "tick"), ("GET", "award"), ("POST", "webhook")}
    assert [look(one, engine) for one in sides] == before


CHANGES: dict[str, dict[str, Any]] = {
    "badge": {"name": "x"},
    "program": {"name": "x"},
    "webhook": {"is_enabled": False},
}


def routes_by_id(app: Flask) -> Iterator[tuple[str, str, str]]:
    """The routes of what has an id of ours: method, rule and noun."""
    for method, rule in routes(app):
        found = re.search(r"<(\w+)_id>", rule)
        if found:
            yield method, rule, found[1]


def test_it_suspends_and_repeats_on_one_side_only(sides: list[Side], pipeline: Pipeline) -> None:
    for side in sides:
        act(side, pipeline)
    first, *rest = sides
    suspended = first.client.post(
        f"{SCRIP}/participants", json={"external_id": PERSON, "status": "SUSPENDED"}
    )
    assert suspended.status_code == 200, suspended.text
    problem(post_tick(first.client, PERSON), 409, "participant_inactive")
    for side in rest:
        assert record(side).get_json()["tick_id"] == side.ids["tick_id"]
        assert post_tick(side.client, PERSON).status_code == 202
        assert read(side, f"{BASE}/participants/{PERSON}")["is_active"] is True


def test_it_counts_the_writes_of_a_side_against_its_own_cap(
    app: Flask, make_account: Callable[..., Account]
) -> None:
    for account in (make_account(writes_per_minute=1), make_account(writes_per_minute=1)):
        for key in account.keys.values():
            client = client_of(app, key)
            make_streak(client)
            assert post_tick(client, PERSON).status_code == 202
            problem(post_tick(client, PERSON), 429, "RATE_LIMIT_PARTICIPANT_EXCEEDED")


def test_it_erases_a_person_of_one_side_only(
    sides: list[Side], engine: Engine, pipeline: Pipeline
) -> None:
    for side in sides:
        act(side, pipeline)
    first, *rest = sides
    before = [look(one, engine) for one in rest]
    assert first.client.delete(f"{BASE}/participants/{PERSON}").status_code == 200
    problem(first.client.get(f"{BASE}/participants/{PERSON}"), 404, "participant_not_found")
    assert first.client.get(f"{BASE}/participants/{PERSON}/badges").get_json()["earned_count"] == 0
    assert [look(one, engine) for one in rest] == before
