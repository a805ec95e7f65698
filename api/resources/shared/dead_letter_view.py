"""Dead letters as JSON, for admins and for the export of a participant's data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from typing_extensions import TypedDict

from api.http.auth import principal, tenant
from api.http.describe import Id, Moment, shown
from api.input.validation import PAGE_SIZE_MAX
from models import clock, ids
from models.db import Connection
from models.ledgers import dead_letters
from models.ledgers.base import WriteKind
from models.ledgers.dead_letters import DeadLetter, DeadLetterQuery, DeadLetterStatus
from workers.intake.client import (
    AssignmentV1,
    AwardV1,
    FreezeV1,
    Message,
    PauseRemovalV1,
    PauseV1,
    PointsV1,
    RedemptionV1,
    RepairV1,
    RetractionV1,
    TickV1,
    Unreadable,
    decode,
)


class DeadLetterEntry(TypedDict):
    """A write that failed every try. Its id is that of the tick, the award and so on."""

    id: Id
    kind: WriteKind
    participant_id: str | None
    status: DeadLetterStatus
    error: str
    tries: int
    accepted_at: Moment | None
    dead_since: Moment
    settled_at: Moment | None


class DeadWrite(TypedDict):
    """The write; a code is null if its definition does not exist."""

    participant_id: str
    streak_code: str | None
    badge_code: str | None
    tier_code: str | None
    reward_code: str | None
    amount: int | None  # of points; negative for a deduction
    reason: str | None
    timestamp: Moment | None
    timezone: str | None
    metadata: dict[str, Any] | None


class DeadLetterDetail(DeadLetterEntry):
    """A dead letter with its write; `write` is null when this release cannot read it."""

    write: DeadWrite | None


def of_participant(connection: Connection, participant_id: str) -> Iterator[DeadLetterDetail]:
    """All dead letters of a participant, newest first, read page by page."""
    after = None
    while True:
        wanted = DeadLetterQuery(PAGE_SIZE_MAX, [tenant().id], after, participant_id=participant_id)
        found = dead_letters.page(connection, wanted)
        yield from map(as_detail, found)
        if len(found) < PAGE_SIZE_MAX:
            return
        after = found[-1].id


def as_entry(dead_letter: DeadLetter) -> DeadLetterEntry:
    """A dead letter in a list."""
    return shown(
        DeadLetterEntry, dead_letter, accepted_at=_moment(ids.issued_at_us(dead_letter.id))
    )


def as_detail(dead_letter: DeadLetter) -> DeadLetterDetail:
    """A dead letter with all its fields."""
    return {**as_entry(dead_letter), "write": _write(dead_letter)}


_NOTHING = cast(DeadWrite, dict.fromkeys(DeadWrite.__annotations__))


def _write(dead_letter: DeadLetter) -> DeadWrite | None:
    message = _message_of(dead_letter)
    if message is None:
        return None
    fields = _fields(message)
    fields["participant_id"] = message.participant_id
    fields["metadata"] = _object(getattr(message, "metadata", None))
    return fields


def _fields(message: Message) -> DeadWrite:
    """The fields of a message."""
    fields, caller = _NOTHING.copy(), principal()
    match message:
        case TickV1():
            fields["streak_code"] = _code(caller.streaks, message.streak_id)
            fields["timestamp"], fields["timezone"] = _moment(message.occurred_us), message.timezone
        case AwardV1():
            fields["badge_code"] = _code(caller.badges, message.badge_id)
            fields["timestamp"] = _moment(message.earned_us)
        case PointsV1():
            fields["amount"], fields["reason"] = message.amount, message.reason
        case AssignmentV1():
            fields["tier_code"] = _code(caller.tiers, message.tier_id)
            fields["reason"] = message.reason
        case RedemptionV1():
            fields["reward_code"] = _code(caller.rewards, message.reward_id)
        case FreezeV1() | RepairV1() | RetractionV1():
            fields["streak_code"] = _code(caller.streaks, message.streak_id)
            fields["reason"] = message.reason
        case PauseV1() | PauseRemovalV1():
            fields["reason"] = message.reason
    return fields


def _code(definitions: Mapping[str, Any], number: int | str) -> str | None:
    """The code of a definition; None if it does not exist."""
    found = (
        definition.code for definition in definitions.values() if str(definition.id) == str(number)
    )
    return next(found, None)


def _moment(instant_us: int) -> str | None:
    """An instant that no rule has checked: it may be beyond the last valid year."""
    try:
        return clock.to_text(instant_us)
    except OverflowError:
        return None


def _object(text: str | None) -> dict[str, Any] | None:
    """The free-form JSON of a message that no rule has checked."""
    try:
        found = json.loads(text or "null")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _message_of(dead_letter: DeadLetter) -> Message | None:
    """The message to be applied; None if this release cannot read it."""
    try:
        return decode(dead_letter.message.encode())
    except Unreadable:
        return None
