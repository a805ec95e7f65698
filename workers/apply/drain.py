"""The drain: read a batch, apply it in one transaction, acknowledge, answer, wake delivery.

Any number of drains run side by side. Each acknowledges an entry only after its commit. An entry
applied twice has no effect the second time: the ledger's key rejects it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.db import (
    Contended,
    DatabaseUnavailable,
    Engine,
    UniqueViolation,
    replan,
    transaction,
)
from models.failpoints import failpoint
from models.identity.aliases import Aliased
from workers.apply import apply_batch, dead_letters
from workers.apply.apply_batch import Applied
from workers.apply.batch import Configurations
from workers.intake.messages import Message, decode, renamed
from workers.intake.stream import StreamEntry, Streams
from workers.telemetry import metrics_store
from workers.telemetry.metrics import (
    APPLIED,
    BATCH_ENTRIES,
    BATCH_SECONDS,
    DEAD,
    DELIVERIES,
    FACTS,
    REJECTED,
    REPEATED,
)

log = logging.getLogger("unbroken.drain")

TRIES_MAX = 8  # of one batch against other drains: each loses only to a drain that got further
GATHER_SECONDS = 0.005  # a longer wait would be felt by a request that arrives during it
RETRY_SECONDS = 0.05
REPLAN_SECONDS = 1.0  # planning costs some milliseconds
AWAY_SECONDS = 0.5  # between two tries while the database is away
OUR_FAULT_TRIES_MAX = 720  # an hour of take-overs to mend a deploy; then it becomes a dead letter


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
    _rounds: Rounds = field(init=False)
    _may_gather: bool = field(default=False)
    _replan_at: float = field(default=0.0)

    def run(self, seconds: float) -> int:
        """Drain for a while; return how many entries were applied or became dead letters."""
        ends, done = time.monotonic() + seconds, 0
        self._rounds = Rounds(self.batch_max)
        self.streams.create_groups()
        try:
            while not self.should_stop() and (
                time.monotonic() < ends or self.streams.is_short_of_memory
            ):
                self.streams.refresh()
                done += self._round(self.streams.take_over(self.batch_max))
                done += self._round(self._read())
                self._gather()
        finally:
            self.streams.leave()
        return done

    def _read(self) -> list[StreamEntry]:
        """New entries, fresh ones first."""
        rounds, streams = self._rounds, self.streams
        if rounds.is_backlogged:
            backlog = rounds.backlog(is_alone=streams.is_alone, is_keeper=streams.is_keeper)
            entries = streams.read_at_once(rounds.fresh, backlog)
        else:
            entries = streams.read(rounds.fresh)
        rounds.see(entries)
        failpoint("drain.after_read")
        return entries

    def _gather(self) -> None:
        """After a small batch without a waiting request, let the next one grow: a batch of 5 costs
        half as much as a batch of 50, and the API uses the CPU meanwhile."""
        may_gather, self._may_gather = self._may_gather, False
        if may_gather and not self._rounds.is_backlogged:
            time.sleep(GATHER_SECONDS)

    def _round(self, entries: Sequence[StreamEntry]) -> int:
        """Fresh entries first, in transactions of their own: they do not wait for a backlog."""
        done = 0
        for alike in split(entries):
            for start in range(0, len(alike), self.batch_max):
                done += self._batch(alike[start : start + self.batch_max])
        return done

    def _batch(self, entries: Sequence[StreamEntry]) -> int:
        """Apply entries; on failure halve them until a failing entry is alone.

        A failing entry stays pending, is taken over again, and after `entry_tries_max` tries
        becomes a dead letter; the entries beside it are applied at once.
        """
        began = time.monotonic()
        try:
            result = self._apply(entries)
        except _Stopped:
            return 0
        except Exception as error:  # noqa: BLE001 - halving isolates any failure
            if len(entries) == 1:
                return self._put_away(entries[0], error)
            middle = len(entries) // 2
            return self._batch(entries[:middle]) + self._batch(entries[middle:])
        _count(result, len(entries), time.monotonic() - began)
        failpoint("drain.after_commit_before_ack")
        self.streams.finish(entries, result.answers)
        self._may_gather = not result.answers and len(entries) < self.batch_max // 4
        if result.deliveries:
            self.on_deliveries()
        return len(entries)

    def _apply(self, entries: Sequence[StreamEntry]) -> Applied:
        """Apply in one transaction; retry after a conflict or while the database is away."""
        found = [decode(entry.text) for entry in entries]
        messages = list({message.id: message for message in found}.values())
        known: dict[str, dict[str, Any]] = {}
        tries = 0
        while not self.should_stop():
            try:
                fresh = [message for message in messages if message.id not in known]
                with transaction(self.engine) as connection:
                    if time.monotonic() >= self._replan_at:
                        # A plan made for a handful of participants reads all of a tenant's for each
                        # row, until Postgres analyses the table.
                        self._replan_at = time.monotonic() + REPLAN_SECONDS
                        replan(connection)
                    result = (
                        apply_batch.apply(connection, fresh, self.configurations)
                        if fresh
                        else Applied()
                    )
                    failpoint("drain.mid_sql")
                return _with_known(result, known, messages) if known else result
            except Aliased as alias:  # never twice for one name: a survivor is no alias
                messages = [renamed(message, alias.survivors) for message in messages]
            except Exception as error:  # noqa: BLE001 - raised again unless a retry may help
                tries += 1
                self._pause_or_raise(error, tries)
                if isinstance(error, UniqueViolation):
                    known = self._known(messages)
        raise _Stopped

    def _pause_or_raise(self, error: Exception, tries: int) -> None:
        """Wait before a retry, or raise when a retry will not help."""
        if isinstance(error, DatabaseUnavailable):
            reason = str(error).partition("\n")[0]
            log.warning("database away, the batch stays pending: %s", reason)
            time.sleep(AWAY_SECONDS)
        elif tries < TRIES_MAX and isinstance(error, Contended | UniqueViolation):
            time.sleep(RETRY_SECONDS * (tries - 1))
        else:
            raise error

    def _known(self, messages: Sequence[Message]) -> dict[str, dict[str, Any]]:
        with transaction(self.engine) as connection:
            return apply_batch.known(connection, messages)

    def _put_away(self, entry: StreamEntry, error: Exception) -> int:
        """Count a failed try of one entry; after the last, keep it as a dead letter.

        An entry that only met a conflict is never a dead letter, however often it was delivered.
        Nor may a fault of ours (a half-made deploy) turn into dead letters what the next release
        can apply.
        """
        tries = self.streams.tries(entry)
        # The error's text may hold user data: it goes into the dead letter, not into the log.
        log.error("entry %s failed, try %d: %s", entry.id.decode(), tries, dead_letters.name(error))
        tries_max = (
            self.entry_tries_max if dead_letters.is_in_the_data(error) else OUR_FAULT_TRIES_MAX
        )
        if tries < tries_max or isinstance(error, Contended):
            return 0
        with transaction(self.engine) as connection:
            kind = dead_letters.store(connection, entry, error, tries)
        if kind is not None:
            metrics_store.add(DEAD, 1, kind)
        self.streams.finish([entry], {})
        return 1


class _Stopped(Exception):
    """The drain was stopped while it waited; its entries stay pending."""


def _count(result: Applied, entries: int, seconds: float) -> None:
    """Count what was committed; the last second of a killed process may be missing.

    See workers/telemetry/metrics_store.py.
    """
    metrics_store.observe(BATCH_ENTRIES, entries)
    metrics_store.observe(BATCH_SECONDS, seconds)
    metrics_store.add_each(APPLIED, result.done.applied)
    metrics_store.add_each(REJECTED, result.done.rejected)
    metrics_store.add_each(FACTS, result.done.facts)
    if result.done.repeated:
        metrics_store.add(REPEATED, result.done.repeated)
    if result.deliveries:
        metrics_store.add(DELIVERIES, result.deliveries)


def _with_known(
    result: Applied, known: dict[str, dict[str, Any]], messages: Sequence[Message]
) -> Applied:
    for message in messages:
        if message.is_awaited and message.id in known:
            result.answers[message.id] = known[message.id]
    return result


# -- how much a drain reads in a round ---------------------------------------------------------

# A tenant that floods must not keep the others waiting. Fresh writes are read first, each time.
# The backlog is read in short rounds while fresh writes flow, so that a write that comes in the
# middle of a round waits briefly, and otherwise in full batches, which cost least per write. Only
# one drain (the keeper) keeps its rounds short: it serves the fresh writes, the others serve the
# backlog (ADR 11).
SHORT_ROUND = 32  # about 6 ms: the time of one fresh write; a tick takes twice as long
FLOWING_SECONDS = 1.0  # after a fresh write, for how long more are expected


@dataclass
class Rounds:
    """What a drain has read lately, and how much it reads next."""

    batch_max: int
    monotonic: Callable[[], float] = time.monotonic
    is_backlogged: bool = False
    _fresh_streams: int = field(default=1)
    _backlog_streams: int = field(default=1)
    _fresh_at: float = field(default=-1e9)

    @property
    def fresh(self) -> int:
        """Entries to read from each fresh stream: each gets its share, however long it is."""
        return max(1, self.batch_max // self._fresh_streams)

    def backlog(self, *, is_alone: bool, is_keeper: bool) -> int:
        """Entries to read from each backlog stream."""
        is_flowing = self.monotonic() - self._fresh_at < FLOWING_SECONDS
        is_short = is_keeper or (is_alone and is_flowing)
        total = min(SHORT_ROUND, self.batch_max) if is_short else self.batch_max
        return max(1, total // self._backlog_streams)

    def see(self, entries: Sequence[StreamEntry]) -> None:
        """Note what a round has read."""
        fresh, backlog = split(entries)
        if {entry.tenant for entry in fresh} - {entry.tenant for entry in backlog}:
            self._fresh_at = self.monotonic()  # of a tenant that does not flood
        self._fresh_streams = len({entry.stream for entry in fresh}) or 1
        self._backlog_streams = len({entry.stream for entry in backlog}) or 1
        self.is_backlogged = bool(backlog)


def split(entries: Sequence[StreamEntry]) -> tuple[list[StreamEntry], list[StreamEntry]]:
    """Fresh entries and backlog entries, separated."""
    fresh = [entry for entry in entries if entry.is_fresh]
    return fresh, [entry for entry in entries if not entry.is_fresh]
