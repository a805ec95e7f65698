"""Apply the ticks of a batch: periods, states, ledger, facts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple
from uuid import UUID

from models import ids
from models.db import Connection
from models.definitions.badges import Badge
from models.identity.participants import Participant, ParticipantKey
from models.ledgers import ticks
from models.ledgers.ticks import Tick
from models.people import streak_seeds
from models.people.streak_seeds import Seed
from models.rules.challenges import Happened
from models.rules.periods import Cadence, period_at
from models.rules.streaks import Recorded, contains, record, walk
from models.rules.targets import Progress
from models.rules.terms import Terms
from models.streaks import deadlines, states
from models.streaks.states import StateKey, Streak, StreakState
from webhooks import facts
from webhooks.facts import FreezesEarned, StreakRepair
from workers.apply import forgiving
from workers.apply.batch import Batch, UnknownDefinition
from workers.apply.effects import Effects, Prize
from workers.apply.milestones import Crossing, Milestone, change_of, crossings
from workers.apply.progress import ProgressOfBatch, unrecorded
from workers.intake.messages import TickV1

_HAS_PAUSES = attrgetter("has_pauses")


class Decided(NamedTuple):
    """The result of a tick, before its facts are published."""

    message: TickV1
    streak: Streak
    tick: Tick
    crossed: Sequence[Crossing]
    participant: Participant
    run: int  # the best run that its period belongs to; 0 where nothing depends on it
    earned: FreezesEarned | None = None
    repair: StreakRepair | None = None  # periods that it earned back when its own was recorded

    def badges(self, batch: Batch) -> Iterator[Badge]:
        """The badges of the milestones that it may have reached."""
        for crossing in self.crossed:
            badge = batch.configuration(self.message).badge_to_award(crossing.milestone.badge_code)
            if badge:
                yield badge


class Suspect(NamedTuple):
    """A tick after which a state may need a deadline, or an earlier deadline."""

    tick_id: str
    streak: Streak
    participant_zone: str | None
    is_late: bool  # a late tick: a break that was published may not have happened


class Step(NamedTuple):
    """How a tick changes the batch's copy of a state."""

    recorded: Recorded
    terms: Terms | None  # of a state with forgiveness
    # Whether the deadline is still early enough: it is unless a late tick spent credits, another
    # calendar counts, a reminder follows the tick, or missed periods are earned back.
    is_deadline_sure: bool
    earns: bool  # from this tick on the period earns missed ones back


