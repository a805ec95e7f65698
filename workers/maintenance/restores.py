"""Restores of many streaks, run in portions between other upkeep.

Each participant's streak is restored once, whichever process is killed:

1. The restore's row is locked, so that one process continues it.
2. The participants after its position are read, and those with a break chosen, without a lock.
3. Their restores are applied as a drain applies them: under the participants' locks, with ledger
   and facts. A tick that came meanwhile decides there: `nothing_to_restore`.
4. The position is committed with them: the next process continues after it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from models import clock, ids
from models.db import Connection, Contended, DatabaseUnavailable, Engine, reading, transaction
from models.failpoints import failpoint
from models.operator import audit_log
from models.operator.audit_log import NewAuditEntry
from models.rules.periods import period_at
from models.streaks import breaks, restores
from models.streaks.breaks import SeenStreak
from models.streaks.restores import Candidate, Restore, RestoreKey, RestoreStep
from models.streaks.states import Streak
from workers.apply import apply_batch
from workers.apply.apply_batch import Applied
from workers.apply.batch import Configurations
from workers.apply.repairs import NOTHING
from workers.intake.messages import RepairV1
from workers.maintenance import dispatch
from workers.maintenance.streak_deadlines import APPEND_MARGIN_US, horizons
from workers.runtime.context import Context
from workers.telemetry import metrics_store
from workers.telemetry.metrics import APPLIED, DELIVERIES, FACTS, REJECTED

log = logging.getLogger("unbroken.restores")

SCANNED_MAX = 1_000  # participants that a portion looks at: some 20 ms
PORTION = 100  # streaks restored in one transaction: a tick of theirs waits for it
RUN_SECONDS = 0.5  # the sweep runs in the same process every second, and asks for more


def is_any(engine: Engine) -> bool:
    """Whether a restore may continue."""
    with reading(engine) as connection:
        return bool(restores.running(connection))


def run(context: Context) -> None:
    """Continue the running restores, one portion each in turn, for a moment."""
    ends = time.monotonic() + RUN_SECONDS
    job = RestoreRun(context.engine, Configurations())
    try:
        keys = ready(context)
        while keys and time.monotonic() < ends and not context.should_stop():
            keys = [key for key in keys if job.goes_on(key)]
    except (DatabaseUnavailable, Contended) as error:
        log.warning("a portion is to be tried again: %s", type(error).__name__)
    if job.deliveries:
        dispatch.wake(context.client, context.celery)


def ready(context: Context) -> list[RestoreKey]:
    """The restores before whose request every accepted tick is applied.

    Until then a streak may look broken that is not.
    """
    with reading(context.engine) as connection:
        keys = restores.running(connection)
    if not keys:
        return []
    until_us = horizons(context.client, clock.now_us())
    return [
        key for key in keys
        if clock.to_us(key.created_at)
        <= until_us[key.tenant_id % len(until_us)] + APPEND_MARGIN_US
    ]  # fmt: skip


@dataclass
class RestoreRun:
    """One run with its connections."""

    engine: Engine
    configurations: Configurations
    deliveries: int = 0

    def goes_on(self, key: RestoreKey) -> bool:
        """Do one portion of a restore; return whether another may follow at once."""
        step = self._attempt(key, PORTION)
        return step is not None and not step.is_last

    def _attempt(self, key: RestoreKey, limit: int) -> RestoreStep | None:
        """One portion in one transaction; None when there is nothing to do now.

        A fault in one participant's data must not hold up the others: the portion is made smaller
        until that participant is alone, and is then refused.
        """
        try:
            done = self._commit(key, limit, is_skipping=False)
        except (DatabaseUnavailable, Contended):
            raise
        except Exception:
            if limit > 1:
                return self._attempt(key, limit // 2)
            log.exception("restore %s: a participant is passed over", key.id)
            done = self._commit(key, limit, is_skipping=True)
        if done is None:
            return None
        _count(done.applied)
        self.deliveries += done.applied.deliveries
        failpoint("restore.after_commit")
        return done.step

    def _commit(self, key: RestoreKey, limit: int, *, is_skipping: bool) -> Portion | None:
        with transaction(self.engine) as connection:
            restore = restores.take(connection, key)
            if restore is None:
                return None
            done = portion(connection, restore, self.configurations, limit, is_skipping=is_skipping)
            restores.advance(connection, restore, done.step, clock.now())
            if done.step.is_last and not restore.is_preview:
                _audit(connection, restore, done.step)
            failpoint("restore.before_commit")
        return done


@dataclass(frozen=True, slots=True)
class Portion:
    """What one transaction did."""

    step: RestoreStep
    applied: Applied


def portion(
    connection: Connection,
    restore: Restore,
    configurations: Configurations,
    limit: int,
    *,
    is_skipping: bool,
) -> Portion:
    """Restore the streaks of the next participants, at most `limit`; a preview only counts."""
    known = configurations.load(connection, {restore.tenant_id})
    streak = known[restore.tenant_id].streaks[restore.streak_id]
    found = restores.next_some(connection, restore, streak, SCANNED_MAX)
    choice = choose(restore, streak, found, None if restore.is_preview else limit)
    if restore.is_preview:
        refused = sum(not candidate.is_active for candidate in choice.broken)
        return Portion(replace(choice.step, refused=refused), Applied())
    if is_skipping:
        return Portion(replace(choice.step, refused=len(choice.broken)), Applied())
    messages = [_message(restore, candidate) for candidate in choice.broken]
    applied = apply_batch.apply(connection, messages, configurations) if messages else Applied()
    return Portion(_settled(choice.step, len(messages), applied.done.rejected), applied)


def _settled(step: RestoreStep, asked: int, rejected: Mapping[str, int]) -> RestoreStep:
    """A step with what became of its restores."""
    nothing, refused = rejected.get(NOTHING, 0), sum(rejected.values())
    return replace(
        step,
        restored=asked - refused,
        nothing_to_restore=step.nothing_to_restore + nothing,
        refused=refused - nothing,
    )


@dataclass(frozen=True, slots=True)
class Choice:
    """Those with a break to restore, and the step so far."""

    broken: Sequence[Candidate]
    step: RestoreStep


def choose(
    restore: Restore, streak: Streak, candidates: Sequence[Candidate], limit: int | None
) -> Choice:
    """Those whose streak is to be restored, at most `limit`. Pure but for the clock."""
    broken: list[Candidate] = []
    scanned, now_us = 0, clock.now_us()
    for candidate in candidates:
        if len(broken) == limit:
            break
        scanned += 1
        if _is_broken(restore, streak, candidate, now_us):
            broken.append(candidate)
    is_listed = restore.lost is None
    step = RestoreStep(
        position=candidates[scanned - 1].participant_id if scanned else restore.position,
        is_last=scanned == len(candidates) < SCANNED_MAX,
        scanned=scanned,
        found=len(broken),
        nothing_to_restore=scanned - len(broken) if is_listed else 0,
    )
    return Choice(broken, step)


def _is_broken(restore: Restore, streak: Streak, candidate: Candidate, now_us: int) -> bool:
    state = candidate.state
    if state is None or candidate.external_id is None:
        return False
    zone = streak.zone(state.last_zone, candidate.timezone)
    try:
        seen = SeenStreak(streak, state, zone, period_at(streak.cadence, now_us, zone))
        return breaks.last(seen, restore.lost) is not None
    except (LookupError, ValueError):  # a zone that this release no longer knows
        return False


def _message(restore: Restore, candidate: Candidate) -> RepairV1:
    return RepairV1(
        restore.tenant_id,
        str(ids.uuid7(clock.now_us())),
        candidate.external_id or "",
        restore.streak_id,
        [],
        reason=restore.reason,
        restore_id=str(restore.id),
        lost_between=restore.lost,
    )


def _audit(connection: Connection, restore: Restore, last: RestoreStep) -> None:
    """Note the end of a restore, with its figures."""
    figures = ("scanned", "found", "restored", "nothing_to_restore", "refused")
    detail = {name: getattr(restore, name) + getattr(last, name) for name in figures}
    entry = NewAuditEntry(
        restore.tenant_id, "restore.finished", str(restore.id), detail, actor="system"
    )
    audit_log.record(connection, entry)


def _count(applied: Applied) -> None:
    metrics_store.add_each(APPLIED, applied.done.applied)
    metrics_store.add_each(REJECTED, applied.done.rejected)
    metrics_store.add_each(FACTS, applied.done.facts)
    if applied.deliveries:
        metrics_store.add(DELIVERIES, applied.deliveries)
