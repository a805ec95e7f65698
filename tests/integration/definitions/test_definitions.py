"""Tiers, rewards and challenges as admins manage them: the manners of badges, each with its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models.db import Engine
from tests.calls import client_of, count, instant, make_key, make_streak, problem
from tests.conftest import BASE, Account

NOBODY = "01920000-0000-7000-8000-000000000000"


@dataclass(frozen=True)
class Noun:
    """A kind of definition: what a new one needs, and what it has then."""

    name: str
    new: dict[str, Any]
    shown: dict[str, Any]
    change: dict[str, Any]
    bad: list[tuple[str, Any]] = field(default_factory=list)

    @property
    def path(self) -> str:
        """Where they are managed."""
        return f"{BASE}/admin/{self.name}s"


TIER = Noun(
    "tier",
    {"level": 3, "criteria_config": {"min_points": 5_000}},
    {
        "description": None, "level": 3, "color": None, "criteria_config": {"min_points": 5_000},
        "award_type": "automatic", "is_active": True,
    },
    {"criteria_config": {"min_points": 4_000}, "color": "#FFD700", "level": 7},
    [
        ("level", -1), ("level", 1_000_001), ("level", None), ("level", 1.5), ("color", "red"),
        ("criteria_config", {"min_points": -1}), ("criteria_config", {"min_points": "x"}),
        ("award_type", "sometimes"),
    ],
)  # fmt: skip
REWARD = Noun(
    "reward",
    {"points_cost": 500, "stock": 45, "type": "coupon"},
    {
        "description": None, "image_url": None, "type": "coupon", "points_cost": 500, "stock": 45,
        "claimed": 0, "available": 45, "max_claims_per_user": 1, "starts_at": None,
        "ends_at": None, "is_active": True,
    },
    {"points_cost": 400, "max_claims_per_user": None, "ends_at": "2031-01-01T00:00:00Z"},
    [
        ("points_cost", -1), ("points_cost", None), ("stock", -1), ("stock", "many"),
        ("max_claims_per_user", 0), ("image_url", "javascript:alert(1)"), ("type", ""),
        ("type", "t" * 51), ("starts_at", "tomorrow"), ("starts_at", "9999-12-31T23:59:59-14:00"),
        ("ends_at", "1969-12-31T23:59:59Z"), ("ends_at", 7),
    ],
)  # fmt: skip
CHALLENGE = Noun(
    "challenge",
    {"objective": {"type": "points"}, "target": 100},
    {
        "description": None, "objective": {"type": "points"}, "target": 100, "points": None,
        "badge_code": None, "starts_at": None, "ends_at": None, "is_active": True,
    },
    {"target": 50, "points": 5, "starts_at": "2026-01-01T00:00:00Z"},
    [
        ("target", 0), ("target", None), ("target", 1_000_000_001), ("points", 0),
        ("points", 1_000_001), ("badge_code", ""), ("starts_at", "2026-02-30T00:00:00Z"),
    ],
)  # fmt: skip
NOUNS = (TIER, REWARD, CHALLENGE)
every = pytest.mark.parametrize("noun", NOUNS, ids=lambda one: one.name)


def make(client: FlaskClient, noun: Noun, code: str = "gold", **values: Any) -> dict[str, Any]:
    body = {"code": code, "name": code.title()} | noun.new | values
    response = client.post(noun.path, json=body)
    assert response.status_code == 201, response.text
    return dict(response.get_json())


@every
def test_it_creates_reads_changes_and_deactivates_a_definition(
    client: FlaskClient, noun: Noun
) -> None:
    made = make(client, noun)
    assert UUID(made["id"]).version == 7
    assert instant(made["created_at"]) == instant(made["updated_at"])
    assert made == made | noun.shown | {"code": "gold", "name": "Gold"}
    url = f"{noun.path}/{made['id']}"
    assert client.get(url).get_json() == made
    changed = client.patch(url, json={"name": "Golden"} | noun.change).get_json()
    assert changed == made | {"name": "Golden"} | noun.change | {
        "updated_at": changed["updated_at"]
    }
    for _ in range(2):
        deleted = client.delete(url)
        told = {"message": f"{noun.name.capitalize()} deactivated"}
        assert (deleted.status_code, deleted.get_json()) == (200, told)
    assert client.get(url).get_json()["is_active"] is False


@every
def test_it_refuses_a_code_that_is_taken_even_by_an_inactive_one(
    client: FlaskClient, noun: Noun
) -> None:
    made = make(client, noun)
    client.delete(f"{noun.path}/{made['id']}")
    again = {"code": "gold", "name": "Other"} | noun.new
    document = problem(client.post(noun.path, json=again), 400, f"{noun.name}_code_conflict")
    title = noun.name.capitalize()
    assert document["detail"] == f"{title} with code 'gold' already exists"


@every
def test_it_pages_and_filters(client: FlaskClient, noun: Noun) -> None:
    for nth, code in enumerate(("c", "a", "b")):
        level = {"level": {"c": 3, "a": 1, "b": 2}[code]} if noun is TIER else {}
        make(client, noun, code, is_active=nth != 1, **level)
    whole = client.get(noun.path).get_json()
    assert list(whole) == ["items", "total", "page", "page_size"]
    assert ([one["code"] for one in whole["items"]], whole["total"]) == (["a", "b", "c"], 3)
    second = client.get(f"{noun.path}?is_active=true&page=2&page_size=1").get_json()
    assert ([one["code"] for one in second["items"]], second["total"]) == (["c"], 2)
    problem(client.get(f"{noun.path}?is_active=1"), 422, "validation_error", "is_active")


@every
@pytest.mark.parametrize("method", ["get", "patch", "delete"])
@pytest.mark.parametrize("number", [NOBODY, "x", "gold", NOBODY.replace("-", "")])
def test_it_does_not_find_what_is_not_there(
    client: FlaskClient, noun: Noun, method: str, number: str
) -> None:
    kwargs = {"json": {"name": "x"}} if method == "patch" else {}
    response = getattr(client, method)(f"{noun.path}/{number}", **kwargs)
    problem(response, 404, f"{noun.name}_not_found")


@every
def test_it_lets_only_the_admins_of_its_side_near(
    app: Flask,
    client: FlaskClient,
    account: Account,
    make_account: Callable[..., Account],
    engine: Engine,
    noun: Noun,
) -> None:
    made = make(client, noun)
    url = f"{noun.path}/{made['id']}"
    for key in (account.keys["test"], make_account().keys["live"]):
        other = client_of(app, key)
        assert other.get(noun.path).get_json()["total"] == 0
        for response in (other.get(url), other.patch(url, json={"name": "x"}), other.delete(url)):
            problem(response, 404, f"{noun.name}_not_found")
    plain = client_of(app, make_key(engine, account.live))
    for response in (plain.get(noun.path), plain.post(noun.path, json={}), plain.get(url)):
        problem(response, 403, "forbidden")
    assert client.get(url).get_json() == made


_BAD = [(noun, name, value) for noun in NOUNS for name, value in noun.bad]
_OF_ALL = [
    ("name", ""), ("name", None), ("name", "n" * 101), ("description", "a\x00b"),
    ("is_active", None), ("is_active", 1), ("code", "other"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("noun", "name", "value"),
    [*_BAD, *((noun, *one) for noun in NOUNS for one in _OF_ALL)],
    ids=lambda one: getattr(one, "name", None) or repr(one)[:20],
)
def test_it_refuses_a_bad_value_when_created_and_when_changed(
    client: FlaskClient, engine: Engine, account: Account, noun: Noun, name: str, value: Any
) -> None:
    made = make(client, noun)
    url = f"{noun.path}/{made['id']}"
    changed = client.patch(url, data=json.dumps({name: value}), content_type="application/json")
    responses = [changed]
    if name != "code":
        body = {"code": "new", "name": "New"} | noun.new | {name: value}
        responses.append(
            client.post(noun.path, data=json.dumps(body), content_type="application/json")
        )
    for response in responses:
        document = problem(response, 422, "validation_error", *_fields(response))
        assert all(one["field"].startswith(name) for one in document["errors"])
    assert client.get(url).get_json() == made
    assert count(engine, f"{noun.name}s", account.live) == 1


def _fields(response: Any) -> list[str]:
    return sorted({one["field"] for one in response.get_json()["errors"]})


@every
def test_it_asks_for_something_to_change(client: FlaskClient, noun: Noun) -> None:
    url = f"{noun.path}/{make(client, noun)['id']}"
    problem(client.patch(url, json={}), 400, "no_fields_to_update")
    body = {"tenant_id": "x", "claimed": 7, "created_at": "2026-01-01T00:00:00Z"}
    problem(client.patch(url, json=body), 422, "unknown_field", *body)


@every
def test_every_change_stands_in_the_audit_log(client: FlaskClient, noun: Noun) -> None:
    url = f"{noun.path}/{make(client, noun)['id']}"
    client.patch(url, json={"name": "x"})
    client.delete(url)
    lines = client.get(f"{BASE}/admin/audit-log").get_json()["items"]
    assert [(one["action"], one["target"]) for one in lines] == [
        (f"{noun.name}.deactivated", "gold"),
        (f"{noun.name}.updated", "gold"),
        (f"{noun.name}.created", "gold"),
    ]


# -- each with its own -------------------------------------------------------------------------


def test_an_automatic_tier_needs_a_threshold_and_one_by_hand_none(client: FlaskClient) -> None:
    body = {"code": "vip", "name": "VIP", "level": 9}
    without: list[dict[str, Any]] = [{}, {"criteria_config": {}}, {"criteria_config": None}]
    for given in without:
        response = client.post(TIER.path, json=body | given)
        problem(response, 422, "validation_error", "criteria_config.min_points")
    made = client.post(TIER.path, json=body | {"award_type": "manual"}).get_json()
    assert made["criteria_config"] == {}
    url = f"{TIER.path}/{made['id']}"
    response = client.patch(url, json={"award_type": "automatic"})
    problem(response, 422, "validation_error", "criteria_config.min_points")
    both = {"award_type": "automatic", "criteria_config": {"min_points": 1}}
    assert client.patch(url, json=both).get_json()["criteria_config"] == {"min_points": 1}


def test_no_two_active_tiers_have_one_level(client: FlaskClient) -> None:
    first = make(client, TIER)
    body = {"code": "other", "name": "Other"} | TIER.new
    document = problem(client.post(TIER.path, json=body), 400, "tier_level_conflict")
    assert document["detail"] == "Another active tier has the level 3: give this one another"
    second = make(client, TIER, "other", level=4)
    url = f"{TIER.path}/{second['id']}"
    problem(client.patch(url, json={"level": 3}), 400, "tier_level_conflict")
    client.delete(f"{TIER.path}/{first['id']}")
    assert client.patch(url, json={"level": 3}).status_code == 200
    again = client.patch(f"{TIER.path}/{first['id']}", json={"is_active": True})
    problem(again, 400, "tier_level_conflict")


@pytest.mark.parametrize("noun", [REWARD, CHALLENGE], ids=lambda one: one.name)
def test_a_window_ends_after_it_starts(client: FlaskClient, noun: Noun) -> None:
    start, end = "2026-05-01T00:00:00Z", "2026-06-01T00:00:00+02:00"
    made = make(client, noun, starts_at=start, ends_at=end)
    assert (made["starts_at"], made["ends_at"]) == (start, "2026-05-31T22:00:00Z")
    url = f"{noun.path}/{made['id']}"
    for change, named in (
        ({"ends_at": start}, "ends_at"),
        ({"starts_at": "2026-07-01T00:00:00Z"}, "starts_at"),
        ({"starts_at": end, "ends_at": start}, "ends_at"),
    ):
        problem(client.patch(url, json=change), 422, "validation_error", named)
    assert client.patch(url, json={"starts_at": None}).get_json()["starts_at"] is None
    body = {"code": "x", "name": "X", "starts_at": end, "ends_at": start} | noun.new
    problem(client.post(noun.path, json=body), 422, "validation_error", "ends_at")


def test_what_can_be_claimed_is_listed_for_every_key(
    app: Flask, client: FlaskClient, account: Account, engine: Engine
) -> None:
    make(client, REWARD, "b")
    make(client, REWARD, "a", type="physical", stock=0)
    make(client, REWARD, "hidden", is_active=False)
    plain = client_of(app, make_key(engine, account.live))
    found = plain.get(f"{BASE}/rewards").get_json()
    assert [(one["code"], one["available"]) for one in found["rewards"]] == [("a", 0), ("b", 45)]
    assert (found["total"], found["page"], found["page_size"]) == (2, 1, 50)
    coupons = plain.get(f"{BASE}/rewards?reward_type=coupon").get_json()
    assert [one["code"] for one in coupons["rewards"]] == ["b"]
    for text in ("", "t" * 51, "%00"):
        response = plain.get(f"{BASE}/rewards?reward_type={text}")
        problem(response, 422, "validation_error", "reward_type")


def test_the_objective_of_a_challenge_stays(client: FlaskClient) -> None:
    url = f"{CHALLENGE.path}/{make(client, CHALLENGE)['id']}"
    response = client.patch(url, json={"objective": {"type": "points"}})
    problem(response, 422, "validation_error", "objective")


def test_a_challenge_gives_only_a_badge_that_there_is(client: FlaskClient) -> None:
    make_streak(client)
    body = {"code": "x", "name": "X", "badge_code": "nope"} | CHALLENGE.new
    response = client.post(CHALLENGE.path, json=body)
    document = problem(response, 422, "validation_error", "badge_code")
    assert document["errors"][0]["code"] == "unknown_badge"
