"""What the dashboard says of what it shows: in plain words, and nothing that is not so."""

from __future__ import annotations

import re
from html import unescape

from flask.testing import FlaskClient

from tests.calls import make_streak, noon, post_batch, tick
from tests.conftest import BASE
from tests.integration.browsing import Person, make_world
from tests.integration.earning import award_points, make_challenge
from tests.integration.world import World, always
from tests.pipeline import Pipeline
from tests.receiver import Answer, Receiver
from webhooks.facts import public_id


def page(participant: Person, path: str) -> str:
    response = participant.get(path)
    assert response.status_code == 200, response.text
    return unescape(response.text)


# -- deliveries ------------------------------------------------------------------------------


def test_an_attempt_that_arrived_is_green_and_one_that_failed_red(
    admin: Person, world: World, receiver: Receiver
) -> None:
    hook, _ = world.subscribe(receiver.url)
    (fact,) = world.publish()
    receiver.reply = always(Answer(500, b"boom"))
    world.deliver()
    receiver.reply = always(Answer(200, b""))
    world.make_due()
    world.deliver()
    shown = page(admin, f"/webhooks/{hook}/{public_id(fact.id)}")
    assert re.findall(r'<span class="tag (\w+)">(ok|failed)<', shown) == [
        ("off", "failed"), ("on", "ok"),
    ]  # fmt: skip
    assert "boom" in shown
    assert "(empty body)" in shown
    assert "No response." not in shown


def test_nothing_came_back_where_there_was_no_answer(
    admin: Person, world: World, receiver: Receiver
) -> None:
    hook, _ = world.subscribe("http://127.0.0.1:9/facts")
    (fact,) = world.publish()
    world.deliver()
    assert "No response." in page(admin, f"/webhooks/{hook}/{public_id(fact.id)}")


def test_what_is_due_is_due_now_or_waits_for_its_destination(
    admin: Person, world: World, receiver: Receiver
) -> None:
    hook, _ = world.subscribe(receiver.url)
    (fact,) = world.publish()
    path = f"/webhooks/{hook}/{public_id(fact.id)}"
    assert "next attempt due now" in page(admin, path)
    receiver.reply = always(Answer(500))
    for _ in range(5):
        world.make_due()
        world.deliver()
    assert world.destination(hook).status == "parked"
    assert re.search(r"next attempt in \d", page(admin, path))
    world.make_due()
    assert "next attempt when the destination recovers" in page(admin, path)


def test_a_destinations_health_has_a_colour_in_the_list(
    admin: Person, world: World, receiver: Receiver
) -> None:
    world.subscribe(receiver.url)
    assert '<span class="tag on">ok</span>' in page(admin, "/d/webhooks")
    receiver.reply = always(Answer(500))
    world.publish()
    for _ in range(5):
        world.make_due()
        world.deliver()
    assert '<span class="tag warn">parked</span>' in page(admin, "/d/webhooks")


def test_a_delivery_says_when_it_was_created_on_one_line(
    admin: Person, client: FlaskClient, pipeline: Pipeline
) -> None:
    make_world(client, pipeline)
    hook = client.get(f"{BASE}/admin/webhooks").get_json()["items"][0]["id"]
    shown = page(admin, f"/webhooks/{hook}")
    assert ">Created</th>" in shown
    assert re.search(r'<td class="when"[^>]*>\d+ s ago</td>', shown)


# -- the overview ----------------------------------------------------------------------------


def test_a_service_with_nothing_to_do_is_not_said_to_lack_workers(
    admin: Person, client: FlaskClient
) -> None:
    idle = page(admin, "")
    assert "<p>none</p>" in idle
    assert "drain" not in idle
    assert "peak 0<" in idle
    assert "minutes; peak 0" in idle
    make_streak(client)
    post_batch(client, tick("anna", timestamp=noon(0)))
    assert re.search(r"oldest \d+\.\d s, \d+ drains? running", page(admin, ""))


# -- people ----------------------------------------------------------------------------------


def test_only_a_challenge_that_ended_unfinished_is_red(
    admin: Person, client: FlaskClient, pipeline: Pipeline
) -> None:
    make_challenge(client, {"type": "badges"}, 3, "open")
    make_challenge(client, {"type": "points"}, 10, "reached")
    make_challenge(client, {"type": "points"}, 1_000, "begun")
    over = make_challenge(client, {"type": "points"}, 1_000, "over")["id"]
    award_points(client, 10, "anna")
    pipeline.drain()
    assert client.delete(f"{BASE}/admin/challenges/{over}").status_code == 200
    shown = page(admin, "/participants/anna")
    for word, colour in (("open", ""), ("completed", "on"), ("active", "warn"), ("ended", "off")):
        assert f'<span class="tag {colour}">{word}</span>' in shown


def test_somebody_without_a_key_is_told_the_command_that_they_have(nobody: Person) -> None:
    shown = page(nobody, "/sign-in")
    assert "<code>unbroken tenant create acme</code>" in shown
    assert "<code>.venv/bin/unbroken tenant create acme</code>" in shown
