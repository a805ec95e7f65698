"""Which URLs and addresses may be called: the corpus, at the doors that need no server."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.app import create_app
from api.cli.local.up import LOCAL_WEBHOOKS
from settings import Settings
from tests.e2e.running import ROOT
from tests.unit.webhooks.egress_corpus import (
    BLOCKS,
    PLAIN_URLS,
    Case,
    cases,
    disguises,
    refused_urls,
)
from webhooks import egress
from webhooks.egress import Policy
from webhooks.errors import EgressRefused
from webhooks.ip_ranges import CLOSED_V4, CLOSED_V6, Address, is_public

pytestmark = pytest.mark.promise("P8")

STRICT = egress.policy("", False, "443,8443")
LOCAL = egress.policy("127.0.0.0/8, ::1/128", True, "*")
PUBLIC = ("93.184.216.34", "2606:2800:220:1::1")
PROXY = "http://proxy.internal:3128"


def _answers(*addresses: str) -> egress.Lookup:
    def lookup(host: str, port: int) -> Sequence[str]:
        return addresses

    return lookup


def _no_such_name(host: str, port: int) -> Sequence[str]:
    raise OSError("no such name")


def _open(policy: Policy, address: str, port: int = 443) -> None:
    """Open a socket as the sender does, for an address about to be connected."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sockaddr = (address, port, 0, 0) if ":" in address else (address, port)
    egress.socket_opener(policy)((family, socket.SOCK_STREAM, 6, "", sockaddr)).close()


# -- addresses -------------------------------------------------------------------------------


@pytest.mark.parametrize("case", list(cases()), ids=str)
def test_it_knows_each_special_block_to_its_last_address(case: Case) -> None:
    """By the same answer at every door: spelled in a URL, found by name, about to be connected."""
    doors = (
        lambda: egress.parse(f"https://{case.host}/", STRICT),
        lambda: egress.check("https://x.example/", STRICT, _answers(str(case.address))),
        lambda: egress.vetted("x.example", [str(case.address)], STRICT, 443),
        lambda: _open(STRICT, str(case.address)),
    )
    for door in doors:
        if case.is_open:
            door()
        else:
            with pytest.raises(EgressRefused):
                door()


def test_the_corpus_has_every_block_that_is_closed() -> None:
    known = {block.cidr for block in BLOCKS}
    assert {str(network) for network in (*CLOSED_V4, *CLOSED_V6)} <= known


@given(st.ip_addresses())
def test_what_python_does_not_call_global_is_closed(address: Address) -> None:
    assert address.is_global or not is_public(address)


@given(st.ip_addresses(v=4))
def test_no_ipv4_address_is_reached_in_the_disguise_of_ipv6(address: IPv4Address) -> None:
    allowing = egress.policy(f"{address}/32", False, "443")
    for name, disguise in disguises(address).items():
        assert not is_public(disguise), name
        with pytest.raises(EgressRefused):
            egress.parse(f"https://[{disguise}]/", allowing)


@given(st.ip_addresses(v=6, network="2400::/12"))
def test_ordinary_addresses_are_open(address: IPv6Address) -> None:
    is_isatap = (int(address) >> 32) & 0xFDFF_FFFF == 0x5EFE
    assert is_public(address) is not is_isatap


# -- URLs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", PLAIN_URLS)
def test_it_lets_plain_https_pass(url: str) -> None:
    egress.check(url, STRICT, _answers(*PUBLIC))


@pytest.mark.parametrize("url", refused_urls())
def test_it_refuses_every_other_spelling(url: str) -> None:
    """Without asking a name service what it makes of it."""

    def lookup(host: str, port: int) -> Sequence[str]:
        raise AssertionError(f"{host} was looked up")

    with pytest.raises(EgressRefused) as caught:
        egress.check(url, STRICT, lookup)
    assert "hunter2" not in str(caught.value)


# -- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", ["127.0.0.1", "::1", "fe80::1%eth0", "::ffff:10.0.0.1", "junk"])
def test_it_vets_every_answer_and_refuses_mixed_ones(bad: str) -> None:
    for answers in ((*PUBLIC, bad), (bad, *PUBLIC)):
        with pytest.raises(EgressRefused):
            egress.check("https://hooks.example.com/", STRICT, _answers(*answers))


def test_it_refuses_a_name_with_a_crowd_of_addresses() -> None:
    crowd = [f"93.184.216.{last}" for last in range(egress.ADDRESSES_MAX + 1)]
    egress.check("https://hooks.example.com/", STRICT, _answers(*crowd[:-1]))
    with pytest.raises(EgressRefused):
        egress.check("https://hooks.example.com/", STRICT, _answers(*crowd))


def test_it_lets_a_name_pass_that_does_not_resolve_yet() -> None:
    egress.check("https://hooks.example.com/", STRICT, _no_such_name)


def test_it_refuses_a_name_without_any_address() -> None:
    with pytest.raises(EgressRefused):
        egress.check("https://hooks.example.com/", STRICT, _answers())


# -- what the operator says ------------------------------------------------------------------


def test_it_opens_exactly_what_the_operator_names() -> None:
    egress.parse("http://127.0.0.1:9999/", LOCAL)
    egress.parse("http://[::1]:9999/", LOCAL)
    egress.check("http://localhost:9999/", LOCAL, _answers("127.0.0.1", "::1"))
    for url in ("http://10.0.0.1/", "http://[::ffff:127.0.0.1]/", "http://169.254.169.254/"):
        with pytest.raises(EgressRefused):
            egress.parse(url, LOCAL)


