"""The only outbound HTTP: one POST, bounded in time and in what is read of the answer."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import (
    ClientConnectorError,
    ClientConnectorSSLError,
    ClientError,
    ClientHttpProxyError,
    ClientOSError,
    ClientProxyConnectionError,
    ClientResponse,
    ClientSession,
    ClientSSLError,
    ClientTimeout,
    ConnectionTimeoutError,
    DummyCookieJar,
    ServerConnectionError,
    TCPConnector,
)
from aiohttp.connector import Connection
from yarl import URL

from webhooks import egress
from webhooks.egress import Lookup, Policy, system_lookup
from webhooks.errors import EgressRefused

RESPONSE_BYTES_MAX = 2_048  # enough to debug with; more would bloat the table
READ_BUFFER_BYTES = 4_096  # what a receiver that floods us can make us hold
# Below the 5 s after which common servers close an idle connection: who reuses one at the moment
# it is being closed loses an attempt.
KEEPALIVE_SECONDS = 4.0
DNS_CACHE_SECONDS = 10

DELIVERY_HEADER = "webhook-delivery"  # with which a receiver says what is to become of deliveries
DISABLE = "disable"  # send nothing more to this destination
ABORT_MESSAGE = "abort-message"  # do not send this one again

# What we say went wrong when there is no complete answer. A tenant reads it, so whatever happened
# before a connection stood (refused by us or by them, no such name, no route) has one word: it
# must not tell an open port from a closed one.
UNREACHABLE = "unreachable"
TLS = "tls"  # no trustworthy certificate for the name
TIMEOUT = "timeout"  # connected, but not done within the total
DISCONNECTED = "disconnected"  # connected, but cut off before the end
UNREADABLE = "unreadable"  # the answer is not HTTP
# What is said beside a word that does not say what to do.
DETAILS = {
    TLS: "the receiver's certificate is of no trusted CA, has expired or is for another name; the"
    " operator names a CA of their own in UNBROKEN_WEBHOOK_CA_FILE"
}

# Our machine's trouble, not the receiver's: no sockets, ports or memory left.
_OUR_ERRNOS = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
)

# Before a connection to the receiver stood. What a proxy says of why it did not connect is kept
# from the tenant as our own reasons are.
_NOT_CONNECTED = (EgressRefused, ClientConnectorError, ClientHttpProxyError, ConnectionTimeoutError)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a receiver may take."""

    connect_seconds: float = 5.0  # name, connection and TLS: who is not reached by then is down
    total_seconds: float = 15.0  # everything, the body included: a dripping receiver ends here too


DEFAULT_TIMEOUTS = Timeouts()


@dataclass(frozen=True, slots=True)
class HttpResult:
    """What came of one POST."""

    duration_ms: int
    status: int | None = None
    error: str | None = None  # one of the words above; None when an answer was read
    response: str | None = None  # the first bytes of the body, undecoded, as text a table holds
    remote_address: str | None = None
    retry_after: str | None = None  # the header
    wishes: frozenset[str] = frozenset()  # what `webhook-delivery` asks for
    is_ours: bool = False  # the failure says nothing about the receiver: no attempt was made

    @property
    def is_success(self) -> bool:
        """2xx, read within the total. A redirect is a failure: it is never followed."""
        return self.error is None and self.status is not None and 200 <= self.status < 300


class _Response(ClientResponse):
    """Notes the peer while the connection is still at hand."""

    peer: str | None = None

    async def start(self, connection: Connection) -> ClientResponse:
        transport = connection.transport
        peername = None if transport is None else transport.get_extra_info("peername")
        self.peer = None if peername is None else str(peername[0])
        return await super().start(connection)


