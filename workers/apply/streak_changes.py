"""Apply what is done to streaks beside ticks: pauses, freezes, repairs, retractions.

Each changes the sets of some states, under their participants' locks, and the states are walked
again. A change is refused with a code, or it is a row of the ledger: applied once, whatever is
delivered again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from uuid import UUID

from models.db import Connection
from models.delivery.facts import latest_ids
from models.identity import participants
from models.identity.participants import Participant, ParticipantKey
from models.ledgers import milestones, streak_changes
from models.ledgers.milestones import GivenPrize
from models.ledgers.streak_changes import ChangeKind, StreakChangeRow
from models.operator import audit_log
from models.operator.audit_log import NewAuditEntry
from models.rules.periods import period_at
from models.rules.streaks import Live, Ranges
from models.rules.targets import Progress
from models.streaks import deadlines, pauses, progress, states
from models.streaks.extras import Extras
from models.streaks.pauses import Pause
from models.streaks.progress import PeriodKey
from models.streaks.states import StateKey, Streak, StreakState
from models.streaks.terms import explained, live, rewalk
from webhooks import facts
from webhooks.facts import RepairCause, StreakRepair
from workers.apply.batch import Batch, UnknownDefinition
from workers.apply.points import BatchPoints
from workers.intake.messages import MergeV1, PauseRemovalV1, PauseV1, StreakChangeMessage


class Sets(NamedTuple):
    """What decides on a state."""

    ranges: Ranges
    extras: Extras


@dataclass(frozen=True, slots=True)
class CurrentState:
    """A state with its definition, and the calendar that counts for it."""

    key: StateKey
    streak: Streak
    state: StreakState
    zone: str | None
    current: int  # the period

    @property
    def sets(self) -> Sets:
        """The state's sets as they are."""
        return Sets(self.state.ranges, self.state.extras or Extras())

    def live(self) -> Live:
        """The state now."""
        return live(self.streak, self.state, self.zone, self.current)

    def has_missed(self, period: int) -> bool:
        """Whether a period is missed by the walk."""
        found = explained(self.streak, self.state, self.zone, period, self.current)
        return found is not None and found.what == "missed"


@dataclass
class StreakChanges:
    """The changes of a batch, decided in memory between one read and one write."""

    points: BatchPoints
    is_read: bool = False
    connection: Connection = field(init=False)  # since the read
    states: dict[StateKey, StreakState] = field(default_factory=dict)
    pauses: dict[ParticipantKey, list[Pause]] = field(default_factory=dict)
    ledger: list[StreakChangeRow] = field(default_factory=list)  # in the order of the messages
    audit: list[NewAuditEntry] = field(default_factory=list)
    paused: list[Pause] = field(default_factory=list)
    resumed: list[Pause] = field(default_factory=list)
    # Repairs and retractions before this batch, of the streaks that were asked for.
    past: dict[StateKey, list[StreakChangeRow]] = field(default_factory=dict)
    changed: dict[StateKey, CurrentState] = field(default_factory=dict)
    # Of periods with a target that lost a tick; None: no tick is left.
    progress: dict[PeriodKey, Progress | None] = field(default_factory=dict)
    # The break that was published last; None: it did not happen.
    breaks: dict[StateKey, int | None] = field(default_factory=dict)
    revoked: dict[tuple[int, ...], GivenPrize] = field(default_factory=dict)

    def read(
        self, connection: Connection, batch: Batch, messages: Sequence[StreakChangeMessage]
    ) -> None:
        """Read the states, and the pauses, of the participants, under their locks."""
        self.connection, self.is_read = connection, True
        people = sorted({key for message in messages for key in participant_keys(batch, message)})
        definitions = {
            (tenant_id, streak.id): streak
            for tenant_id, _ in people
            for streak in batch.configurations[tenant_id].streaks.values()
        }
        self.states = states.of_participants(self.connection, people, definitions, batch.zones)
        with_pauses = PauseV1 | PauseRemovalV1 | MergeV1
        paused = {
            key
            for message in messages
            if isinstance(message, with_pauses)
            for key in participant_keys(batch, message)
        }
        self.pauses = pauses.of_participants(self.connection, sorted(paused))

    # -- one change ----------------------------------------------------------------------------

    def state_of(
        self, batch: Batch, message: StreakChangeMessage, streak: Streak
    ) -> CurrentState | None:
        """The participant's state of a streak; None before the first tick."""
        participant = batch.participant(message)
        key = (message.tenant_id, participant.id, streak.id)
        state = self.states.get(key)
        if state is None:
            return None
        zone = streak.zone(state.last_zone, participant.timezone)
        return CurrentState(key, streak, state, zone, period_at(streak.cadence, batch.now_us, zone))

    def change(
        self,
        batch: Batch,
        message: StreakChangeMessage,
        subject: CurrentState,
        sets: Sets,
        why: RepairCause,
    ) -> dict[str, Any]:
        """Give a state other sets, and publish that its count changed; return it as answered."""
        state, before = subject.state, subject.live()
        state.ranges, state.extras = sets
        if state.ranges:
            rewalk(subject.streak, state, subject.zone)
        else:
            self.states.pop(subject.key)
        self.changed[subject.key] = subject
        corrects = self._corrected(subject)
        undone = [] if corrects is None else [corrects]
        return self.publish(batch, message, subject, (before.count, why), undone)

    def publish(
        self,
        batch: Batch,
        message: StreakChangeMessage,
        subject: CurrentState,
        change: tuple[int, RepairCause],
        undone: Sequence[UUID],
    ) -> dict[str, Any]:
        """Publish that a count is another than before, and the facts that did not happen; return
        it as answered."""
        state, (before, why) = subject.state, change
        count = subject.live().count if state.ranges else 0
        longest = state.totals.longest if state.ranges else 0
        corrected: Sequence[UUID | None] = undone or ([None] if count != before else [])
        for corrects in corrected:
            repair = StreakRepair(count, before, longest, why, message.reason, corrects)
            stamp = batch.stamp_of(message)
            batch.publish(message, facts.streak_repaired(stamp, subject.streak, repair))
        return {
            "streak_code": subject.streak.code,
            "count": count,
            "previous_count": before,
            "longest_count": longest,
        }

    def _corrected(self, subject: CurrentState) -> UUID | None:
        """The fact about a break that did not happen; marked as corrected."""
        state, streak = subject.state, subject.streak
        if state.broken_at is None or not state.ranges or subject.has_missed(state.broken_at - 1):
            return None
        state.broken_at = self.breaks[subject.key] = None
        about = (*subject.key[:2], streak.code)
        return latest_ids(self.connection, facts.STREAK_BROKEN, [about]).get(about)

    def applied(
        self,
        batch: Batch,
        message: StreakChangeMessage,
        kind: ChangeKind,
        streak: Streak | None,
        details: Mapping[str, Any],
        shown: Mapping[str, Any],
    ) -> None:
        """Keep a change in the ledger and the audit log; answer a waiting request."""
        result = {
            "streak_change_id": message.id,
            "kind": kind,
            "participant_id": message.participant_id,
            "streak_code": streak.code if streak else None,
            "reason": message.reason,
            "streaks": shown["streaks"],
        } | dict(shown)
        change = StreakChangeRow(
            message.tenant_id, message.id, batch.participant(message).id,
            streak.id if streak else None, kind, message.reason, details, result,
        )  # fmt: skip
        self.ledger.append(change)
        if message.by is not None:
            self.audit.append(_audited(message, change, streak))
        if message.is_awaited:
            batch.answers[message.id] = change.answer()

    # -- writing -------------------------------------------------------------------------------

    def write(self, batch: Batch) -> None:
        """Write states, pauses and ledger; raises UniqueViolation when it holds a change."""
        self._write_states(batch)
        progress.replace(self.connection, self.progress)
        _leave_out(self.connection, batch)
        pauses.append(self.connection, self.paused)
        pauses.remove(self.connection, self.resumed)
        milestones.forget(self.connection, self.revoked.values())
        streak_changes.append(self.connection, self.ledger)
        for entry in self.audit:
            audit_log.record(self.connection, entry)

    def _write_states(self, batch: Batch) -> None:
        kept = {key: self.changed[key] for key in sorted(self.changed) if key in self.states}
        due_us = {}
        for key, subject in kept.items():
            due = deadlines.of(subject.streak, subject.state, batch.zones[key[:2]], batch.now_us)
            if subject.state.is_watched or due.breaks_us > batch.now_us:
                due_us[key], subject.state.is_watched = due.check_us, True
        revisions = {key: subject.streak.revision for key, subject in kept.items()}
        states.write_states(
            self.connection, {key: subject.state for key, subject in kept.items()}, revisions
        )
        gone = [
            subject.state.ctid for key, subject in self.changed.items() if key not in self.states
        ]
        states.remove(self.connection, [ctid for ctid in gone if ctid is not None])
        deadlines.watch(self.connection, due_us)
        deadlines.write_breaks(
            self.connection, {key: at for key, at in self.breaks.items() if key in kept}
        )


