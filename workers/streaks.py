"""Apply the ticks of a batch: periods, states, ledger, facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from models import streaks, ticks
from models.db import Session
from models.participants import Participant
from models.rules.periods import period_at
from models.rules.streaks import Recorded, record, walk
from models.streaks import Key, State, Streak
from models.ticks import Tick
from webhooks import facts
from workers.batch import Batch, UnknownDefinition
from workers.messages import TickV1


@dataclass
class Ticks:
    """The ticks of a batch, decided in values between one read and one write."""

    states: dict[Key, State] = field(default_factory=dict)
    changed: dict[Key, int] = field(default_factory=dict)  # to the rules' revision
    ledger: list[Tick] = field(default_factory=list)  # in the order of the messages

    def read(self, session: Session, batch: Batch, messages: Sequence[TickV1]) -> None:
        """Read the states of everybody who ticked, under their participants' locks."""
        keys = sorted({(m.tenant_id, batch.person(m).id, m.streak_id) for m in messages})
        definitions = {(key[0], key[2]): _streak(batch, key[0], key[2]) for key in keys}
        self.states = streaks.states(session, keys, definitions)

    def apply(self, batch: Batch, message: TickV1) -> None:
        """Record one tick."""
        configuration = batch.configurations[message.tenant_id]
        streak = configuration.streaks[message.streak_id]
        person = batch.person(message)
        person.saw(message.occurred_us)
        zone = streak.zone(message.timezone, person.timezone)
        period = period_at(streak.period, message.occurred_us, zone)
        recorded = self._step((message.tenant_id, person.id, streak.id), streak, message, period)
        tick = _tick(message, person, period, recorded)
        self.ledger.append(tick)
        if recorded.outcome != "repeated":
            stamp = batch.stamp(message, configuration.tenant, person)
            batch.facts.append(facts.streak_recorded(stamp, streak, tick))
        if message.is_awaited:
            batch.answers[message.id] = ticks.answer(
                tick, message.participant_id, streak.code, streak.period
            )

    def _step(self, key: Key, streak: Streak, message: TickV1, period: int) -> Recorded:
        """Record one period in the batch's copy of the state."""
        state = self.states.get(key)
        if state is None:
            state = State((), walk((), streak.rules), message.occurred_us, message.timezone)
            self.states[key] = state
        recorded = record(state.ranges, state.standing, streak.rules, period)
        state.ranges, state.standing = recorded.ranges, recorded.after
        latest = (state.last_recorded_us, state.last_zone or "")
        if (message.occurred_us, message.timezone or "") > latest:
            # The greatest of all ticks, so that the order of their arrival does not matter.
            state.last_recorded_us, state.last_zone = message.occurred_us, message.timezone
        self.changed[key] = streak.revision
        return recorded

    def write(self, session: Session) -> None:
        """Write the states that changed, and the ledger; raises IntegrityError when a tick is in
        it already."""
        if self.ledger:
            changed = {key: self.states[key] for key in sorted(self.changed)}
            streaks.write_states(session, changed, self.changed)
            ticks.append(session, self.ledger)


def _streak(batch: Batch, tenant_id: int, streak_id: int) -> Streak:
    found = batch.configurations[tenant_id].streaks.get(streak_id)
    if found is None:
        raise UnknownDefinition(f"tenant {tenant_id}, streak {streak_id}")
    return found


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
