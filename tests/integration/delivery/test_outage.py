"""A receiver that goes away for three days, and one that stays away: in simulated time."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from models import clock
from tests.integration.world import World, always
from tests.receiver import Answer, Receiver
from webhooks import facts

AWAY = always(Answer(cuts=True))


class Calendar:
    """A clock that goes as fast as nothing happens."""

    def __init__(self) -> None:
        self.now = clock.now()

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def calendar(world: World) -> Calendar:
    """The clock of the world."""
    calendar = Calendar()
    world.options = replace(world.options, now=calendar)
    return calendar


def _live(world: World, calendar: Calendar, until: datetime, happens: Callable[[], None]) -> int:
    """Let deliverers do what is due, hour by hour something happens; return how often they ran."""
    hour, turns = calendar.now + timedelta(hours=1), 0
    while calendar.now < until:
        world.deliver()
        turns += 1
        due = world.next_due()
        calendar.now = min(due, hour, until) if due else min(hour, until)
        if calendar.now == hour:
            happens()
            hour += timedelta(hours=1)
    return turns


@pytest.mark.parametrize("is_ordered", [False, True])
def test_it_brings_every_fact_to_a_receiver_that_was_away_for_three_days(
    world: World, receiver: Receiver, calendar: Calendar, is_ordered: bool
) -> None:
    webhook_id, _ = world.subscribe(receiver.url, ["behavior.*"], is_ordered=is_ordered)
    published: list[str] = []

    def tick() -> None:
        for participant in (1, 2, 3):
            made = world.publish(2, participant=participant)
            published.extend(facts.public_id(fact.id) for fact in made)

    tick()
    world.deliver()
    receiver.reply = AWAY
    _live(world, calendar, calendar.now + timedelta(days=3), tick)
    while_away = receiver.count
    assert world.destination(webhook_id).is_enabled
    assert while_away < 200, "it was left alone: one try an hour"

    receiver.reply = None
    before = len(receiver.requests)
    _live(world, calendar, calendar.now + timedelta(hours=2), tick)
    world.deliver()
    assert set(world.statuses()) == {"delivered"}
    assert set(receiver.bodies()) == set(published)
    assert all(len(bodies) == 1 for bodies in receiver.bodies().values())
    assert world.destination(webhook_id).status == "ok"
    arrived = defaultdict(list)
    for request in receiver.requests[before:]:
        fact = json.loads(request.body)
        arrived[fact["participant_id"]].append(fact["sequence"])
    assert sum(map(len, arrived.values())) == len(published) - 6, "each once after its return"
    if is_ordered:
        assert all(sequences == sorted(sequences) for sequences in arrived.values())


def test_it_disables_a_receiver_that_is_away_for_five_days_and_says_so(
    world: World, receiver: Receiver, calendar: Calendar
) -> None:
    with Receiver() as watching:
        world.subscribe(watching.url, ["webhook.*"])
        webhook_id, _ = world.subscribe(receiver.url, ["behavior.*"])
        world.publish(20)
        receiver.reply = AWAY
        began = calendar.now
        _live(world, calendar, began + timedelta(days=4, hours=23), lambda: None)
        assert world.destination(webhook_id).is_enabled
        _live(world, calendar, began + timedelta(days=5, hours=2), lambda: None)
        destination = world.destination(webhook_id)
        assert (destination.is_enabled, destination.disabled_reason) == (False, "failing")
        kinds = Counter(json.loads(request.body)["type"] for request in watching.requests)
        assert kinds == {facts.DESTINATION_FAILING: 1, facts.DESTINATION_DISABLED: 1}
    assert set(world.statuses()) == {"pending", "delivered"}, "nothing is given up"
