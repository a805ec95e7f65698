"""The egress guard: which URLs and addresses the service may call on a tenant's behalf.

A tenant chooses the URL, so the URL is hostile: it must not reach what only this machine can reach.
The same rules apply when a destination is created or changed (`check`) and to every connection
(`Resolver` for names, `open_socket` for every address before it is connected).
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any

from aiohttp import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from webhooks.errors import EgressRefused
from webhooks.ip_ranges import Address, Network, is_public

Lookup = Callable[[str, int], Sequence[str]]  # name, port -> addresses; OSError: no such name

URL_CHARS_MAX = 2_048
ADDRESSES_MAX = 16  # a name with more is a trick or a mistake
CHECK_SECONDS = 3.0  # how long creating a destination waits for the name service
LOOKUP_THREADS = 16  # a name service that hangs on some names must not delay the others
_DEFAULT_PORTS = {"http": 80, "https": 443}

# The characters allowed in a name: letters, digits, hyphens, and the underscores of some names.
# No percent signs, semicolons or empty labels, which other parsers may read differently.
_NAME = re.compile(r"(?!.{254})([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?")
# The host as spelled, and a port in ASCII digits: `int` reads those of all alphabets. The brackets
# hold neither a zone (`%eth0`) nor an address of a future version (`v1.x`).
_AUTHORITY = re.compile(r"\w+://(\[[0-9a-fA-F:.]+\]|[^][/?#:@]*)(:[0-9]{0,5})?(?=[/?#]|$)")


@dataclass(frozen=True)
class Policy:
    """The operator's rules."""

    allow: tuple[Network, ...] = ()  # addresses that may be called although not public
    allow_http: bool = False
    ports: frozenset[int] | None = frozenset({443})  # of public addresses; None: any
    allow_ports: frozenset[int] | None = frozenset({443})  # of the addresses in `allow`; None: any
    # All traffic goes through it, https only: it could read the rest. It resolves the names, so it
    # must vet their addresses; we vet the spelling, and connect to the proxy only.
    proxy: URL | None = field(default=None, repr=False)  # it may hold a password
    trust: ssl.SSLContext | None = field(default=None, compare=False)  # None: the system's

    @property
    def schemes(self) -> tuple[str, ...]:
        """The schemes that a destination may have."""
        return ("https", "http") if self.allow_http and self.proxy is None else ("https",)


def policy(
    allow_cidrs: str, allow_http: bool, ports: str, proxy: str = "", allow_ports: str = ""
) -> Policy:
    """The policy of five settings; raise ValueError naming the setting that cannot be read.

    Without `allow_ports` the allowed addresses have the ports of all others.
    """
    return Policy(
        allow=tuple(_network(text.strip()) for text in allow_cidrs.split(",") if text.strip()),
        allow_http=allow_http,
        ports=_ports(ports, "UNBROKEN_WEBHOOK_PORTS"),
        allow_ports=_ports(allow_ports.strip() or ports, "UNBROKEN_WEBHOOK_ALLOW_PORTS"),
        proxy=_proxy(proxy.strip()) if proxy.strip() else None,
    )


@dataclass(frozen=True)
class EgressSettings:
    """The settings of a policy, by their names in settings.py."""

    webhook_allow_cidrs: str
    webhook_allow_http: bool
    webhook_ports: str
    webhook_allow_ports: str
    webhook_ca_file: str
    webhook_proxy: str


def policy_of(settings: EgressSettings) -> Policy:
    """The operator's policy; ValueError as above. Call it once, when a process starts."""
    read = policy(
        settings.webhook_allow_cidrs,
        settings.webhook_allow_http,
        settings.webhook_ports,
        settings.webhook_proxy,
        settings.webhook_allow_ports,
    )
    return replace(read, trust=_trust(settings.webhook_ca_file))


