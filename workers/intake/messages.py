"""The messages in the streams: versioned, small, complete.

A release still reads the messages that only the previous one wrote: add before, remove after.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from models.ledgers.base import WriteKind
from models.rules.spans import Span


class TickV1(msgspec.Struct, frozen=True, array_like=True, tag="tick.1"):
    """One accepted tick."""

    tenant_id: int
    id: str  # UUIDv7 stamped by the API; the ledger's key
    participant_id: str  # the caller's id of the participant
    streak_id: int
    occurred_us: int  # microseconds since 1970, UTC
    timezone: str | None = None  # IANA, the tick's own
    metadata: str | None = None  # JSON as sent
    is_awaited: bool = False  # a request waits for the answer
    is_silent: bool = False  # neither it nor its effects publish facts
    # IANA: the calendar that counts, instead of the tick's and its streak's; from an export
    counted_timezone: str | None = None
    is_alone: bool = False  # no milestone or challenge counts it: from an export
    value: int | None = None  # in thousandths, for a target of that kind

    def counted_at(self, occurred_us: int, timezone: str | None) -> TickV1:
        """The same tick at another instant of its period."""
        return msgspec.structs.replace(self, occurred_us=occurred_us, timezone=timezone)


class AwardV1(msgspec.Struct, frozen=True, array_like=True, tag="award.1"):
    """One accepted award of a badge."""

    tenant_id: int
    id: str  # UUIDv7 stamped by the API; the ledger's key
    participant_id: str  # the caller's id of the participant
    badge_id: str  # UUID of the definition
    earned_us: int  # microseconds since 1970, UTC: when the API accepted it
    metadata: str | None = None  # JSON as sent
    is_awaited: bool = False  # a request waits for the answer
    is_silent: bool = False  # neither it nor its effects publish facts
    is_alone: bool = False  # no challenge counts it: from an export


class PointsV1(msgspec.Struct, frozen=True, array_like=True, tag="points.1"):
    """One accepted award or deduction of points."""

    tenant_id: int
    id: str  # UUIDv7 stamped by the API; the ledger's key
    participant_id: str  # the caller's id of the participant
    amount: int  # below zero: a deduction
    reason: str | None = None
    metadata: str | None = None  # JSON as sent
    is_awaited: bool = False  # a request waits for the answer
    is_silent: bool = False  # neither it nor its effects publish facts


class AssignmentV1(msgspec.Struct, frozen=True, array_like=True, tag="assignment.1"):
    """One accepted assignment of a tier."""

    tenant_id: int
    id: str  # UUIDv7 stamped by the API; the ledger's key
    participant_id: str  # the caller's id of the participant
    tier_id: str  # UUID of the definition
    reason: str | None = None
    metadata: str | None = None  # JSON as sent
    is_awaited: bool = False  # a request waits for the answer


class RedemptionV1(msgspec.Struct, frozen=True, array_like=True, tag="claim.1"):
    """One accepted redemption of a reward."""

    tenant_id: int
    id: str  # UUIDv7 stamped by the API; the ledger's key
    participant_id: str  # the caller's id of the participant
    reward_id: str  # UUID of the definition
    metadata: str | None = None  # JSON as sent
    is_awaited: bool = False  # a request waits for the answer


class ByV1(msgspec.Struct, frozen=True, array_like=True):
    """The key behind a change of a participant's streaks, for the audit log."""

    key_id: str
    request_id: str | None = None
    address: str | None = None


class PauseV1(msgspec.Struct, frozen=True, array_like=True, tag="pause.1"):
    """One accepted pause."""

    tenant_id: int
    id: str  # UUIDv7 stamped by the API; the pause's id
    participant_id: str  # the caller's id of the participant
    first_day: int  # local days since 1970
    last_day: int  # included
    streak_ids: list[int] | None = None  # None: every streak
    reason: str | None = None
    is_awaited: bool = False  # a request waits for the answer
    by: ByV1 | None = None
    is_silent: bool = False  # it publishes no facts


class PauseRemovalV1(msgspec.Struct, frozen=True, array_like=True, tag="pause_removal.1"):
    """One accepted removal of a pause."""

    tenant_id: int
    id: str  # UUIDv7 stamped by the API; the ledger's key
    participant_id: str  # the caller's id of the participant
    pause_id: str
    reason: str | None = None
    is_awaited: bool = False  # a request waits for the answer
    by: ByV1 | None = None


