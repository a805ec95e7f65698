"""Delivery against a real receiver: what arrives, what is recorded, and what happens when not."""

from __future__ import annotations

import datetime as dt
import json
import socket
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from models import clock, ids, webhooks
from models import deliveries as table
from models.db import Engine, reading, transaction
from models.deliveries import Attempt, Lease, Slots
from models.tenants import Tenant
from settings import Settings
from tests.conftest import Account
from tests.receiver import OK, Answer, Receiver, Request
from webhooks import deliveries, egress, facts, outbox, secrets
from webhooks.deliveries import Limits, Terms
from webhooks.facts import Fact
from webhooks.sender import RESPONSE_BYTES_MAX, Timeouts

SHORT = Timeouts(connect_seconds=0.5, total_seconds=0.5)


class Crash(Exception):
    """The process dies here."""


@dataclass
class World:
    """A tenant with destinations, and deliverers to run."""

    engine: Engine
    tenant: Tenant
    terms: Terms

    def subscribe(self, url: str, event_types: Sequence[str] = ("*",)) -> tuple[uuid.UUID, str]:
        """Add a destination; return its id and secret."""
        secret = secrets.generate()
        values = {
            "url": url,
            "description": None,
            "event_types": list(event_types),
            "is_enabled": True,
            "secret": secrets.encrypt(self.terms.ring, secret),
        }
        with transaction(self.engine) as session:
            return webhooks.create(session, self.tenant.id, values).id, secret

    def change(self, webhook_id: uuid.UUID, **values: Any) -> None:
        """Change a destination."""
        with transaction(self.engine) as session:
            webhooks.change(session, self.tenant.id, webhook_id, values)

    def publish(self, count: int = 1, kind: str = facts.STREAK_RECORDED) -> list[Fact]:
        """Publish facts; their bodies hold more than ASCII."""
        made = [self._fact(nth, kind) for nth in range(1, count + 1)]
        with transaction(self.engine) as session:
            wanted = webhooks.subscriptions(session, [self.tenant.id])
            outbox.publish(session, made, wanted)
        return made

    def _fact(self, nth: int, kind: str) -> Fact:
        fact_id, now_us = ids.uuid7(clock.now_us()), clock.now_us()
        body = {"id": facts.public_id(fact_id), "type": kind, "sequence": nth, "note": "grüße 🏆"}
        text = json.dumps(body, ensure_ascii=False)
        return Fact(self.tenant.id, fact_id, 1, nth, kind, now_us, text)

    def deliver(self, **terms: Any) -> int:
        """Run a deliverer until nothing is due."""
        return deliveries.deliver(self.engine, replace(self.terms, **terms), lambda: False)

    def rows(self) -> list[Any]:
        """The tenant's deliveries."""
        with reading(self.engine) as session:
            return list(
                session.execute(
                    sa.text("SELECT * FROM deliveries WHERE tenant_id = :id ORDER BY fact_id"),
                    {"id": self.tenant.id},
                )
            )

    def statuses(self) -> list[str]:
        """Their statuses."""
        return [row.status for row in self.rows()]

    def attempts(self, fact: Fact) -> list[Attempt]:
        """What the log holds of a fact."""
        with reading(self.engine) as session:
            return table.attempts(session, self.tenant.id, fact.id)

    def make_due(self) -> None:
        """Let the time pass until the next attempts and the end of every lease."""
        with transaction(self.engine) as session:
            session.execute(
                sa.text(
                    "UPDATE deliveries SET next_attempt_at = now() - interval '1 second',"
                    " leased_until = leased_until - interval '1 day'"
                    " WHERE tenant_id = :id AND status = 'pending'"
                ),
                {"id": self.tenant.id},
            )