def test_it_opens_to_a_name_what_it_opens_to_an_address() -> None:
    allowing = egress.policy("10.1.2.0/24", False, "443")
    for address in ("10.1.2.0", "10.1.2.255"):
        egress.check("https://x/", allowing, _answers(address))
        _open(allowing, address)
    for address in ("10.1.1.255", "10.1.3.0"):
        with pytest.raises(EgressRefused):
            egress.check("https://x/", allowing, _answers(address))
        with pytest.raises(EgressRefused):
            _open(allowing, address)
    with pytest.raises(EgressRefused):
        egress.check("https://x/", allowing, _answers("10.1.2.1", "10.1.3.1"))


@pytest.mark.parametrize(
    ("cidrs", "ports"),
    [("10.0.0.1/8", "443"), ("x", "443"), ("", "0"), ("", "65536"), ("", "x"), ("", "")],
)
def test_it_says_at_start_when_the_operators_list_cannot_be_read(cidrs: str, ports: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        egress.policy(cidrs, False, ports)


def test_it_is_strict_by_default() -> None:
    assert Policy() == egress.policy("", False, "443")
    assert not is_public(ip_address("127.0.0.1"))


# -- an egress proxy -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "proxy",
    ["proxy:3128", "https://proxy:3128", "http://proxy", "http://:3128", "http://proxy:3128/x",
     "http://proxy:3128?x", "socks5://proxy:1080"],
)  # fmt: skip
def test_it_says_at_start_when_the_proxy_cannot_be_used(proxy: str) -> None:
    with pytest.raises(ValueError, match="proxy is not spelled"):
        egress.policy("", False, "443", proxy)


def test_behind_a_proxy_it_vets_what_is_spelled_and_leaves_names_to_the_proxy() -> None:
    behind = egress.policy("", True, "443,80", PROXY)
    egress.check("https://hooks.example.com/", behind, _answers("10.0.0.1"))
    for url in ("https://10.0.0.1/", "https://0x7f.1/", "http://hooks.example.com/"):
        with pytest.raises(EgressRefused):
            egress.check(url, behind, _answers(*PUBLIC))


def test_behind_a_proxy_it_connects_to_the_proxy_alone() -> None:
    behind = egress.policy("", False, "443", PROXY)
    resolver = egress.Resolver(behind, _answers("10.9.9.9"))
    (found,) = asyncio.run(resolver.resolve("proxy.internal", 3128))
    assert (found["host"], found["port"]) == ("10.9.9.9", 3128)
    _open(behind, "10.9.9.9", 3128)
    for host, port in (("hooks.example.com", 443), ("proxy.internal", 443)):
        with pytest.raises(EgressRefused):
            asyncio.run(resolver.resolve(host, port))
    with pytest.raises(EgressRefused):
        _open(behind, "93.184.216.34", 443)
    spelled = egress.policy("", False, "443", "http://10.9.9.9:3128")
    _open(spelled, "10.9.9.9", 3128)
    with pytest.raises(EgressRefused):
        _open(spelled, "10.9.9.8", 3128)


def test_no_process_starts_with_a_setting_that_cannot_be_read() -> None:
    settings = Settings(
        database_url="postgresql://nobody@127.0.0.1:1/x",
        redis_url="redis://127.0.0.1:1",
        webhook_ports="eighty",
    )
    with pytest.raises(ValueError, match="eighty"):
        create_app(settings)
    urls = {"DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url}
    done = subprocess.run(
        [sys.executable, "-c", "import workers.app"],
        env={**os.environ, **urls, "UNBROKEN_WEBHOOK_PORTS": "eighty"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "eighty" in done.stderr


def test_what_a_url_may_begin_with_is_said_as_it_is() -> None:
    for allow_http, said in ((False, "must begin with https://$"), (True, "https:// or http://$")):
        with pytest.raises(EgressRefused, match=said):
            egress.check("ftp://example.com/", egress.policy("", allow_http, "*"))


UP = egress.policy_of(
    Settings.from_env(LOCAL_WEBHOOKS).of(egress.EgressSettings)
)  # what `unbroken up` allows


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000/", "https://93.184.216.34/"])
def test_ports_of_allowed_addresses_are_their_own(url: str) -> None:
    egress.check(url, UP)


def test_a_public_address_keeps_its_ports_though_allowed_ones_have_all() -> None:
    with pytest.raises(EgressRefused, match="must use port 80, 443, 8443"):
        egress.check("http://93.184.216.34:6379/", UP)
    with pytest.raises(EgressRefused, match="must use port 80, 443, 8443"):
        egress.check("http://x.example:22/", UP, lambda host, port: ["93.184.216.34"])
    egress.check("http://x.example:22/", UP, lambda host, port: ["127.0.0.1"])
    with pytest.raises(EgressRefused, match="must use port 443, 8443"):
        egress.check("https://x.example:22/", STRICT, lambda host, port: ["93.184.216.34"])


def test_a_connection_to_a_public_address_keeps_its_ports() -> None:
    open_socket = egress.socket_opener(UP)
    with pytest.raises(EgressRefused, match="must use port"):
        open_socket((2, 1, 6, "", ("93.184.216.34", 22)))
    open_socket((2, 1, 6, "", ("127.0.0.1", 22))).close()
