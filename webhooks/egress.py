"""The egress guard: which URLs and addresses the service may call on a tenant's behalf.

A tenant chooses the URL, so the URL is hostile: it must not reach what only this machine can reach.
The same rules hold when a destination is created or changed (`check`) and for every connection
(`Resolver` for names, `open_socket` for whatever address is about to be connected).
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from aiohttp import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from webhooks.errors import Refused

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Lookup = Callable[[str, int], Sequence[str]]  # name, port -> addresses; OSError: no such name

URL_CHARS_MAX = 2_048
ADDRESSES_MAX = 16  # one name with more is a trick or a mistake
CHECK_SECONDS = 3.0  # how long creating a destination waits for the name service
LOOKUP_THREADS = 16  # a name service that hangs on some names must not hold up the others
_DEFAULT_PORTS = {"http": 80, "https": 443}

# Public by Python's reckoning, yet not a place where a subscriber lives.
_CLOSED_V4 = tuple(
    IPv4Network(text)
    for text in (
        "168.63.129.16/32",  # Azure's host agent
        "192.0.0.0/24",  # protocol assignments (Oracle's metadata among them)
        "192.88.99.0/24",  # 6to4 relays
        "198.18.0.0/15",  # benchmarking
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
)
# Only global unicast is open: everything else (loopback, ULA, link-local, site-local, multicast,
# IPv4-mapped, NAT64, discard) is outside it. Within it these are closed:
_OPEN_V6 = IPv6Network("2000::/3")
_CLOSED_V6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo, ORCHID, benchmarking and other protocol assignments
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "3fff::/20",  # documentation
    )
)


@dataclass(frozen=True)
class Policy:
    """What the operator allows."""

    allow: tuple[Network, ...] = ()  # addresses that may be called although not public
    allow_http: bool = False
    ports: frozenset[int] | None = frozenset({443})  # None: any


def policy(allow_cidrs: str, allow_http: bool, ports: str) -> Policy:
    """The policy of three settings; raise ValueError naming what cannot be read."""
    return Policy(
        tuple(ip_network(text.strip()) for text in allow_cidrs.split(",") if text.strip()),
        allow_http,
        None if ports.strip() == "*" else frozenset(_port(text) for text in ports.split(",")),
    )


def _port(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 65_535:
        raise ValueError(f"{number} is not a port")
    return number


# -- URLs ------------------------------------------------------------------------------------


@lru_cache(maxsize=4_096)
def parse(text: str, policy: Policy) -> URL:
    """The URL in a text, parsed once and for all; raise Refused. Looks nothing up."""
    if len(text) > URL_CHARS_MAX:
        raise Refused(f"must have at most {URL_CHARS_MAX} characters")
    if re.search(r"[\x00-\x20\x7f\\]", text):
        raise Refused("must not contain spaces, control characters or backslashes")
    try:
        url = URL(text)
        host, port = url.raw_host, url.explicit_port
    except ValueError:
        raise Refused("is not a URL") from None
    _check_parts(text, url, policy)
    _check_host(host, policy)
    _check_port(_DEFAULT_PORTS[url.scheme] if port is None else port, policy)
    return url


def _check_parts(text: str, url: URL, policy: Policy) -> None:
    if url.scheme not in (("https", "http") if policy.allow_http else ("https",)):
        raise Refused("must begin with https://")
    if re.match(r"[^/]*//[^/?#]*@", text):  # even an empty user: the parser drops it silently
        raise Refused("must not contain credentials")


def _check_host(host: str | None, policy: Policy) -> None:
    if not host:
        raise Refused("must name a host")
    address = _literal(host)
    if address is not None:
        vet([address], policy)
    elif _ends_in_number(host):
        raise Refused("must spell an IPv4 address as four decimal numbers")


def _check_port(port: int, policy: Policy) -> None:
    if policy.ports is not None and port not in policy.ports:
        raise Refused(f"must use port {', '.join(map(str, sorted(policy.ports)))}")
    if port == 0:
        raise Refused("must use a port from 1 to 65535")


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _ends_in_number(host: str) -> bool:
    """Whether resolvers may take the host for an IPv4 address: `2130706433`, `0x7f.1`, `127.1`."""
    last = host.rstrip(".").rpartition(".")[2]
    return re.fullmatch(r"[0-9]+|0[xX][0-9a-fA-F]*", last) is not None


# -- addresses -------------------------------------------------------------------------------


def is_public(address: Address) -> bool:
    """Whether an address is one of the public Internet's, in no disguise."""
    if isinstance(address, IPv6Address):
        return address in _OPEN_V6 and not any(address in network for network in _CLOSED_V6)
    return address.is_global and not any(address in network for network in _CLOSED_V4)


def vet(addresses: Iterable[Address], policy: Policy) -> None:
    """Raise Refused unless every address may be called: one bad answer spoils them all."""
    for address in addresses:
        if not is_public(address) and not any(address in network for network in policy.allow):
            raise Refused("must not lead to a private or reserved address")


def system_lookup(host: str, port: int) -> list[str]:
    """The addresses of a name, as the system resolves it."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def vetted(host: str, answers: Sequence[str], policy: Policy) -> list[str]:
    """The answers of a name service, every one of them vetted; raise Refused."""
    if len(answers) > ADDRESSES_MAX:
        raise Refused("must not have so many addresses")
    addresses = [_literal(answer) for answer in answers]
    if not addresses or None in addresses:
        raise Refused(f"'{host}' has no address")
    vet([address for address in addresses if address is not None], policy)
    return list(answers)


_lookups = ThreadPoolExecutor(LOOKUP_THREADS, "lookup")  # threads start with the first use


def check(text: str, policy: Policy, lookup: Lookup = system_lookup) -> None:
    """Raise Refused unless a destination may have this URL. Asks the name service.

    A name that does not resolve passes: nothing can be called there yet, and whatever it resolves
    to later is vetted by every connection.
    """
    url = parse(text, policy)
    host = url.raw_host or ""
    if _literal(host) is not None:
        return
    try:
        answers = _lookups.submit(lookup, host, url.port or 0).result(CHECK_SECONDS)
    except (OSError, UnicodeError):  # among them TimeoutError
        return
    vetted(host, answers, policy)


# -- connections -----------------------------------------------------------------------------


class Resolver(AbstractResolver):
    """Names to vetted addresses, for aiohttp: it connects to these and to nothing else."""

    def __init__(self, policy: Policy, lookup: Lookup = system_lookup) -> None:
        self._policy = policy
        self._lookup = lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Look up and vet; raise OSError (no such name) or Refused."""
        loop = asyncio.get_running_loop()
        answers = await loop.run_in_executor(_lookups, self._lookup, host, port)
        return [_result(host, answer, port) for answer in vetted(host, answers, self._policy)]

    async def close(self) -> None:
        """Nothing is held open."""


def _result(host: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=family,
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )


def socket_opener(policy: Policy) -> Callable[[AddrInfoType], socket.socket]:
    """A socket factory that refuses an address which may not be called: the last door."""

    def open_socket(info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, sockaddr = info
        sockaddr_any: Any = sockaddr
        vet([ip_address(sockaddr_any[0])], policy)
        return socket.socket(family, kind, protocol)

    return open_socket
