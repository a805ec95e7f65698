"""The intake's client: everything the API may do with the workers.

It appends accepted writes, waits for their answers, and changes configuration so that every
process uses it from its next write on.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any, Literal

import redis
from celery import Celery
from redis.backoff import NoBackoff
from redis.retry import Retry

from models.failpoints import failpoint
from workers.intake import find_entry, loop_calls, redis_keys, status
from workers.intake.accept import Accepted as Accepted
from workers.intake.accept import Append as Append
from workers.intake.accept import Bounds, arguments, counters, read, read_doubting, touched
from workers.intake.accept import Caps as Caps
from workers.intake.accept import Full as Full
from workers.intake.accept import Idempotency as Idempotency
from workers.intake.accept import IdempotencyConflict as IdempotencyConflict
from workers.intake.accept import IntakeError as IntakeError
from workers.intake.accept import OutcomeUnknown as OutcomeUnknown
from workers.intake.accept import Rate as Rate
from workers.intake.accept import Refusal as Refusal
from workers.intake.accept import RefusalReason as RefusalReason
from workers.intake.accept import Stale as Stale
from workers.intake.accept import Unavailable as Unavailable
from workers.intake.accept import Writer as Writer
from workers.intake.find_entry import Queued as Queued
from workers.intake.messages import AssignmentV1 as AssignmentV1
from workers.intake.messages import AwardV1 as AwardV1
from workers.intake.messages import ByV1 as ByV1
from workers.intake.messages import FreezeV1 as FreezeV1
from workers.intake.messages import MergeV1 as MergeV1
from workers.intake.messages import Message as Message
from workers.intake.messages import PauseRemovalV1 as PauseRemovalV1
from workers.intake.messages import PauseV1 as PauseV1
from workers.intake.messages import PointsV1 as PointsV1
from workers.intake.messages import RedemptionV1 as RedemptionV1
from workers.intake.messages import RepairV1 as RepairV1
from workers.intake.messages import RetractionV1 as RetractionV1
from workers.intake.messages import TickV1 as TickV1
from workers.intake.messages import Unreadable as Unreadable
from workers.intake.messages import decode as decode
from workers.intake.redis_scripts import Script, ScriptCaller, ScriptResult
from workers.intake.status import IntakeStatus as IntakeStatus
from workers.intake.status import StreamStatus as StreamStatus
from workers.runtime.celery_config import DRAIN, make_celery
from workers.telemetry import metrics_store
from workers.telemetry.metrics_store import Counted as Counted

log = logging.getLogger("unbroken.intake")

_ACCEPT = Template(Path(__file__).with_name("accept.lua").read_text(encoding="utf-8")).substitute(
    MINUTE_MS=redis_keys.MINUTE_MS, AWAKE_MS=redis_keys.AWAKE_MS
)
_RESUBMIT = """
local now = redis.call('TIME')
if now[1] * 1000000 + now[2] > tonumber(ARGV[4]) then return {'late'} end
if redis.call('XLEN', KEYS[1]) + redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[3]) then return 0 end
redis.call('XADD', KEYS[2], '*', 'm', ARGV[2], 't', ARGV[1])
redis.call('HINCRBY', KEYS[3], ARGV[1], 1)
return 1
"""
_CHANGING = "!"  # ends a version while a change is being written: no cache may be filled from it
UNVERSIONED = "0"  # sent to the script for a tenant whose configuration was never read
WAIT_SECONDS_MAX = 10  # contract §2: Prefer: wait=N, N ≤ 10
# One retry over a new connection. Not after a time-out, which would double the wait. A server that
# is READONLY was the primary a moment ago: its name leads to the next primary.
_RETRIED = (redis.exceptions.ConnectionError, redis.exceptions.ReadOnlyError)
CONNECTIONS_MAX = 64  # per process: one for each request thread and some to spare


@dataclass(frozen=True)
class IntakeSettings:
    """The settings of an intake, by their names in settings.py."""

    redis_url: str
    redis_timeout_ms: int
    intake_entries_max: int
    fresh_entries_max: int
    idempotency_hours: int


@dataclass
class Intake:
    """Connections to Redis, and the Celery application for wakes."""

    client: redis.Redis
    waiting: redis.Redis  # its reads may take as long as a request may wait
    celery: Celery
    settings: IntakeSettings
    scripts: ScriptCaller
    bounds: Bounds
    _accept: Script = field(default_factory=lambda: Script(_ACCEPT))
    _resubmit: Script = field(default_factory=lambda: Script(_RESUBMIT))

    def append(self, request: Append) -> Accepted:
        """Accept writes in one round trip; they are durable when this returns.

        Raises Stale, Full, IdempotencyConflict or Unavailable: then nothing is accepted, now or
        later. Raises OutcomeUnknown: it may have been accepted.
        """
        argv = arguments(request, self.bounds)
        answered = self.scripts.call(self._accept, touched(request), argv)
        failpoint("api.after_append")
        if loop_calls.is_on_loop():
            _keep_on_loop(answered)
        if answered.result[0] == b"ok" and answered.result[1]:
            loop_calls.in_thread(self.wake)
        return read_doubting(answered.result) if answered.is_in_doubt else read(answered.result)

    def wake(self) -> None:
        """Ask for a drain. A lost wake costs a second: beat's next sweep finds the entries."""
        try:
            self.celery.send_task("drain", queue=DRAIN)
        except Exception:
            log.warning("wake-up not sent; the sweep will see the backlog", exc_info=True)

    def wait(self, write_id: str, seconds: float) -> dict[str, Any] | None:
        """The answer to a write, or None when it has not been applied in time.

        `{"rejected": code}` when the worker rejected it.
        """
        try:
            popped = self._pop(redis_keys.reply(write_id), seconds)
        except redis.exceptions.RedisError:
            return None  # accepted all the same: the caller answers 202
        return None if popped is None else json.loads(popped[1])

    def _pop(self, name: str, seconds: float) -> list[bytes] | None:
        """The first item of a list; waits for an unresponsive Redis only as long as its
        time-out."""
        longest = seconds + self.settings.redis_timeout_ms / 1_000
        pool = self.waiting.connection_pool
        line: Any = pool.get_connection()  # it has checked that the connection is still open
        try:
            line.send_command("BLPOP", name, seconds)
            popped: list[bytes] | None = line.read_response(timeout=longest)
        except redis.exceptions.RedisError:
            line.disconnect()  # its answer may still come, and must not be read as the next one
            raise
        finally:
            pool.release(line)
        return popped

    def tightest_rate(self, writer: Writer, caps: Caps) -> Rate | None:
        """The state of the tightest cap, without using a token; None where none applies.

        Raises Unavailable.
        """
        wanted = counters(writer, caps)
        pipeline = self.client.pipeline(transaction=False)
        for _, counter in wanted:
            pipeline.get(counter)
            pipeline.pttl(counter)
        try:
            found: Any = pipeline.execute() if wanted else []
        except redis.exceptions.RedisError as error:
            raise Unavailable from error
        rates = [
            Rate(cap, max(0, cap - int(count or 0)), reset_ms if count else redis_keys.MINUTE_MS)
            for (cap, _), count, reset_ms in zip(wanted, found[::2], found[1::2], strict=True)
        ]
        return min(rates, key=lambda rate: rate.remaining, default=None)

    def mark(self, tenant_id: int, participant_id: str, is_active: bool) -> None:
        """Refuse a participant's writes in the API, or accept them again.

        This is an early answer; the worker asks the database again. Call it after the commit.
        Raises Unavailable: then writes are accepted and the worker rejects them.
        """
        name = redis_keys.inactive(redis_keys.stream_of(tenant_id), tenant_id)
        try:
            if is_active:
                self.client.srem(name, participant_id)
            else:
                self.client.sadd(name, participant_id)
        except redis.exceptions.RedisError as error:
            raise Unavailable from error

    def forget(self, tenant_id: int, participant_id: str) -> None:
        """Delete what Redis keeps of a participant beside the queue. Raises Unavailable."""
        number = redis_keys.stream_of(tenant_id)
        try:
            self.client.srem(redis_keys.inactive(number, tenant_id), participant_id)
            self.client.delete(redis_keys.rate(number, tenant_id) + participant_id)
        except redis.exceptions.RedisError as error:
            raise Unavailable from error

    def unapplied(self, tenant_id: int) -> int:
        """How many writes of a tenant wait. Raises Unavailable."""
        name = redis_keys.waiting(redis_keys.stream_of(tenant_id))
        try:
            found: Any = self.client.hget(name, str(tenant_id))
        except redis.exceptions.RedisError as error:
            raise Unavailable from error
        return int(found or 0)

    def is_idle(self, tenant_id: int) -> bool:
        """Whether every write of the tenant, and of the tenants on its streams, is applied or a
        dead letter. False when Redis does not answer."""
        number = redis_keys.stream_of(tenant_id)
        pipeline = self.client.pipeline(transaction=False)
        pipeline.xlen(redis_keys.stream(number))
        pipeline.xlen(redis_keys.backlog(number))
        try:
            return not any(pipeline.execute())
        except redis.exceptions.RedisError:
            return False

    def resubmit(self, tenant_id: int, text: bytes) -> None:
        """Append once more a message that was accepted before, in its original encoding.

        It keeps its id, so its ledger takes it once. No cap counts it. It waits in the backlog, so
        that a retry never delays fresh writes. Raises Unavailable, Full or OutcomeUnknown.
        """
        number = redis_keys.stream_of(tenant_id)
        names = (redis_keys.stream(number), redis_keys.backlog(number), redis_keys.waiting(number))
        entries_max = self.settings.intake_entries_max
        answered = self.scripts.call(self._resubmit, names, (tenant_id, text, entries_max))
        if not answered.result:
            raise OutcomeUnknown if answered.is_in_doubt else Full
        self.wake()

    # -- configuration -----------------------------------------------------------------------

    def version(self, tenant_id: int) -> str:
        """The version of a tenant's configuration, to be read before the configuration itself.

        A missing version is created: a Redis that lost its data must not return to a version that a
        cache still holds.
        """
        name, field = redis_keys.config(redis_keys.stream_of(tenant_id)), str(tenant_id)
        try:
            found: Any = self.client.hget(name, field)
            if found is None:
                self.client.hsetnx(name, field, uuid.uuid4().hex)
                found = self.client.hget(name, field)
        except redis.exceptions.RedisError as error:
            raise Unavailable from error
        return bytes(found).decode()

    @contextmanager
    def changing(self, tenant_ids: Sequence[int]) -> Iterator[None]:
        """Change configuration in the block, so that it holds for the next write everywhere.

        1. Before: a version that no cache may keep. Writes continue, each reading the database.
        2. The block commits its transaction.
        3. After: a fresh version. Caches are filled again.
        A crash between 2 and 3 leaves writes slow and correct until the sweep heals the version.
        Raises Unavailable when Redis does not answer at 1: then nothing was changed.
        """
        self._set_versions(tenant_ids, _CHANGING)
        try:
            yield
        finally:
            try:
                self._set_versions(tenant_ids, "")
            except Unavailable:  # the block has committed all the same: say so, not 503
                log.warning("a version was not renewed after a change; the sweep will heal it")

    def _set_versions(self, tenant_ids: Sequence[int], suffix: str) -> None:
        version = uuid.uuid4().hex + suffix
        try:
            for tenant_id in tenant_ids:
                number = redis_keys.stream_of(tenant_id)
                self.client.hset(redis_keys.config(number), str(tenant_id), version)
        except redis.exceptions.RedisError as error:
            raise Unavailable from error

    def read_status(self) -> IntakeStatus:
        """The state of Redis and the workers, for the operator. Raises Unavailable."""
        try:
            return status.read(self.client)
        except redis.exceptions.RedisError as error:
            raise Unavailable from error

    def queued(self, tenant_id: int, write_id: uuid.UUID) -> Queued | None:
        """The entry of a write that waits to be applied, or None. Raises Unavailable."""
        try:
            return find_entry.find(self.client, tenant_id, write_id)
        except redis.exceptions.RedisError as error:
            raise Unavailable from error

    def counted(self) -> Counted:
        """The counts of all processes, by metric. Raises Unavailable."""
        try:
            return metrics_store.read(self.client)
        except redis.exceptions.RedisError as error:
            raise Unavailable from error

    def ping(self) -> Literal[True]:
        """Return when Redis answers; raise Unavailable."""
        try:
            self.client.ping()
        except redis.exceptions.RedisError as error:
            raise Unavailable from error
        return True

    def close(self) -> None:
        """Give the connections back."""
        self.client.close()
        self.waiting.close()
        self.scripts.close()


