"""Apply a batch of accepted writes of any kind in the caller's transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import filterfalse
from operator import attrgetter
from typing import Any

from models.db import Connection
from models.identity import aliases, participants
from models.identity.aliases import Aliased
from models.identity.participants import Participant, ParticipantKey
from models.leaderboards import entries
from models.ledgers import (
    awards,
    points,
    redemptions,
    rejections,
    streak_changes,
    ticks,
    tier_changes,
)
from models.ledgers.awards import AwardKey
from models.people import erasure
from webhooks import outbox
from workers.apply import badges, freezes, merges, pauses, repairs, retractions, streaks, turns
from workers.apply.batch import Batch, Configuration, Configurations, refusal
from workers.apply.effects import Effects
from workers.apply.milestones import Crossing
from workers.apply.streak_changes import StreakChanges
from workers.apply.streaks import Decided, Ticks
from workers.apply.turns import Applied as Applied
from workers.apply.turns import Done
from workers.intake.messages import (
    STREAK_CHANGES,
    AssignmentV1,
    AwardV1,
    FreezeV1,
    MergeV1,
    Message,
    PauseRemovalV1,
    PauseV1,
    PointsV1,
    RedemptionV1,
    RepairV1,
    RetractionV1,
    StreakChangeMessage,
    TickV1,
    is_published,
    noun,
)

Other = AwardV1 | PointsV1 | AssignmentV1 | RedemptionV1 | StreakChangeMessage  # all but a tick


def apply(
    connection: Connection, messages: Sequence[Message], configurations: Configurations
) -> Applied:
    """Apply writes that are in no ledger yet; raises UniqueViolation when one is.

    Where ticks and changes of streaks are mixed, they are applied in turns.

    1. Read definitions, lock participants in key order, read their states under that lock.
    2. Decide in memory: one pure step per write, in the order of the messages, then its effects.
    3. Write states, ledgers, facts with their deliveries, counters. The caller commits.
    """
    kinds = set(map(type, messages))
    if MergeV1 in kinds and len(messages) > 1:
        raise merges.MustBeAlone
    if not kinds.isdisjoint(STREAK_CHANGES) and not kinds <= STREAK_CHANGES:
        return turns.apply(connection, messages, partial(apply, configurations=configurations))
    merged = merges.begin(connection, messages) if MergeV1 in kinds else set()
    batch = _open(connection, messages, configurations, merged)
    unsettled = _leave_out_applied(connection, batch, messages)
    accepted = [message for message in unsettled if not is_refused(batch, message)]
    ticks_done = Ticks()
    ticks_done.read(
        connection, batch, [message for message in accepted if isinstance(message, TickV1)]
    )
    decided = [
        ticks_done.decide(batch, message) if isinstance(message, TickV1) else message
        for message in accepted
    ]
    effects = read_effects(connection, batch, decided)
    for decision in decided:
        if isinstance(decision, Decided):
            streaks.publish(batch, decision)
        if effects is not None:
            apply_effects(batch, decision, effects)
    ticks_done.write(connection)
    if effects is not None:
        effects.write(connection, batch)
    if batch.rejections:
        rejections.append(connection, batch.rejections)
    wanted = [
        destination_filter
        for configuration in batch.configurations.values()
        for destination_filter in configuration.destination_filters
    ]
    deliveries = outbox.publish(connection, batch.facts, wanted)
    participants.touch(connection, batch.participants.values())
    _mark_unpublished(connection, batch, accepted)
    return Applied(batch.answers, deliveries, _done(batch, unsettled, ticks_done))


def read_effects(
    connection: Connection, batch: Batch, decided: Sequence[Decided | Other]
) -> Effects | None:
    """Read what the effects of a batch depend on; None where a batch has no effects, as most ticks:
    of a streak without milestones, in a tenant without challenges."""
    leading = [
        decision for decision in decided if not isinstance(decision, Decided) or decision.run
    ]
    if not leading:
        return None
    effects = Effects()
    effects.milestones.read(connection, _crossings(leading))
    messages = [
        decision.message if isinstance(decision, Decided) else decision for decision in leading
    ]
    effects.read(connection, batch, messages, _badges_in_question(batch, leading))
    return effects


def _done(batch: Batch, messages: Sequence[Message], ticks_done: Ticks) -> Done:
    applied = messages
    if batch.rejections:
        refused = {rejection.id for rejection in batch.rejections}
        applied = [message for message in messages if message.id not in refused]
    return Done(
        applied=Counter(map(noun, applied)),
        rejected=Counter(map(_CODE, batch.rejections)),
        facts=Counter(map(_TYPE, batch.facts)),
        repeated=list(map(_OUTCOME, ticks_done.ledger)).count("repeated"),
    )


_CODE, _TYPE, _OUTCOME = attrgetter("code"), attrgetter("type"), attrgetter("outcome")
_TENANT, _IS_CREATED = attrgetter("tenant_id"), attrgetter("is_created")
_MERGED_INTO = attrgetter("merged_into")


def _mark_unpublished(connection: Connection, batch: Batch, accepted: Sequence[Message]) -> None:
    """Note for the leaderboards the participants that no fact will lead them to."""
    silent = list(filterfalse(is_published, accepted))
    if not silent:
        return
    for tenant_id in sorted({message.tenant_id for message in silent}):
        participant_ids = {
            batch.participant(message).id for message in silent if message.tenant_id == tenant_id
        }
        entries.mark_changed(connection, tenant_id, participant_ids)


def apply_effects(batch: Batch, decided: Decided | Other, effects: Effects) -> None:
    """Apply a write and its effects, until no further effect follows."""
    match decided:
        case Decided():
            streaks.reach(batch, decided, effects)
        case AwardV1():
            effects.award(batch, decided)
        case PointsV1():
            effects.apply_points(batch, decided)
        case AssignmentV1():
            effects.tiers.apply(batch, decided)
        case RedemptionV1():
            effects.redemptions.apply(batch, decided)
        case MergeV1():
            merges.merge(batch, decided, effects)
        case _:
            _CHANGES[type(decided)](effects.streak_changes, batch, decided)
    effects.apply_pending(batch)


_CHANGES: dict[type, Callable[[StreakChanges, Batch, Any], None]] = {
    PauseV1: pauses.add,
    PauseRemovalV1: pauses.remove,
    FreezeV1: freezes.give,
    RepairV1: repairs.repair,
    RetractionV1: retractions.retract,
}


def _badges_in_question(batch: Batch, decided: Sequence[Decided | Other]) -> Iterator[AwardKey]:
    """The badges that are asked for, or come with a milestone, with their participants."""
    for decision in decided:
        if isinstance(decision, AwardV1):
            yield badges.key_of(batch, decision)
        elif isinstance(decision, Decided):
            participant = batch.participant(decision.message)
            for badge in decision.badges(batch):
                yield decision.message.tenant_id, participant.id, str(badge.id)


def _crossings(decided: Sequence[Decided | Other]) -> Iterator[Crossing]:
    """The milestones that ticks may have reached."""
    for decision in decided:
        if isinstance(decision, Decided):
            yield from decision.crossed


def _open(
    connection: Connection,
    messages: Sequence[Message],
    configurations: Configurations,
    merged: set[participants.ExternalKey],
) -> Batch:
    """Lock the participants of the messages, and those that are to be merged into one of them."""
    found = configurations.load(connection, set(map(_TENANT, messages)))
    batch = Batch(found, {})
    for message in messages:
        batch.configuration(message)  # a deleted tenant's message fails alone, before any lock
    keys = {(message.tenant_id, message.participant_id) for message in messages}
    batch.participants = participants.lock(connection, keys | merged)
    if any(map(_MERGED_INTO, batch.participants.values())):
        _refuse_aliases(connection, batch, messages)
    batch.zones = {
        (key[0], participant.id): participant.timezone
        for key, participant in batch.participants.items()
    }
    if any(map(_IS_CREATED, batch.participants.values())):
        created = {
            key: participant
            for key, participant in batch.participants.items()
            if participant.is_created
        }
        _remember_erasures(connection, created, found)
        _leave_out_the_erased(connection, batch, messages)
    return batch


def _refuse_aliases(connection: Connection, batch: Batch, messages: Sequence[Message]) -> None:
    """Raise Aliased when messages name participants that were merged into others."""
    into: dict[str, ParticipantKey] = {}
    for message in messages:
        participant = batch.participant(message)
        if participant.merged_into is not None and refusal(participant, message) is None:
            into[message.id] = (message.tenant_id, participant.merged_into)
    if into:
        names = aliases.survivors(connection, into.values())
        raise Aliased({write_id: names[key] for write_id, key in into.items()})


# -- writes that their participant's status refuses ------------------------------------------


def is_refused(batch: Batch, message: Message) -> bool:
    """Refuse a write that its participant's status does not allow."""
    participant = batch.participants.get((message.tenant_id, message.participant_id))
    code = "participant_erased" if participant is None else refusal(participant, message)
    if code is None:
        return False
    batch.reject(message, code)
    return True


