"""Rows of an import: as sent, and as the models take them."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from api.http.request_context import app_context
from api.input.validation import (
    Body,
    Code,
    FreeForm,
    Instant,
    Name,
    ParticipantId,
    PastInstant,
    Zone,
)
from api.resources.participants.participants import AvatarUrl, DisplayName
from api.resources.participants.scrip import Tags
from api.writes.batch import BATCH_MAX
from models import clock
from models.people.imports import ImportedChallenge, ImportedRedemption, OpeningBalance
from models.people.profile import ParticipantStatus
from models.people.profile_imports import Enrolment, ImportedProfile
from models.rules.periods import HOUR_US

POINTS_MAX = 1_000_000_000_000  # per participant
PROGRAMS_MAX = 100

PointsTotal = Annotated[int, Field(ge=0, le=POINTS_MAX)]
_Given = {"display_name", "avatar_url", "attributes", "timezone", "tags", "status"}


def _seen(instant_us: int) -> int:
    """The instant of a tick, which may be as far ahead as a tick's timestamp."""
    hours = app_context().settings.tick_ahead_hours_max
    if not 0 <= instant_us <= clock.now_us() + hours * HOUR_US:
        text = "must be from 1970 on, and at most {hours} hours ahead"
        raise PydanticCustomError("past", text, {"hours": hours})
    return instant_us


SeenInstant = Annotated[Instant, AfterValidator(_seen)]


class ImportedEnrolment(Body):
    """A program of a participant, by its name."""

    name: Name
    enrolled_at: PastInstant | None = None


class ParticipantImport(Body):
    """A participant from another service; fields that are not given keep their values, null
    clears."""

    participant_id: ParticipantId
    display_name: DisplayName | None = None
    avatar_url: AvatarUrl | None = None
    attributes: FreeForm | None = None
    timezone: Zone | None = None
    status: ParticipantStatus | None = None
    tags: Tags | None = None
    programs: Annotated[
        list[ImportedEnrolment], Field(max_length=PROGRAMS_MAX, default_factory=list)
    ]
    created_at: PastInstant | None = None
    first_seen_at: SeenInstant | None = None
    last_seen_at: SeenInstant | None = None

    def row(self) -> ImportedProfile:
        """The row for the models."""
        given = self.model_dump(exclude_unset=True, include=_Given)
        for name in ("tags", "status"):  # these are never null
            if name in given and given[name] is None:
                del given[name]
        return ImportedProfile(
            self.participant_id, given,
            [Enrolment(program.name, program.enrolled_at) for program in self.programs],
            self.created_at, self.first_seen_at, self.last_seen_at,
        )  # fmt: skip


class BalanceImport(Body):
    """A participant's points and tier from another service."""

    participant_id: ParticipantId
    total_earned: PointsTotal
    total_spent: PointsTotal = 0
    tier_code: Code | None = None
    tier_achieved_at: PastInstant | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.total_spent > self.total_earned:
            raise PydanticCustomError("balance", "must have a total_spent of at most total_earned")
        return self

    def row(self) -> OpeningBalance:
        """The row for the models."""
        return OpeningBalance(
            self.participant_id, self.total_earned, self.total_spent, self.tier_code,
            self.tier_achieved_at,
        )  # fmt: skip


class RedemptionImport(Body):
    """A redemption from another service."""

    participant_id: ParticipantId
    reward_code: Code
    claimed_at: PastInstant
    points_deducted: PointsTotal = 0
    balance_after: PointsTotal = 0
    metadata: FreeForm | None = None
    claim_id: Annotated[
        Annotated[str, StringConstraints(strict=True, min_length=1, max_length=64)] | None,
        Field(description="Its id on the other service; distinguishes redemptions at one instant."),
    ] = None

    def row(self) -> ImportedRedemption:
        """The row for the models."""
        return ImportedRedemption(
            self.participant_id, self.reward_code, self.claimed_at, self.points_deducted,
            self.balance_after, self.metadata, self.claim_id,
        )  # fmt: skip


class ChallengeImport(Body):
    """A participant's progress in a challenge on another service."""

    participant_id: ParticipantId
    challenge_code: Code
    progress: Annotated[int, Field(ge=1, le=POINTS_MAX)]
    completed_at: PastInstant | None = None

    def row(self) -> ImportedChallenge:
        """The row for the models."""
        return ImportedChallenge(
            self.participant_id, self.challenge_code, self.progress, self.completed_at
        )


class ParticipantImports(Body):
    """A batch of participants; each is validated separately."""

    participants: Annotated[list[ParticipantImport], Field(min_length=1, max_length=BATCH_MAX)]


class BalanceImports(Body):
    """A batch of balances; each is validated separately."""

    balances: Annotated[list[BalanceImport], Field(min_length=1, max_length=BATCH_MAX)]


class RedemptionImports(Body):
    """A batch of redemptions; each is validated separately."""

    claims: Annotated[list[RedemptionImport], Field(min_length=1, max_length=BATCH_MAX)]


class ChallengeImports(Body):
    """A batch of progress; each row is validated separately."""

    challenges: Annotated[list[ChallengeImport], Field(min_length=1, max_length=BATCH_MAX)]