class FreezeV1(msgspec.Struct, frozen=True, array_like=True, tag="freeze.1"):
    """One accepted grant or purchase of freezes."""

    tenant_id: int
    id: str  # UUIDv7 stamped by the API; the ledger's key
    participant_id: str  # the caller's id of the participant
    streak_id: int
    amount: int
    price_points: int | None = None  # of one; None: granted
    reason: str | None = None
    is_awaited: bool = False  # a request waits for the answer
    by: ByV1 | None = None
    is_silent: bool = False  # it publishes no facts
    granted_day: int | None = None  # local days since 1970; None: when it was accepted


class RepairV1(msgspec.Struct, frozen=True, array_like=True, tag="repair.1"):
    """One accepted repair of periods of a streak."""

    tenant_id: int
    id: str  # UUIDv7 stamped by the API; the ledger's key
    participant_id: str  # the caller's id of the participant
    streak_id: int
    periods: list[list[int]]  # [first, last], ascending; none: those of the last break
    is_recorded: bool = False  # recorded instead of protected
    reason: str | None = None
    is_awaited: bool = False  # a request waits for the answer
    by: ByV1 | None = None
    is_silent: bool = False  # it publishes no facts
    # Of a restore of many (workers/maintenance/restores.py), which is in no stream.
    restore_id: str | None = None
    lost_between: Span | None = None  # when the streak must have broken; None: whenever

    @property
    def is_restore(self) -> bool:
        """Whether the missed periods of the last break are to be protected."""
        return not self.periods


class RetractionV1(msgspec.Struct, frozen=True, array_like=True, tag="retraction.1"):
    """One accepted retraction of a tick, or of a period with all its ticks."""

    tenant_id: int
    id: str  # UUIDv7 stamped by the API; the ledger's key
    participant_id: str  # the caller's id of the participant
    streak_id: int
    period: int
    tick_id: str | None = None  # None: the whole period
    reason: str | None = None
    is_awaited: bool = False  # a request waits for the answer
    by: ByV1 | None = None
    is_silent: bool = False  # it publishes no facts
    revoke: bool = False  # also take back what milestones gave that are no longer reached


class MergeV1(msgspec.Struct, frozen=True, array_like=True, tag="merge.1"):
    """One accepted merge of a participant into another."""

    tenant_id: int
    id: str  # UUIDv7 stamped by the API; the ledger's key
    participant_id: str  # the caller's id of the one that stays
    from_id: str  # of the one that becomes its alias
    reason: str | None = None
    is_awaited: bool = False  # a request waits for the answer
    by: ByV1 | None = None
    is_silent: bool = False  # it publishes no facts


# What is done to streaks beside ticks: applied in turns of its own (workers/apply/apply_batch.py).
StreakChangeMessage = PauseV1 | PauseRemovalV1 | FreezeV1 | RepairV1 | RetractionV1 | MergeV1
STREAK_CHANGES = frozenset({PauseV1, PauseRemovalV1, FreezeV1, RepairV1, RetractionV1, MergeV1})

Message = TickV1 | AwardV1 | PointsV1 | AssignmentV1 | RedemptionV1 | StreakChangeMessage

NOUN_OF: dict[type, WriteKind] = {
    TickV1: "tick",
    AwardV1: "award",
    PointsV1: "points",
    AssignmentV1: "assignment",
    RedemptionV1: "claim",
    **dict.fromkeys(STREAK_CHANGES, "streak_change"),
}


def noun(message: Message) -> WriteKind:
    """The kind of a message's write."""
    return NOUN_OF[type(message)]


_M = TypeVar("_M", bound=Message)


def renamed(message: _M, survivors: Mapping[str, str]) -> _M:
    """The same write; one that names an alias as its participant names the survivor."""
    name = survivors.get(message.id)
    return message if name is None else msgspec.structs.replace(message, participant_id=name)


_MAY_BE_SILENT = (TickV1, AwardV1, PointsV1, PauseV1, FreezeV1, RepairV1, RetractionV1, MergeV1)


def is_published(message: Message) -> bool:
    """Whether a write publishes facts. A worker one release older publishes all."""
    return not (isinstance(message, _MAY_BE_SILENT) and message.is_silent)


def is_alone(message: Message) -> bool:
    """Whether a write has no effects: its export contains them already."""
    return isinstance(message, (TickV1, AwardV1)) and message.is_alone


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Message)


class Unreadable(ValueError):
    """A stream entry that this release cannot read as a message."""


def encode(message: Message) -> bytes:
    """A message as stored in a stream."""
    return _ENCODER.encode(message)


def decode(text: bytes) -> Message:
    """Read a message; raise Unreadable."""
    try:
        message: Message = _DECODER.decode(text)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise Unreadable(str(error)) from error
    return message