def _remember_erasures(
    connection: Connection,
    created: dict[participants.ExternalKey, Participant],
    configurations: dict[int, Configuration],
) -> None:
    """Give participants just created the instant at which their external id was erased.

    Read after the insert, never before: a running erasure holds a row of that id, so the insert
    waits for its end and this statement sees its tombstone.
    """
    digests = {
        (key[0], erasure.digest(configurations[key[0]].tenant.tick_secret, key[1])): participant
        for key, participant in created.items()
    }
    for digest_key, erased_us in erasure.since(connection, list(digests)).items():
        digests[digest_key].erased_us = erased_us


def _leave_out_the_erased(
    connection: Connection, batch: Batch, messages: Sequence[Message]
) -> None:
    """Delete participants that only writes from before their erasure have created again."""
    suspects = {
        key: participant
        for key, participant in batch.participants.items()
        if participant.is_created and participant.erased_us is not None
    }
    if not suspects:
        return
    wanted = {
        (message.tenant_id, message.participant_id)
        for message in messages
        if (key := (message.tenant_id, message.participant_id)) in suspects
        and refusal(suspects[key], message) is None
    }
    participants.keep_erasures(connection, [suspects[key] for key in sorted(wanted)])
    gone = sorted(suspects.keys() - wanted)
    participants.remove(connection, [suspects[key] for key in gone])
    for key in gone:
        del batch.participants[key]


