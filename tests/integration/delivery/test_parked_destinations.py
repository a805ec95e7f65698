"""A parked destination says why it waits, and is tried at once when somebody has mended it."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from models import clock
from tests.calls import problem
from tests.conftest import BASE
from tests.integration.browsing import Person
from tests.integration.world import World, always
from tests.receiver import Answer, Receiver
from webhooks import facts


def url_of(webhook_id: uuid.UUID, rest: str = "") -> str:
    return f"{BASE}/admin/webhooks/{webhook_id}{rest}"


def park(world: World, receiver: Receiver) -> uuid.UUID:
    """A destination that has failed five times, with 45 facts more to send."""
    webhook_id, _ = world.subscribe(receiver.url, ["behavior.*"])
    receiver.reply = always(Answer(500))
    world.publish(5)
    world.deliver()
    world.publish(45)
    world.deliver()
    assert receiver.count == 5
    return webhook_id


def detail(client: FlaskClient, webhook_id: uuid.UUID) -> dict[str, Any]:
    return dict(client.get(url_of(webhook_id)).get_json())


def test_it_says_why_since_when_how_many_wait_and_when_it_is_tried_next(
    world: World, receiver: Receiver, client: FlaskClient
) -> None:
    webhook_id = park(world, receiver)
    found = detail(client, webhook_id)
    health = found["health"]
    assert (health["status"], health["failures"]) == ("parked", 5)
    assert health["last_failure"] == "HTTP 500"
    assert found["pending"] == 50
    assert health["next_probe_at"] == health["parked_until"] > clock.isoformat(clock.now())
    assert health["failing_since"] <= clock.isoformat(clock.now())


def test_a_destination_that_cannot_be_reached_says_so(world: World, client: FlaskClient) -> None:
    webhook_id, _ = world.subscribe("http://127.0.0.1:1/")
    world.publish(1)
    world.deliver()
    health = detail(client, webhook_id)["health"]
    assert (health["status"], health["failures"]) == ("failing", 1)
    assert health["last_failure"] and not health["last_failure"].startswith("HTTP")


def probe(client: FlaskClient, webhook_id: uuid.UUID) -> Any:
    return client.post(url_of(webhook_id, "/probe"))


def enabled(client: FlaskClient, webhook_id: uuid.UUID) -> Any:
    return client.patch(url_of(webhook_id), json={"is_enabled": True})


def other_url(client: FlaskClient, webhook_id: uuid.UUID) -> Any:
    return client.patch(url_of(webhook_id), json={"url": detail(client, webhook_id)["url"]})


def rotated(client: FlaskClient, webhook_id: uuid.UUID) -> Any:
    return client.post(url_of(webhook_id, "/rotate"), json={"overlap_hours": 0})


@pytest.mark.parametrize("mend", [probe, enabled, other_url, rotated])
def test_what_waits_is_sent_at_once_after_it_was_mended(
    mend: Any, world: World, receiver: Receiver, client: FlaskClient
) -> None:
    webhook_id = park(world, receiver)
    receiver.reply = None
    assert mend(client, webhook_id).status_code == 200
    world.deliver()
    assert receiver.count == 5 + 45
    after = detail(client, webhook_id)
    assert (after["health"]["status"], after["health"]["last_failure"]) == ("ok", None)
    assert after["pending"] == 5, "those that failed once keep to their own schedule"
    assert len(world.told_of(facts.DESTINATION_RECOVERED)) == 1


def test_a_try_that_fails_sends_one_fact_and_parks_it_again(
    world: World, receiver: Receiver, client: FlaskClient
) -> None:
    webhook_id = park(world, receiver)
    shown = probe(client, webhook_id).get_json()
    assert shown["health"]["status"] == "parked"
    assert shown["health"]["next_probe_at"] <= clock.isoformat(clock.now())
    world.deliver()
    assert receiver.count == 6
    health = world.health(webhook_id)
    assert health.failures == 6
    assert health.parked_until > clock.now() + timedelta(seconds=30)


def test_the_dashboard_shows_it_and_has_a_button_to_try_now(
    world: World, receiver: Receiver, admin: Person
) -> None:
    webhook_id = park(world, receiver)
    text = admin.get(f"/webhooks/{webhook_id}").text
    for shown in ("HTTP 500", "5 in a row", "Pending facts", "Next probe", "Probe now"):
        assert shown in text
    receiver.reply = None
    assert admin.post(f"/webhooks/{webhook_id}/probe").status_code == 303
    world.deliver()
    assert receiver.count == 50
    assert "Probe now" not in admin.get(f"/webhooks/{webhook_id}").text


def test_a_change_that_mends_nothing_leaves_it_parked(
    world: World, receiver: Receiver, client: FlaskClient
) -> None:
    webhook_id = park(world, receiver)
    receiver.reply = None
    client.patch(url_of(webhook_id), json={"description": "the shop's"})
    world.deliver()
    assert receiver.count == 5


def test_a_destination_that_is_well_disabled_or_unknown_is_not_probed(
    world: World, receiver: Receiver, client: FlaskClient
) -> None:
    webhook_id, _ = world.subscribe(receiver.url)
    assert probe(client, webhook_id).get_json()["health"]["status"] == "ok"
    client.patch(url_of(webhook_id), json={"is_enabled": False})
    problem(probe(client, webhook_id), 409, "webhook_disabled")
    problem(probe(client, uuid.uuid4()), 404, "webhook_not_found")
