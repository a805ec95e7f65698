"""Every route × everybody who must not get in, from the route table itself; ids of others; bodies
that ask for more than they may."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.openapi.routes import Route, routes
from models.db import Engine, transaction
from models.identity import tenants
from tests.calls import (
    client_of,
    make_badge,
    make_key,
    make_streak,
    operator_changes,
    post_award,
    post_tick,
    problem,
    revoke,
)
from tests.conftest import BASE, Account
from tests.integration.documented import APP, OPERATIONS
from tests.integration.sides import row_counts, whole_world
from tests.pipeline import Pipeline

pytestmark = pytest.mark.promise("P4")

ROUTES = routes(APP)
CLOSED = [one for one in ROUTES if not one.is_public]
EXAMPLES = {(one.method, one.path): one for one in OPERATIONS}
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE")
OPEN = {"/livez", "/readyz", "/readyz/postgres", "/openapi.json", "/reference", "/reference.css"}


def test_only_these_routes_are_open() -> None:
    assert {one.path for one in ROUTES if one.is_public} == OPEN
    assert {one.method for one in ROUTES if one.is_public} == {"GET"}


def test_whatever_is_under_admin_is_for_admins_and_nothing_else_but_definitions_is() -> None:
    for one in CLOSED:
        path = one.path.removeprefix(BASE)
        manages = path.startswith("/admin/") or path in ("/streaks", "/streaks/{code}")
        tells_all = path == "/participants/{participant_id}/export"
        repairs = "Repair" in one.chapter and not path.endswith(("/freezes", "/freezes/buy"))
        repairs &= not path.startswith("/streak-changes/")
        assert one.is_for_admins is (manages or tells_all or repairs), (one.method, path)


# -- who must not get in ---------------------------------------------------------------------


@dataclass
class Place:
    """A tenant in which every documented example works, and what surrounds it."""

    app: Flask
    engine: Engine
    account: Account
    values: dict[str, str]
    stranger: Account
    redis: redis.Redis

    def stored(self) -> dict[str, Any]:
        """How many rows each table has, and the entries in Redis but for caches of the door."""
        found: Any = self.redis.keys("*")
        return row_counts(self.engine) | {
            "redis": {one for one in found if not one.endswith(b":config")}
        }


@pytest.fixture
def place(
    app: Flask,
    engine: Engine,
    account: Account,
    make_account: Callable[..., Account],
    pipeline: Pipeline,
    redis_client: redis.Redis,
) -> Place:
    """A tenant with one of everything."""
    client = client_of(app, account.keys["live"])
    values = whole_world(client, pipeline, account.live.id)
    return Place(app, engine, account, values, make_account(), redis_client)


def no_key(place: Place) -> str | None:
    return None


def malformed(place: Place) -> str:
    return "bq_live_malformed"


def mistyped(place: Place) -> str:
    key = place.account.keys["live"]
    return key[:-1] + ("0" if key[-1] != "0" else "1")


def unknown(place: Place) -> str:
    return tenants.new_key("live")


def unknown_test(place: Place) -> str:
    return tenants.new_key("test")


def revoked(place: Place) -> str:
    key = make_key(place.engine, place.account.live, ["admin"])
    assert client_of(place.app, key).get(f"{BASE}/streaks").status_code == 200
    revoke(place.app, place.account.live, key)
    return key


def expired(place: Place) -> str:
    return make_key(place.engine, place.account.live, ["admin"], lives_s=-1)


def disabled(place: Place) -> str:
    key = place.account.keys["live"]
    with operator_changes(place.app, *place.account.sides.values()) as session:
        tenants.change(session, place.account.slug, is_enabled=False)
    return key


REFUSED: dict[Callable[[Place], str | None], tuple[int, str]] = {
    no_key: (401, "unauthorized"),
    malformed: (401, "unauthorized"),
    mistyped: (401, "unauthorized"),
    unknown: (401, "unauthorized"),
    unknown_test: (401, "unauthorized"),
    revoked: (401, "unauthorized"),
    expired: (401, "unauthorized"),
    disabled: (403, "forbidden"),
}


@pytest.mark.parametrize("who", REFUSED, ids=lambda one: one.__name__)
def test_it_refuses_on_every_route_with_one_and_the_same_answer(
    place: Place, who: Callable[[Place], str | None]
) -> None:
    key, (status, code) = who(place), REFUSED[who]
    client = client_of(place.app, key) if key else place.app.test_client()
    before, said = place.stored(), set()
    for route in CLOSED:
        answered = EXAMPLES[route.method, route.path].send(client, place.values)
        problem(answered, status, code)
        said.add(document_of(answered))
        assert key is None or key not in answered.text + str(answered.headers)
    for path in {one.path for one in CLOSED}:
        for method in METHODS:
            answered = client.open(filled(path, place.values), method=method)
            assert answered.status_code == status, (method, path)
    assert len(said) == 1, "what is asked for makes no difference to who must not ask"
    assert place.stored() == before


def filled(path: str, values: dict[str, str]) -> str:
    return re.sub(r"{(\w+)}", lambda found: values[found[1]], path)


def document_of(answered: TestResponse) -> str:
    """A refusal but for what is its own: the id of the request."""
    document = answered.get_json() | {"request_id": ""}
    headers = {name: text for name, text in answered.headers if name != "X-Request-Id"}
    return json.dumps([document, headers])


@pytest.mark.parametrize("scopes", [[], ["read"], ["ADMIN", "admin "]], ids=str)
def test_it_asks_for_the_admin_scope_on_every_route_that_manages(
    place: Place, scopes: list[str]
) -> None:
    client = client_of(place.app, make_key(place.engine, place.account.live, scopes))
    before, said = place.stored(), set()
    for route in CLOSED:
        if route.is_for_admins:
            answered = EXAMPLES[route.method, route.path].send(client, place.values)
            problem(answered, 403, "forbidden")
            said.add(document_of(answered))
    assert len(said) == 1
    assert place.stored() == before


# -- ids of others ---------------------------------------------------------------------------

SHAPES = {"fact_id": lambda: f"evt_{uuid4().hex}"}  # every other id is a UUID


def fresh(name: str, value: str) -> str:
    """An id that nobody has, of the same shape and length."""
    if name in ("participant_id", "code", "leaderboard_code", "calendar_code"):
        return name[0] * len(value)
    return SHAPES.get(name, lambda: str(uuid4()))()


# A pause makes a participant of that id, in the caller's own tenant; a merge is queued whatever the
# id, and refused by the worker (tests/integration/repair/test_merges.py).
QUEUED = ("create_pause", "merge_participant")
NAMED = [one for one in CLOSED if "{" in one.path and one.name not in QUEUED]


@pytest.mark.parametrize("route", NAMED, ids=lambda one: f"{one.method} {one.path}")
def test_it_answers_the_same_of_ids_of_others_as_of_ids_that_nobody_has(
    place: Place, route: Route
) -> None:
    example = EXAMPLES[route.method, route.path]
    theirs = {name: place.values[name] for name in re.findall(r"{(\w+)}", route.path)}
    nobodys = {name: fresh(name, value) for name, value in theirs.items()}
    before = place.stored()
    for key in (place.account.keys["test"], *place.stranger.keys.values()):
        client = client_of(place.app, key)
        found, missing = example.send(client, theirs), example.send(client, nobodys)
        assert found.status_code in (200, 404), found.text
        assert masked(found, theirs) == masked(missing, nobodys)
    left = {name for name, count in place.stored().items() if count != before[name]}
    assert left <= {"erasures"}  # a stranger's own: of whom it never knew


def masked(answered: TestResponse, ids: dict[str, str]) -> str:
    text = f"{answered.status_code} {answered.text}"
    for name, value in ids.items():
        text = text.replace(value, name)
    headers = {name: text for name, text in answered.headers if name != "X-Request-Id"}
    return re.sub(r'"request_id":"\w+"', "", text) + str(headers)


def test_it_takes_no_code_of_others_in_a_body(
    place: Place, make_account: Callable[..., Account]
) -> None:
    theirs = client_of(place.app, place.account.keys["live"])
    make_streak(theirs, "only_theirs")
    make_badge(theirs, "only_theirs")
    before = place.stored()
    for key in (place.account.keys["test"], *place.stranger.keys.values()):
        mine = client_of(place.app, key)
        for code in ("only_theirs", "only_nobody"):
            problem(post_tick(mine, streak_code=code), 404, "streak_not_found")
            problem(post_award(mine, badge_code=code), 404, "badge_not_found")
        for program_id in (place.values["program_id"], str(uuid4())):
            body = {"external_id": "user_42", "program_id": program_id}
            problem(mine.post("/v1/participants", json=body), 404, "program_not_found")
    assert place.stored() == before


def test_it_goes_on_from_a_cursor_of_others_with_nothing_of_theirs(
    place: Place, pipeline: Pipeline
) -> None:
    theirs = client_of(place.app, place.account.keys["live"])
    mine = client_of(place.app, place.stranger.keys["live"])
    values = whole_world(mine, pipeline, place.stranger.live.id)
    tried = 0
    for path in feeds():
        cursors = {page["next_cursor"] for page in pages(theirs, filled(path, place.values))}
        own = [one for page in pages(mine, filled(path, values)) for one in page["items"]]
        for cursor in cursors - {None}:
            answered = mine.get(f"{filled(path, values)}?after={cursor}")
            assert answered.status_code in (200, 422), answered.text
            if answered.status_code == 200:
                assert all(one in own for one in answered.get_json()["items"])
                tried += 1
    assert tried >= 3


def feeds() -> Iterator[str]:
    """The paths of what is read by cursors."""
    for route in CLOSED:
        parameters = route.operation.parameters if route.operation else ()
        if {"after", "limit"} <= {one.name for one in parameters}:
            yield route.path


def pages(client: FlaskClient, path: str) -> Iterator[dict[str, Any]]:
    cursor = ""
    for _ in range(20):
        page = client.get(f"{path}?limit=1{cursor}").get_json()
        yield page
        if not page["items"] or not page["next_cursor"]:
            return
        cursor = f"&after={page['next_cursor']}"


def test_it_keeps_idempotency_keys_apart(place: Place, pipeline: Pipeline) -> None:
    made = []
    for nth, key in enumerate((*place.account.keys.values(), *place.stranger.keys.values())):
        client = client_of(place.app, key)
        if client.get(f"{BASE}/streaks/daily_login").status_code == 404:
            make_streak(client)
        answered = post_tick(client, f"person_{nth}", {"Idempotency-Key": "the-same"})
        assert answered.status_code == 202, answered.text  # no 409: nobody else's body
        made.append(answered.get_json()["tick_id"])
    assert len(set(made)) == 4
    pipeline.drain()


@pytest.fixture(autouse=True)
def nothing_left(engine: Engine) -> Iterator[None]:
    """What a test before has left to be delivered is nobody's business here."""
    with transaction(engine) as session:
        session.execute(sa.text("DELETE FROM replays"))
    yield
