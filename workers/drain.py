"""The drain: read a batch, apply it in one transaction, acknowledge, answer, kick delivery.

Any number of drains run side by side. What each promises: nothing is acknowledged before its
commit, and what is applied twice has no effect the second time (the ledger's key sees to that).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

from models import dead_letters
from models.db import Engine, Session, is_away, is_contended, is_duplicate, transaction
from models.dead_letters import DeadLetter
from workers import streaks
from workers.configuration import Configurations
from workers.failpoints import failpoint
from workers.messages import TickV1, Unreadable, decode
from workers.stream import Entry, Streams

log = logging.getLogger("unbroken.drain")

TRIES_MAX = 8  # of one batch against other drains: each loses only to one that got further
GATHER_SECONDS = 0.005  # more would be felt by a request that comes to wait in the middle of it
RETRY_SECONDS = 0.05
AWAY_SECONDS = 0.5  # between two looks for a database that is gone
TENANT_ID_MAX = 2**31 - 1  # the column's integer: what cannot be kept would fail for ever
ERROR_CHARS_MAX = 2_000  # of a dead letter's error: enough to see why


@dataclass
class Drain:
    """One drain with its connections."""

    engine: Engine
    streams: Streams
    batch_max: int
    entry_tries_max: int
    on_deliveries: Callable[[], None]
    should_stop: Callable[[], bool]
    configurations: Configurations = field(default_factory=Configurations)
    _active_streams: int = field(default=1)
    _may_gather: bool = field(default=False)

    def run(self, seconds: float) -> int:
        """Drain for a while; return how many entries were applied or put away."""
        ends, done = time.monotonic() + seconds, 0
        self.streams.create_groups()
        try:
            while self._goes_on(ends) and not self.should_stop():
                self.streams.refresh()
                done += self._round(self.streams.take_over(self.batch_max))
                done += self._round(self._read())
                self._gather()
        finally:
            self.streams.leave()
        return done

    def _goes_on(self, ends: float) -> bool:
        return time.monotonic() < ends or self.streams.is_short_of_memory

    def _read(self) -> list[Entry]:
        """A round over all streams: each gets its share of the batch, however long it is."""
        entries = self.streams.read(max(1, self.batch_max // self._active_streams))
        self._active_streams = len({entry.stream for entry in entries}) or 1
        failpoint("drain.after_read")
        return entries

    def _gather(self) -> None:
        """After a small batch that nobody waited for, let the next one grow: a batch of 5 costs
        half of what a batch of 50 does, and the CPU is the API's meanwhile."""
        if self._may_gather:
            self._may_gather = False
            time.sleep(GATHER_SECONDS)

    def _round(self, entries: Sequence[Entry]) -> int:
        done = 0
        for start in range(0, len(entries), self.batch_max):
            done += self._batch(entries[start : start + self.batch_max])
        return done

    def _batch(self, entries: Sequence[Entry]) -> int:
        """Apply entries; on failure halve them until what cannot be applied stands alone.

        What stands alone stays pending, is taken over again, and after `entry_tries_max` tries
        becomes a dead letter; the entries beside it are applied at once.
        """
        try:
            result = self._apply(entries)
        except _Stopped:
            return 0
        except Exception as error:  # noqa: BLE001 - whatever it is, it is isolated by halving
            if len(entries) == 1:
                return self._put_away(entries[0], error)
            middle = len(entries) // 2
            return self._batch(entries[:middle]) + self._batch(entries[middle:])
        failpoint("drain.after_commit_before_ack")
        self.streams.finish(entries, result.answers)
        self._may_gather = not result.answers and len(entries) < self.batch_max // 4
        if result.deliveries:
            self.on_deliveries()
        return len(entries)

    def _apply(self, entries: Sequence[Entry]) -> streaks.Applied:
        """One transaction; again when another drain was in the way or the database is away."""
        messages = list({m.id: m for m in (decode(entry.text) for entry in entries)}.values())
        known: dict[str, dict[str, Any]] = {}
        tries = 0
        while not self.should_stop():
            try:
                fresh = [message for message in messages if message.id not in known]
                with transaction(self.engine) as session:
                    result = (
                        streaks.apply(session, fresh, self.configurations)
                        if fresh
                        else streaks.Applied()
                    )
                    failpoint("drain.mid_sql")
                return _with_known(result, known, messages)
            except Exception as error:  # noqa: BLE001 - raised again unless another try may help
                tries += 1
                self._pause_or_raise(error, tries)
                if is_duplicate(error):
                    known = self._known(messages)
        raise _Stopped

    def _pause_or_raise(self, error: Exception, tries: int) -> None:
        """Wait before another try, or raise when trying again will not help."""
        if is_away(error):
            reason = str(error).partition("\n")[0]
            log.warning("database away, the batch stays pending: %s", reason)
            time.sleep(AWAY_SECONDS)
        elif tries < TRIES_MAX and (is_contended(error) or is_duplicate(error)):
            time.sleep(RETRY_SECONDS * (tries - 1))
        else:
            raise error

    def _known(self, messages: Sequence[TickV1]) -> dict[str, dict[str, Any]]:
        with transaction(self.engine) as session:
            return streaks.known(session, messages)

    def _put_away(self, entry: Entry, error: Exception) -> int:
        """Count a failed try of one entry; after the last, keep it as a dead letter.

        What was only in another's way is no poison, however often it was handed on.
        """
        tries = self.streams.tries(entry)
        # The error's text may hold what a user sent: it goes into the dead letter, not the log.
        log.error("entry %s failed, try %d: %s", entry.id.decode(), tries, _name(error))
        if tries < self.entry_tries_max or is_contended(error):
            return 0
        with transaction(self.engine) as session:
            _bury(session, entry, error, tries)
        self.streams.finish([entry], {})
        return 1


class _Stopped(Exception):
    """The drain was told to stop while it waited; its entries stay pending."""


def _with_known(
    result: streaks.Applied, known: dict[str, dict[str, Any]], messages: Sequence[TickV1]
) -> streaks.Applied:
    for message in messages:
        if message.is_awaited and message.id in known:
            result.answers[message.id] = known[message.id]
    return result


def _name(error: Exception) -> str:
    """The type of an error, the driver's own if there is one."""
    return type(getattr(error, "orig", None) or error).__name__


def _bury(session: Session, entry: Entry, error: Exception, tries: int) -> None:
    tenant_id, letter_id = _letter_key(entry)
    letter = DeadLetter(
        tenant_id,
        letter_id,
        "tick",
        entry.text.decode(errors="backslashreplace").replace("\x00", "\\x00"),
        repr(error)[:ERROR_CHARS_MAX].replace("\x00", "\\x00"),
        tries,
    )
    dead_letters.append(session, letter)


def _letter_key(entry: Entry) -> tuple[int, UUID]:
    """Whose dead letter an entry becomes: one must always be possible, or it would come back."""
    try:
        message = decode(entry.text)
        letter_id = UUID(message.id)
    except (Unreadable, ValueError):
        pass
    else:
        if 0 < message.tenant_id <= TENANT_ID_MAX:
            return message.tenant_id, letter_id
    return dead_letters.UNKNOWN_TENANT, uuid5(NAMESPACE_OID, f"{entry.stream} {entry.id.decode()}")