def open_session(
    policy: Policy,
    lookup: Lookup = system_lookup,
    tls: ssl.SSLContext | None = None,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
) -> ClientSession:
    """A session that keeps connections alive and reaches only what the policy allows.

    To be opened and closed in the event loop that sends. `tls` replaces the policy's trust.
    """
    tls = tls or policy.trust
    connector = TCPConnector(
        limit=0,  # the caller bounds what is in flight
        resolver=egress.Resolver(policy, lookup),
        socket_factory=egress.socket_opener(policy),
        keepalive_timeout=KEEPALIVE_SECONDS,
        ttl_dns_cache=DNS_CACHE_SECONDS,
        ssl=True if tls is None else tls,
    )
    return ClientSession(
        connector=connector,
        proxy=policy.proxy,
        # Behind a proxy the peer is the proxy, whose address is no tenant's business.
        response_class=_Response if policy.proxy is None else ClientResponse,
        cookie_jar=DummyCookieJar(),
        # The threshold keeps the library from rounding the total up to a whole second.
        timeout=ClientTimeout(
            total=timeouts.total_seconds,
            connect=timeouts.connect_seconds,
            ceil_threshold=2 * timeouts.total_seconds,
        ),
        trust_env=False,  # neither proxies nor .netrc of the environment
        auto_decompress=False,  # what is kept is what came: no bombs
        read_bufsize=READ_BUFFER_BYTES,
        skip_auto_headers=("Accept", "Accept-Encoding"),
    )


async def post(
    session: ClientSession, url: URL, body: bytes, headers: Mapping[str, str]
) -> HttpResult:
    """POST once and say what came of it; raises only when cancelled."""
    started = time.perf_counter()
    try:
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            return await _answered(response, started)
    except (ClientError, TimeoutError, OSError, ValueError, EgressRefused) as error:
        return _failed(error, started)


async def _answered(response: ClientResponse, started: float) -> HttpResult:
    """Read the first bytes of an answer whose head has arrived."""
    error, kept = None, b""
    try:
        kept = await _first_bytes(response)
    except TimeoutError:
        error = TIMEOUT
    except (ClientError, OSError):
        error = DISCONNECTED
    return HttpResult(
        duration_ms=_since(started),
        status=response.status,
        error=error,
        response=_safe_text(kept),
        remote_address=response.peer if isinstance(response, _Response) else None,
        retry_after=response.headers.get("Retry-After"),
        wishes=_wishes(response.headers.getall(DELIVERY_HEADER, ())),
    )


def _wishes(headers: Sequence[str]) -> frozenset[str]:
    words = {word.strip().lower() for header in headers for word in header.split(",")}
    return frozenset(words & {DISABLE, ABORT_MESSAGE})


async def _first_bytes(response: ClientResponse) -> bytes:
    """At most RESPONSE_BYTES_MAX of the body; a connection with more to say is closed."""
    content = response.content
    kept = await content.read(RESPONSE_BYTES_MAX)
    while not content.at_eof():
        if len(kept) >= RESPONSE_BYTES_MAX:
            response.close()
            break
        kept += await content.read(RESPONSE_BYTES_MAX - len(kept))
    return kept


def _safe_text(raw: bytes) -> str:
    """Bytes of unknown nature as text: no NUL, which no text column holds, nothing undecodable."""
    return raw.decode(errors="replace").replace("\0", "\ufffd")


def _failed(error: Exception, started: float) -> HttpResult:
    return HttpResult(duration_ms=_since(started), error=_word(error), is_ours=_is_ours(error))


def _word(error: Exception) -> str:
    if isinstance(error, ClientConnectorSSLError | ClientSSLError):
        return TLS
    if isinstance(error, _NOT_CONNECTED) or not isinstance(
        error, ClientError | TimeoutError | OSError
    ):
        return UNREACHABLE
    if isinstance(error, TimeoutError):
        return TIMEOUT
    return DISCONNECTED if isinstance(error, ServerConnectionError | ClientOSError) else UNREADABLE


def _is_ours(error: Exception) -> bool:
    if isinstance(error, ClientProxyConnectionError):
        return True
    if isinstance(error, ClientHttpProxyError):
        return error.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED
    cause = error.os_error if isinstance(error, ClientConnectorError) else error
    if isinstance(cause, socket.gaierror):
        return cause.errno == socket.EAI_AGAIN  # our name service does not answer
    return isinstance(cause, OSError) and cause.errno in _OUR_ERRNOS


def _since(started: float) -> int:
    return round((time.perf_counter() - started) * 1_000)


async def close(session: ClientSession) -> None:
    """Close a session and let its transports go: TLS ones need a turn of the loop for it."""
    await session.close()
    await asyncio.sleep(0)
