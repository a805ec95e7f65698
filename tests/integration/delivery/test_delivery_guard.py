"""The egress guard where it stands: at creating, at changing and at connecting."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from api.app import create_app
from api.cli.local.proc import wait_until
from models.db import transaction
from settings import Settings
from tests import certificates
from tests.conftest import BASE, Account
from tests.integration.world import World, always, names
from tests.receiver import Answer, Receiver
from tests.unit.webhooks.egress_corpus import refused_urls
from webhooks import egress
from webhooks.http_client import Timeouts

pytestmark = pytest.mark.promise("P8")

PATH = f"{BASE}/admin/webhooks"
PUBLIC = "93.184.216.34"  # never called: whoever may call it is asked for something else first
STRICT = egress.policy("", False, "443,8443")
ANY_PORT = egress.policy("", True, "*")  # strict but for what a receiver on loopback needs


@pytest.fixture
def strict_client(settings: Settings, account: Account) -> Iterator[FlaskClient]:
    """An API that lets out to the public Internet alone."""
    app = create_app(
        replace(
            settings, webhook_allow_cidrs="", webhook_allow_http=False, webhook_ports="443,8443"
        )
    )
    client = app.test_client()
    client.environ_base["HTTP_X_API_KEY"] = account.keys["live"]
    yield client
    app.extensions["unbroken"].close()


# -- the corpus at all three doors -----------------------------------------------------------


def test_no_destination_can_be_made_for_or_changed_to_any_url_of_the_corpus(
    strict_client: FlaskClient,
) -> None:
    new = {"url": f"https://{PUBLIC}/hook", "event_types": ["*"]}
    made = strict_client.post(PATH, json=new).get_json()
    passed = []
    for url, entry in refused_urls().items():
        body = json.dumps(new | {"url": url})
        one = f"{PATH}/{made['id']}"
        for send, where in ((strict_client.post, PATH), (strict_client.patch, one)):
            answer = send(where, data=body, content_type="application/json")
            if answer.status_code != 422 or answer.get_json()["errors"][0]["field"] != "url":
                passed.append((url, entry, answer.status_code))
            assert "hunter2" not in answer.text
    assert passed == []
    listed = strict_client.get(PATH).get_json()
    assert [one["url"] for one in listed["items"]] == [new["url"]]


_COPY = """
    WITH first AS (DELETE FROM webhooks WHERE tenant_id = :tenant_id RETURNING *)
    INSERT INTO webhooks
      (tenant_id, id, url, event_types, is_enabled, secret, created_at, updated_at)
    SELECT tenant_id, gen_random_uuid(), u, event_types, true, secret, now(), now()
    FROM first, unnest(CAST(:urls AS text[])) AS u