def _trust(ca_file: str) -> ssl.SSLContext | None:
    """The CAs of a file, added to the system's."""
    if not ca_file:
        return None
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(cafile=ca_file)
    except OSError as error:  # includes ssl.SSLError: no certificate in it
        reason = error.strerror or "no certificate can be read from it"
        raise ValueError(f"UNBROKEN_WEBHOOK_CA_FILE: {ca_file}: {reason}") from None
    return context


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError(f"UNBROKEN_WEBHOOK_ALLOW_CIDRS: {error}") from None


def _ports(text: str, variable: str) -> frozenset[int] | None:
    if text.strip() == "*":
        return None
    return frozenset(_port(port_text, variable) for port_text in text.split(","))


def _port(text: str, variable: str) -> int:
    number = int(text) if text.strip().isdecimal() else 0
    if not 1 <= number <= 65_535:
        raise ValueError(f"{variable}: {text.strip()!r} is not a port")
    return number


def _proxy(text: str) -> URL:
    """http://host:port, for CONNECT requests; a user and password may come before the host."""
    try:
        url = URL(text)
        is_bare = url.raw_path in ("", "/") and not url.raw_query_string and not url.raw_fragment
        if url.scheme == "http" and url.raw_host and url.explicit_port and is_bare:
            return url
    except ValueError:
        pass
    # Without the text: it may hold a password.
    raise ValueError("UNBROKEN_WEBHOOK_PROXY: the proxy is not spelled http://host:port")


# -- URLs ------------------------------------------------------------------------------------


@lru_cache(maxsize=4_096)
def parse(text: str, policy: Policy) -> URL:
    """The URL in a text, parsed once; raise Refused. Makes no look-up."""
    if len(text) > URL_CHARS_MAX:
        raise EgressRefused(f"must have at most {URL_CHARS_MAX} characters")
    if re.search(r"[\x00-\x20\x7f\\]", text):
        raise EgressRefused("must not contain spaces, control characters or backslashes")
    try:
        url = URL(text)
        host, port = url.raw_host, url.explicit_port
    except ValueError:
        raise EgressRefused("is not a URL") from None
    spelled = _check_spelling(text, url, policy)
    port = _DEFAULT_PORTS[url.scheme] if port is None else port
    _check_host(host, spelled, policy, port)
    _check_port(host, port, policy)
    return url


def _check_spelling(text: str, url: URL, policy: Policy) -> str:
    """Return the host as spelled."""
    if url.scheme not in policy.schemes:
        raise EgressRefused(
            f"must begin with {' or '.join(f'{scheme}://' for scheme in policy.schemes)}"
        )
    if re.match(r"[^/]*//[^/?#]*@", text):  # an empty user too: the parser drops it silently
        raise EgressRefused("must not contain credentials")
    found = _AUTHORITY.match(text)
    if found is None:
        raise EgressRefused("must name a host, and a port in plain digits if any")
    return found[1]


def _check_host(host: str | None, spelled: str, policy: Policy, port: int) -> None:
    if not host:
        raise EgressRefused("must name a host")
    address = _literal(host)
    if address is not None:
        vet([address], policy, port)
    if _ends_in_number(host) and (address is None or host != spelled):
        raise EgressRefused("must spell an IPv4 address as four decimal numbers")
    if address is None and not _NAME.fullmatch(host):
        raise EgressRefused("must name a host by letters, digits, hyphens and dots")


def _check_port(host: str | None, port: int, policy: Policy) -> None:
    """Ports of addresses are vetted with them; a name may resolve to an allowed address."""
    if port == 0:
        raise EgressRefused("must use a port from 1 to 65535")
    if policy.proxy is None and (_literal(host or "") or _may_be_allowed(port, policy)):
        return
    if not _is_open(port, policy.ports):
        raise _wrong_port(policy.ports)


def _may_be_allowed(port: int, policy: Policy) -> bool:
    return bool(policy.allow) and _is_open(port, policy.allow_ports)


def _is_open(port: int, ports: frozenset[int] | None) -> bool:
    return ports is None or port in ports


def _wrong_port(ports: frozenset[int] | None) -> EgressRefused:
    return EgressRefused(f"must use port {', '.join(map(str, sorted(ports or ())))}")


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _ends_in_number(host: str) -> bool:
    """Whether resolvers may read the host as an IPv4 address: `2130706433`, `0x7f.1`, `127.1`."""
    last = host.rstrip(".").rpartition(".")[2]
    return re.fullmatch(r"[0-9]+|0[xX][0-9a-fA-F]*", last) is not None


