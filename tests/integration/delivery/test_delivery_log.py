"""What became of deliveries, as an admin sees it: lists, filters, one with all its attempts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from models import clock
from models.delivery import delivery_log
from tests.calls import client_of, make_key, problem
from tests.conftest import BASE, Account
from tests.integration.batches import make_streak, post, tick
from tests.integration.world import World, always
from tests.pipeline import Pipeline
from tests.receiver import Answer, Receiver
from webhooks.facts import Fact, public_id

NOBODY = "01920000-0000-7000-8000-000000000000"
NO_FACT = "evt_01920000000070008000000000000000"


def path(webhook_id: UUID | str, rest: str = "deliveries") -> str:
    return f"{BASE}/admin/webhooks/{webhook_id}/{rest}"


def get(client: FlaskClient, url: str, **query: Any) -> dict[str, Any]:
    response = client.get(url, query_string=query)
    assert response.status_code == 200, response.text
    return dict(response.get_json())


def all_of(client: FlaskClient, url: str, **query: Any) -> list[dict[str, Any]]:
    """Every item, page by page."""
    page = get(client, url, **query)
    found: list[dict[str, Any]] = page["items"]
    while page["next_cursor"] is not None:
        page = get(client, url, after=page["next_cursor"], **query)
        found += page["items"]
    return found


def ids_of(items: list[dict[str, Any]]) -> list[str]:
    return [one["fact_id"] for one in items]


def newest_first(published: list[Fact]) -> list[str]:
    return [public_id(one) for one in sorted((fact.id for fact in published), reverse=True)]


# -- deliveries ------------------------------------------------------------------------------


def test_a_delivery_shows_its_fact_its_status_and_the_last_attempt(
    world: World, receiver: Receiver, client: FlaskClient
) -> None:
    mine, _ = world.subscribe(receiver.url)
    (fact,) = world.publish()
    (waiting,) = get(client, path(mine))["items"]
    assert waiting == {
        "fact_id": public_id(fact.id),
        "type": "behavior.streak_recorded",
        "participant_id": None,
        "status": "pending",
        "attempts": 0,
        "next_attempt_at": clock.to_text(fact.occurred_us),
        "created_at": clock.to_text(fact.occurred_us),
        "last": None,
    }
    receiver.reply = always(Answer(500, b"boom"))
    world.deliver()
    (failed,) = get(client, path(mine))["items"]
    assert (failed["status"], failed["attempts"]) == ("pending", 1)
    assert failed["next_attempt_at"] > waiting["next_attempt_at"]
    assert (failed["last"]["status_code"], failed["last"]["error"]) == (500, None)
    receiver.reply = None
    world.make_due()
    world.deliver()
    (done,) = get(client, path(mine))["items"]
    assert (done["status"], done["attempts"], done["next_attempt_at"]) == ("delivered", 2, None)
    assert list(done["last"]) == ["status_code", "error", "duration_ms", "at"]
    assert done["last"]["status_code"] == 200
    assert done["last"]["at"] >= failed["last"]["at"]


def test_it_lists_newest_first_in_pages_and_only_its_own(
    world: World, receiver: Receiver, client: FlaskClient
) -> None:
    mine, _ = world.subscribe(receiver.url)
    world.subscribe(receiver.url + "/other")
    published = world.publish(7)
    world.deliver()
    assert ids_of(all_of(client, path(mine), limit=3)) == newest_first(published)
    assert ids_of(get(client, path(mine), limit=3)["items"]) == newest_first(published)[:3]


def test_a_page_looks_through_a_bounded_number_and_says_where_to_go_on(
    world: World, receiver: Receiver, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, _ = world.subscribe(receiver.url)
    for _ in range(3):
        world.subscribe(receiver.url + "/other")
    published = world.publish(9)
    world.deliver()
    monkeypatch.setattr(delivery_log, "SCANNED_MAX", 3)
    monkeypatch.setattr(delivery_log, "STATEMENTS_MAX", 2)
    assert len(get(client, path(mine), limit=9)["items"]) < 3
    for limit in (1, 2, 9):
        assert ids_of(all_of(client, path(mine), limit=limit)) == newest_first(published)
        made = all_of(client, path(mine, "attempts"), limit=limit)
        assert sorted(ids_of(made)) == sorted(newest_first(published))


def test_it_filters_by_status_type_and_time(
    world: World, receiver: Receiver, client: FlaskClient
) -> None:
    mine, _ = world.subscribe(receiver.url)
    streaks, badges = world.publish(2), world.publish(1, "badge.awarded")
    world.deliver()
    later = world.publish(1)
    for query, expected in (
        ({"status": "delivered"}, streaks + badges),
        ({"status": "pending"}, later),
        ({"status": "dead"}, []),
        ({"types": "badge.*"}, badges),
        ({"types": "behavior.streak_recorded", "status": "delivered"}, streaks),
        ({"since": clock.to_text(later[0].occurred_us // 1_000 * 1_000)}, later),
        ({"until": clock.to_text(streaks[0].occurred_us // 1_000 * 1_000)}, []),
        ({"since": "2001-01-01T00:00:00Z", "until": "9999-12-31T23:59:59Z"},
         streaks + badges + later),
    ):  # fmt: skip
        assert ids_of(all_of(client, path(mine), **query)) == newest_first(expected), query


def test_it_filters_by_participant(
    world: World, client: FlaskClient, account: Account, pipeline: Pipeline
) -> None:
    mine, _ = world.subscribe("https://example.invalid/hook")
    streak = make_streak(world.engine, account.live.id)
    post(pipeline.client, [tick(streak, "ann"), tick(streak, "bob/")])
    pipeline.drain()
    (found,) = all_of(client, path(mine), participant_id="bob/")
    assert found["participant_id"] == "bob/"
    assert all_of(client, path(mine), participant_id="nobody") == []


def test_one_delivery_shows_its_body_and_every_attempt_in_order(
    world: World, receiver: Receiver, client: FlaskClient
) -> None:
    mine, _ = world.subscribe(receiver.url)
    other, _ = world.subscribe(receiver.url + "/other")
    (fact,) = world.publish()
    receiver.reply = lambda request: Answer(500 if request.path == "/hook" else 200, b"\x00no")
    for _ in range(2):
        world.deliver()
        world.make_due()
    found = get(client, path(mine, f"deliveries/{public_id(fact.id)}"))
    assert found["body"] == fact.body
    assert [one["number"] for one in found["log"]] == [1, 2]
    for one in found["log"]:
        assert (one["outcome"], one["status_code"], one["fact_id"]) == (
            "failed", 500, public_id(fact.id),
        )  # fmt: skip
        assert (one["remote_address"], one["response"]) == ("127.0.0.1", "\ufffdno")
    assert found["last"]["at"] == found["log"][-1]["at"]
    assert len(get(client, path(other, f"deliveries/{public_id(fact.id)}"))["log"]) == 1


def test_a_delivery_outlives_its_fact(
    world: World, receiver: Receiver, client: FlaskClient
) -> None:
    mine, _ = world.subscribe(receiver.url)
    (fact,) = world.publish()
    with world.engine.begin() as session:
        session.execute(sa.text("DELETE FROM facts WHERE id = :id"), {"id": fact.id})
    found = get(client, path(mine, f"deliveries/{public_id(fact.id)}"))
    assert (found["type"], found["body"], found["status"]) == (None, None, "pending")
    assert found["created_at"] == clock.to_text(fact.occurred_us // 1_000 * 1_000)


# -- attempts --------------------------------------------------------------------------------


def test_attempts_are_listed_newest_first_and_by_outcome(
    world: World, receiver: Receiver, client: FlaskClient
) -> None:
    mine, _ = world.subscribe(receiver.url)
    other, _ = world.subscribe("http://127.0.0.1:1/")
    world.publish()
    receiver.reply = always(Answer(503))
    world.deliver()
    receiver.reply = None
    world.make_due()
    world.deliver()
    made = all_of(client, path(mine, "attempts"), limit=1)
    assert [(one["number"], one["outcome"], one["status_code"]) for one in made] == [
        (2, "ok", 200),
        (1, "failed", 503),
    ]
    assert all_of(client, path(mine, "attempts"), outcome="ok") == made[:1]
    assert all_of(client, path(mine, "attempts"), outcome="failed") == made[1:]
    assert all_of(client, path(mine, "attempts"), since=made[0]["at"])[-1] == made[0]
    assert all_of(client, path(mine, "attempts"), until=made[1]["at"]) == []
    refused = all_of(client, path(other, "attempts"))
    assert {(one["outcome"], one["status_code"], one["response"]) for one in refused} == {
        ("failed", None, None)
    }
    assert all(one["error"] for one in refused)


# -- refusals --------------------------------------------------------------------------------


def test_it_says_what_is_not_there(world: World, client: FlaskClient) -> None:
    mine, _ = world.subscribe("https://example.invalid/hook", ["badge.*"])
    (fact,) = world.publish()
    for rest in ("deliveries", "attempts", f"deliveries/{NO_FACT}"):
        for nobody in (NOBODY, "x", f"{mine}x"):
            problem(client.get(path(nobody, rest)), 404, "webhook_not_found")
    for nothing in (NO_FACT, str(fact.id), f"evt_{fact.id}", "evt_", public_id(fact.id)):
        response = client.get(path(mine, f"deliveries/{nothing}"))
        assert problem(response, 404, "delivery_not_found")["detail"] == (
            f"Delivery '{nothing}' not found"
        )


@pytest.mark.parametrize(
    ("rest", "query"),
    [
        ("deliveries", {"status": "lost"}),
        ("deliveries", {"types": "nope"}),
        ("deliveries", {"since": "yesterday"}),
        ("deliveries", {"until": "2026-05-23"}),
        ("deliveries", {"participant_id": ""}),
        ("deliveries", {"after": "A" * 22}),
        ("deliveries", {"limit": "101"}),
        ("attempts", {"outcome": "perhaps"}),
        ("attempts", {"since": "2026-02-30T00:00:00Z"}),
        ("attempts", {"after": "A" * 43}),
        ("attempts", {"after": "A" * 21 + "B"}),
    ],
)
def test_it_names_the_parameter_that_cannot_be_used(
    world: World, client: FlaskClient, rest: str, query: dict[str, str]
) -> None:
    mine, _ = world.subscribe("https://example.invalid/hook")
    response = client.get(path(mine, rest), query_string=query)
    problem(response, 422, "validation_error", *query)


def test_it_shows_nothing_to_others(
    world: World, app: Flask, account: Account, make_account: Callable[..., Account]
) -> None:
    mine, _ = world.subscribe("https://example.invalid/hook")
    (fact,) = world.publish()
    participant_key = make_key(world.engine, account.live)
    for rest in ("deliveries", "attempts", f"deliveries/{public_id(fact.id)}"):
        for key in (account.keys["test"], make_account().keys["live"]):
            problem(client_of(app, key).get(path(mine, rest)), 404, "webhook_not_found")
        problem(client_of(app, participant_key).get(path(mine, rest)), 403, "forbidden")