"""


def test_nothing_is_sent_to_any_url_of_the_corpus_though_it_stands_in_the_table(
    world: World,
) -> None:
    """As when the operator allowed more at the time it was made."""
    asked: list[str] = []

    def lookup(host: str, port: int) -> list[str]:
        asked.append(host)
        return [PUBLIC]

    # But for those that the table itself refuses.
    urls = [url for url in refused_urls() if "\x00" not in url and len(url) <= 2_048]
    world.subscribe("https://example.com/")
    with transaction(world.engine) as session:
        session.execute(sa.text(_COPY), {"urls": urls, "tenant_id": world.tenant.id})
    (fact,) = world.publish()
    world.deliver(policy=STRICT, lookup=lookup)
    attempts = world.attempts(fact)
    assert len(attempts) == len(urls) > 200
    assert {(one.error, one.remote_address) for one in attempts} == {("unreachable", None)}
    assert asked == []


LOOPBACK = [
    "127.0.0.1", "localhost", "127.1", "127.0.1", "2130706433", "017700000001", "0x7f000001",
    "0x7f.1", "0177.0.0.1", "0", "0.0.0.0",  # noqa: S104 -- called, not listened on
]  # fmt: skip


def test_no_spelling_of_this_machine_reaches_it_though_a_plain_client_gets_there(
    world: World, receiver: Receiver
) -> None:
    for host in LOOPBACK:
        socket.create_connection((host, receiver.port), timeout=5).close()
    assert wait_until(lambda: receiver.connections == len(LOOPBACK), 30)
    for host in (*LOOPBACK, "[::ffff:127.0.0.1]", "127.0.0.1.", "①②⑦.⓪.⓪.①", "１２７.0.0.1"):
        world.subscribe(f"http://{host}:{receiver.port}/hook")
    (fact,) = world.publish()
    world.deliver(policy=ANY_PORT)
    assert {one.error for one in world.attempts(fact)} == {"unreachable"}
    assert receiver.connections == len(LOOPBACK)


# -- names -----------------------------------------------------------------------------------


def test_it_connects_to_the_vetted_address_under_the_destinations_own_name(
    world: World, receiver: Receiver
) -> None:
    world.subscribe(f"http://hooks.example:{receiver.port}/hook")
    (fact,) = world.publish()
    world.deliver(lookup=names({"hooks.example": ["127.0.0.1"]}))
    (request,) = receiver.requests
    assert request.headers["host"] == f"hooks.example:{receiver.port}"
    assert world.attempts(fact)[0].remote_address == "127.0.0.1"


def test_it_refuses_a_name_that_answers_otherwise_than_when_it_was_checked(
    world: World, receiver: Receiver
) -> None:
    """DNS rebinding: public at the check, local at the connection."""
    url = f"http://hooks.example:{receiver.port}/hook"
    egress.check(url, ANY_PORT, names({"hooks.example": [PUBLIC]}))
    world.subscribe(url)
    (fact,) = world.publish()
    world.deliver(policy=ANY_PORT, lookup=names({"hooks.example": ["127.0.0.1"]}))
    assert receiver.connections == 0
    assert world.attempts(fact)[0].error == "unreachable"


def test_it_vets_each_answer_of_a_name_that_keeps_changing_its_mind(
    world: World, receiver: Receiver
) -> None:
    """127.0.0.2, where nobody listens, stands for what may be called; the receiver may not be."""
    asked: list[str] = []

    def alternating(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.2"] if len(asked) % 2 else ["127.0.0.1"]

    policy = egress.policy("127.0.0.2/32", True, "*")
    url = f"http://hooks.example:{receiver.port}/hook"
    egress.check(url, policy, alternating)
    world.subscribe(url)
    for _ in range(4):
        (fact,) = world.publish()
        world.deliver(policy=policy, lookup=alternating)
        assert world.attempts(fact)[0].error == "unreachable"
    assert (len(asked), receiver.connections) == (5, 0)


@pytest.mark.parametrize(
    "answers",
    [
        [PUBLIC, "127.0.0.1"],
        ["127.0.0.1", PUBLIC],
        ["::ffff:127.0.0.1"],
        ["0.0.0.0"],  # noqa: S104 -- called, not listened on
        ["127.0.0.1"] * 2,
        [f"93.184.216.{last}" for last in range(egress.ADDRESSES_MAX)] + ["127.0.0.1"],
        [],
    ],
)
def test_it_calls_none_of_a_names_addresses_when_one_may_not_be_called(
    world: World, receiver: Receiver, answers: list[str]
) -> None:
    world.subscribe(f"http://hooks.example:{receiver.port}/hook")
    (fact,) = world.publish()
    world.deliver(policy=ANY_PORT, lookup=names({"hooks.example": answers}))
    assert receiver.connections == 0
    assert world.attempts(fact)[0].error == "unreachable"


@pytest.mark.parametrize(("cidr", "count"), [("127.0.0.1/32", 1), ("127.0.0.2/31", 0)])
def test_a_name_may_lead_to_what_the_operator_names_and_to_nothing_beside_it(
    world: World, receiver: Receiver, cidr: str, count: int
) -> None:
    world.subscribe(f"http://inside.example:{receiver.port}/hook")
    world.publish()
    policy = egress.policy(cidr, True, "*")
    world.deliver(policy=policy, lookup=names({"inside.example": ["127.0.0.1"]}))
    assert (receiver.count, receiver.connections) == (count, count)


# -- nothing else decides where it goes ------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_it_follows_no_redirect_even_to_where_it_may_go(
    world: World, receiver: Receiver, status: int
) -> None:
    with Receiver() as other:
        receiver.reply = always(Answer(status, headers={"Location": other.url}))
        world.subscribe(receiver.url)
        (fact,) = world.publish()
        world.deliver()
        assert (receiver.count, other.connections) == (1, 0)
        assert world.attempts(fact)[0].status_code == status
        assert world.statuses() == ["pending"]


def test_it_ignores_the_proxies_and_passwords_of_its_environment(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with Receiver() as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            for spelled in (name, name.upper()):
                monkeypatch.setenv(spelled, f"http://127.0.0.1:{proxy.port}")
        world.subscribe(receiver.url)
        world.publish()
        world.deliver()
        assert (receiver.count, proxy.connections) == (1, 0)
    assert "authorization" not in receiver.requests[0].headers


# -- what the tenant learns ------------------------------------------------------------------


@contextmanager
def _filtered_port() -> Iterator[int]:
    """A port that answers no connection: its backlog is full."""
    with socket.socket() as full, socket.socket() as one, socket.socket() as two:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for client in (one, two):
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        yield full.getsockname()[1]


def test_what_was_not_reached_looks_the_same_whatever_the_reason(
    world: World, receiver: Receiver
) -> None:
    """Refused by us or by them, filtered, without a name: one word, and nothing that differs.

    Of what we refuse not even the time says anything: no port of it is ever tried.
    """
    known = {"inside.example": ["127.0.0.9"], "mixed.example": ["127.0.0.1", "127.0.0.9"]}
    with socket.socket() as closed, _filtered_port() as filtered:
        closed.bind(("127.0.0.1", 0))
        for host in (
            f"127.0.0.1:{closed.getsockname()[1]}",
            f"127.0.0.1:{filtered}",
            f"127.0.0.9:{receiver.port}",
            f"inside.example:{receiver.port}",
            f"mixed.example:{receiver.port}",
            "nowhere.example",
        ):
            world.subscribe(f"http://{host}/")
        (fact,) = world.publish()
        world.deliver(
            policy=egress.policy("127.0.0.1/32", True, "*"),
            lookup=names(known),
            timeouts=Timeouts(connect_seconds=0.3, total_seconds=5.0),
        )
    attempts = world.attempts(fact)
    assert len(attempts) == 6
    seen = {(one.error, one.status_code, one.remote_address, one.response) for one in attempts}
    assert seen == {("unreachable", None, None, None)}
    assert receiver.connections == 0


# -- certificates ----------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "error"), [("hooks.example", None), ("other.example", "tls")])
def test_it_demands_a_certificate_for_the_name(
    world: World, tmp_path: Path, name: str, error: str | None
) -> None:
    server, client = certificates.contexts("hooks.example", tmp_path)
    with Receiver(tls=server) as receiver:
        world.subscribe(f"https://{name}:{receiver.port}/hook")
        (fact,) = world.publish()
        world.deliver(lookup=names({name: ["127.0.0.1"]}), tls=client)
        assert world.attempts(fact)[0].error == error
        assert receiver.count == (0 if error else 1)


def test_it_trusts_a_ca_of_the_operators_own_and_names_the_setting_where_it_does_not(
    world: World, settings: Settings, tmp_path: Path, client: FlaskClient
) -> None:
    server, _ = certificates.contexts("hooks.example", tmp_path)
    own = replace(settings, webhook_ca_file=str(tmp_path / "server.pem"))
    with Receiver(tls=server) as receiver:
        url = f"https://hooks.example:{receiver.port}/"
        webhook_id, _ = world.subscribe(url, ["behavior.*"])
        lookup = names({"hooks.example": ["127.0.0.1"]})
        (fact,) = world.publish()
        world.deliver(lookup=lookup, policy=egress.policy_of(settings.of(egress.EgressSettings)))
        (attempt,) = client.get(f"{PATH}/{webhook_id}/attempts").get_json()["items"]
        assert attempt["error"] == "tls"
        assert "UNBROKEN_WEBHOOK_CA_FILE" in attempt["error_detail"]
        (fact,) = world.publish()
        world.deliver(lookup=lookup, policy=egress.policy_of(own.of(egress.EgressSettings)))
        assert [one.error for one in world.attempts(fact)] == [None]


def test_a_ca_file_that_cannot_be_read_is_said_at_the_start(
    settings: Settings, tmp_path: Path
) -> None:
    for path in (tmp_path / "missing.pem", tmp_path / "empty.pem"):
        (tmp_path / "empty.pem").touch()
        with pytest.raises(ValueError, match=f"UNBROKEN_WEBHOOK_CA_FILE: {path}"):
            egress.policy_of(replace(settings, webhook_ca_file=str(path)).of(egress.EgressSettings))
