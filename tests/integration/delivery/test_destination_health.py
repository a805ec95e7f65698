"""Destinations that fail: left alone, tried again, given up; and what is told of it."""

from __future__ import annotations

import json
import socket
import threading
import time
import uuid
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from models import clock
from tests.integration.world import Crash, World, always
from tests.receiver import OK, Answer, Receiver, Request
from webhooks import facts, rate_limits
from webhooks.dispatcher import Limits
from webhooks.http_client import Timeouts

PATIENT = Timeouts(connect_seconds=2.0, total_seconds=2.0)  # two busy cores are slow now and then
EVENTS = ["behavior.*"]


def _park(world: World, receiver: Receiver, **terms: Any) -> uuid.UUID:
    """A destination that has failed five times, with 45 facts more to send.

    The 45 come afterwards: how many were sent while the first failures are recorded is a matter of
    the machine's speed.
    """
    webhook_id, _ = world.subscribe(receiver.url, EVENTS, **terms)
    receiver.reply = always(Answer(500))
    world.publish(5)
    world.deliver()
    world.publish(45)
    return webhook_id


def _payloads(world: World, kind: str) -> list[dict[str, Any]]:
    return [fact["payload"] for fact in world.told_of(kind)]


# -- the breaker -----------------------------------------------------------------------------


def test_it_leaves_a_failing_destination_alone_with_one_row_for_all_its_facts(
    world: World, receiver: Receiver
) -> None:
    webhook_id = _park(world, receiver)
    assert receiver.count == 5
    assert Counter(row.attempts for row in world.rows()) == {0: 45, 1: 5}
    health = world.health(webhook_id)
    assert (health.failures, health.is_told) == (5, True)
    assert clock.now() < health.parked_until <= clock.now() + timedelta(seconds=30)
    world.deliver()
    assert receiver.count == 5, "nothing is sent while it is parked"
    assert world.destination(webhook_id).status == "parked"


def test_it_parks_a_destination_in_the_midst_of_a_run(world: World, receiver: Receiver) -> None:
    world.subscribe(receiver.url, EVENTS)
    receiver.reply = always(Answer(500, delay_seconds=0.2))
    world.publish(200)
    world.deliver(limits=Limits(queue_in_flight_max=5))
    assert 5 <= receiver.count < 50, "one run: what was on its way, and no more"


