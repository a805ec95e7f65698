"""Delivery: what arrives, what is tried again, what is kept of it."""

from __future__ import annotations

import datetime as dt
import socket
from collections import Counter

import pytest
import sqlalchemy as sa

from models import clock
from models.db import reading
from models.delivery import destination_queues
from tests.integration.world import SHORT, World, always, names
from tests.receiver import OK, Answer, Receiver
from webhooks import facts
from webhooks.dispatcher import Limits
from webhooks.http_client import RESPONSE_BYTES_MAX

pytestmark = pytest.mark.promise("P3", "P9")

# -- what arrives ----------------------------------------------------------------------------


def test_it_delivers_every_fact_once_with_a_signature_that_others_verify(
    world: World, receiver: Receiver
) -> None:
    _, secret = world.subscribe(receiver.url)
    receiver.trust(secret)
    published = world.publish(300)
    assert world.deliver() == 300
    sent = {facts.public_id(fact.id): {fact.body.encode()} for fact in published}
    assert receiver.bodies() == sent
    assert receiver.count == 300
    assert not receiver.invalid
    assert set(world.statuses()) == {"delivered"}


def test_it_sends_a_post_of_json_and_nothing_that_invites_compression(
    world: World, receiver: Receiver
) -> None:
    world.subscribe(receiver.url)
    world.publish()
    world.deliver()
    (request,) = receiver.requests
    assert (request.method, request.path) == ("POST", "/hook")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert "accept-encoding" not in request.headers


def test_it_keeps_connections_alive(world: World, receiver: Receiver) -> None:
    world.subscribe(receiver.url)
    world.publish(500)
    world.deliver(limits=Limits(queue_in_flight_max=10))
    assert receiver.count == 500
    assert receiver.connections <= 10


def test_it_sends_each_destination_only_what_it_subscribed_to(
    world: World, receiver: Receiver
) -> None:
    world.subscribe(receiver.url + "/all")
    world.subscribe(receiver.url + "/glob", ["behavior.*"])
    world.subscribe(receiver.url + "/badges", ["badge.awarded"])
    disabled, _ = world.subscribe(receiver.url + "/disabled")
    world.change(disabled, is_enabled=False)
    world.publish(1, "behavior.streak_broken")
    world.publish(1, "badge.awarded")
    world.deliver()
    paths = sorted(request.path.removeprefix("/hook/") for request in receiver.requests)
    assert paths == ["all", "all", "badges", "glob"]


def test_it_logs_every_attempt(world: World, receiver: Receiver) -> None:
    world.subscribe(receiver.url)
    (fact,) = world.publish()
    receiver.reply = always(Answer(500, b"boom \x00\xff"))
    world.deliver()
    world.make_due()
    receiver.reply = always(Answer(204, b""))
    world.deliver()
    failed, succeeded = world.attempts(fact)
    assert (failed.number, failed.status_code, failed.error) == (1, 500, None)
    assert failed.response == "boom \ufffd\ufffd"
    assert failed.remote_address == "127.0.0.1"
    assert (succeeded.number, succeeded.status_code, succeeded.response) == (2, 204, "")
    assert (world.rows()[0].attempts, world.statuses()) == (2, ["delivered"])


# -- failures and retries --------------------------------------------------------------------


@pytest.mark.parametrize("status", [199 + 101, 301, 302, 307, 308, 400, 404, 410, 429, 500, 503])
def test_it_takes_nothing_but_2xx_for_success_and_follows_no_redirect(
    world: World, receiver: Receiver, status: int
) -> None:
    world.subscribe(receiver.url)
    world.publish()
    receiver.reply = always(Answer(status, headers={"Location": receiver.url + "/elsewhere"}))
    world.deliver()
    assert [request.path for request in receiver.requests] == ["/hook"]
    (row,) = world.rows()
    assert (row.status, row.attempts, row.claim_id, row.leased_until) == ("pending", 1, None, None)


def test_it_tries_ten_times_under_one_id_and_then_says_dead(
    world: World, receiver: Receiver
) -> None:
    _, secret = world.subscribe(receiver.url)
    receiver.trust(secret)
    (fact,) = world.publish()
    bad = facts.public_id(fact.id)
    receiver.reply = lambda request: Answer(500) if request.id == bad else OK
    for _ in range(12):
        world.publish()  # which arrives: the receiver is well, but for one fact
        world.deliver()
        world.make_due()
    assert sum(request.id == bad for request in receiver.requests) == 10
    assert receiver.bodies()[bad] == {fact.body.encode()}
    assert not receiver.invalid
    assert Counter(world.statuses()) == {"dead": 1, "delivered": 12}
    assert [attempt.number for attempt in world.attempts(fact)] == list(range(1, 11))