@dataclass
class Ticks:
    """The ticks of a batch, decided in memory between one read and one write."""

    states: dict[StateKey, StreakState] = field(default_factory=dict)
    changed: dict[StateKey, int] = field(default_factory=dict)  # to the rules' revision
    seeds: dict[ParticipantKey, Seed] = field(default_factory=dict)  # of those who have any
    ledger: list[Tick] = field(default_factory=list)  # in the order of the messages
    suspects: dict[StateKey, Suspect] = field(default_factory=dict)  # the first tick of each
    progress: ProgressOfBatch = field(default_factory=ProgressOfBatch)
    # The current UTC period when the first tick was accepted.
    current: dict[Cadence, int] = field(default_factory=dict)

    def read(self, connection: Connection, batch: Batch, messages: Sequence[TickV1]) -> None:
        """Read the states of all participants with ticks, under their locks."""
        if not messages:
            return
        # The ids are UUIDv7: their text order is their order in time.
        first_us = _accepted_us(min(message.id for message in messages))
        keys = sorted({(m.tenant_id, batch.participant(m).id, m.streak_id) for m in messages})
        definitions = {(key[0], key[2]): _streak(batch, key[0], key[2]) for key in keys}
        cadences = {streak.cadence for streak in definitions.values()}
        self.current = {cadence: period_at(cadence, first_us, None) for cadence in cadences}
        self.states = states.states(connection, keys, definitions, batch.zones)
        if any(map(_HAS_PAUSES, batch.participants.values())):
            paused = {
                (key[0], participant.id)
                for key, participant in batch.participants.items()
                if participant.has_pauses
            }
            self.seeds = streak_seeds.read(connection, sorted(paused))
        targeted = [m for m in messages if definitions[m.tenant_id, m.streak_id].target]
        if targeted:
            self.progress.read(connection, batch, definitions, targeted)

    def decide(self, batch: Batch, message: TickV1) -> Decided:
        """Record one tick."""
        streak = batch.configurations[message.tenant_id].streaks[message.streak_id]
        participant = batch.participant(message)
        participant.saw(message.occurred_us)
        zone = message.counted_timezone or streak.zone(message.timezone, participant.timezone)
        period = period_at(streak.cadence, message.occurred_us, zone)
        key = (message.tenant_id, participant.id, streak.id)
        before = self.states[key].ranges if key in self.states else ()
        counted, progress, is_plenty = message, None, False
        if streak.target is not None:
            progress = self.progress.advance((*key, period), streak.target, message, streak, zone)
            if progress.value < streak.target.amount and not contains(before, period):
                return self._progressed(batch, message, streak, period, progress)
            # With the latest instant of its period: the order of its ticks changes nothing.
            counted = message.counted_at(progress.last_us, progress.last_zone)
            is_plenty = streak.is_plenty(progress.value)
        step = self._step(key, streak, counted, participant, period, is_plenty)
        recorded, terms = step.recorded, step.terms
        if not step.is_deadline_sure and not self._is_long_dead(key, streak.cadence):
            is_late = recorded.outcome == "backfilled" or step.earns
            suspect = Suspect(message.id, streak, participant.timezone, is_late)
            self.suspects[key] = suspect if is_late else self.suspects.get(key, suspect)
        tick = _tick(message, participant, period, recorded, progress)
        self.ledger.append(tick)
        if message.is_awaited:
            batch.answers[message.id] = ticks.answer(tick, message.participant_id, streak)
        earned = None if terms is None else forgiving.freezes_earned(self.states[key])
        is_run_asked = streak.milestones or batch.configuration(message).challenges
        repair = None
        if step.earns and recorded.outcome == "repeated":
            repair = forgiving.earned_back(streak, self.states[key], recorded)
        if (recorded.outcome == "repeated" and not step.earns) or not is_run_asked:
            return Decided(message, streak, tick, (), participant, 0, earned, repair)
        change = change_of(before, recorded, streak.rules, period, terms)
        if step.earns and terms is not None:
            change = change._replace(terms_before=terms.without_plenty(period))
        crossed = crossings(streak, tick, change) if streak.milestones else ()
        return Decided(message, streak, tick, crossed, participant, change.run, earned, repair)

    def _progressed(
        self, batch: Batch, message: TickV1, streak: Streak, period: int, progress: Progress
    ) -> Decided:
        """A tick whose period has not reached its target: it is kept, and records nothing."""
        participant = batch.participant(message)
        state = self.states.get((message.tenant_id, participant.id, streak.id))
        tick = _tick(message, participant, period, unrecorded(streak, state), progress)
        self.ledger.append(tick)
        if message.is_awaited:
            batch.answers[message.id] = ticks.answer(tick, message.participant_id, streak)
        return Decided(message, streak, tick, (), participant, 0)

    def _step(
        self,
        key: StateKey,
        streak: Streak,
        message: TickV1,
        participant: Participant,
        period: int,
        is_plenty: bool,
    ) -> Step:
        """Record one period in the batch's copy of the state."""
        state = self.states.get(key)
        if state is None:
            state = StreakState((), walk((), streak.rules), message.occurred_us, message.timezone)
            self.states[key] = state
            if participant.has_pauses:
                zone = streak.zone(message.timezone, participant.timezone)
                state.extras = self.seeds[key[:2]].extras(streak.id, streak.cadence, zone)
        terms, earns = None, False
        latest, last_zone = (state.last_recorded_us, state.last_zone or ""), state.last_zone
        if (message.occurred_us, message.timezone or "") > latest:
            # The greatest of all ticks, so that their order of arrival does not matter.
            state.last_recorded_us, state.last_zone = message.occurred_us, message.timezone
        if streak.is_plain and state.extras is None:
            recorded = record(state.ranges, state.totals, streak.rules, period)
            state.ranges, state.totals = recorded.ranges, recorded.after
        else:
            zone = streak.zone(state.last_zone, participant.timezone)
            accepted_us = _accepted_us(message.id)
            recorded, terms, earns = forgiving.record(
                streak, state, zone, period, accepted_us, is_plenty=is_plenty
            )
        self.changed[key] = streak.revision
        is_in_time = recorded.outcome != "backfilled" and state.last_zone == last_zone
        is_followed = streak.reminder is not None and streak.reminder.after_us is not None
        is_sure = state.is_watched and is_in_time and not (is_followed or earns)
        return Step(recorded, terms, is_sure, earns)

    def write(self, connection: Connection) -> None:
        """Write the changed states, and the ledger; raises UniqueViolation when it holds a tick."""
        if self.ledger:
            due_us = self._deadlines() if self.suspects else {}
            changed = {key: self.states[key] for key in sorted(self.changed)}
            states.write_states(connection, changed, self.changed)
            if self.progress.changed:
                self.progress.write(connection)
            if due_us:
                deadlines.watch(connection, due_us)
            ticks.append(connection, self.ledger)

    def _is_long_dead(self, key: StateKey, cadence: Cadence) -> bool:
        """Whether an unwatched streak had broken before its tick was accepted, in any calendar:
        none is more than a period away from UTC's. Most of an import ends here."""
        state, current = self.states[key], self.current.get(cadence, 0)
        totals = state.totals
        if state.extras is not None:
            breaks_at = state.extras.breaks_at
            return not state.is_watched and breaks_at is not None and current > breaks_at + 2
        gap = current - (totals.last or 0)
        return not state.is_watched and gap > totals.grace_remaining + 3

    def _deadlines(self) -> dict[StateKey, int]:
        """When to review new states, and states whose deadline may have moved closer.

        A streak already broken when its first tick was accepted, as in an import, gets no fact.
        """
        found: dict[StateKey, int] = {}
        for key, suspect in self.suspects.items():
            state = self.states[key]
            due = deadlines.of(suspect.streak, state, suspect.participant_zone)
            if suspect.is_late and state.broken_at is not None:
                found[key], state.is_watched = _accepted_us(suspect.tick_id), True
            elif state.is_watched or due.breaks_us > _accepted_us(suspect.tick_id):
                found[key], state.is_watched = due.check_us, True
        return found


