"""Facts without a tick: publish that streaks are at risk, or broken, when it is time.

Each is published exactly once, even if any process crashes and with any number of sweeps:

1. The participants of the due states are locked, as a batch of ticks locks them. Those that a batch
   or another sweep holds are skipped; the next sweep finds them.
2. Their states are read under that lock: what was recorded and published meanwhile.
3. Each is decided in memory. The fact, the mark that it is published, and the next deadline are
   written in one transaction; deliveries are woken after it.

A sweep goes no further than ticks have been applied. A tick accepted before midnight may be applied
after it: seconds later or, where no drain was running, days. Until then no fact says that its
streak has broken.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import redis

from models import clock, ids
from models.db import Connection, Contended, DatabaseUnavailable, Engine, reading, transaction
from models.delivery.facts import latest_ids
from models.failpoints import failpoint
from models.identity import participants
from models.rules.deadlines import Deadlines, Notified, Reminded, look
from models.rules.periods import HOUR_US, period_at
from models.rules.reminders import Reminder
from models.streaks import deadline_reviews, deadlines
from models.streaks.deadlines import DeadlineOutcome, Locked, WatchedState
from models.streaks.states import StateKey, Streak, StreakState
from webhooks import deadline_facts, facts, outbox
from webhooks.deadline_facts import StreakDeadline
from webhooks.facts import Fact, FactStamp, StreakRepair
from workers.apply.batch import Configuration, Configurations
from workers.intake import redis_keys
from workers.intake.stream import NUMBERS, STREAMS
from workers.maintenance import dispatch
from workers.maintenance.streak_corrections import correction, forgiven
from workers.maintenance.streak_reminders import ReminderCase
from workers.runtime.context import Context
from workers.telemetry import metrics_store
from workers.telemetry.metrics import DEADLINES, DELIVERIES, FACTS

log = logging.getLogger("unbroken.deadlines")

RUN_SECONDS = 0.8  # of the second between two sweeps: upkeep has other work
PORTION = 500  # states a transaction: locks are held for some tens of milliseconds
REVIEW_PORTION = 2_000  # states read at once; most of an old tenant's are broken and skipped
# From the instant that the API puts on a tick to its entry in the stream: a second at most while
# Redis answers. The rest is for clocks that differ.
APPEND_MARGIN_US = 5_000_000
UNDECIDABLE_US = HOUR_US  # an undecidable state is checked again in an hour


def run(context: Context) -> None:
    """Publish what is due."""
    sweep = Sweep(
        engine=context.engine,
        until=lambda: horizons(context.client, clock.now_us()),
        on_deliveries=lambda: dispatch.wake(context.client, context.celery),
        should_stop=context.should_stop,
    )
    try:
        sweep.run(RUN_SECONDS)
    except (DatabaseUnavailable, Contended) as error:
        log.warning("the next sweep tries again: %s", type(error).__name__)


def horizons(client: redis.Redis, now_us: int) -> list[int]:
    """For each stream's tenants, the instant until which every accepted tick is applied.

    An entry stays in its stream until its batch is committed, and its id begins with the
    millisecond in which it was appended.
    """
    pipeline = client.pipeline(transaction=False)
    for stream in STREAMS:
        pipeline.xrange(stream, count=1)
    oldest: list[Any] = pipeline.execute()
    horizons_us = [now_us - APPEND_MARGIN_US] * redis_keys.STREAM_COUNT
    for stream, entries in zip(STREAMS, oldest, strict=True):
        for entry_id, _ in entries:
            appended_us, number = int(entry_id.partition(b"-")[0]) * 1_000, NUMBERS[stream]
            horizons_us[number] = min(horizons_us[number], appended_us - APPEND_MARGIN_US)
    return horizons_us


@dataclass
class Sweep:
    """One sweep with its connections."""

    engine: Engine
    until: Callable[[], Sequence[int]]  # horizons, in microseconds
    on_deliveries: Callable[[], None]
    should_stop: Callable[[], bool] = lambda: False
    configurations: Configurations = field(default_factory=Configurations)

    def run(self, seconds: float) -> int:
        """Sweep for a while; return how many states were checked."""
        ends, done = time.monotonic() + seconds, 0
        horizons_us = self.until()
        with reading(self.engine) as connection:
            is_due = deadlines.is_due(connection, horizons_us)
        while is_due and time.monotonic() < ends and not self.should_stop():
            looked = self._portion(_due, horizons_us) or self._portion(_review, horizons_us)
            done, is_due = done + looked, looked > 0
        return done

    def _portion(self, lock: Lock, horizons_us: Sequence[int]) -> int:
        with transaction(self.engine) as connection:
            found, count = lock(connection, self.configurations, horizons_us)
            notified = publish_due(connection, found, self.configurations, horizons_us)
            failpoint("deadlines.mid_sql")
        metrics_store.add_each(DEADLINES, notified.facts)
        metrics_store.add_each(FACTS, notified.facts)
        metrics_store.add(DELIVERIES, notified.deliveries)
        failpoint("deadlines.after_commit")
        if notified.deliveries:
            self.on_deliveries()
        return count


# Lock what is to be checked; return it, and how much work was found.
Lock = Callable[[Connection, Configurations, Sequence[int]], tuple[Locked, int]]
_NOTHING = Locked((), {}, {})


def _due(
    connection: Connection, configurations: Configurations, horizons_us: Sequence[int]
) -> tuple[Locked, int]:
    found = deadlines.lock_due(connection, horizons_us, PORTION)
    return found, len(found.keys)


def _review(
    connection: Connection, configurations: Configurations, horizons_us: Sequence[int]
) -> tuple[Locked, int]:
    """The next states of a changed definition; a paused one publishes nothing."""
    review = deadline_reviews.some(connection)
    if review is None:
        return _NOTHING, 0
    streak = configurations.load(connection, {review.tenant_id})[review.tenant_id].streaks[
        review.streak_id
    ]
    found, position = _NOTHING, None
    if streak.is_active:
        current = period_at(streak.cadence, horizons_us[streak.tenant_id % len(horizons_us)], None)
        found, position = deadlines.lock_next(
            connection, streak, current, review.position, REVIEW_PORTION
        )
    deadline_reviews.go_on(connection, review, position)
    return found, max(1, len(found.keys))


# -- publishing --------------------------------------------------------------------------------


def publish_due(
    connection: Connection,
    found: Locked,
    configurations: Configurations,
    horizons_us: Sequence[int],
) -> Published:
    """Decide on states, write their facts; return how many."""
    if not found.keys:
        return Published(0, {})
    known = configurations.load(connection, {key[0] for key in found.keys})
    definitions = {(key[0], key[2]): known[key[0]].streaks[key[2]] for key in found.keys}
    states = deadlines.watched(connection, found, definitions)
    cases = [
        Case(key, definitions[key[0], key[2]], watched, horizons_us[key[0] % len(horizons_us)])
        for key, watched in states.items()
    ]
    work = DeadlineDecisions(found, known, clock.now_us())
    work.repairs = _repairs(connection, found, cases)
    for case in cases:
        work.decide(case)
    deadlines.write_outcomes(connection, work.outcomes, states)
    wanted = [
        destination_filter
        for configuration in known.values()
        for destination_filter in configuration.destination_filters
    ]
    count = outbox.publish(connection, work.facts, wanted)
    participants.touch(connection, found.participants.values())
    return Published(count, Counter(fact.type for fact in work.facts))


def _repairs(
    connection: Connection, found: Locked, cases: Sequence[Case]
) -> dict[StateKey, StreakRepair]:
    """The published breaks that did not happen, each with the fact that it corrects."""
    repairs: dict[StateKey, StreakRepair] = {}
    for case in cases:
        if case.watched.notified.broken is not None and case.streak.is_active:
            with suppress(LookupError, ValueError):  # a zone that this release no longer knows
                repair = case.correction(found.participants[case.key[:2]].timezone)
                if repair is not None:
                    repairs[case.key] = repair
    subjects = {
        (*case.key[:2], case.streak.code): case.key for case in cases if case.key in repairs
    }
    ids_of = latest_ids(connection, facts.STREAK_BROKEN, list(subjects))
    for subject, fact_id in ids_of.items():
        key = subjects[subject]
        repairs[key] = replace(repairs[key], corrects=fact_id)
    return repairs


@dataclass(frozen=True, slots=True)
class Published:
    """What was written of a portion."""

    deliveries: int
    facts: Mapping[str, int]  # by type


@dataclass(frozen=True, slots=True)
class Case:
    """A state with its definition."""

    key: StateKey
    streak: Streak
    watched: WatchedState
    horizon_us: int

    def correction(self, participant_zone: str | None) -> StreakRepair | None:
        """What to publish about a break that was published and did not happen."""
        state = self.watched.state
        zone = self.streak.zone(state.last_zone, participant_zone)
        broken_at = self.watched.notified.broken
        return correction(self.streak, state, zone, broken_at, self.horizon_us)


@dataclass
class DeadlineDecisions:
    """One transaction's decisions, made in memory between one read and one write."""

    found: Locked
    configurations: dict[int, Configuration]
    now_us: int
    repairs: dict[StateKey, StreakRepair] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)
    outcomes: dict[StateKey, DeadlineOutcome] = field(default_factory=dict)

    def decide(self, case: Case) -> None:
        """Decide on one state as of its horizon."""
        horizon_us = case.horizon_us
        state, participant = case.watched.state, self.found.participants[case.key[:2]]
        outcome = DeadlineOutcome(state.ctid, case.watched.notified, state.is_watched)
        if case.streak.is_active:  # else nothing until the review that resuming it starts
            try:
                due = deadlines.of(case.streak, state, participant.timezone, horizon_us)
            except (LookupError, ValueError):  # a zone that this release no longer knows
                log.exception("tenant %d, participant %d, streak %d: no deadlines", *case.key)
                outcome = replace(outcome, again_us=horizon_us + UNDECIDABLE_US)
            else:
                notified = self._look_back(case, participant.timezone, horizon_us)
                outcome = self._look(case, due, notified, horizon_us)
        self.outcomes[case.key] = outcome

    def _look_back(self, case: Case, zone: str | None, horizon_us: int) -> Notified:
        """Publish the forgiven periods, and correct a break that did not happen."""
        state, notified, key = case.watched.state, case.watched.notified, case.key
        zone = case.streak.zone(state.last_zone, zone)
        for period in forgiven(case.streak, state, zone, horizon_us):
            self.facts.append(deadline_facts.streak_forgiven(self._stamp(key), case.streak, period))
        repair = self.repairs.get(key)
        if repair is None:
            return notified
        self.facts.append(facts.streak_repaired(self._stamp(key), case.streak, repair))
        return replace(notified, broken=None)

    def _look(
        self, case: Case, due: Deadlines, notified: Notified, horizon_us: int
    ) -> DeadlineOutcome:
        """Publish what is due, unless the streak broke before it was watched."""
        state = case.watched.state
        is_active = self.found.participants[case.key[:2]].inactive_us is None
        found = look(due, notified, horizon_us, can_be_saved=is_active)
        if found.publish == "at_risk":
            notified = replace(notified, at_risk=due.breaks_at)
            self.facts.append(
                deadline_facts.streak_at_risk(
                    self._stamp(case.key), case.streak, _deadline(state, due)
                )
            )
        elif found.publish == "broken" and state.is_watched:
            notified = replace(notified, broken=due.breaks_at)
            self.facts.append(
                deadline_facts.streak_broken(
                    self._stamp(case.key), case.streak, _deadline(state, due)
                )
            )
        again_us = found.again_us
        if again_us is not None and due.forgiven_us is not None:
            again_us = min(again_us, due.forgiven_us)
        if again_us is not None and case.streak.reminder is not None:
            notified, next_us = self._remind(case, case.streak.reminder, notified, due)
            again_us = min(again_us, next_us)
        return DeadlineOutcome(state.ctid, notified, again_us is not None, again_us, state.extras)

    def _remind(
        self, case: Case, reminder: Reminder, notified: Notified, due: Deadlines
    ) -> tuple[Notified, int]:
        """Publish the reminder of a period that is not recorded; return when to look again."""
        participant = self.found.participants[case.key[:2]]
        zone = case.streak.zone(case.watched.state.last_zone, participant.timezone)
        on = ReminderCase(case.streak, reminder, case.watched.state, zone, case.horizon_us)
        found = on.look(notified.reminded)
        if found.due is None or participant.inactive_us is not None:
            return notified, found.again_us
        reminded = on.reminded(found.due, notified.reminded, due)
        if reminded is None:
            return notified, found.again_us
        stamp = self._stamp(case.key)
        self.facts.append(deadline_facts.streak_reminder_due(stamp, case.streak, reminded))
        sent = Reminded(found.due.period, found.due.due_us)
        return replace(notified, reminded=sent), found.again_us

    def _stamp(self, key: StateKey) -> FactStamp:
        participant = self.found.participants[key[:2]]
        return FactStamp(
            ids.uuid7(self.now_us),
            self.configurations[key[0]].tenant,
            participant.id,
            self.found.names[key[:2]],
            participant.next_sequence(),
            self.now_us,
        )


def _deadline(state: StreakState, due: Deadlines) -> StreakDeadline:
    return StreakDeadline(
        count=state.totals.count,
        longest_count=state.totals.longest,
        grace_remaining=state.totals.grace_remaining,
        last_recorded_us=state.last_recorded_us,
        expires_us=due.breaks_us,
    )
