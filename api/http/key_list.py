"""A list of all keys that may be valid, so that a throttled address locks out no valid key.

A look-up costs one query per key. The list costs at most one query per second and process, however
many keys are guessed, and none while no address is throttled.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from models.db import DatabaseUnavailable, Engine, reading
from models.identity import tenants

LIST_SECONDS = 1.0  # minimum time between two readings of the list
SHARE_OF_TIME = 20  # times the duration of a reading; 100,000 keys take about 0.1 s
LOOKUPS_PER_SECOND = 10  # of keys missing from the list: a key may be new


class KeyList:
    """The hashes of the keys not revoked at the last reading; threads may race."""

    def __init__(self, engine: Engine, now: Callable[[], float] = time.monotonic) -> None:
        self._engine, self._now = engine, now
        self._hashes: frozenset[bytes] = frozenset()
        self._due, self._second, self._lookups = 0.0, 0, 0
        self._lock = Lock()

    def may_hold(self, key: str) -> bool:
        """Whether a key is worth a look-up; False for a guess, and when Postgres is down."""
        if not tenants.is_well_formed(key):
            return False
        digest = tenants.hash_key(key)
        if digest in self._hashes:
            return True
        self._read()
        return digest in self._hashes or self._take_lookup()

    def drop(self, key: str) -> None:
        """Drop a key that proved invalid: its holder is treated like any guesser."""
        digest = tenants.hash_key(key)
        with self._lock:
            if digest in self._hashes:
                self._hashes -= {digest}

    def _read(self) -> None:
        with self._lock:  # waiting threads then find it read
            began = self._now()
            if began < self._due:
                return
            self._due = began + LIST_SECONDS
            try:
                with reading(self._engine) as connection:
                    self._hashes = tenants.hashes_not_revoked(connection)
            except DatabaseUnavailable:
                pass  # keep the previous list
            took = self._now() - began
            self._due = self._now() + max(LIST_SECONDS, SHARE_OF_TIME * took)

    def _take_lookup(self) -> bool:
        with self._lock:
            second = int(self._now())
            if second != self._second:
                self._second, self._lookups = second, 0
            self._lookups += 1
            return self._lookups <= LOOKUPS_PER_SECOND
