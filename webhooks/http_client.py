"""The only outbound HTTP: one POST, bounded in time and in the bytes read of the response."""

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

RESPONSE_BYTES_MAX = 2_048  # enough for debugging; more would bloat the table
READ_BUFFER_BYTES = 4_096  # the most that a flooding receiver can make us hold
# Below the 5 s after which common servers close an idle connection: reusing one while it is being
# closed loses an attempt.
KEEPALIVE_SECONDS = 4.0
DNS_CACHE_SECONDS = 10

DELIVERY_HEADER = "webhook-delivery"  # a receiver's instruction about deliveries
DISABLE = "disable"  # send nothing more to this destination
ABORT_MESSAGE = "abort-message"  # do not send this one again

# Our errors when there is no complete response. A tenant reads them, so every failure before the
# connection (refused by us or by them, no such name, no route) has the same word: it must not
# distinguish an open port from a closed one.
UNREACHABLE = "unreachable"
TLS = "tls"  # no trustworthy certificate for the name
TIMEOUT = "timeout"  # connected, but not done within the total
DISCONNECTED = "disconnected"  # connected, but cut off before the end
UNREADABLE = "unreadable"  # the answer is not HTTP
# The detail of a word that does not show what to do.
DETAILS = {
    TLS: "the receiver's certificate is of no trusted CA, has expired or is for another name; the"
    " operator names a CA of their own in UNBROKEN_WEBHOOK_CA_FILE"
}

# A fault of our machine, not of the receiver: no sockets, ports or memory left.
_OUR_ERRNOS = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
)

# Failures before a connection to the receiver. A proxy's reasons are hidden from the tenant, as our
# own are.
_NOT_CONNECTED = (EgressRefused, ClientConnectorError, ClientHttpProxyError, ConnectionTimeoutError)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The time limits of a receiver."""

    connect_seconds: float = 5.0  # name, connection and TLS: a receiver not reached by then is down
    total_seconds: float = 15.0  # everything, the body included: a slow trickle ends here too


DEFAULT_TIMEOUTS = Timeouts()


@dataclass(frozen=True, slots=True)
class HttpResult:
    """The result of one POST."""

    duration_ms: int
    status: int | None = None
    error: str | None = None  # one of the words above; None when a response was read
    response: str | None = None  # the first bytes of the body, undecoded, as storable text
    remote_address: str | None = None
    retry_after: str | None = None  # the header
    wishes: frozenset[str] = frozenset()  # the instructions in `webhook-delivery`
    is_ours: bool = False  # the failure says nothing about the receiver: no attempt was made

    @property
    def is_success(self) -> bool:
        """2xx, read within the total time. A redirect is a failure: it is never followed."""
        return self.error is None and self.status is not None and 200 <= self.status < 300


class _Response(ClientResponse):
    """Records the peer while the connection is still open."""

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
    """A session that keeps connections alive and reaches only addresses the policy allows.

    Open and close it in the event loop that sends. `tls` replaces the policy's trust.
    """
    tls = tls or policy.trust
    connector = TCPConnector(
        limit=0,  # the caller bounds the sends in flight
        resolver=egress.Resolver(policy, lookup),
        socket_factory=egress.socket_opener(policy),
        keepalive_timeout=KEEPALIVE_SECONDS,
        ttl_dns_cache=DNS_CACHE_SECONDS,
        ssl=True if tls is None else tls,
    )
    return ClientSession(
        connector=connector,
        proxy=policy.proxy,
        # Behind a proxy the peer is the proxy, whose address is not for tenants.
        response_class=_Response if policy.proxy is None else ClientResponse,
        cookie_jar=DummyCookieJar(),
        # The threshold keeps the library from rounding the total up to a whole second.
        timeout=ClientTimeout(
            total=timeouts.total_seconds,
            connect=timeouts.connect_seconds,
            ceil_threshold=2 * timeouts.total_seconds,
        ),
        trust_env=False,  # neither proxies nor .netrc of the environment
        auto_decompress=False,  # the body is kept as it came: no bombs
        read_bufsize=READ_BUFFER_BYTES,
        skip_auto_headers=("Accept", "Accept-Encoding"),
    )


async def post(
    session: ClientSession, url: URL, body: bytes, headers: Mapping[str, str]
) -> HttpResult:
    """POST once and return the result; raises only when cancelled."""
    started = time.perf_counter()
    try:
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            return await _answered(response, started)
    except (ClientError, TimeoutError, OSError, ValueError, EgressRefused) as error:
        return _failed(error, started)


async def _answered(response: ClientResponse, started: float) -> HttpResult:
    """Read the first bytes of a response whose headers have arrived."""
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
    """At most RESPONSE_BYTES_MAX of the body; a connection with more bytes is closed."""
    content = response.content
    kept = await content.read(RESPONSE_BYTES_MAX)
    while not content.at_eof():
        if len(kept) >= RESPONSE_BYTES_MAX:
            response.close()
            break
        kept += await content.read(RESPONSE_BYTES_MAX - len(kept))
    return kept


def _safe_text(raw: bytes) -> str:
    """Bytes of unknown encoding as valid text, without NUL, which a text column refuses."""
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
    """Close a session and its transports: TLS ones need one more turn of the loop."""
    await session.close()
    await asyncio.sleep(0)