def _leave_out(connection: Connection, batch: Batch) -> None:
    """Delete participants that only refused changes have created."""
    gone = {
        key: participant for key, participant in batch.participants.items()
        if participant.is_created and not participant.is_changed
    }  # fmt: skip
    participants.remove(connection, list(gone.values()))
    ids = {participant.id for participant in gone.values()}
    batch.rejections = [
        replace(rejection, participant_id=None) if rejection.participant_id in ids else rejection
        for rejection in batch.rejections
    ]
    for key in gone:
        del batch.participants[key]


def _audited(
    message: StreakChangeMessage, change: StreakChangeRow, streak: Streak | None
) -> NewAuditEntry:
    """Its reason, which may name the participant, is in the ledger, and goes with an erasure."""
    by = message.by
    return NewAuditEntry(
        tenant_id=message.tenant_id,
        action=f"streak_change.{change.kind}",
        target=streak.code if streak else None,
        detail={"streak_change_id": change.id, "has_reason": change.reason is not None},
        actor="key",
        key_id=UUID(by.key_id) if by else None,
        request_id=by.request_id if by else None,
        address=by.address if by else None,
    )


def participant_key(batch: Batch, message: StreakChangeMessage) -> ParticipantKey:
    """The tenant and the participant of a message."""
    return message.tenant_id, batch.participant(message).id


def participant_keys(batch: Batch, message: StreakChangeMessage) -> list[ParticipantKey]:
    """The participant of a message; of a merge both."""
    keys = [participant_key(batch, message)]
    if isinstance(message, MergeV1):
        merged = batch.participants.get((message.tenant_id, message.from_id))
        keys += [] if merged is None else [(message.tenant_id, merged.id)]
    return keys


def streak_of(batch: Batch, tenant_id: int, streak_id: int) -> Streak:
    """A definition by its number; raises UnknownDefinition."""
    found = batch.configurations[tenant_id].streaks.get(streak_id)
    if found is None:
        raise UnknownDefinition(f"tenant {tenant_id}, streak {streak_id}")
    return found


def codes_of(batch: Batch, message: StreakChangeMessage, ids: Iterable[int]) -> list[str]:
    """The codes of some definitions."""
    return sorted(streak_of(batch, message.tenant_id, streak_id).code for streak_id in ids)


def remember(participant: Participant) -> None:
    """Note that a new state of the participant must look for pauses and freezes."""
    participant.has_pauses = True
    participant.is_richer = participant.is_changed = True
