"""Awards: award a badge, award a batch, read an award's status (seed 001, contract §2)."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from flask import Blueprint, Response
from pydantic import Field
from typing_extensions import TypedDict

from api.http.auth import principal
from api.http.describe import describe
from api.http.key_cache import Principal
from api.http.rate_limits import render_refusal
from api.input.validation import Body, Code, FreeForm, ParticipantId, PastInstant
from api.writes import batch, submit
from api.writes.batch import BATCH_MAX, ItemError
from api.writes.status import WriteLedger, WriteStatus, get_status
from api.writes.submit import NoSuchDefinition, QueuedWrite, WriteStamp
from models.definitions.badges import Rarity
from models.ledgers import awards
from workers.intake.client import AwardV1

blueprint = Blueprint("awards", __name__)
blueprint.register_error_handler(Exception, render_refusal)


class AwardBody(Body):
    """One award of a batch."""

    participant_id: ParticipantId
    badge_code: Code
    metadata: FreeForm | None = None
    earned_at: Annotated[
        PastInstant | None, Field(description="When it was earned, for an import; default: now.")
    ] = None


class AwardBatch(Body):
    """A batch of awards; each is validated separately."""

    awards: Annotated[list[AwardBody], Field(min_length=1, max_length=BATCH_MAX)]


class Awarded(TypedDict):
    """The result of an award: the seven documented fields, then its id."""

    participant_id: str
    badge_code: str
    badge_name: str
    icon: str | None
    rarity: Rarity
    earned_at: str
    already_earned: bool
    award_id: str


class AwardAccepted(TypedDict):
    """An accepted award, and the URL of its status."""

    award_id: str
    status: Literal["accepted"]
    status_url: str


class AwardItem(TypedDict):
    """The result of one item of a batch."""

    index: int
    award_id: NotRequired[str]
    error: NotRequired[ItemError]


class AwardsAccepted(TypedDict):
    """One entry per item in order, and how many were accepted."""

    results: list[AwardItem]
    accepted: int
    rejected: int


class AwardOutcome(TypedDict):
    """The status of an award."""

    award_id: str
    status: WriteStatus
    result: Awarded | None
    code: NotRequired[str]


_EXAMPLE = {
    "participant_id": "user_123",
    "badge_code": "power_user",
    "metadata": {"trigger": "10th_login"},
}


@blueprint.post("/badges/award")
@describe(
    "Award a badge",
    answers={200: Awarded, 202: AwardAccepted},
    body=AwardBody,
    example=_EXAMPLE,
    problems=("badge_not_found", *submit.PROBLEMS),
    parameters=(submit.PREFER,),
)
@submit.on_current_configuration
def award() -> Response:
    """Award one badge and wait for the worker, as `Prefer` says."""
    posted = submit.read(AwardBody)
    with submit.waiting(posted.participant_id) as wish:
        award = _message(principal(), posted, submit.stamp(AWARD.ledger, wish))
        accepted = submit.submit(award)
        return submit.outcome(AWARD.ledger, award, accepted, wish)


@blueprint.post("/badges/award/batch")
@describe(
    "Award up to 1,000 badges",
    answers={202: AwardsAccepted},
    body=AwardBatch,
    problems=batch.PROBLEMS,
    parameters=(*batch.PARAMETERS, batch.EFFECTS),
    example={"awards": [_EXAMPLE]},
    content_types=(batch.JSON, batch.LINES),
)
def award_batch() -> Response:
    """Accept up to 1,000 awards, each with its own result."""
    return batch.post(AWARD, "awards")


@blueprint.get("/awards/<award_id>")
@describe("Get the status of an award", answers={200: AwardOutcome}, problems=("award_not_found",))
def get_award(award_id: str) -> Response:
    """The status of an award, and its result once it is applied."""
    return get_status(AWARD.ledger, award_id)


def _message(caller: Principal, posted: AwardBody, stamp: WriteStamp) -> AwardV1:
    """The message that awards an active badge."""
    badge = caller.badges.get(posted.badge_code)
    if badge is None or not badge.is_active:
        raise NoSuchDefinition("badge", posted.badge_code)
    return AwardV1(
        caller.tenant.id,
        stamp.id,
        posted.participant_id,
        str(badge.id),
        stamp.received_us if posted.earned_at is None else posted.earned_at,
        posted.metadata,
        stamp.is_awaited,
        stamp.is_silent,
        stamp.is_alone,
    )


AWARD = QueuedWrite(
    WriteLedger("award", "awards", awards.find, salt=b"award"),
    AwardBody,
    _message,
    may_be_alone=True,
)
