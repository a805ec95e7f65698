"""Two tenants, live and test each: the same ids on all four sides, and nothing in common."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from flask import Flask

from models.db import Engine
from tests.calls import client_of, make_streak, post_tick, problem
from tests.conftest import BASE, Account
from tests.integration.sides import (
    IDS,
    PERSON,
    PROFILE,
    QUERIES,
    SCRIP,
    SHOWN,
    Seen,
    Side,
    act,
    enrol,
    look,
    make_sides,
    path_of,
    read,
    record,
    routes,
)
from tests.pipeline import Pipeline
from tests.receiver import Receiver


@pytest.fixture
def sides(app: Flask, make_account: Callable[..., Account], receiver: Receiver) -> list[Side]:
    """Four sides that define the same codes."""
    return make_sides(app, make_account, receiver.url)


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
                body = {"PATCH": CHANGES.get(noun), "POST": POSTED.get(noun, {})}.get(method)
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
    "tier": {"name": "x"},
    "reward": {"name": "x"},
    "challenge": {"name": "x"},
    "leaderboard": {"name": "x"},
}
POSTED = {"reward": {"participant_id": PERSON}}  # a claim; the others need nothing


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
