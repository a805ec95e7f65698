"""Erasing a person while a batch or a deliverer is at work: nothing slips past either."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from api.cli.local.proc import wait_until
from models import clock, ids
from models.db import Engine, transaction
from models.delivery import deliveries
from models.delivery.deliveries import Attempt, AttemptOutcome, Lease, LeaseShare
from models.people import erasure
from tests.calls import count, make_streak, post_tick
from tests.conftest import Account
from tests.integration.batches import PATIENCE_SECONDS
from tests.integration.participants.test_erasure import DONE, OTHER, WHO, erase
from tests.integration.workers.test_contention import is_waiting_for_a_lock
from tests.integration.world import World, always
from tests.pipeline import Pipeline
from tests.receiver import Answer, Receiver

pytestmark = pytest.mark.promise("P18")


@pytest.mark.parametrize("was_known", [True, False])
def test_a_batch_that_waited_for_the_erasure_meets_its_tombstone(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline, was_known: bool
) -> None:
    """It found the row, or tried to insert one, while the erasure was not committed yet."""
    make_streak(client)
    if was_known:
        post_tick(client, WHO)
        pipeline.drain()
    post_tick(client, WHO)
    batch = threading.Thread(target=pipeline.drain)
    with transaction(engine) as session:
        assert erasure.erase(session, account.live, WHO).was_known == was_known
        batch.start()
        assert wait_until(lambda: is_waiting_for_a_lock(engine), PATIENCE_SECONDS)
    batch.join()
    assert count(engine, "rejections", account.live) == 1
    assert count(engine, "participants", account.live) == 0


def test_an_erasure_that_waited_for_a_batch_deletes_what_it_wrote(
    client: FlaskClient, engine: Engine, account: Account
) -> None:
    """The batch has created the person and not committed yet."""
    answers: list[Any] = []
    request = threading.Thread(target=lambda: answers.append(erase(client)))
    with transaction(engine) as session:
        session.execute(
            sa.text("INSERT INTO participants (tenant_id, external_id) VALUES (:t, :who)"),
            {"t": account.live.id, "who": WHO},
        )
        request.start()
        assert wait_until(lambda: is_waiting_for_a_lock(engine), PATIENCE_SECONDS)
    request.join()
    assert answers[0].get_json() == DONE
    assert count(engine, "participants", account.live) == 0


def test_nothing_is_logged_of_a_delivery_that_was_in_flight(
    client: FlaskClient, engine: Engine, pipeline: Pipeline, world: World, receiver: Receiver
) -> None:
    make_streak(client)
    world.subscribe(receiver.url)
    for who in (WHO, OTHER):
        post_tick(client, who)
    pipeline.drain()
    answers: list[Any] = []

    def erase_now(place: str) -> None:
        if place == "deliver.after_send_before_record" and not answers:
            answers.append(erase(client))

    receiver.reply = always(Answer(500))
    world.deliver(failpoint=erase_now)
    assert answers[0].get_json() == DONE
    assert receiver.count == 2, "both were sent"
    assert count(engine, "attempts", world.tenant) == 1
    assert world.statuses() == ["pending"]


def test_an_erasure_waits_for_a_deliverer_that_records_and_deletes_what_it_logged(
    client: FlaskClient, engine: Engine, pipeline: Pipeline, world: World
) -> None:
    """The delivery moves to the settled ones under the erasure's eyes: it tries again."""
    make_streak(client)
    webhook_id, _ = world.subscribe("http://127.0.0.1:9/")
    post_tick(client, WHO)
    pipeline.drain()
    now = clock.now()
    lease = Lease(uuid4(), now, now + timedelta(minutes=1))
    with transaction(engine) as session:
        (claimed,) = deliveries.lease_due(
            session, [LeaseShare((world.tenant.id, webhook_id), 1)], lease
        )
    answers: list[Any] = []
    request = threading.Thread(target=lambda: answers.append(erase(client)))
    made = Attempt(ids.uuid7(clock.now_us()), 1, 200, None, 3, None, WHO)
    with transaction(engine) as session:
        assert deliveries.record(session, [AttemptOutcome(claimed, "delivered", None, made)]) == 1
        request.start()
        assert wait_until(lambda: is_waiting_for_a_lock(engine), PATIENCE_SECONDS)
    request.join()
    assert answers[0].get_json() == DONE
    for table in ("attempts", "deliveries", "facts"):
        assert count(engine, table, world.tenant) == 0