def _keep_on_loop(answered: ScriptResult) -> None:
    """Continue after an append whose writes were, or may have been, accepted. Raises NeedsThread
    otherwise: nothing was accepted, and a refusal is checked in a thread."""
    result = answered.result
    is_taken = result[0] == b"ok" and not result[6:]
    if is_taken or answered.is_in_doubt:
        loop_calls.commit()
    loop_calls.may_block()


def may_be_cached(version: str) -> bool:
    """Whether configuration read after this version may serve later writes too."""
    return not version.endswith(_CHANGING)


def open_intake(settings: IntakeSettings) -> Intake:
    """An intake on the Redis of the settings; it sends nothing before its first use."""
    seconds = settings.redis_timeout_ms / 1_000
    client = connect(settings.redis_url, seconds)
    return Intake(
        client=client,
        waiting=connect(settings.redis_url, WAIT_SECONDS_MAX + seconds),
        celery=make_celery(settings.redis_url),
        settings=settings,
        scripts=ScriptCaller(client, settings.redis_url, seconds),
        bounds=Bounds(
            settings.intake_entries_max,
            settings.fresh_entries_max,
            settings.idempotency_hours * 3_600,
        ),
    )


def connect(url: str, timeout_seconds: float) -> redis.Redis:
    """A client whose every wait ends after `timeout_seconds`, with one retry on a fresh socket."""
    pool = _Connections.from_url(
        url,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        max_connections=CONNECTIONS_MAX,
        protocol=2,
        retry=Retry(NoBackoff(), 1, _RETRIED),
    )
    return redis.Redis.from_pool(pool)


class _Connections(redis.ConnectionPool):
    """Connections that block: code on an event loop cannot get one."""

    def get_connection(self, *args: Any, **options: Any) -> Any:
        """A connection; raises NeedsThread."""
        loop_calls.may_block()
        return super().get_connection(*args, **options)
