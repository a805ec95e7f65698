"""The effects of a write: badges, points, tiers and challenges, in the batch of the write.

A tick may reach a milestone, which gives points, which lead to a tier and complete a challenge,
which gives a badge, which completes another challenge. A queue holds these events and takes them
one by one, however long the chain. It ends because a challenge is completed once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast
from uuid import UUID

from models import ids
from models.db import Connection
from models.definitions.badges import Badge
from models.definitions.challenges import Challenge
from models.ledgers import awards, points
from models.ledgers.awards import Award, AwardKey
from models.ledgers.points import MovementKind, Transaction
from models.rules.challenges import Happened
from webhooks import facts
from workers.apply.badges import Awards, BadgeRequest, badge_of
from workers.apply.batch import Batch
from workers.apply.challenges import BatchChallenges
from workers.apply.milestones import Milestones
from workers.apply.points import INSUFFICIENT, BatchPoints, Movement, too_few
from workers.apply.redemptions import Redemptions
from workers.apply.streak_changes import StreakChanges
from workers.apply.tiers import Tiers
from workers.intake.messages import (
    STREAK_CHANGES,
    AwardV1,
    Message,
    PointsV1,
    RedemptionV1,
    StreakChangeMessage,
    is_alone,
)


@dataclass(frozen=True, slots=True)
class _Event:
    message: Message  # of the participant concerned
    happened: Happened
    at_us: int


@dataclass
class Effects:
    """The effects of one batch, decided in memory between one read and one write."""

    awards: Awards = field(default_factory=Awards)
    tiers: Tiers = field(default_factory=Tiers)
    challenges: BatchChallenges = field(default_factory=BatchChallenges)
    milestones: Milestones = field(default_factory=Milestones)
    connection: Connection = field(init=False)  # since the read
    points: BatchPoints = field(init=False)
    redemptions: Redemptions = field(init=False)
    streak_changes: StreakChanges = field(init=False)
    _events: deque[_Event] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.points = BatchPoints(self.tiers)
        self.redemptions = Redemptions(self.points)
        self.streak_changes = StreakChanges(self.points)

    def read(
        self,
        connection: Connection,
        batch: Batch,
        messages: Iterable[Message],
        badges: Iterable[AwardKey],
    ) -> None:
        """Read what the decisions depend on, under the participants' locks.

        `badges` are those that the messages may earn; the challenges' own are added.
        """
        self.connection, messages = connection, list(messages)
        self.challenges.read(connection, batch, messages)
        self.awards.read(connection, {*badges, *self._prizes(batch, messages)})
        self.redemptions.read(
            connection,
            batch,
            [message for message in messages if isinstance(message, RedemptionV1)],
        )
        if not STREAK_CHANGES.isdisjoint(map(type, messages)):
            changes = cast(list[StreakChangeMessage], messages)
            self.streak_changes.read(connection, batch, changes)

    def _prizes(self, batch: Batch, messages: Iterable[Message]) -> set[AwardKey]:
        found = set()
        for message in messages:
            for challenge in self.challenges.left(batch, message):
                badge = _badge(batch, message, challenge.badge_code)
                if badge:
                    found.add((message.tenant_id, batch.participant(message).id, str(badge.id)))
        return found

    # -- requested writes --------------------------------------------------------------------

    def award(self, batch: Batch, message: AwardV1) -> None:
        """Award one requested badge."""
        badge = badge_of(batch, message)
        award = self._award(batch, message, badge, BadgeRequest.by(message))
        if message.is_awaited:
            named = awards.named(award, message.participant_id, badge)
            batch.answers[message.id] = named.answer()

    def apply_points(self, batch: Batch, message: PointsV1) -> None:
        """Award or deduct requested points, or reject the request."""
        movement = Movement.asked_by(message)
        if message.amount > 0:
            made = self._give(batch, message, movement, ids.issued_at_us(UUID(message.id)))
        else:
            available = batch.participant(message).balance
            taken = self.points.take(batch, message, movement)
            if taken is None:
                detail = too_few(available, movement.amount)
                return batch.reject(message, INSUFFICIENT, detail)
            made = taken
        if message.is_awaited:
            batch.answers[message.id] = points.answer(made, message.participant_id)
        return None

    # -- events ------------------------------------------------------------------------------

    def happened(self, message: Message, what: Happened, at_us: int) -> None:
        """Queue an event that challenges may count."""
        if is_alone(message):
            return
        self._events.append(_Event(message, what, at_us))

    def _award(self, batch: Batch, message: Message, badge: Badge, asked: BadgeRequest) -> Award:
        award = self.awards.award(batch, message, badge, asked)
        if not award.already_earned:
            self.happened(message, Happened("badge", badge.code, 1), asked.earned_us)
        return award

    def _give(self, batch: Batch, message: Message, movement: Movement, at_us: int) -> Transaction:
        made = self.points.give(batch, message, movement)
        self.happened(message, Happened("points", None, movement.amount), at_us)
        return made

    def prize(
        self, batch: Batch, message: Message, kind: MovementKind, prize: Prize
    ) -> bool | None:
        """Give a prize; return whether its badge is new, if it has one."""
        if is_alone(message):
            return None
        is_new, badge = None, _badge(batch, message, prize.badge_code)
        if badge:
            asked = BadgeRequest(str(ids.uuid7(batch.now_us)), batch.now_us, prize.metadata)
            is_new = not self._award(batch, message, badge, asked).already_earned
        if prize.points:
            movement = Movement(
                str(ids.uuid7(batch.now_us)),
                kind,
                prize.points,
                source=prize.source,
                metadata=prize.metadata,
            )
            self._give(batch, message, movement, batch.now_us)
        return is_new

    def apply_pending(self, batch: Batch) -> None:
        """Let challenges count the queued events, until none is left."""
        while self._events:
            event = self._events.popleft()
            if not batch.configuration(event.message).challenges:
                continue
            for completion in self.challenges.advance(
                batch, event.message, event.happened, event.at_us
            ):
                self._complete(batch, event.message, completion)

    def reach_challenges(self, batch: Batch, message: Message) -> None:
        """Complete the challenges whose target a participant has reached by a merge."""
        self.challenges.read(self.connection, batch, [message])
        self.awards.read(self.connection, self._prizes(batch, [message]))
        for challenge in self.challenges.complete_reached(batch, message):
            self._complete(batch, message, challenge)

    def _complete(self, batch: Batch, message: Message, challenge: Challenge) -> None:
        prize = Prize(challenge.code, challenge.badge_code, challenge.points)
        is_new = self.prize(batch, message, "challenge", prize)
        stamp = batch.stamp_of(message)
        batch.publish(message, facts.challenge_completed(stamp, challenge, is_new))

    def write(self, connection: Connection, batch: Batch) -> None:
        """Write all effects; raises UniqueViolation when a ledger already holds a row."""
        self.awards.write(connection)
        self.points.write(connection)
        self.tiers.write(connection)
        self.redemptions.write(connection)
        self.challenges.write(connection, batch.now_us)
        self.milestones.write(connection)
        if self.streak_changes.is_read:
            self.streak_changes.write(batch)


@dataclass(frozen=True, slots=True)
class Prize:
    """What a milestone or a challenge gives."""

    source: str  # the code of the milestone's streak or of the challenge
    badge_code: str | None
    points: int | None
    metadata: str | None = None  # JSON: its origin


def _badge(batch: Batch, message: Message, code: str | None) -> Badge | None:
    """The badge of a code; None without a code, or without a badge to award."""
    return batch.configuration(message).badge_to_award(code)