def _accepted_us(tick_id: str) -> int:
    return ids.issued_at_us(UUID(tick_id))


def publish(batch: Batch, decided: Decided) -> None:
    """The fact of a tick that changed something."""
    message, streak, tick = decided.message, decided.streak, decided.tick
    if decided.repair is not None:
        stamp = batch.stamp_of(message)
        batch.publish(message, facts.streak_repaired(stamp, streak, decided.repair))
    if tick.outcome not in ("repeated", "progressed"):
        tenant = batch.configurations[message.tenant_id].tenant
        stamp = batch.stamp(message, tenant, decided.participant)
        batch.publish(message, facts.streak_recorded(stamp, streak, tick))
        if decided.earned is not None:
            stamp = batch.stamp(message, tenant, decided.participant)
            batch.publish(message, facts.streak_freeze_earned(stamp, streak, tick, decided.earned))


def reach(batch: Batch, decided: Decided, effects: Effects) -> None:
    """Count a tick for challenges; reach its milestones, each with a fact and a prize."""
    message, streak, tick, crossed, _, run, _, _ = decided
    if not run:
        return
    if tick.outcome != "repeated":  # its period counts once for challenges
        effects.happened(message, Happened("tick", streak.code, run), tick.occurred_us)
    for milestone in (
        crossing.milestone for crossing in crossed if effects.milestones.reach(crossing, tick.id)
    ):
        is_new = effects.prize(batch, message, "milestone", _prize(milestone, streak, tick))
        reached = facts.Reached(milestone.count, milestone.badge_code, is_new, milestone.points)
        stamp = batch.stamp_of(message)
        batch.publish(message, facts.streak_milestone(stamp, streak, tick, reached))


def _prize(milestone: Milestone, streak: Streak, tick: Tick) -> Prize:
    """A milestone's prize, and its origin."""
    origin = {"streak_code": streak.code, "milestone": milestone.count, "tick_id": tick.id}
    return Prize(streak.code, milestone.badge_code, milestone.points, json.dumps(origin))


def _streak(batch: Batch, tenant_id: int, streak_id: int) -> Streak:
    found = batch.configurations[tenant_id].streaks.get(streak_id)
    if found is None:
        raise UnknownDefinition(f"tenant {tenant_id}, streak {streak_id}")
    return found


def _tick(
    message: TickV1,
    participant: Participant,
    period: int,
    recorded: Recorded,
    progress: Progress | None,
) -> Tick:
    return Tick(
        tenant_id=message.tenant_id,
        id=message.id,
        participant_id=participant.id,
        streak_id=message.streak_id,
        period=period,
        occurred_us=message.occurred_us,
        outcome=recorded.outcome,
        new_count=recorded.after.count,
        previous_count=recorded.before.count,
        longest_count=recorded.after.longest,
        is_new_record=recorded.is_new_record,
        grace_remaining=recorded.after.grace_remaining,
        timezone=message.timezone,
        metadata=message.metadata,
        value=message.value,
        progress=None if progress is None else progress.value,
    )