def test_it_tries_again_with_one_delivery_that_uses_up_no_attempt(
    world: World, receiver: Receiver
) -> None:
    webhook_id = _park(world, receiver)
    world.make_due()
    threads = [threading.Thread(target=world.deliver) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert receiver.count == 6, "one, however many deliverers there are"
    assert Counter(row.attempts for row in world.rows()) == {0: 45, 1: 5}
    assert sum(len(world.attempts(row.fact_id)) for row in world.rows()) == 6, "it is logged"
    health = world.health(webhook_id)
    assert health.failures == 6
    assert health.parked_until > clock.now() + timedelta(seconds=30)


def test_it_probes_with_another_delivery_next_time(world: World, receiver: Receiver) -> None:
    """One that its receiver cannot digest must not keep the others back for ever."""
    _park(world, receiver)
    for _ in range(2):
        world.make_due_parked()
        world.deliver()
    assert len({request.id for request in receiver.requests[5:]}) == 2


def test_it_sends_everything_at_once_when_the_probe_arrives(
    world: World, receiver: Receiver
) -> None:
    webhook_id = _park(world, receiver)
    receiver.reply = None
    world.make_due()
    world.deliver()
    assert set(world.statuses()) == {"delivered"}
    health = world.health(webhook_id)
    assert (health.failures, health.parked_until, health.is_told) == (0, None, False)
    assert world.destination(webhook_id).status == "ok"


def test_it_tries_again_after_dying_with_the_probe(world: World, receiver: Receiver) -> None:
    _park(world, receiver)
    receiver.reply = None
    world.make_due()

    def dies(name: str) -> None:
        if name == "deliver.after_claim":
            raise Crash(name)

    with pytest.raises(Crash):
        world.deliver(failpoint=dies)
    world.deliver()
    assert receiver.count == 5, "the probe's lease still runs"
    world.make_due()
    world.deliver()
    assert set(world.statuses()) == {"delivered"}


def test_it_does_not_blame_a_destination_for_its_own_failures(
    world: World, receiver: Receiver
) -> None:
    def lookup(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_AGAIN, "temporary failure in name resolution")

    webhook_id, _ = world.subscribe("http://hooks.example/")
    world.publish(20)
    world.deliver(lookup=lookup)
    assert world.health(webhook_id) is None


def test_it_touches_no_health_row_while_all_is_well(world: World, receiver: Receiver) -> None:
    webhook_id, _ = world.subscribe(receiver.url)
    world.publish(300)
    world.deliver()
    assert world.health(webhook_id) is None


# -- what is told ----------------------------------------------------------------------------


def test_it_tells_the_others_once_when_one_fails_and_when_it_is_back(
    world: World, receiver: Receiver
) -> None:
    with Receiver() as watching:
        world.subscribe(watching.url, ["webhook.*"])
        webhook_id, _ = world.subscribe(receiver.url, ["*"], description="orders")
        receiver.reply = always(Answer(500))
        world.publish(100)
        threads = [threading.Thread(target=world.deliver) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (failing,) = _payloads(world, facts.DESTINATION_FAILING)
        assert (failing["webhook_id"], failing["description"]) == (str(webhook_id), "orders")
        receiver.reply = None
        world.make_due()
        world.deliver()
        world.deliver()
        (recovered,) = _payloads(world, facts.DESTINATION_RECOVERED)
        assert recovered["failing_since"] == failing["failing_since"]
        assert watching.count == 2
    sent = [json.loads(request.body)["type"] for request in receiver.requests]
    assert set(sent) == {facts.STREAK_RECORDED}, "never of itself, though it subscribed to all"


@pytest.mark.parametrize(
    ("answer", "reason", "status"),
    [
        (Answer(410), "gone", "pending"),
        (Answer(200, headers={"Webhook-Delivery": "disable"}), "asked", "delivered"),
        (Answer(500, headers={"webhook-delivery": "Disable, abort-message"}), "asked", "dead"),
    ],
)
def test_it_disables_a_destination_that_says_so(
    world: World, receiver: Receiver, answer: Answer, reason: str, status: str
) -> None:
    webhook_id, _ = world.subscribe(receiver.url, EVENTS)
    world.publish(3)
    receiver.reply = always(answer)
    world.deliver(limits=Limits(queue_in_flight_max=1))
    assert receiver.count == 1
    assert Counter(world.statuses()) == Counter([status, "pending", "pending"])
    destination = world.destination(webhook_id)
    assert (destination.is_enabled, destination.disabled_reason) == (False, reason)
    (told,) = _payloads(world, facts.DESTINATION_DISABLED)
    assert (told["webhook_id"], told["reason"]) == (str(webhook_id), reason)
    receiver.reply = None
    world.change(webhook_id, is_enabled=True)
    world.make_due()
    world.deliver()
    assert "pending" not in world.statuses(), "enabled again, it gets what it has missed"


def test_it_gives_up_a_single_message_when_asked(world: World, receiver: Receiver) -> None:
    world.subscribe(receiver.url)
    world.publish()
    receiver.reply = always(Answer(422, headers={"webhook-delivery": "abort-message"}))
    world.deliver()
    assert world.statuses() == ["dead"]


def test_it_leaves_alone_what_its_owner_disabled_meanwhile(
    world: World, receiver: Receiver
) -> None:
    webhook_id, _ = world.subscribe(receiver.url, EVENTS)
    world.publish()

    def gone(request: Request) -> Answer:
        world.change(webhook_id, is_enabled=False)
        return Answer(410)

    receiver.reply = gone
    world.deliver()
    assert world.destination(webhook_id).disabled_reason is None
    assert world.told_of(facts.DESTINATION_DISABLED) == []


def test_it_survives_a_destination_that_is_deleted_while_it_fails(
    world: World, receiver: Receiver
) -> None:
    webhook_id, _ = world.subscribe(receiver.url, EVENTS)
    world.publish(10)

    def deleted(request: Request) -> Answer:
        world.delete(webhook_id)
        return Answer(500)

    receiver.reply = deleted
    world.deliver()
    world.deliver()
    assert set(world.statuses()) == {"dead"}


# -- what a destination asks for -------------------------------------------------------------


def test_it_follows_a_destinations_own_schedule(world: World, receiver: Receiver) -> None:
    world.subscribe(receiver.url, retry_seconds=[100])
    receiver.reply = always(Answer(500))
    world.publish()
    before = clock.now()
    world.deliver()
    (row,) = world.rows()
    assert timedelta(seconds=80) <= row.next_attempt_at - before <= timedelta(seconds=125)
    world.make_due()
    world.deliver()
    assert world.statuses() == ["dead"]


def test_it_keeps_to_a_destinations_own_cap(world: World, receiver: Receiver) -> None:
    world.subscribe(receiver.url, in_flight_max=2)
    receiver.reply = always(Answer(delay_seconds=0.01))
    world.publish(30)
    world.deliver()
    assert receiver.count == 30
    assert receiver.in_flight_max <= 2


def test_it_stays_under_a_rate_however_many_deliverers_there_are(
    world: World, receiver: Receiver
) -> None:
    """Sends can only be later than their claims, so this bound holds on any machine."""
    rate, count = 100, 150
    world.subscribe(receiver.url, rate_per_second=rate)
    world.publish(count)
    started = time.time()
    threads = [threading.Thread(target=world.deliver) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert receiver.count == count
    taken = max(request.arrived for request in receiver.requests) - started
    assert taken >= (count - 1) / rate - rate_limits.BURST_SECONDS


# -- fairness --------------------------------------------------------------------------------


def test_it_serves_the_others_while_one_hangs_one_drips_and_one_is_dead(world: World) -> None:
    with Receiver(reply=_by_path) as receiver, socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))
        for name in (*map(str, range(7)), "hangs", "drips"):
            world.subscribe(f"{receiver.url}/{name}", EVENTS)
        world.subscribe(f"http://127.0.0.1:{dead.getsockname()[1]}/", EVENTS)
        world.publish(200)
        runner = threading.Thread(target=world.deliver, kwargs={"timeouts": PATIENT})
        runner.start()
        runner.join()
        arrived = Counter(request.path.removeprefix("/hook/") for request in receiver.requests)
        assert {arrived[str(nth)] for nth in range(7)} == {200}
        assert arrived["hangs"] < 200
        assert arrived["drips"] < 200
    assert Counter(world.statuses()) == {"delivered": 1_400, "pending": 600}
    assert len(world.told_of(facts.DESTINATION_FAILING)) == 3


def _by_path(request: Request) -> Answer:
    if request.path.endswith("hangs"):
        return Answer(hangs=True)
    return Answer(drips=True) if request.path.endswith("drips") else OK


def test_it_tells_nothing_twice_when_recording_is_tried_again(
    world: World, receiver: Receiver
) -> None:
    """A deadlock or a lost connection makes the whole transaction be tried again, health too."""
    webhook_id, _ = world.subscribe(receiver.url, EVENTS)
    world.publish(20)
    receiver.reply = always(Answer(500))
    tries: list[str] = []

    def held(name: str) -> None:
        if name == "deliver.after_send_before_record" and not tries:
            tries.append(name)
            world.cut_connections()

    world.deliver(failpoint=held)
    assert tries
    assert len(world.told_of(facts.DESTINATION_FAILING)) == 1
    assert world.health(webhook_id).failures == 5