@pytest.fixture
def world(engine: Engine, account: Account, settings: Settings) -> World:
    """A fresh tenant; nobody else's deliveries are left over."""
    with transaction(engine) as session:
        session.execute(sa.text("TRUNCATE deliveries"))
    policy = egress.policy("127.0.0.0/8,::1/128", True, "*")
    return World(engine, account.live, Terms(secrets.ring(settings.secret_keys), policy))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that answers 200 until told otherwise."""
    with Receiver() as receiver:
        yield receiver


def _always(answer: Answer) -> Callable[[Request], Answer]:
    return lambda request: answer


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
    world.deliver(limits=Limits(lane_in_flight_max=10))
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
    receiver.reply = _always(Answer(500, b"boom \x00\xff"))
    world.deliver()
    world.make_due()
    receiver.reply = _always(Answer(204, b""))
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
    receiver.reply = _always(Answer(status, headers={"Location": receiver.url + "/elsewhere"}))
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
    receiver.reply = _always(Answer(500))
    for _ in range(12):
        world.deliver()
        world.make_due()
    assert receiver.count == 10
    assert receiver.bodies() == {facts.public_id(fact.id): {fact.body.encode()}}
    assert not receiver.invalid
    assert world.statuses() == ["dead"]
    assert [attempt.number for attempt in world.attempts(fact)] == list(range(1, 11))


def test_it_waits_for_the_next_attempt_as_scheduled(world: World, receiver: Receiver) -> None:
    world.subscribe(receiver.url)
    world.publish()
    receiver.reply = _always(Answer(500))
    before = clock.now()
    world.deliver()
    after = clock.now()
    (row,) = world.rows()
    low, high = dt.timedelta(seconds=4), dt.timedelta(seconds=6)
    assert before + low <= row.next_attempt_at <= after + high


def test_it_waits_as_long_as_a_busy_receiver_asks(world: World, receiver: Receiver) -> None:
    world.subscribe(receiver.url)
    world.publish()
    receiver.reply = _always(Answer(429, headers={"Retry-After": "3600"}))
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
    receiver.reply = _always(answer)
    world.deliver(timeouts=SHORT)
    (attempt,) = world.attempts(fact)
    assert (attempt.error, attempt.status_code) == (error, status)
    assert world.statuses() == ["pending"]


def test_it_keeps_two_kilobytes_of_an_endless_answer_and_hangs_up(
    world: World, receiver: Receiver
) -> None:
    world.subscribe(receiver.url)
    (fact,) = world.publish()
    receiver.reply = _always(Answer(is_endless=True))
    world.deliver()
    (attempt,) = world.attempts(fact)
    assert attempt.response == "x" * RESPONSE_BYTES_MAX
    assert world.statuses() == ["delivered"]


def test_it_does_not_inflate_what_is_sent_compressed(world: World, receiver: Receiver) -> None:
    world.subscribe(receiver.url)
    (fact,) = world.publish()
    receiver.reply = _always(Answer(body=b"\x1f\x8bbomb", headers={"Content-Encoding": "gzip"}))
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
        world.deliver(lookup=_names({"inside.example": ["10.0.0.1"]}))
    attempts = world.attempts(fact)
    assert len(attempts) == 4
    seen = {(one.error, one.status_code, one.remote_address, one.response) for one in attempts}
    assert seen == {("unreachable", None, None, None)}


def _names(known: dict[str, list[str]]) -> egress.Lookup:
    def lookup(host: str, port: int) -> list[str]:
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return known[host]

    return lookup


# -- the guard at connect --------------------------------------------------------------------


def test_it_connects_to_the_vetted_address_under_the_destinations_own_name(
    world: World, receiver: Receiver
) -> None:
    world.subscribe(f"http://hooks.example:{receiver.port}/hook")
    world.publish()
    world.deliver(lookup=_names({"hooks.example": ["127.0.0.1"]}))
    (request,) = receiver.requests
    assert request.headers["host"] == f"hooks.example:{receiver.port}"


def test_it_refuses_a_name_that_answers_otherwise_than_when_it_was_checked(
    world: World, receiver: Receiver
) -> None:
    """DNS rebinding: public at the check, local at the connection."""
    strict = egress.policy("", True, "*")
    url = f"http://hooks.example:{receiver.port}/hook"
    egress.check(url, strict, _names({"hooks.example": ["93.184.216.34"]}))
    world.subscribe(url)
    (fact,) = world.publish()
    world.deliver(policy=strict, lookup=_names({"hooks.example": ["127.0.0.1"]}))
    assert receiver.connections == 0
    assert world.attempts(fact)[0].error == "unreachable"


def test_it_ignores_proxies_of_the_environment(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    world.subscribe(receiver.url)
    world.publish()
    world.deliver()
    assert world.statuses() == ["delivered"]


@pytest.mark.parametrize(("name", "error"), [("hooks.example", None), ("other.example", "tls")])
def test_it_demands_a_certificate_for_the_name(
    world: World, tmp_path: Path, name: str, error: str | None
) -> None:
    server, client = _certificate("hooks.example", tmp_path)
    with Receiver(tls=server) as receiver:
        world.subscribe(f"https://{name}:{receiver.port}/hook")
        (fact,) = world.publish()
        world.deliver(lookup=_names({name: ["127.0.0.1"]}), tls=client)
        assert world.attempts(fact)[0].error == error
        assert receiver.count == (0 if error else 1)


def _certificate(name: str, folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, none = serialization.Encoding.PEM, serialization.NoEncryption()
    path = folder / "server.pem"
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, none)
    path.write_bytes(private + certificate.public_bytes(pem))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    client = ssl.create_default_context(cadata=certificate.public_bytes(pem).decode())
    return server, client


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
            _cut_connections(world.engine)
        return OK

    receiver.reply = cut_once
    world.deliver()
    assert receiver.count == 20
    assert set(world.statuses()) == {"delivered"}


def _cut_connections(engine: Engine) -> None:
    with transaction(engine) as session:
        session.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND backend_type = 'client backend'"
            )
        )


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
    slots, now = [Slots((world.tenant.id, webhook_id), 1)], clock.now()
    later = now + dt.timedelta(seconds=60)
    with transaction(world.engine) as session:
        first = table.claim(session, slots, Lease(uuid.uuid4(), now, later))
    with transaction(world.engine) as session:
        assert table.claim(session, slots, Lease(uuid.uuid4(), now, later)) == []
    with transaction(world.engine) as session:
        second = table.claim(session, slots, Lease(uuid.uuid4(), later, later))
    assert len(first) == len(second) == 1
    made = Attempt(uuid.uuid4(), 1, 200, None, 3, "127.0.0.1", "ok")
    for claimed, settled in ((first[0], 0), (second[0], 1), (second[0], 0)):
        with transaction(world.engine) as session:
            outcome = table.Outcome(claimed, "delivered", None, made)
            assert table.record(session, [outcome]) == settled
    assert world.statuses() == ["delivered"]
    assert len(world.attempts(fact)) == 1, "the same attempt is logged once"


def test_it_stops_claiming_when_told_and_finishes_what_is_in_flight(
    world: World, receiver: Receiver
) -> None:
    world.subscribe(receiver.url)
    world.publish(50)
    receiver.reply = _always(Answer(delay_seconds=0.1))
    limits = Limits(lane_in_flight_max=5)
    terms = replace(world.terms, limits=limits)
    done = deliveries.deliver(world.engine, terms, lambda: receiver.count > 0)
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

    terms = replace(world.terms, limits=Limits(idle_seconds=60))
    deliveries.deliver(world.engine, terms, lambda: receiver.count > 0, wait)
    assert receiver.count == 1
    assert world.statuses() == ["delivered"]


# -- fairness --------------------------------------------------------------------------------


def test_it_does_not_let_a_hanging_receiver_hold_up_another(world: World) -> None:
    with Receiver(reply=_always(Answer(hangs=True))) as hanging, Receiver() as quick:
        slow, _ = world.subscribe(hanging.url)
        fast, _ = world.subscribe(quick.url)
        world.publish(600)
        runner = threading.Thread(target=world.deliver, kwargs={"timeouts": Timeouts(5, 5)})
        runner.start()
        quick.wait_for(600)
        assert _delivered_to(world, slow) == 0
        assert hanging.count <= Limits().lane_in_flight_max
        world.change(slow, is_enabled=False)  # the rest of it need not be waited for
        runner.join()
        assert _delivered_to(world, fast) == 600


def _delivered_to(world: World, webhook_id: uuid.UUID) -> int:
    rows = [row for row in world.rows() if row.webhook_id == webhook_id]
    return sum(row.status == "delivered" for row in rows)


def test_it_keeps_each_destination_within_its_cap(world: World, receiver: Receiver) -> None:
    world.subscribe(receiver.url)
    world.publish(60)
    receiver.reply = _always(Answer(delay_seconds=0.01))
    world.deliver(limits=Limits(lane_in_flight_max=7))
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
    with reading(world.engine) as session:
        return table.any_due(session, clock.now())


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
        webhooks.delete(session, world.tenant.id, webhook_id)
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
    receiver.reply = _always(Answer(500))
    world.deliver()
    assert not _is_any_due(world), "the next attempt is not due yet"


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
    monkeypatch.setattr(table, "LANES_MAX", 2)
    for _ in range(7):
        world.subscribe(receiver.url)
    world.publish(3)
    world.deliver()
    assert receiver.count == 21
