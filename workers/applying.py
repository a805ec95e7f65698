"""Apply a batch of accepted writes of any kind in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from models import awards, erasures, ids, participants, rejections, ticks
from models.awards import Key
from models.db import Session
from models.participants import Participant
from models.rejections import Rejection
from webhooks import outbox
from workers import badges, streaks
from workers.badges import Awards
from workers.batch import Batch
from workers.configuration import Configuration, Configurations
from workers.messages import AwardV1, Message, TickV1
from workers.streaks import Decided, Ticks


@dataclass
class Applied:
    """What a batch did."""

    answers: dict[str, dict[str, Any]] = field(default_factory=dict)  # by write id, if awaited
    deliveries: int = 0


def apply(session: Session, messages: Sequence[Message], configurations: Configurations) -> Applied:
    """Apply writes that are in no ledger yet; raises IntegrityError when one is.

    1. Read definitions, lock participants in key order, read their states under that lock.
    2. Decide in values: one pure step per write, in the order of the messages.
    3. Write states, ledgers, facts with their deliveries, counters. The caller commits.
    """
    batch = _open(session, messages, configurations)
    accepted = [message for message in messages if not _is_refused(batch, message)]
    ticks_done, awards_done = Ticks(), Awards()
    ticks_done.read(session, batch, [one for one in accepted if isinstance(one, TickV1)])
    decided = [
        ticks_done.decide(batch, one) if isinstance(one, TickV1) else one for one in accepted
    ]
    awards_done.read(session, _badges_in_question(batch, decided))
    for each in decided:
        if isinstance(each, AwardV1):
            awards_done.apply(batch, each)
        else:
            streaks.tell(batch, each, awards_done)
    ticks_done.write(session)
    awards_done.write(session)
    rejections.append(session, batch.rejections)
    deliveries = outbox.publish(session, batch.facts, batch.subscriptions())
    participants.touch(session, batch.participants)
    return Applied(batch.answers, deliveries)


def _badges_in_question(batch: Batch, decided: Sequence[Decided | AwardV1]) -> Iterator[Key]:
    """Whose badges are asked for, or come with a milestone."""
    for each in decided:
        if isinstance(each, AwardV1):
            yield badges.key_of(batch, each)
            continue
        for one in each.crossed:
            badge = one.badge(batch, each.message)
            if badge:
                person = batch.person(each.message)
                yield each.message.tenant_id, person.id, str(badge.id)


def _open(session: Session, messages: Sequence[Message], configurations: Configurations) -> Batch:
    found = configurations.load(session, {message.tenant_id for message in messages})
    batch = Batch(found, {})
    for message in messages:
        batch.configuration(message)  # a tenant that is gone fails alone, before any lock
    keys = {(message.tenant_id, message.participant_id) for message in messages}
    batch.participants = participants.lock(session, keys)
    created = {key: one for key, one in batch.participants.items() if one.is_created}
    if created:
        _remember_erasures(session, created, found)
        _leave_out_the_erased(session, batch, messages)
    return batch


# -- writes that their participant's status refuses ------------------------------------------


def _is_refused(batch: Batch, message: Message) -> bool:
    person = batch.participants.get((message.tenant_id, message.participant_id))
    code = "participant_erased" if person is None else _refusal(person, message)
    if code is None:
        return False
    internal_id = None if person is None else person.id
    batch.rejections.append(Rejection(message.tenant_id, message.id, internal_id, code))
    if message.is_awaited:
        batch.answers[message.id] = rejections.answer(code)
    return True


def _refusal(person: Participant, message: Message) -> str | None:
    """What was accepted before a person was suspended is applied; before they were erased, not.

    The instant of acceptance is the one in the write's id: to the millisecond, by the API's clock.
    """
    if person.inactive_us is None and person.erased_us is None:
        return None
    accepted_us = ids.issued_at_us(UUID(message.id))
    if person.inactive_us is not None and accepted_us >= person.inactive_us:
        return "participant_inactive"
    if person.erased_us is not None and accepted_us < person.erased_us:
        return "participant_erased"
    return None


def _remember_erasures(
    session: Session,
    created: dict[participants.Key, Participant],
    configurations: dict[int, Configuration],
) -> None:
    """Give those just created the instant at which somebody of their id was erased.

    Read after they were created, never before: an erasure that is under way holds a row of that
    id, so the insert has waited for its end and this statement sees what it wrote.
    """
    digests = {
        (key[0], erasures.digest(configurations[key[0]].tenant.tick_secret, key[1])): one
        for key, one in created.items()
    }
    for found, erased_us in erasures.since(session, list(digests)).items():
        digests[found].erased_us = erased_us


def _leave_out_the_erased(session: Session, batch: Batch, messages: Sequence[Message]) -> None:
    """Remove again whom only writes from before their erasure would have brought back."""
    suspects = {
        key: one
        for key, one in batch.participants.items()
        if one.is_created and one.erased_us is not None
    }
    if not suspects:
        return
    wanted = {
        (message.tenant_id, message.participant_id)
        for message in messages
        if (key := (message.tenant_id, message.participant_id)) in suspects
        and _refusal(suspects[key], message) is None
    }
    participants.keep_erasures(session, [suspects[key] for key in sorted(wanted)])
    gone = sorted(suspects.keys() - wanted)
    participants.remove(session, [suspects[key] for key in gone])
    for key in gone:
        del batch.participants[key]


# -- writes that were applied before -----------------------------------------------------------


def known(session: Session, messages: Sequence[Message]) -> dict[str, dict[str, Any]]:
    """The answers of those writes that a ledger holds already, by write id."""
    keys = [(message.tenant_id, message.id) for message in messages]
    answers = {key[1]: one.answer() for key, one in ticks.some(session, keys).items()}
    answers |= {key[1]: one.answer() for key, one in awards.some(session, keys).items()}
    refused = rejections.some(session, keys).items()
    return answers | {key[1]: rejections.answer(code) for key, code in refused}
