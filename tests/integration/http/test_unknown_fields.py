"""Names that no description knows: refused everywhere, unless the operator says otherwise."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient

from api.app import create_app
from api.input import unknown_fields
from api.openapi.routes import Route, routes
from models.db import Engine
from models.identity import tenants
from settings import Settings
from tests.calls import (
    assert_nothing_stored,
    client_of,
    make_badge,
    make_key,
    make_streak,
    operator_changes,
    post_batch,
    post_tick,
    problem,
    tick,
)
from tests.conftest import BASE, Account
from tests.integration.documented import APP
from tests.pipeline import Pipeline

NOBODY = "01939c7e-6a1b-7c3d-9e4f-0a1b2c3d4e5f"
# Neither shows anything of a tenant's, and monitors add parameters of their own to them.
OPEN_TO_ALL = {
    "/livez",
    "/readyz",
    "/readyz/postgres",
    "/openapi.json",
    "/reference",
    "/reference.css",
}
ROUTES = [one for one in routes(APP) if one.path not in OPEN_TO_ALL]
WITH_BODY = [one for one in ROUTES if one.operation and one.operation.body]
ASKED = [
    (route, parameter.name)
    for route in ROUTES
    if route.operation
    for parameter in route.operation.parameters
    if parameter.where == "query"
]


def label(value: Any) -> str:
    return f"{value.method} {value.path}" if isinstance(value, Route) else str(value)


def path_of(route: Route) -> str:
    path = route.path.replace("{participant_id}", "user_42").replace("{code}", "daily_login")
    steps = (NOBODY if step.startswith("{") else step for step in path.split("/"))
    return "/".join(steps)


def allow(app: Flask, account: Account, *, is_allowed: bool) -> None:
    with operator_changes(app, *account.sides.values()) as session:
        tenants.change(session, account.slug, allows_unknown_fields=is_allowed)


# -- the query -------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES, ids=label)
def test_every_route_refuses_a_parameter_that_it_does_not_describe(
    client: FlaskClient, route: Route
) -> None:
    response = client.open(path_of(route) + "?xyzzy=1", method=route.method)
    (error,) = problem(response, 422, "unknown_field", "xyzzy")["errors"]
    assert error["code"] == "unknown_field"
    assert error["message"].startswith("is not a parameter of this request: it takes ")


@pytest.mark.parametrize(("route", "name"), ASKED, ids=label)
def test_every_parameter_is_named_to_whom_mistypes_it(
    client: FlaskClient, route: Route, name: str
) -> None:
    response = client.open(f"{path_of(route)}?{name}z=1", method=route.method)
    (error,) = problem(response, 422, "unknown_field", f"{name}z")["errors"]
    assert f"did you mean `{name}`?" in error["message"]


@pytest.mark.parametrize("route", [one for one in ROUTES if one.is_for_admins], ids=label)
def test_a_key_without_the_scope_hears_of_the_scope_alone(
    app: Flask, engine: Engine, account: Account, route: Route
) -> None:
    client = client_of(app, make_key(engine, account.live))
    response = client.open(path_of(route) + "?xyzzy=1", method=route.method)
    problem(response, 403, "forbidden")


def test_a_parameter_given_twice_is_refused_where_one_of_them_would_be_ignored(
    client: FlaskClient,
) -> None:
    response = client.get(f"{BASE}/facts?types=behavior.*&types=badge.*")
    (error,) = problem(response, 422, "validation_error", "types")["errors"]
    assert error["code"] == "repeated"
    found = client.get(f"{BASE}/participants/user_42/state?include=points&include=tier")
    assert list(found.get_json()) == ["participant_id", "points", "tier"]


def test_the_parameters_of_the_issue_are_refused_with_a_way_out(client: FlaskClient) -> None:
    found = problem(client.get(f"{BASE}/facts?type=badge.awarded"), 422, "unknown_field", "type")
    assert found["errors"][0]["message"].endswith("did you mean `types`?")
    found = problem(client.get(f"{BASE}/streaks?offset=10"), 422, "unknown_field", "offset")
    assert found["errors"][0]["message"].endswith("it takes `page`, `page_size`, `is_active`")


# -- the body --------------------------------------------------------------------------------


@pytest.mark.parametrize("route", WITH_BODY, ids=label)
def test_every_body_refuses_a_field_that_it_does_not_know(
    client: FlaskClient, redis_client: redis.Redis, engine: Engine, account: Account, route: Route
) -> None:
    assert route.operation and route.operation.example
    body = dict(route.operation.example) | {"xyzzy": 1}
    response = client.open(path_of(route), method=route.method, json=body)
    if response.status_code == 404:
        return  # what the path names is looked for first: test_mass_assignment.py has it all there
    (error,) = problem(response, 422, "unknown_field", "xyzzy")["errors"]
    assert error["message"].startswith("is not a field of this request")
    assert_nothing_stored(redis_client, engine, account.live)


NESTED: list[tuple[str, dict[str, Any], str, str]] = [
    ("/streaks/record", tick(time_zone="Australia/Sydney"), "time_zone", "timezone"),
    ("/streaks/record", tick(timestmp="2026-05-23T08:15:00Z"), "timestmp", "timestamp"),
    ("/streaks", {"code": "a", "name": "A", "grace_period": 3}, "grace_period", "grace_periods"),
    (
        "/streaks",
        {"code": "a", "name": "A", "milestones": [{"count": 7}, {"count": 9, "badgeCode": "x"}]},
        "milestones.1.badgeCode",
        "badge_code",
    ),
    (
        "/admin/challenges",
        {"code": "a", "name": "A", "target": 1, "objective": {"type": "badges", "codes": ["x"]}},
        "objective.codes",
        "badge_codes",
    ),
    (
        "/admin/challenges",
        {"code": "a", "name": "A", "target": 1,
         "objective": {"type": "count", "streak_code": "x", "streak": "y"}},
        "objective.streak",
        "streak_code",
    ),
    (
        "/admin/tiers",
        {"code": "a", "name": "A", "level": 1, "criteria_config": {"min_points": 1, "points": 2}},
        "criteria_config.points",
        "min_points",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "field", "meant"), NESTED)
def test_a_field_is_refused_at_every_depth_with_the_name_that_was_meant(
    client: FlaskClient, path: str, body: dict[str, Any], field: str, meant: str
) -> None:
    (error,) = problem(client.post(BASE + path, json=body), 422, "unknown_field", field)["errors"]
    assert error["code"] == "unknown_field"
    assert error["message"].endswith(f"did you mean `{meant}`?")


def test_what_is_free_form_takes_any_name(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    assert post_tick(client, metadata={"time_zone": {"deep": {"er": 1}}}).status_code == 202
    given = {"participant_id": "user_42", "attributes": {"time_zone": [{"x": 1}]}}
    assert client.post(f"{BASE}/participants", json=given).status_code == 201
    pipeline.drain()


def test_an_unknown_field_beside_one_that_cannot_be_used_is_named_with_it(
    client: FlaskClient,
) -> None:
    body = {"streak_code": "daily_login", "participant": "user_42"}
    response = client.post(f"{BASE}/streaks/record", json=body)
    found = problem(response, 422, "validation_error", "participant_id", "participant")
    assert [one["code"] for one in found["errors"]] == ["missing", "unknown_field"]


def test_ten_names_are_said_of_however_many(client: FlaskClient) -> None:
    many = {f"{nth:05}" + "x" * 15: 1 for nth in range(30_000)} | {"\x1b[31m" + "é" * 200: 1}
    response = client.post(f"{BASE}/streaks/record", json=tick(**many))
    assert response.get_json()["detail"].endswith(" and 29,991 more")
    assert len(response.get_json()["errors"]) == 10
    assert len(response.data) < 5_000
    odd = client.post(f"{BASE}/streaks/record", json=tick(**{"\x1b[31m" + "é" * 200: 1}))
    assert "\x1b" not in odd.get_json()["errors"][0]["field"]


WITHOUT_BODY = [
    one
    for one in ROUTES
    if one.method not in ("GET", "HEAD")
    and one.operation
    and not (one.operation.body or one.operation.text_body)
]


@pytest.mark.parametrize("route", WITHOUT_BODY, ids=label)
def test_a_request_that_takes_no_body_refuses_one_that_says_something(
    client: FlaskClient, route: Route
) -> None:
    path = path_of(route)
    response = client.open(path, method=route.method, json={"dry_run": True})
    (error,) = problem(response, 422, "unknown_field", "dry_run")["errors"]
    assert error["message"] == "is not a field of this request: it takes none"
    response = client.open(path, method=route.method, json=["x"])
    problem(response, 422, "validation_error", "body")
    for nothing in (b"", b" {} ", b"null"):
        answered = client.open(path, method=route.method, data=nothing)
        assert answered.status_code in (200, 404), answered.text


# -- items of a batch ------------------------------------------------------------------------


def test_an_unknown_field_of_an_item_spoils_no_other_item(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    answer = post_batch(client, tick(), tick(time_zone="UTC"), tick("user_43")).get_json()
    assert (answer["accepted"], answer["rejected"]) == (2, 1)
    error = answer["results"][1]["error"]
    assert error["code"] == "unknown_field"
    assert error["errors"][0]["message"].endswith("did you mean `timezone`?")
    pipeline.drain()


def test_a_mistake_in_every_item_is_explained_and_other_names_up_to_a_bound(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_for: list[str] = []
    closest = unknown_fields.closest

    def look(name: str, known: tuple[str, ...]) -> str | None:
        looked_for.append(name)
        return closest(name, known)

    monkeypatch.setattr(unknown_fields, "closest", look)
    items = [
        tick(time_zone="UTC", **{f"{nth}x{more}": 1 for more in range(9)}) for nth in range(1_000)
    ]
    for result in post_batch(client, *items).get_json()["results"]:
        messages = [one["message"] for one in result["error"]["errors"]]
        assert messages[0].endswith("did you mean `timezone`?")
        assert len(messages) == 10
    assert len(looked_for) == unknown_fields.LOOKED_FOR_MAX


def test_a_batch_refuses_what_stands_beside_its_items(client: FlaskClient) -> None:
    for path, name in (
        ("/streaks/record/batch", "ticks"),
        ("/badges/award/batch", "awards"),
        ("/points/award-batch", "awards"),
    ):
        body = {name: [tick()], "time_zone": "UTC", "dry_run": True}
        response = client.post(BASE + path, json=body)
        problem(response, 422, "unknown_field", "time_zone", "dry_run")
        response = client.post(BASE + path, json={name[:-1]: [tick()]})
        problem(response, 422, "validation_error", name, name[:-1])


# -- the documents ---------------------------------------------------------------------------


def test_a_change_without_any_known_field_is_answered_as_documented(client: FlaskClient) -> None:
    client.post(f"{BASE}/participants", json={"participant_id": "user_42"})
    path = f"{BASE}/participants/user_42"
    problem(client.patch(path, json={}), 400, "no_fields_to_update")
    found = problem(client.patch(path, json={"name": "Jane"}), 400, "no_fields_to_update", "name")
    assert found["errors"][0]["message"].endswith("did you mean `display_name`?")
    both = {"display_name": "Jane", "avatar": "https://example.com/a.png"}
    problem(client.patch(path, json=both), 422, "unknown_field", "avatar")
    assert client.get(path).get_json()["display_name"] is None


# -- as the operator says --------------------------------------------------------------------


def test_an_operator_lets_a_tenant_send_what_is_not_known(
    app: Flask, client: FlaskClient, account: Account, pipeline: Pipeline
) -> None:
    make_streak(client)
    problem(post_tick(client, time_zone="UTC"), 422, "unknown_field", "time_zone")
    allow(app, account, is_allowed=True)
    assert post_tick(client, time_zone="UTC").status_code == 202
    assert post_batch(client, tick(time_zone="UTC")).get_json()["accepted"] == 1
    assert make_badge(client, grace=3)["code"] == "power_user"
    assert make_streak(client, "nested", milestones=[{"count": 7, "x": 1}])["milestones"]
    assert client.post(f"{BASE}/streaks?dry_run=1", json={"code": "b", "name": "B"}).is_json
    problem(post_tick(client, timezone="x", time_zone="UTC"), 422, "validation_error", "timezone")
    allow(app, account, is_allowed=False)
    problem(post_tick(client, time_zone="UTC"), 422, "unknown_field", "time_zone")
    pipeline.drain()


def test_what_the_operator_says_holds_for_writes_at_once_in_every_process(
    settings: Settings, account: Account, pipeline: Pipeline
) -> None:
    here, there = create_app(settings), create_app(settings)
    client = client_of(there, account.keys["live"])
    make_streak(client)
    for is_allowed in (True, False, True, False):
        allow(here, account, is_allowed=is_allowed)
        status = post_tick(client, time_zone="UTC").status_code
        assert status == (202 if is_allowed else 422)
        batch = post_batch(client, tick(time_zone="UTC")).get_json()
        assert batch["accepted"] == is_allowed
        path = f"{BASE}/participants?dry_run=1"
        posted = client.post(path, json={"participant_id": "user_42"}).status_code
        assert posted == (201 if is_allowed else 422)
    pipeline.drain()
    for one in (here, there):
        one.extensions["unbroken"].close()


def test_a_destination_never_takes_what_only_we_set(
    app: Flask, client: FlaskClient, account: Account
) -> None:
    allow(app, account, is_allowed=True)
    body = {"url": "http://127.0.0.1:9/", "event_types": ["*"], "secret": "whsec_mine"}
    problem(client.post(f"{BASE}/admin/webhooks", json=body), 422, "unknown_field", "secret")


def test_the_document_says_that_bodies_take_no_other_fields() -> None:
    for route in WITH_BODY:
        assert route.operation and route.operation.body
        schema = json.dumps(route.operation.body.model_json_schema())
        assert schema.count('"additionalProperties": false') == schema.count('"properties"')
