"""Delivery under faults: our own failures, crashes, competition, receivers that hang or go."""

from __future__ import annotations

import datetime as dt
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet

from models import clock
from models.db import transaction
from models.delivery import deliveries as table
from models.delivery import destination_queues, destinations
from models.delivery.deliveries import Attempt, Lease, LeaseShare
from tests.integration.world import Crash, World, always
from tests.receiver import OK, Answer, Receiver, Request
from webhooks import dispatcher, facts, secrets
from webhooks.dispatcher import Limits
from webhooks.http_client import Timeouts

pytestmark = pytest.mark.promise("P3")

# -- our own failures ------------------------------------------------------------------------


def test_it_counts_no_attempt_when_its_own_name_service_is_away(
    world: World, receiver: Receiver
) -> None:
    def lookup(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_AGAIN, "temporary failure in name resolution")

    world.subscribe(f"http://hooks.example:{receiver.port}/hook")
    (fact,) = world.publish()
    world.deliver(lookup=lookup)
    (row,) = world.rows()
    assert (row.status, row.attempts, row.claim_id) == ("pending", 0, None)
    assert row.next_attempt_at > clock.now()
    assert world.attempts(fact) == []


def test_it_counts_no_attempt_when_the_key_ring_does_not_fit(
    world: World, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    _, secret = world.subscribe(receiver.url)
    world.publish()
    world.deliver(ring=secrets.ring(Fernet.generate_key().decode()))
    assert (world.rows()[0].attempts, world.statuses()) == (0, ["pending"])
    assert "UNBROKEN_SECRET_KEYS" in caplog.text
    assert secret not in caplog.text
    world.make_due()
    world.deliver()
    assert world.statuses() == ["delivered"]


def test_it_records_what_it_sent_although_the_database_was_away_meanwhile(
    world: World, receiver: Receiver
) -> None:
    _, secret = world.subscribe(receiver.url)
    receiver.trust(secret)
    world.publish(20)
    cut = threading.Event()

    def cut_once(request: Request) -> Answer:
        if not cut.is_set():
            cut.set()
            world.cut_connections()
        return OK

    receiver.reply = cut_once
    world.deliver()
    assert receiver.count == 20
    assert set(world.statuses()) == {"delivered"}


# -- crashes and competition -----------------------------------------------------------------


def test_it_sends_again_under_the_same_id_after_dying_between_sending_and_recording(
    world: World, receiver: Receiver
) -> None:
    world.subscribe(receiver.url)
    (fact,) = world.publish()
    with pytest.raises(Crash):
        world.deliver(failpoint=_dies_at("deliver.after_send_before_record"))
    world.deliver()
    assert receiver.count == 1, "the lease still runs"
    world.make_due()
    world.deliver()
    assert receiver.count == 2
    assert receiver.bodies() == {facts.public_id(fact.id): {fact.body.encode()}}
    assert world.statuses() == ["delivered"]


def test_it_loses_nothing_when_it_dies_after_claiming(world: World, receiver: Receiver) -> None:
    world.subscribe(receiver.url)
    world.publish(10)
    with pytest.raises(Crash):
        world.deliver(failpoint=_dies_at("deliver.after_claim"))
    world.make_due()
    world.deliver()
    assert receiver.count == 10
    assert set(world.statuses()) == {"delivered"}


def _dies_at(place: str) -> Callable[[str], None]:
    def failpoint(name: str) -> None:
        if name == place:
            raise Crash(place)

    return failpoint


def test_it_lets_any_number_run_side_by_side_without_sending_anything_twice(
    world: World, receiver: Receiver
) -> None:
    for _ in range(3):
        world.subscribe(receiver.url)
    published = world.publish(400)
    threads = [threading.Thread(target=world.deliver) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert receiver.count == 1_200
    assert len(receiver.bodies()) == len(published)
    assert set(world.statuses()) == {"delivered"}


def test_it_leaves_a_delivery_to_whoever_claimed_it_after_the_lease_ended(
    world: World, receiver: Receiver
) -> None:
    webhook_id, _ = world.subscribe(receiver.url)
    (fact,) = world.publish()
    slots, now = [LeaseShare((world.tenant.id, webhook_id), 1)], clock.now()
    later = now + dt.timedelta(seconds=60)
    with transaction(world.engine) as session:
        first = table.lease_due(session, slots, Lease(uuid.uuid4(), now, later))
    with transaction(world.engine) as session:
        assert table.lease_due(session, slots, Lease(uuid.uuid4(), now, later)) == []
    with transaction(world.engine) as session:
        second = table.lease_due(session, slots, Lease(uuid.uuid4(), later, later))
    assert len(first) == len(second) == 1
    made = Attempt(uuid.uuid4(), 1, 200, None, 3, "127.0.0.1", "ok")
    for claimed, settled in ((first[0], 0), (second[0], 1), (second[0], 0)):
        with transaction(world.engine) as session:
            outcome = table.AttemptOutcome(claimed, "delivered", None, made)
            assert table.record(session, [outcome]) == settled
    assert world.statuses() == ["delivered"]
    assert len(world.attempts(fact)) == 1, "the same attempt is logged once"


def test_it_stops_claiming_when_told_and_finishes_what_is_in_flight(
    world: World, receiver: Receiver
) -> None:
    world.subscribe(receiver.url)
    world.publish(50)
    receiver.reply = always(Answer(delay_seconds=0.1))
    limits = Limits(queue_in_flight_max=5)
    options = replace(world.options, limits=limits)
    done = dispatcher.deliver(world.engine, options, lambda: receiver.count > 0)
    assert done == receiver.count == 5
    assert sorted(set(world.statuses())) == ["delivered", "pending"]
    assert all(row.claim_id is None for row in world.rows())


def test_it_stays_for_a_while_and_is_woken_for_new_work(world: World, receiver: Receiver) -> None:
    world.subscribe(receiver.url)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 1:
            world.publish()

    options = replace(world.options, limits=Limits(idle_seconds=60))
    dispatcher.deliver(world.engine, options, lambda: receiver.count > 0, wait)
    assert receiver.count == 1
    assert world.statuses() == ["delivered"]


# -- fairness --------------------------------------------------------------------------------


def test_it_does_not_let_a_hanging_receiver_hold_up_another(world: World) -> None:
    with Receiver(reply=always(Answer(hangs=True))) as hanging, Receiver() as quick:
        slow, _ = world.subscribe(hanging.url)
        fast, _ = world.subscribe(quick.url)
        world.publish(600)
        runner = threading.Thread(target=world.deliver, kwargs={"timeouts": Timeouts(5, 5)})
        runner.start()
        quick.wait_for(600)
        assert _delivered_to(world, slow) == 0
        assert hanging.count <= Limits().queue_in_flight_max
        world.change(slow, is_enabled=False)  # the rest of it need not be waited for
        runner.join()
        assert _delivered_to(world, fast) == 600


def test_it_does_not_let_others_wait_for_a_hanging_receiver_when_its_time_is_up(
    world: World,
) -> None:
    with Receiver() as quick:
        world.subscribe(quick.url)
        with Receiver(reply=always(Answer(hangs=True))) as hanging:
            world.subscribe(hanging.url)
            world.publish(10)
            terms = {"timeouts": Timeouts(15, 15), "limits": Limits(run_seconds=0.3)}
            runner = threading.Thread(target=world.deliver, kwargs=terms)
            runner.start()
            quick.wait_for(10)
            hanging.wait_for(10)
            time.sleep(0.5)
            world.publish(10)
            quick.wait_for(20)
            assert runner.is_alive()
        runner.join()  # nobody hangs any more
    assert hanging.count == 10, "a slow one gets nothing new meanwhile"


def _delivered_to(world: World, webhook_id: uuid.UUID) -> int:
    rows = [row for row in world.rows() if row.webhook_id == webhook_id]
    return sum(row.status == "delivered" for row in rows)


def test_it_keeps_each_destination_within_its_cap(world: World, receiver: Receiver) -> None:
    world.subscribe(receiver.url)
    world.publish(60)
    receiver.reply = always(Answer(delay_seconds=0.01))
    world.deliver(limits=Limits(queue_in_flight_max=7))
    assert receiver.count == 60
    assert 1 <= receiver.in_flight_max <= 7


# -- destinations that change ----------------------------------------------------------------


def test_it_keeps_what_is_pending_for_a_disabled_destination_until_it_is_enabled(
    world: World, receiver: Receiver
) -> None:
    webhook_id, _ = world.subscribe(receiver.url)
    world.publish(3)
    world.change(webhook_id, is_enabled=False)
    world.deliver()
    assert world.statuses() == ["pending"] * 3
    assert not _is_any_due(world)
    world.change(webhook_id, is_enabled=True)
    assert _is_any_due(world)
    world.deliver()
    assert receiver.count == 3


def _is_any_due(world: World) -> bool:
    with transaction(world.engine) as session:
        return destination_queues.any_due(session, clock.now())


def test_it_sends_to_the_url_as_it_is_now(world: World, receiver: Receiver) -> None:
    webhook_id, _ = world.subscribe("http://127.0.0.1:9/")
    world.publish()
    world.change(webhook_id, url=receiver.url)
    world.deliver()
    assert world.statuses() == ["delivered"]


def test_it_marks_dead_what_a_deleted_destination_left(world: World, receiver: Receiver) -> None:
    webhook_id, _ = world.subscribe(receiver.url)
    world.publish(3)
    with transaction(world.engine) as session:
        destinations.delete(session, world.tenant.id, webhook_id)
    assert _is_any_due(world), "so that a deliverer is asked to clean up"
    world.deliver()
    assert receiver.count == 0
    assert world.statuses() == ["dead"] * 3
    assert not _is_any_due(world)


def test_it_marks_dead_what_has_outlived_its_fact(world: World, receiver: Receiver) -> None:
    world.subscribe(receiver.url)
    world.publish()
    with transaction(world.engine) as session:
        session.execute(sa.text("DELETE FROM facts WHERE tenant_id = :id"), {"id": world.tenant.id})
    world.deliver()
    assert (receiver.count, world.statuses()) == (0, ["dead"])


def test_it_says_whether_anything_is_due(world: World, receiver: Receiver) -> None:
    world.subscribe(receiver.url)
    assert not _is_any_due(world)
    world.publish()
    assert _is_any_due(world)
    receiver.reply = always(Answer(500))
    world.deliver()
    assert not _is_any_due(world), "the next attempt is not due yet"