def test_it_waits_for_the_next_attempt_as_scheduled(world: World, receiver: Receiver) -> None:
    world.subscribe(receiver.url)
    world.publish()
    receiver.reply = always(Answer(500))
    before = clock.now()
    world.deliver()
    after = clock.now()
    (row,) = world.rows()
    low, high = dt.timedelta(seconds=4), dt.timedelta(seconds=6)
    assert before + low <= row.next_attempt_at <= after + high


def test_it_waits_as_long_as_a_busy_receiver_asks(world: World, receiver: Receiver) -> None:
    world.subscribe(receiver.url)
    world.publish()
    receiver.reply = always(Answer(429, headers={"Retry-After": "3600"}))
    before = clock.now()
    world.deliver()
    assert world.rows()[0].next_attempt_at >= before + dt.timedelta(hours=1)


@pytest.mark.parametrize(
    ("answer", "error", "status"),
    [
        (Answer(hangs=True), "timeout", None),
        (Answer(drips=True), "timeout", 200),
        (Answer(cuts=True), "disconnected", None),
        (Answer(raw=b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "unreadable", None),
        (Answer(raw=b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"), "unreadable", None),
        (Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"), "timeout", 200),
    ],
)
def test_it_gives_up_on_receivers_that_misbehave(
    world: World, receiver: Receiver, answer: Answer, error: str, status: int | None
) -> None:
    world.subscribe(receiver.url)
    (fact,) = world.publish()
    receiver.reply = always(answer)
    world.deliver(timeouts=SHORT)
    (attempt,) = world.attempts(fact)
    assert (attempt.error, attempt.status_code) == (error, status)
    assert world.statuses() == ["pending"]


def test_it_keeps_two_kilobytes_of_an_endless_answer_and_hangs_up(
    world: World, receiver: Receiver
) -> None:
    world.subscribe(receiver.url)
    (fact,) = world.publish()
    receiver.reply = always(Answer(is_endless=True))
    world.deliver()
    (attempt,) = world.attempts(fact)
    assert attempt.response == "x" * RESPONSE_BYTES_MAX
    assert world.statuses() == ["delivered"]


def test_it_does_not_inflate_what_is_sent_compressed(world: World, receiver: Receiver) -> None:
    world.subscribe(receiver.url)
    (fact,) = world.publish()
    receiver.reply = always(Answer(body=b"\x1f\x8bbomb", headers={"Content-Encoding": "gzip"}))
    world.deliver()
    (attempt,) = world.attempts(fact)
    assert (attempt.status_code, attempt.response) == (200, "\x1f\ufffdbomb")


def test_it_uses_one_word_for_whatever_it_could_not_connect_to(world: World) -> None:
    """A tenant must not learn from us which ports of whose network are open."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        world.subscribe(f"http://127.0.0.1:{closed.getsockname()[1]}/")
        world.subscribe("http://10.0.0.1/")
        world.subscribe("http://inside.example/")
        world.subscribe("http://nowhere.example/")
        (fact,) = world.publish()
        world.deliver(lookup=names({"inside.example": ["10.0.0.1"]}))
    attempts = world.attempts(fact)
    assert len(attempts) == 4
    seen = {(one.error, one.status_code, one.remote_address, one.response) for one in attempts}
    assert seen == {("unreachable", None, None, None)}


# -- stores ----------------------------------------------------------------------------------


def test_it_moves_settled_deliveries_out_of_the_pending_table(
    world: World, receiver: Receiver
) -> None:
    world.subscribe(receiver.url)
    world.publish(5)
    world.deliver()
    with reading(world.engine) as session:
        pending = session.execute(sa.text("SELECT count(*) FROM deliveries_pending")).scalar()
        place = session.execute(
            sa.text(
                "SELECT DISTINCT tableoid::regclass::text FROM deliveries WHERE tenant_id = :t"
            ),
            {"t": world.tenant.id},
        ).scalar()
    assert pending == 0
    assert place == f"deliveries_done_{clock.now():%Y%m%d}"


def test_it_goes_through_lanes_beyond_the_first_portion(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(destination_queues, "QUEUES_MAX", 2)
    for _ in range(7):
        world.subscribe(receiver.url)
    world.publish(3)
    world.deliver()
    assert receiver.count == 21
