"""Apply a batch of ticks in the caller's transaction: participants, states, ledger, facts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from models import clock, ids, participants, streaks, ticks
from models.db import Session
from models.participants import Participant
from models.rules.periods import period_at
from models.rules.streaks import Recorded, record, walk
from models.streaks import Key as StateKey
from models.streaks import State, Streak
from models.ticks import Tick
from models.webhooks import Subscription
from webhooks import facts, outbox
from webhooks.facts import Fact
from workers.configuration import Configuration, Configurations
from workers.messages import TickV1


class UnknownStreak(LookupError):
    """A tick names a streak that its tenant does not have."""


@dataclass
class Applied:
    """What a batch did."""

    ticks: list[Tick] = field(default_factory=list)  # in the order of the messages
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)  # by tick id, if awaited
    deliveries: int = 0


@dataclass
class _Batch:
    """What a batch has read, and what it will write."""

    configurations: dict[int, Configuration]
    participants: dict[participants.Key, Participant]
    states: dict[StateKey, State]
    now_us: int
    changed: dict[StateKey, int] = field(default_factory=dict)  # to the rules' revision
    facts: list[Fact] = field(default_factory=list)
    applied: Applied = field(default_factory=Applied)


def apply(session: Session, messages: Sequence[TickV1], configurations: Configurations) -> Applied:
    """Apply ticks that are not in the ledger yet; raises IntegrityError when one is.

    1. Read definitions, lock participants in key order, read states under that lock.
    2. Decide in values: one pure step per tick.
    3. Write states, ledger, facts with their deliveries, counters. The caller commits.
    """
    batch = _read(session, messages, configurations.load(session, {m.tenant_id for m in messages}))
    for message in messages:
        _apply_one(batch, message)
    streaks.write_states(
        session, {key: batch.states[key] for key in sorted(batch.changed)}, batch.changed
    )
    ticks.append(session, batch.applied.ticks)
    batch.applied.deliveries = outbox.publish(session, batch.facts, _subscriptions(batch))
    participants.touch(session, batch.participants)
    return batch.applied


def _subscriptions(batch: _Batch) -> list[Subscription]:
    return [one for each in batch.configurations.values() for one in each.subscriptions]


def _read(
    session: Session, messages: Sequence[TickV1], configurations: dict[int, Configuration]
) -> _Batch:
    definitions = {}
    for tenant_id, streak_id in {(m.tenant_id, m.streak_id) for m in messages}:
        configuration = configurations.get(tenant_id)
        if configuration is None or streak_id not in configuration.streaks:
            raise UnknownStreak(f"tenant {tenant_id}, streak {streak_id}")
        definitions[tenant_id, streak_id] = configuration.streaks[streak_id]
    people = participants.lock(session, {(m.tenant_id, m.participant_id) for m in messages})
    keys = sorted(
        {(m.tenant_id, people[m.tenant_id, m.participant_id].id, m.streak_id) for m in messages}
    )
    return _Batch(
        configurations=configurations,
        participants=people,
        states=streaks.states(session, keys, definitions),
        now_us=clock.now_us(),
    )


def _apply_one(batch: _Batch, message: TickV1) -> None:
    streak = batch.configurations[message.tenant_id].streaks[message.streak_id]
    person = batch.participants[message.tenant_id, message.participant_id]
    person.saw(message.occurred_us)
    zone = streak.zone(message.timezone, person.timezone)
    period = period_at(streak.period, message.occurred_us, zone)
    recorded = _step(batch, (message.tenant_id, person.id, streak.id), streak, message, period)
    tick = _tick(message, person, period, recorded)
    batch.applied.ticks.append(tick)
    if recorded.outcome != "repeated":
        batch.facts.append(_fact(batch, message, streak, person, tick))
    if message.is_awaited:
        batch.applied.answers[message.id] = ticks.answer(
            tick, message.participant_id, streak.code, streak.period
        )


def _step(batch: _Batch, key: StateKey, streak: Streak, message: TickV1, period: int) -> Recorded:
    """Record one period in the batch's copy of the state."""
    state = batch.states.get(key)
    if state is None:
        state = State((), walk((), streak.rules), message.occurred_us, message.timezone)
        batch.states[key] = state
    recorded = record(state.ranges, state.standing, streak.rules, period)
    state.ranges, state.standing = recorded.ranges, recorded.after
    latest = (state.last_recorded_us, state.last_zone or "")
    if (message.occurred_us, message.timezone or "") > latest:
        # The greatest of all ticks, so that the order of their arrival does not matter.
        state.last_recorded_us, state.last_zone = message.occurred_us, message.timezone
    batch.changed[key] = streak.revision
    return recorded


def _tick(message: TickV1, person: Participant, period: int, recorded: Recorded) -> Tick:
    return Tick(
        tenant_id=message.tenant_id,
        id=message.id,
        participant_id=person.id,
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
    )


def _fact(batch: _Batch, message: TickV1, streak: Streak, person: Participant, tick: Tick) -> Fact:
    person.fact_sequence += 1
    subject = facts.Subject(
        batch.configurations[message.tenant_id].tenant,
        person.id,
        message.participant_id,
        person.fact_sequence,
    )
    return facts.streak_recorded(ids.uuid7(batch.now_us), subject, streak, tick, batch.now_us)


def known(session: Session, messages: Iterable[TickV1]) -> dict[str, dict[str, Any]]:
    """The answers of those ticks that the ledger holds already, by tick id."""
    found = ticks.some(session, [(message.tenant_id, message.id) for message in messages])
    return {tick_id: one.answer() for (_, tick_id), one in found.items()}
