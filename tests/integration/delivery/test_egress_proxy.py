"""UNBROKEN_WEBHOOK_PROXY: everything goes through it, unread, and nothing goes beside it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests import certificates
from tests.connect_proxy import ConnectProxy
from tests.integration.world import World
from tests.receiver import Receiver
from webhooks import egress
from webhooks.egress import Policy

NAME = "hooks.example"


def _through(proxy: ConnectProxy | str) -> Policy:
    url = proxy if isinstance(proxy, str) else proxy.url
    return egress.policy("127.0.0.0/8", True, "*", url)


def _never(host: str, port: int) -> list[str]:
    raise AssertionError(f"{host} was looked up")


def test_it_reaches_a_name_that_only_the_proxy_can_resolve_and_shows_it_nothing_but_that(
    world: World, tmp_path: Path
) -> None:
    server, client = certificates.contexts(NAME, tmp_path)
    with Receiver(tls=server) as receiver, ConnectProxy(lambda target: receiver.port) as proxy:
        made, secret = world.subscribe(f"https://{NAME}/hook")
        world.change(made, in_flight_max=1)
        receiver.trust(secret)
        facts = world.publish(5)
        world.deliver(policy=_through(proxy), lookup=_never, tls=client)
        assert (receiver.count, receiver.invalid) == (5, [])
        assert receiver.requests[0].headers["host"] == NAME
        assert world.attempts(facts[0])[0].remote_address is None  # the proxy's is not told
    (head,) = proxy.heads  # the tunnel is kept
    assert head[0] == f"CONNECT {NAME}:443 HTTP/1.1"
    assert "webhook-" not in str(head)


def test_it_demands_the_certificate_of_the_name_however_it_got_there(
    world: World, tmp_path: Path
) -> None:
    server, client = certificates.contexts("other.example", tmp_path)
    with Receiver(tls=server) as receiver, ConnectProxy(lambda target: receiver.port) as proxy:
        world.subscribe(f"https://{NAME}/hook")
        (fact,) = world.publish()
        world.deliver(policy=_through(proxy), lookup=_never, tls=client)
        assert (world.attempts(fact)[0].error, receiver.count) == ("tls", 0)


def test_what_the_proxy_refuses_is_unreachable_like_the_rest(world: World) -> None:
    with ConnectProxy(lambda target: None) as proxy:
        world.subscribe(f"https://{NAME}/hook")
        (fact,) = world.publish()
        world.deliver(policy=_through(proxy), lookup=_never)
        (attempt,) = world.attempts(fact)
    assert (attempt.error, attempt.status_code, attempt.response) == ("unreachable", None, None)


def test_nothing_goes_beside_the_proxy_and_nothing_through_it_that_it_could_read(
    world: World, receiver: Receiver
) -> None:
    with ConnectProxy(lambda target: receiver.port) as proxy:
        world.subscribe(receiver.url)  # http
        world.subscribe("https://10.0.0.1/")  # an address that we do not call
        (fact,) = world.publish()
        world.deliver(policy=_through(proxy), lookup=_never)
        assert {one.error for one in world.attempts(fact)} == {"unreachable"}
        assert (receiver.connections, proxy.heads) == (0, [])


@pytest.mark.parametrize("host", ["127.0.0.1", "proxy.invalid"])
def test_a_proxy_that_is_away_costs_no_attempt(world: World, host: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        world.subscribe(f"https://{NAME}/hook")
        (fact,) = world.publish()
        world.deliver(policy=_through(f"http://{host}:{closed.getsockname()[1]}"))
    assert (world.attempts(fact), world.statuses()) == ([], ["pending"])


def test_it_shows_the_proxy_a_password_that_stands_in_its_url(world: World, tmp_path: Path) -> None:
    server, client = certificates.contexts(NAME, tmp_path)
    with Receiver(tls=server) as receiver, ConnectProxy(lambda target: receiver.port) as proxy:
        world.subscribe(f"https://{NAME}/hook")
        world.publish()
        policy = _through(proxy.url.replace("//", "//user:pass@"))
        world.deliver(policy=policy, lookup=_never, tls=client)
        assert "authorization" not in receiver.requests[0].headers
    assert "Proxy-Authorization: Basic dXNlcjpwYXNz" in proxy.heads[0]