# -- writes that were applied, or refused, before ---------------------------------------------


_LEDGERS = (ticks, awards, points, tier_changes, redemptions, streak_changes)


def known(connection: Connection, messages: Sequence[Message]) -> dict[str, dict[str, Any]]:
    """The answers, by write id, of writes that a ledger already holds."""
    keys = [(message.tenant_id, message.id) for message in messages]
    answers: dict[str, dict[str, Any]] = {}
    for ledger in (*_LEDGERS, rejections):
        answers |= {key[1]: row.answer() for key, row in ledger.some(connection, keys).items()}
    return answers


def _leave_out_applied(
    connection: Connection, batch: Batch, messages: Sequence[Message]
) -> Sequence[Message]:
    """Drop writes already decided on, where a second decision could differ.

    A refused deduction or redemption could succeed when its entry is delivered again. No key would
    stop it, because it is in the rejections, not in the ledger. Read under the participant's lock,
    so no other process decides on it at the same time.
    """
    doubtful = list(filter(_may_be_refused, messages))
    if not doubtful:
        return messages
    settled = known(connection, doubtful)
    for message in doubtful:
        if message.is_awaited and message.id in settled:
            batch.answers[message.id] = settled[message.id]
    return [message for message in messages if message.id not in settled]


def _may_be_refused(message: Message) -> bool:
    return isinstance(message, RedemptionV1 | StreakChangeMessage) or (
        isinstance(message, PointsV1) and message.amount < 0
    )
