"""Apply merges: two participants become one, and the id of one an alias of the other.

A state is a function of sets (ADR 28), so the survivor's are the unions, walked again: the order of
a merge and of the ticks of both ids changes no count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from models.db import Connection
from models.delivery.facts import StreakSubject, latest_ids
from models.identity.participants import ExternalKey, Participant, ParticipantKey
from models.people import erasure, merging, streak_seeds
from models.people.merging import MergedProfile, Merger
from models.people.streak_seeds import Seed
from models.rules.periods import period_at
from models.rules.streaks import Ranges, add_range, walk
from models.rules.targets import Progress, both
from models.streaks import progress
from models.streaks.extras import Extras
from models.streaks.pauses import Pause, protected_by
from models.streaks.progress import PeriodKey
from models.streaks.states import StateKey, Streak, StreakState
from models.streaks.terms import rewalk
from webhooks import facts
from workers.apply import tiers
from workers.apply.batch import Batch, refusal
from workers.apply.effects import Effects
from workers.apply.streak_changes import CurrentState, StreakChanges
from workers.intake.messages import MergeV1, Message

NOT_FOUND = "participant_not_found"
CIRCLE = "merge_in_circle"
ALREADY = "already_merged"


class MustBeAlone(Exception):
    """A merge shares no transaction with other writes: the drain halves the batch until it is
    alone."""


def begin(connection: Connection, messages: Iterable[Message]) -> set[ExternalKey]:
    """Wait for erasures and other merges; return the participants that are to become aliases."""
    erasure.take_turn(connection)
    return {
        (message.tenant_id, message.from_id)
        for message in messages
        if isinstance(message, MergeV1)
    }  # fmt: skip


def merge(batch: Batch, message: MergeV1, effects: Effects) -> None:
    """Merge a participant into another, unless it is its alias already."""
    into = batch.participant(message)
    merged = batch.participants.get((message.tenant_id, message.from_id))
    refused = _refusal(message, into, merged)
    if refused is not None or merged is None:
        batch.reject(message, *(refused or (NOT_FOUND, None)))
        return
    is_repeated = merged.merged_into is not None
    streaks = [] if is_repeated else _merge(batch, message, effects, merged)
    shown = {
        "from": message.from_id,
        "streaks": streaks,
        "new_balance": into.balance,
        "is_repeated": is_repeated,
    }
    details = {"from": message.from_id}
    effects.streak_changes.applied(batch, message, "merge", None, details, shown)


def _refusal(
    message: MergeV1, into: Participant, merged: Participant | None
) -> tuple[str, str] | None:
    """The code and detail of a refusal. An alias as the survivor has been replaced by its own."""
    if message.from_id == message.participant_id:
        return CIRCLE, f"'{message.from_id}' is the participant that the other id counts for"
    for name, participant in ((message.participant_id, into), (message.from_id, merged)):
        if participant is None or participant.is_created:
            return NOT_FOUND, f"Participant '{name}' not found: create it with POST /participants"
    if merged is None or merged.merged_into == into.id:
        return None
    if merged.merged_into is not None:
        return ALREADY, f"'{message.from_id}' was merged into another participant before"
    code = refusal(merged, message)
    return None if code is None else (code, f"Participant '{message.from_id}' is not active")


def _merge(
    batch: Batch, message: MergeV1, effects: Effects, merged: Participant
) -> list[dict[str, Any]]:
    """Move all rows, add up what both have, and walk the states again; return the streaks."""
    work, into = effects.streak_changes, batch.participant(message)
    merger = Merger(message.tenant_id, merged.id, into.id)
    former = _read(batch, work, merger, (into, merged))
    merging.join_challenges(work.connection, merger)
    ctids = merging.join_states(work.connection, merger)
    merging.transfer(work.connection, merger)
    profile = merging.complete_profile(work.connection, merger)
    merging.make_alias(work.connection, merger)
    _add_up(batch, message, merged, profile)
    shown = _Streaks(batch, message, work, former, ctids).merge()
    _reach(batch, message, effects)
    return shown


def _add_up(batch: Batch, message: MergeV1, merged: Participant, profile: MergedProfile) -> None:
    """The points, rewards and the higher tier of both."""
    into = batch.participant(message)
    into.ctid, into.timezone = profile.ctid, profile.timezone
    batch.zones[message.tenant_id, into.id] = into.timezone
    into.earned += merged.earned
    into.spent += merged.spent
    into.rewards_claimed += merged.rewards_claimed
    into.has_pauses |= merged.has_pauses
    into.is_richer = into.is_changed = True
    known = batch.configuration(message).tiers
    levels = [
        known[tier_id].level if tier_id in known else None
        for tier_id in (into.tier_id, merged.tier_id)
    ]
    if levels[1] is not None and (levels[0] is None or levels[1] > levels[0]):
        into.tier_id, into.tier_us = merged.tier_id, profile.merged_tier_us
    elif levels[0] == levels[1]:
        instants = (profile.tier_us, profile.merged_tier_us)
        into.tier_us = min((at for at in instants if at is not None), default=None)


def _reach(batch: Batch, message: MergeV1, effects: Effects) -> None:
    """The tier and the challenges that both reach together."""
    change = effects.tiers.reached(batch, message, message.id)
    if change is not None:
        tiers.publish(batch, message, change)
    effects.reach_challenges(batch, message)


# -- streaks -----------------------------------------------------------------------------------


class _Former(NamedTuple):
    """What decided on the states of both, the survivor first."""

    keys: tuple[ParticipantKey, ParticipantKey]
    zones: tuple[str | None, str | None]
    states: Mapping[StateKey, StreakState]
    seeds: Mapping[ParticipantKey, Seed]
    pauses: Sequence[Pause]
    progress: Mapping[PeriodKey, Progress]
    breaks: Mapping[StreakSubject, UUID]  # the latest facts about broken streaks


def _read(
    batch: Batch,
    work: StreakChanges,
    merger: Merger,
    people: tuple[Participant, Participant],
) -> _Former:
    keys = ((merger.tenant_id, merger.into_id), (merger.tenant_id, merger.merged_id))
    streaks = batch.configurations[merger.tenant_id].streaks
    with_seeds = [
        key for key, participant in zip(keys, people, strict=True) if participant.has_pauses
    ]
    broken = [
        (*key[:2], streaks[key[2]].code)
        for key, state in work.states.items()
        if state.broken_at is not None
    ]
    is_targeted = any(streak.target for streak in streaks.values())
    return _Former(
        keys,
        (people[0].timezone, people[1].timezone),
        {key: copy(state) for key, state in work.states.items()},
        streak_seeds.read(work.connection, with_seeds),
        [pause for key in keys for pause in work.pauses.get(key, [])],
        progress.of_participants(work.connection, keys) if is_targeted else {},
        latest_ids(work.connection, facts.STREAK_BROKEN, broken),
    )


@dataclass(frozen=True, slots=True)
class _Streaks:
    """The states of both participants, which become those of one."""

    batch: Batch
    message: MergeV1
    work: StreakChanges
    former: _Former
    ctids: Mapping[int, str]  # of the states that the merge has written, by streak

    def merge(self) -> list[dict[str, Any]]:
        """Merge every streak that either has; return their counts."""
        added = self._add_progress()
        definitions = self.batch.configuration(self.message).streaks.values()
        shown = [self._merge(streak, added.get(streak.id, {})) for streak in definitions]
        return [entry for entry in shown if entry is not None]

    def _add_progress(self) -> dict[int, dict[int, Progress]]:
        """Add up the progress of each period, write it, and return it by streak."""
        into, merged = self.former.keys
        found: dict[int, dict[int, Progress]] = {}
        streaks = self.batch.configuration(self.message).streaks
        for (*_, streak_id, period), made in self.former.progress.items():
            target, mine = streaks[streak_id].target, found.setdefault(streak_id, {})
            before = mine.get(period)
            mine[period] = made if before is None or target is None else both(before, made, target)
        if found:
            progress.forget(self.work.connection, merged)
            rows = {
                (*into, streak_id, period): made
                for streak_id, periods in found.items()
                for period, made in periods.items()
            }
            progress.write(self.work.connection, rows)
        return found

    def _merge(self, streak: Streak, made: Mapping[int, Progress]) -> dict[str, Any] | None:
        into, merged = ((*key, streak.id) for key in self.former.keys)
        sides = [self.former.states.get(key) for key in (into, merged)]
        amount = streak.target.amount if streak.target else 0
        reached = {period: made[period] for period in made if made[period].value >= amount}
        if not any(sides) and not reached:
            return None
        before = 0 if sides[0] is None else self._subject(streak, sides[0], 0).live().count
        state = self._union(streak, sides, reached)
        subject = self._subject(streak, state)
        state.extras = self._extras(streak, sides, subject.zone)
        for period in (period for period in made if streak.is_plenty(made[period].value)):
            state.extras = state.extras.earning(period, is_plenty=True)
        rewalk(streak, state, subject.zone)
        if state.extras is not None:
            state.extras = state.extras.published_at_most_what_is_earned()
        self.work.states.pop(merged, None)
        self.work.states[into], self.work.changed[into] = state, subject
        undone = self._undone(subject, sides)
        return self.work.publish(self.batch, self.message, subject, (before, "merge"), undone)

    def _subject(self, streak: Streak, state: StreakState, side: int | None = None) -> CurrentState:
        """A state with the calendar that counts for it: before the merge on one side, or after."""
        into = self.former.keys[0]
        own = self.batch.zones[into] if side is None else self.former.zones[side]
        zone = streak.zone(state.last_zone, own)
        current = period_at(streak.cadence, self.batch.now_us, zone)
        return CurrentState((*into, streak.id), streak, state, zone, current)

    def _union(
        self, streak: Streak, sides: Sequence[StreakState | None], reached: Mapping[int, Progress]
    ) -> StreakState:
        """The recorded periods of both, and those whose target both reach together."""
        known = [state for state in sides if state is not None]
        instants = [(state.last_recorded_us, state.last_zone or "") for state in known]
        instants += [(made.last_us, made.last_zone or "") for made in reached.values()]
        last_us, last_zone = max(instants)
        ranges: Ranges = ()
        for start, end in (span for state in known for span in state.ranges):
            ranges = add_range(ranges, start, end)
        for period in reached:
            ranges = add_range(ranges, period, period + 1)
        return StreakState(
            ranges, walk((), streak.rules), last_us, last_zone or None,
            self.ctids.get(streak.id, known[0].ctid if known else None),
            any(state.is_watched for state in known),
            broken_at=known[0].broken_at if known else None,
        )  # fmt: skip

    def _extras(
        self, streak: Streak, sides: Sequence[StreakState | None], zone: str | None
    ) -> Extras:
        """The repairs and freezes of both, and the days of the pauses of both."""
        found = Extras()
        for key, state in zip(self.former.keys, sides, strict=True):
            own = state.extras if state is not None else None
            if state is None and key in self.former.seeds:
                own = self.former.seeds[key].extras(streak.id, streak.cadence, zone)
            if own is not None:
                found = found.joined(own)
        return found.pausing(protected_by(self.former.pauses, streak.id, streak.cadence))

    def _undone(self, subject: CurrentState, sides: Sequence[StreakState | None]) -> list[UUID]:
        """The published breaks of both that did not happen; the latest that did is noted."""
        code, state, undone = subject.streak.code, subject.state, []
        happened: list[int] = []
        for key, side in zip(self.former.keys, sides, strict=True):
            if side is None or side.broken_at is None:
                continue
            if subject.has_missed(side.broken_at - 1):
                happened.append(side.broken_at)
            elif (*key, code) in self.former.breaks:
                undone.append(self.former.breaks[*key, code])
        last = max(happened, default=None)
        if last != state.broken_at:
            state.broken_at = self.work.breaks[subject.key] = last
        return undone
