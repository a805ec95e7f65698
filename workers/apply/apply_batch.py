"""Apply a batch of accepted writes of any kind in the caller's transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from models import ids
from models.db import Connection
from models.identity import participants
from models.identity.participants import Participant
from models.leaderboards import entries
from models.ledgers import awards, points, redemptions, rejections, ticks, tier_changes
from models.ledgers.awards import AwardKey
from models.people import erasure
from webhooks import outbox
from workers.apply import badges, streaks
from workers.apply.batch import Batch
from workers.apply.config_cache import Configuration, Configurations
from workers.apply.effects import Effects
from workers.apply.milestones import Crossing
from workers.apply.streaks import Decided, Ticks
from workers.intake.messages import (
    NOUN_OF,
    AssignmentV1,
    AwardV1,
    Message,
    PointsV1,
    RedemptionV1,
    TickV1,
    is_published,
)

Other = AwardV1 | PointsV1 | AssignmentV1 | RedemptionV1  # what is no tick


@dataclass(frozen=True, slots=True)
class Done:
    """How much a batch did, to be counted once it is committed."""

    applied: Mapping[str, int] = field(default_factory=dict)  # by kind of write
    rejected: Mapping[str, int] = field(default_factory=dict)  # by code
    facts: Mapping[str, int] = field(default_factory=dict)  # by type
    repeated: int = 0  # ticks that changed nothing


@dataclass
class Applied:
    """What a batch did."""

    answers: dict[str, dict[str, Any]] = field(default_factory=dict)  # by write id, if awaited
    deliveries: int = 0
    done: Done = field(default_factory=Done)


def apply(
    connection: Connection, messages: Sequence[Message], configurations: Configurations
) -> Applied:
    """Apply writes that are in no ledger yet; raises UniqueViolation when one is.

    1. Read definitions, lock participants in key order, read their states under that lock.
    2. Decide in values: one pure step per write, in the order of the messages, and what follows
       from it.
    3. Write states, ledgers, facts with their deliveries, counters. The caller commits.
    """
    batch = _open(connection, messages, configurations)
    unsettled = _leave_out_the_settled(connection, batch, messages)
    accepted = [message for message in unsettled if not _is_refused(batch, message)]
    ticks_done = Ticks()
    effects = Effects(milestones=ticks_done.milestones)
    ticks_done.read(connection, batch, [one for one in accepted if isinstance(one, TickV1)])
    decided = [
        ticks_done.decide(batch, one) if isinstance(one, TickV1) else one for one in accepted
    ]
    ticks_done.milestones.read(connection, _crossings(decided))
    effects.read(connection, batch, accepted, _badges_in_question(batch, decided))
    for each in decided:
        _follow(batch, each, effects)
        effects.settle(batch)
    ticks_done.write(connection)
    effects.write(connection, batch)
    rejections.append(connection, batch.rejections)
    deliveries = outbox.publish(connection, batch.facts, batch.subscriptions())
    participants.touch(connection, batch.participants)
    _note_the_silent(connection, batch, accepted)
    return Applied(batch.answers, deliveries, _done(batch, unsettled, ticks_done))


def _done(batch: Batch, messages: Sequence[Message], ticks_done: Ticks) -> Done:
    refused = {rejection.id for rejection in batch.rejections}
    applied = (
        [message for message in messages if message.id not in refused] if refused else messages
    )
    kinds = Counter(map(type, applied))
    return Done(
        applied={NOUN_OF[kind]: count for kind, count in kinds.items()},
        rejected=Counter(rejection.code for rejection in batch.rejections),
        facts=Counter(fact.type for fact in batch.facts),
        repeated=sum(tick.outcome == "repeated" for tick in ticks_done.ledger),
    )


def _note_the_silent(connection: Connection, batch: Batch, accepted: Sequence[Message]) -> None:
    """Have leaderboards look at those whom no fact leads them to."""
    silent = [message for message in accepted if not is_published(message)]
    for tenant_id in sorted({message.tenant_id for message in silent}):
        participant_ids = {
            batch.participant(one).id for one in silent if one.tenant_id == tenant_id
        }
        entries.note(connection, tenant_id, participant_ids)


def _follow(batch: Batch, decided: Decided | Other, effects: Effects) -> None:
    """Do what a write asks for, and tell of it."""
    match decided:
        case Decided():
            streaks.publish(batch, decided, effects)
        case AwardV1():
            effects.award(batch, decided)
        case PointsV1():
            effects.move(batch, decided)
        case AssignmentV1():
            effects.tiers.apply(batch, decided)
        case RedemptionV1():
            effects.claims.apply(batch, decided)


def _badges_in_question(batch: Batch, decided: Sequence[Decided | Other]) -> Iterator[AwardKey]:
    """Whose badges are asked for, or come with a milestone."""
    for each in decided:
        if isinstance(each, AwardV1):
            yield badges.key_of(batch, each)
        elif isinstance(each, Decided):
            participant = batch.participant(each.message)
            for badge in each.badges(batch):
                yield each.message.tenant_id, participant.id, str(badge.id)


def _crossings(decided: Sequence[Decided | Other]) -> Iterator[Crossing]:
    """The milestones that ticks may have reached."""
    for each in decided:
        if isinstance(each, Decided):
            yield from each.crossed


def _open(
    connection: Connection, messages: Sequence[Message], configurations: Configurations
) -> Batch:
    found = configurations.load(connection, {message.tenant_id for message in messages})
    batch = Batch(found, {})
    for message in messages:
        batch.configuration(message)  # a tenant that is gone fails alone, before any lock
    keys = {(message.tenant_id, message.participant_id) for message in messages}
    batch.participants = participants.lock(connection, keys)
    created = {
        key: participant
        for key, participant in batch.participants.items()
        if participant.is_created
    }
    if created:
        _remember_erasures(connection, created, found)
        _leave_out_the_erased(connection, batch, messages)
    return batch


# -- writes that their participant's status refuses ------------------------------------------


def _is_refused(batch: Batch, message: Message) -> bool:
    participant = batch.participants.get((message.tenant_id, message.participant_id))
    code = "participant_erased" if participant is None else _refusal(participant, message)
    if code is None:
        return False
    batch.reject(message, code)
    return True


def _refusal(participant: Participant, message: Message) -> str | None:
    """What was accepted before a person was suspended is applied; before they were erased, not.

    The instant of acceptance is the one in the write's id: to the millisecond, by the API's clock.
    """
    if participant.inactive_us is None and participant.erased_us is None:
        return None
    accepted_us = ids.issued_at_us(UUID(message.id))
    if participant.inactive_us is not None and accepted_us >= participant.inactive_us:
        return "participant_inactive"
    if participant.erased_us is not None and accepted_us < participant.erased_us:
        return "participant_erased"
    return None


def _remember_erasures(
    connection: Connection,
    created: dict[participants.ExternalKey, Participant],
    configurations: dict[int, Configuration],
) -> None:
    """Give those just created the instant at which somebody of their id was erased.

    Read after they were created, never before: an erasure that is under way holds a row of that
    id, so the insert has waited for its end and this statement sees what it wrote.
    """
    digests = {
        (key[0], erasure.digest(configurations[key[0]].tenant.tick_secret, key[1])): one
        for key, one in created.items()
    }
    for found, erased_us in erasure.since(connection, list(digests)).items():
        digests[found].erased_us = erased_us


def _leave_out_the_erased(
    connection: Connection, batch: Batch, messages: Sequence[Message]
) -> None:
    """Remove again whom only writes from before their erasure would have brought back."""
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
        and _refusal(suspects[key], message) is None
    }
    participants.keep_erasures(connection, [suspects[key] for key in sorted(wanted)])
    gone = sorted(suspects.keys() - wanted)
    participants.remove(connection, [suspects[key] for key in gone])
    for key in gone:
        del batch.participants[key]


# -- writes that were applied, or refused, before ---------------------------------------------


_LEDGERS = (ticks, awards, points, tier_changes, redemptions)


def known(connection: Connection, messages: Sequence[Message]) -> dict[str, dict[str, Any]]:
    """The answers of those writes that a ledger holds already, by write id."""
    keys = [(message.tenant_id, message.id) for message in messages]
    answers: dict[str, dict[str, Any]] = {}
    for ledger in (*_LEDGERS, rejections):
        answers |= {key[1]: one.answer() for key, one in ledger.some(connection, keys).items()}
    return answers


def _leave_out_the_settled(
    connection: Connection, batch: Batch, messages: Sequence[Message]
) -> Sequence[Message]:
    """Without those that were decided on already, where a second look may decide otherwise.

    A deduction or a claim that was refused may find enough when its entry is handed out again, and
    no key would notice: it stands among the rejections, not in the ledger. Read under the lock of
    its participant, so that nobody else decides on it at this moment.
    """
    doubtful = [message for message in messages if _may_be_refused(message)]
    if not doubtful:
        return messages
    settled = known(connection, doubtful)
    for message in doubtful:
        if message.is_awaited and message.id in settled:
            batch.answers[message.id] = settled[message.id]
    return [message for message in messages if message.id not in settled]


def _may_be_refused(message: Message) -> bool:
    return isinstance(message, RedemptionV1) or (
        isinstance(message, PointsV1) and message.amount < 0
    )
