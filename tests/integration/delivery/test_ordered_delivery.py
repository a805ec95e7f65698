"""Delivery in order: a participant's facts one after another, for destinations that ask for it."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import timedelta

import pytest

from models import clock
from models.db import transaction
from models.delivery import destination_queues, ordered
from models.delivery.deliveries import Lease, LeasedDelivery, LeaseShare
from tests.integration.world import World, always
from tests.receiver import OK, Answer, Receiver, Request
from webhooks import dispatcher
from webhooks.dispatcher import Limits


def _name(request: Request) -> tuple[str, int]:
    fact = json.loads(request.body)
    return fact["participant_id"], fact["sequence"]


class Sluggish:
    """A receiver's answers: late by chance, failing by chance."""

    def __init__(self, failing: float) -> None:
        self.accepted: dict[str, list[int]] = defaultdict(list)
        self.overlaps = 0  # came before the participant's last one was answered
        self._busy_until: dict[str, float] = defaultdict(float)
        self._random = random.Random(7)
        self._failing = failing

    def __call__(self, request: Request) -> Answer:
        participant, sequence = _name(request)
        delay = self._random.random() / 200
        self.overlaps += time.monotonic() < self._busy_until[participant]
        self._busy_until[participant] = time.monotonic() + delay
        if self._random.random() < self._failing:
            return Answer(503, headers={"Retry-After": "1"}, delay_seconds=delay)
        self.accepted[participant].append(sequence)
        return Answer(delay_seconds=delay)


def test_it_sends_a_participants_facts_in_order_with_any_number_of_deliverers(
    world: World, receiver: Receiver
) -> None:
    world.subscribe(receiver.url, is_ordered=True)
    for _ in range(5):
        for participant in range(1, 21):
            world.publish(4, participant=participant)
    receiver.reply = sluggish = Sluggish(failing=0.1)
    while "pending" in world.statuses():
        threads = [threading.Thread(target=world.deliver) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        world.make_due()
    assert sluggish.accepted.keys() == {f"user_{number}" for number in range(1, 21)}
    assert all(sent == list(range(1, 21)) for sent in sluggish.accepted.values())
    assert sluggish.overlaps == 0


def test_it_holds_back_only_the_participant_whose_fact_fails(
    world: World, receiver: Receiver
) -> None:
    world.subscribe(receiver.url, is_ordered=True)
    for participant in (1, 2, 3):
        world.publish(10, participant=participant)
    receiver.reply = lambda request: Answer(500) if _name(request) == ("user_2", 4) else OK
    world.deliver()
    sent = Counter(_name(request)[0] for request in receiver.requests)
    assert sent == {"user_1": 10, "user_2": 4, "user_3": 10}
    receiver.reply = None
    world.make_due()
    world.deliver()
    order = [nth for name, nth in map(_name, receiver.requests) if name == "user_2"]
    assert order == [1, 2, 3, 4, 4, 5, 6, 7, 8, 9, 10]


def test_it_goes_on_behind_a_fact_that_is_given_up(world: World, receiver: Receiver) -> None:
    world.subscribe(receiver.url, is_ordered=True, retry_seconds=[])
    world.publish(5)
    receiver.reply = lambda request: Answer(500) if _name(request)[1] == 2 else OK
    world.deliver()
    assert [_name(request)[1] for request in receiver.requests] == [1, 2, 3, 4, 5]
    assert Counter(world.statuses()) == {"delivered": 4, "dead": 1}


def test_it_sends_the_next_as_soon_as_one_is_recorded(world: World, receiver: Receiver) -> None:
    world.subscribe(receiver.url, is_ordered=True)
    world.publish(30)

    last = threading.Event()

    def answer(request: Request) -> Answer:
        if _name(request)[1] == 30:
            last.set()
        return OK

    receiver.reply = answer  # a deliverer that polled would take 10 s for each of the 30
    world.deliver(wait=last.wait, limits=Limits(poll_seconds=10))
    assert [_name(request)[1] for request in receiver.requests] == list(range(1, 31))


def test_it_sends_in_any_order_what_was_published_before_order_was_asked_for(
    world: World, receiver: Receiver
) -> None:
    webhook_id, _ = world.subscribe(receiver.url)
    world.publish(20)
    world.change(webhook_id, is_ordered=True)
    world.publish(20)
    world.publish(1, "webhook.destination_recovered", participant=0)
    receiver.reply = always(Answer(delay_seconds=0.005))
    world.deliver()
    assert set(world.statuses()) == {"delivered"}
    late = [nth for name, nth in map(_name, receiver.requests) if name == "user_1" and nth > 20]
    assert late == list(range(21, 41))


def test_it_keeps_the_order_it_has_promised_after_order_is_switched_off(
    world: World, receiver: Receiver
) -> None:
    webhook_id, _ = world.subscribe(receiver.url, is_ordered=True)
    world.publish(20)
    world.change(webhook_id, is_ordered=False)
    receiver.reply = always(Answer(delay_seconds=0.005))
    world.deliver()
    assert [_name(request)[1] for request in receiver.requests] == list(range(1, 21))


def test_it_serves_every_participant_however_many_are_held_back(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (ordered, destination_queues):
        monkeypatch.setattr(module, "FIRST_PENDING_MAX", 3)
    world.subscribe(receiver.url, is_ordered=True)
    for participant in range(1, 15):
        world.publish(2, participant=participant)
    world.hold_back(range(1, 14))
    options = replace(world.options, limits=Limits(poll_seconds=0.01))
    dispatcher.deliver(world.engine, options, lambda: receiver.count >= 2)
    assert list(map(_name, receiver.requests)) == [("user_14", 1), ("user_14", 2)]


def test_it_leases_a_participants_head_to_one_deliverer(world: World, receiver: Receiver) -> None:
    webhook_id, _ = world.subscribe(receiver.url, is_ordered=True)
    world.publish(3, participant=1)
    world.publish(3, participant=2)
    key, now = (world.tenant.id, webhook_id), clock.now()
    lease = Lease(uuid.uuid4(), now, now + timedelta(seconds=30))

    def claim() -> list[LeasedDelivery]:
        with transaction(world.engine) as session:
            return ordered.lease_due(session, [LeaseShare(key, 10)], {}, lease)[0]

    assert sorted(one.participant_id or 0 for one in claim()) == [1, 2]
    assert claim() == []
    with transaction(world.engine) as session:
        assert not destination_queues.any_due(session, now), "so that nobody looks in vain"


def test_it_takes_turns_among_participants(world: World, receiver: Receiver) -> None:
    webhook_id, _ = world.subscribe(receiver.url, is_ordered=True)
    for participant in range(1, 6):
        world.publish(2, participant=participant)
    key, now = (world.tenant.id, webhook_id), clock.now()
    after: ordered.After = {}
    turns = []
    for _ in range(3):
        lease = Lease(uuid.uuid4(), now, now)  # ends at once: what is claimed stays due
        with transaction(world.engine) as session:
            claimed, after = ordered.lease_due(session, [LeaseShare(key, 2)], after, lease)
        turns.append(sorted(one.participant_id or 0 for one in claimed))
    assert turns == [[1, 2], [3, 4], [1, 5]]


def test_it_marks_dead_what_a_deleted_ordered_destination_left(
    world: World, receiver: Receiver
) -> None:
    webhook_id, _ = world.subscribe(receiver.url, is_ordered=True)
    world.publish(3)
    world.delete(webhook_id)
    world.deliver()
    assert (receiver.count, world.statuses()) == (0, ["dead"] * 3)
