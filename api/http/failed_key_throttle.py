"""Throttle for guessed keys: a limit of failed look-ups per minute and client address.

In process and bounded. A valid key is never refused (api/http/auth.py): neither a key that was
valid when this process last read it, nor a key not read yet, which is found in the list of all keys
(api/http/key_list.py). A guesser cannot lock out valid callers behind the same address.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from threading import Lock

from flask import Request

from api.http.problems import Problem

WINDOW_SECONDS = 60.0
ADDRESSES_MAX = 10_000  # per process, about 200 bytes each; the least recent failure is dropped
_NETWORK_BITS = 64  # an IPv6 provider gives a customer at least this: too many addresses to count


@dataclass(slots=True)
class _Failures:
    """Failures from one address since the first failure of a window."""

    began_at: float  # monotonic seconds
    count: int = 0


class Throttle:
    """Failed look-ups by client address."""

    def __init__(
        self,
        failures_per_minute: int,
        addresses_max: int = ADDRESSES_MAX,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`failures_per_minute` 0: no limit."""
        self._limit, self._most, self._now = failures_per_minute, addresses_max, now
        self._failures: OrderedDict[str, _Failures] = OrderedDict()
        self._lock = Lock()

    def is_spent(self, address: str | None) -> bool:
        """Whether too many look-ups failed for this address."""
        with self._lock:
            found = self._current(network(address))
        return bool(self._limit and found and found.count >= self._limit)

    def check(self, address: str | None) -> None:
        """429 when too many look-ups failed for this address."""
        with self._lock:
            found = self._current(network(address))
        if self._limit and found and found.count >= self._limit:
            left = math.ceil(found.began_at + WINDOW_SECONDS - self._now())
            detail = "Too many unknown keys were sent from this address. Try again later."
            retry = {"Retry-After": str(max(left, 1))}
            raise Problem(429, "too_many_failed_keys", detail, headers=retry)

    def failed(self, address: str | None) -> None:
        """Count a failure."""
        name = network(address)
        with self._lock:
            found = self._current(name) or _Failures(self._now())
            found.count += 1
            self._failures[name] = found
            self._failures.move_to_end(name)
            while len(self._failures) > self._most:
                self._failures.popitem(last=False)

    def _current(self, name: str) -> _Failures | None:
        found = self._failures.get(name)
        if found and self._now() - found.began_at >= WINDOW_SECONDS:
            del self._failures[name]
            return None
        return found


def client_address(here: Request) -> str | None:
    """The client's address as the operator's proxies report it; None if it is malformed."""
    found = _parsed(here.remote_addr)
    return None if found is None else str(found)


def _parsed(text: str | None) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text or "")
    except ValueError:
        return None


def network(address: str | None) -> str:
    """The unit that failures are counted by: an IPv4 address or an IPv6 network; "" if unknown."""
    found = _parsed(address)
    match found:
        case IPv6Address(ipv4_mapped=IPv4Address() as inner):
            return str(inner)
        case IPv6Address():
            return f"{int(found) >> (128 - _NETWORK_BITS):x}"
        case IPv4Address():
            return str(found)
        case _:
            return ""
