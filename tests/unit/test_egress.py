"""Which URLs and addresses may be called. (An exhaustive corpus is a test of its own.)"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from webhooks import egress
from webhooks.egress import Policy
from webhooks.errors import Refused

STRICT = egress.policy("", False, "443,8443")
LOCAL = egress.policy("127.0.0.0/8, ::1/128", True, "*")


def _answers(*addresses: str) -> egress.Lookup:
    def lookup(host: str, port: int) -> Sequence[str]:
        return addresses

    return lookup


def _no_such_name(host: str, port: int) -> Sequence[str]:
    raise OSError("no such name")


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/x",
        "https://hooks.example.com:8443/x?a=b#c",
        "https://bücher.example/ü",
        "https://93.184.216.34/",
        "https://[2606:2800:220:1::1]/",
        "HTTPS://EXAMPLE.COM",
    ],
)
def test_it_lets_public_https_pass(url: str) -> None:
    egress.check(url, STRICT, _answers("93.184.216.34", "2606:2800:220:1::1"))


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "ftp://hooks.example.com/",
        "file:///etc/passwd",
        "hooks.example.com",
        "//hooks.example.com/",
        "https://",
        "https:///x",
        "https://:443/",
        "https://hooks.example.com:0/",
        "https://hooks.example.com:22/",
        "https://hooks.example.com:99999/",
        "https://hooks.example.com:x/",
        "https://user@hooks.example.com/",
        "https://user:pass@hooks.example.com/",
        "https://:@hooks.example.com/",
        "https://@hooks.example.com/",
        "https://hooks.example.com\\@127.0.0.1/",
        "https://hooks.example.com /",
        " https://hooks.example.com/",
        "https://hooks.example.com/\r\nX: y",
        "https://hooks.example.com/\x00",
        "https://[::1/",
        "https://hooks.example.com/" + "x" * 2_048,
    ],
)
def test_it_refuses_what_is_no_plain_https_url(url: str) -> None:
    with pytest.raises(Refused):
        egress.check(url, STRICT, _answers("93.184.216.34"))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.0.0.1.", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1",
        "１２７.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0",  # noqa: S104 -- refused
        "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "192.0.2.1",
        "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1",
        "255.255.255.255", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:93.184.216.34]",
        "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::1]", "[2002:7f00:1::1]",
        "[2001:0:1::1]", "[2001:db8::1]", "[3fff::1]", "[fc00::1]", "[fd00:ec2::254]",
        "[fe80::1]", "[fe80::1%25eth0]", "[fec0::1]", "[ff02::1]", "[100::1]", "[4000::1]",
    ],
)  # fmt: skip
def test_it_refuses_addresses_that_are_not_public_in_any_spelling(host: str) -> None:
    with pytest.raises(Refused):
        egress.parse(f"https://{host}/", STRICT)


@pytest.mark.parametrize("bad", ["127.0.0.1", "::1", "fe80::1%eth0", "::ffff:10.0.0.1", "junk"])
def test_it_vets_every_answer_and_refuses_mixed_ones(bad: str) -> None:
    with pytest.raises(Refused):
        egress.check("https://hooks.example.com/", STRICT, _answers("93.184.216.34", bad))


def test_it_refuses_a_name_with_a_crowd_of_addresses() -> None:
    crowd = [f"93.184.216.{last}" for last in range(17)]
    with pytest.raises(Refused):
        egress.check("https://hooks.example.com/", STRICT, _answers(*crowd))


def test_it_lets_a_name_pass_that_does_not_resolve_yet() -> None:
    egress.check("https://hooks.example.com/", STRICT, _no_such_name)


def test_it_opens_exactly_what_the_operator_names() -> None:
    egress.parse("http://127.0.0.1:9999/", LOCAL)
    egress.parse("http://[::1]:9999/", LOCAL)
    egress.check("http://localhost:9999/", LOCAL, _answers("127.0.0.1", "::1"))
    for url in ("http://10.0.0.1/", "http://[::ffff:127.0.0.1]/", "http://169.254.169.254/"):
        with pytest.raises(Refused):
            egress.parse(url, LOCAL)


def test_it_vets_the_very_address_that_a_socket_is_opened_for() -> None:
    opener = egress.socket_opener(STRICT)
    for address in ("127.0.0.1", "169.254.169.254"):
        with pytest.raises(Refused):
            opener((socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)))
    opener((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 443))).close()


def test_it_never_echoes_the_url_in_a_refusal() -> None:
    with pytest.raises(Refused) as caught:
        egress.parse("https://user:hunter2@hooks.example.com/", STRICT)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("cidrs", "ports"), [("10.0.0.1/8", "443"), ("x", "443"), ("", "0"), ("", "x"), ("", "")]
)
def test_it_says_at_start_when_the_operators_list_cannot_be_read(cidrs: str, ports: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        egress.policy(cidrs, False, ports)


def test_it_is_strict_by_default() -> None:
    assert Policy() == egress.policy("", False, "443")
    assert not egress.is_public(ip_address("127.0.0.1"))