# -- addresses -------------------------------------------------------------------------------


def vet(addresses: Iterable[Address], policy: Policy, port: int) -> None:
    """Raise Refused unless every address may be called: one bad address refuses all."""
    for address in addresses:
        is_allowed = any(address in network for network in policy.allow)
        if not is_allowed and not is_public(address):
            raise EgressRefused("must not lead to a private or reserved address")
        ports = policy.allow_ports if is_allowed else policy.ports
        if policy.proxy is None and not _is_open(port, ports):
            raise _wrong_port(ports)


def system_lookup(host: str, port: int) -> list[str]:
    """The addresses of a name, as the system resolves it."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def vetted(host: str, answers: Sequence[str], policy: Policy, port: int) -> list[str]:
    """The vetted answers of a name service; raise Refused."""
    if len(answers) > ADDRESSES_MAX:
        raise EgressRefused(f"must not have more than {ADDRESSES_MAX} addresses")
    addresses = [_literal(answer) for answer in answers]
    if not addresses or None in addresses:
        raise EgressRefused(f"'{host}' has no address")
    vet([address for address in addresses if address is not None], policy, port)
    return list(answers)


# Of the process: one bound on threads for all that ask its name service, each event loop included.
_lookups = ThreadPoolExecutor(LOOKUP_THREADS, "lookup")  # threads start with the first use


def check(text: str, policy: Policy, lookup: Lookup = system_lookup) -> None:
    """Raise Refused unless a destination may have this URL. Asks the name service.

    A name that does not resolve passes: it cannot be called yet, and every connection vets the
    addresses that it resolves to later. With a proxy, the proxy resolves the name.
    """
    url = parse(text, policy)
    host = url.raw_host or ""
    if _literal(host) is not None or policy.proxy is not None:
        return
    try:
        answers = _lookups.submit(lookup, host, url.port or 0).result(CHECK_SECONDS)
    except (OSError, UnicodeError):  # includes TimeoutError
        return
    vetted(host, answers, policy, url.port or 0)


# -- connections -----------------------------------------------------------------------------


class Resolver(AbstractResolver):
    """Names to vetted addresses, for aiohttp: it connects to no other address."""

    def __init__(self, policy: Policy, lookup: Lookup = system_lookup) -> None:
        self._policy = policy
        self._lookup = lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Look up and vet; raise OSError (no such name) or Refused.

        With a proxy only its own name is looked up, and the operator answers for its addresses.
        """
        proxy = self._policy.proxy
        if proxy is not None and (host, port) != (proxy.raw_host, proxy.port):
            raise EgressRefused("must be reached through the proxy")
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.run_in_executor(_lookups, self._lookup, host, port)
        except socket.gaierror:
            if proxy is None:
                raise
            # Any failure here says nothing about a receiver: treat it as no answer.
            raise socket.gaierror(socket.EAI_AGAIN, "the proxy has no address") from None
        if proxy is None:
            answers = vetted(host, answers, self._policy, port)
        return [_result(host, answer, port) for answer in answers]

    async def close(self) -> None:
        """Do nothing: no resource is open."""


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
    """A socket factory that refuses addresses that may not be called: the last check."""

    def open_socket(info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, sockaddr = info
        sockaddr_any: Any = sockaddr
        address = ip_address(sockaddr_any[0])
        if policy.proxy is None:
            vet([address], policy, sockaddr_any[1])
        elif not _is_proxy(policy.proxy, address, sockaddr_any[1]):
            raise EgressRefused("must be reached through the proxy")
        return socket.socket(family, kind, protocol)

    return open_socket


def _is_proxy(proxy: URL, address: Address, port: int) -> bool:
    """Whether that may be the proxy: only the resolver knows a name's addresses."""
    named = _literal(proxy.raw_host or "")
    return port == proxy.port and named in (None, address)
