"""A single delivery sent again, whatever has become of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from models import clock
from models.db import Engine, reading, transaction
from models.delivery import requeue
from tests.calls import client_of, make_key, problem
from tests.conftest import Account
from tests.integration.batches import PATIENCE_SECONDS
from tests.integration.sending_again import NO_FACT, NOBODY, due, ids_of, path, resend
from tests.integration.world import World, always
from tests.receiver import Answer, Receiver
from webhooks.facts import public_id

# -- one of them -----------------------------------------------------------------------------


def test_a_delivered_fact_is_sent_again_under_its_id(
    world: World, receiver: Receiver, client: FlaskClient
) -> None:
    mine, secret = world.subscribe(receiver.url)
    receiver.trust(secret)
    (fact,) = world.publish()
    for count in (1, 2, 3):
        assert world.deliver() == 1
        assert receiver.count == count
        assert world.statuses() == ["delivered"]
        told = resend(client, mine, fact)
        assert (told["status"], told["attempts"]) == ("pending", 0)
    assert receiver.bodies() == {public_id(fact.id): {fact.body.encode()}}
    assert not receiver.invalid


def test_a_dead_one_gets_a_fresh_schedule(
    world: World, receiver: Receiver, client: FlaskClient
) -> None:
    mine, _ = world.subscribe(receiver.url)
    (fact,) = world.publish()
    receiver.reply = always(Answer(500))
    with transaction(world.engine) as session:
        session.execute(
            sa.text("UPDATE deliveries SET attempts = 9 WHERE tenant_id = :id"),
            {"id": world.tenant.id},
        )
    world.deliver()
    assert world.statuses() == ["dead"]
    resend(client, mine, fact)
    world.deliver()
    (row,) = world.rows()
    assert (row.status, row.attempts) == ("pending", 1)


def test_a_pending_one_is_due_now(world: World, receiver: Receiver, client: FlaskClient) -> None:
    mine, _ = world.subscribe(receiver.url)
    (fact,) = world.publish()
    receiver.reply = always(Answer(500))
    world.deliver()
    receiver.reply = None
    assert world.deliver() == 0
    assert resend(client, mine, fact)["attempts"] == 0
    assert world.deliver() == 1
    assert world.statuses() == ["delivered"]


def test_one_that_is_being_sent_is_left_to_that_attempt(
    world: World, receiver: Receiver, client: FlaskClient
) -> None:
    mine, _ = world.subscribe(receiver.url)
    (fact,) = world.publish()
    receiver.reply = always(Answer(delay_seconds=1.0))
    with ThreadPoolExecutor(1) as thread:
        delivering = thread.submit(world.deliver)
        receiver.wait_for(1)
        resend(client, mine, fact)
        assert delivering.result(PATIENCE_SECONDS) == 1
    assert world.statuses() == ["delivered"]
    assert receiver.count == 1


def test_a_fact_that_a_destination_never_had_can_be_sent_there(
    world: World, receiver: Receiver, client: FlaskClient
) -> None:
    (fact,) = world.publish()
    mine, _ = world.subscribe(receiver.url, ["badge.*"])
    resend(client, mine, fact)
    world.deliver()
    assert receiver.bodies() == {public_id(fact.id): {fact.body.encode()}}


def test_many_who_resend_at_once_make_one_delivery(
    world: World, receiver: Receiver, app: Flask, account: Account
) -> None:
    mine, _ = world.subscribe(receiver.url)
    (fact,) = world.publish()
    world.deliver()
    (other,) = world.publish()
    with ThreadPoolExecutor(8) as threads:
        clients = [(client_of(app, account.keys["live"]), one) for one in (fact, other) * 8]
        asked = [threads.submit(resend, client, mine, one) for client, one in clients]
        assert [one.result(PATIENCE_SECONDS)["status"] for one in asked] == ["pending"] * 16
    assert due(world, mine) == ids_of([fact, other])


def test_who_resends_waits_for_another_who_does(
    world: World, client: FlaskClient, app: Flask, account: Account
) -> None:
    """Otherwise both would find nothing and add a row."""
    (fact,) = world.publish()
    mine, _ = world.subscribe("https://example.invalid/hook", ["badge.*"])
    target = requeue.Target(world.tenant.id, mine, is_ordered=False)
    with ThreadPoolExecutor(1) as thread:
        with transaction(world.engine) as first:
            assert requeue.hold(first, world.tenant.id, mine, is_waiting=True)
            requeue.resend(first, target, fact.id, clock.now())
            second = thread.submit(resend, client, mine, fact)
            wait_until_blocked(world.engine)
        assert second.result(PATIENCE_SECONDS)["status"] == "pending"
    assert due(world, mine) == [fact.id]


def test_one_that_is_settled_at_this_very_moment_is_sent_again(
    world: World, client: FlaskClient
) -> None:
    """The row moves to another table while the request waits for it."""
    mine, _ = world.subscribe("https://example.invalid/hook")
    (fact,) = world.publish()
    with ThreadPoolExecutor(1) as thread:
        with transaction(world.engine) as recording:
            recording.execute(
                sa.text("UPDATE deliveries SET status = 'delivered' WHERE fact_id = :id"),
                {"id": fact.id},
            )
            told = thread.submit(resend, client, mine, fact)
            wait_until_blocked(world.engine)
        assert told.result(PATIENCE_SECONDS)["status"] == "pending"
    assert due(world, mine) == [fact.id]


def wait_until_blocked(engine: Engine) -> None:
    """Until somebody waits for a lock."""
    statement = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    ends = time.monotonic() + PATIENCE_SECONDS
    with reading(engine) as session:
        while not session.execute(statement).scalar_one():
            assert time.monotonic() < ends
            time.sleep(0.01)


def test_resending_beside_a_deliverer_never_fails_and_leaves_one_row(
    world: World, receiver: Receiver, app: Flask, account: Account
) -> None:
    mine, _ = world.subscribe(receiver.url)
    published = world.publish(5)
    is_over = threading.Event()

    def deliver() -> None:
        while not is_over.is_set():
            world.deliver()

    with ThreadPoolExecutor(4) as threads:
        delivering = threads.submit(deliver)
        clients = [client_of(app, account.keys["live"]) for _ in range(150)]
        asked = [
            threads.submit(resend, client, mine, published[nth % 5])
            for nth, client in enumerate(clients)
        ]
        for one in asked:
            one.result(PATIENCE_SECONDS)
        is_over.set()
        delivering.result(PATIENCE_SECONDS)
    world.make_due()
    world.deliver()
    assert due(world, mine) == []
    assert receiver.bodies().keys() == {public_id(one.id) for one in published}


def test_an_ordered_destination_gets_it_in_its_participants_order(
    world: World, receiver: Receiver, client: FlaskClient
) -> None:
    mine, _ = world.subscribe(receiver.url)
    (fact,) = world.publish()
    world.deliver()
    world.change(mine, is_ordered=True)
    resend(client, mine, fact)
    (row,) = world.rows()
    assert (row.participant_id, row.sequence) == (fact.participant_id, fact.sequence)


def test_it_says_what_cannot_be_resent(
    world: World,
    client: FlaskClient,
    app: Flask,
    account: Account,
    make_account: Callable[..., Account],
) -> None:
    mine, _ = world.subscribe("https://example.invalid/hook")
    (fact,) = world.publish()
    mail = f"deliveries/{public_id(fact.id)}/resend"
    problem(client.post(path(NOBODY, mail)), 404, "webhook_not_found")
    problem(client.post(path(mine, f"deliveries/{NO_FACT}/resend")), 404, "delivery_not_found")
    problem(client.post(path(mine, "deliveries/x/resend")), 404, "delivery_not_found")
    stranger = make_account()
    theirs = World(world.engine, stranger.live, world.options).subscribe("https://example.invalid/")
    other = client_of(app, stranger.keys["live"])
    problem(other.post(path(theirs[0], mail)), 404, "delivery_not_found")
    problem(other.post(path(mine, mail)), 404, "webhook_not_found")
    key = make_key(world.engine, account.live)
    problem(client_of(app, key).post(path(mine, mail)), 403, "forbidden")
    world.change(mine, is_enabled=False)
    problem(client.post(path(mine, mail)), 409, "webhook_disabled")
    assert due(world, mine) == [fact.id]
