"""Tiers of a participant: assign, read an assignment's status, read the tier (contract §6)."""

from __future__ import annotations

from typing import Literal, NotRequired

from flask import Blueprint, Response
from typing_extensions import TypedDict

from api.http.auth import principal, tenant
from api.http.describe import Moment, describe, shown
from api.http.idempotency import IDEMPOTENCY_KEY, idempotency
from api.http.key_cache import Principal
from api.http.rate_limits import render_refusal
from api.http.request_context import app_context
from api.http.responses import answer
from api.http.tenant_session import reading
from api.input.validation import (
    Body,
    Code,
    FreeForm,
    ParticipantId,
    ReasonText,
    participant_id_in_path,
)
from api.resources.shared.tier_progress import (
    NextTierState,
    TierState,
    as_next_tier,
    as_tier,
    first,
    placement,
)
from api.writes import submit
from api.writes.status import WriteLedger, WriteStatus, get_status
from api.writes.submit import NoSuchDefinition, WriteStamp
from models import clock
from models.identity import participants
from models.ledgers import tier_changes
from models.ledgers.points import PointsBalance
from models.ledgers.tier_changes import Change, Tier
from models.people import profile
from workers.intake.client import AssignmentV1

blueprint = Blueprint("tier_assignments", __name__)
blueprint.register_error_handler(Exception, render_refusal)

# -- assigning -------------------------------------------------------------------------------


class AssignmentBody(Body):
    """A tier to assign, higher or lower than the current one."""

    participant_id: ParticipantId
    tier_code: Code
    reason: ReasonText | None = None
    metadata: FreeForm | None = None


class Assigned(TypedDict):
    """The result of an assignment."""

    assignment_id: str
    participant_id: str
    tier_code: str
    tier_name: str
    level: int
    previous_code: str | None
    previous_level: int | None
    already_assigned: bool
    assigned_at: Moment


class AssignmentAccepted(TypedDict):
    """An accepted assignment, and the URL of its status."""

    assignment_id: str
    status: Literal["accepted"]
    status_url: str


class AssignmentOutcome(TypedDict):
    """The status of an assignment."""

    assignment_id: str
    status: WriteStatus
    result: Assigned | None
    code: NotRequired[str]


@blueprint.post("/tiers/assign")
@describe(
    "Assign a tier",
    answers={200: Assigned, 202: AssignmentAccepted},
    body=AssignmentBody,
    example={"participant_id": "user_123", "tier_code": "platinum", "reason": "VIP promotion"},
    problems=("tier_not_found", "idempotency_conflict", *submit.PROBLEMS),
    parameters=(submit.PREFER, IDEMPOTENCY_KEY),
)
@submit.on_current_configuration
def assign_tier() -> Response:
    """Assign a tier to a participant, whatever their points, and wait for the worker."""
    posted = submit.read(AssignmentBody)
    with submit.waiting(posted.participant_id) as wish:
        assignment = _message(principal(), posted, submit.stamp(LEDGER, wish))
        accepted = submit.submit(assignment, idempotency("tiers/assign", posted))
        return submit.outcome(LEDGER, assignment, accepted, wish)


@blueprint.get("/tiers/assignments/<assignment_id>")
@describe(
    "Get the status of an assignment",
    answers={200: AssignmentOutcome},
    problems=("assignment_not_found",),
)
def get_assignment(assignment_id: str) -> Response:
    """The status of an assignment, and its result once it is applied."""
    return get_status(LEDGER, assignment_id)


def _message(caller: Principal, posted: AssignmentBody, stamp: WriteStamp) -> AssignmentV1:
    """The message that assigns an active tier."""
    tier = caller.tiers.get(posted.tier_code)
    if tier is None or not tier.is_active:
        raise NoSuchDefinition("tier", posted.tier_code)
    return AssignmentV1(
        caller.tenant.id,
        stamp.id,
        posted.participant_id,
        str(tier.id),
        posted.reason,
        posted.metadata,
        stamp.is_awaited,
    )


LEDGER = WriteLedger("assignment", "tiers/assignments", tier_changes.find, salt=b"assignment")

# -- reading ---------------------------------------------------------------------------------


class NextTierProgress(NextTierState):
    """The next tier, and the points missing, counted from all points earned."""

    earned_remaining: int


class TierHistoryEntry(TypedDict):
    """A tier change of a participant."""

    code: str
    name: str
    level: int
    previous_code: str | None
    source: tier_changes.Source
    reason: str | None
    achieved_at: Moment


class ParticipantTier(TypedDict):
    """A participant's tier, the next tier and the history."""

    participant_id: str
    current_tier: TierState | None
    next_tier: NextTierProgress | None
    tier_history: list[TierHistoryEntry]


@blueprint.get("/participants/<participant:participant_id>/tier")
@describe("Get a participant's tier", answers={200: ParticipantTier})
def participant_tier(participant_id: str) -> Response:
    """The tier, the next one and the history; for an unknown participant the first tier is next."""
    participant_id = participant_id_in_path(participant_id)
    known_id, found = profile.state(app_context().rows, tenant().id, participant_id, ("tier",))
    mine = placement(found.placed)
    with reading() as connection:
        participant = participants.find(connection, tenant().id, participant_id)
        history = (
            tier_changes.history(connection, tenant().id, participant.id) if participant else []
        )
    state: ParticipantTier = {
        "participant_id": known_id,
        "current_tier": as_tier(mine, found.points),
        "next_tier": _next(mine.above if mine else first(), found.points),
        "tier_history": [_entry(change) for change in history],
    }
    return answer(state)


def _next(above: Tier | None, points: PointsBalance) -> NextTierProgress | None:
    state = as_next_tier(above, points)
    if above is None or state is None:
        return None
    return {**state, "earned_remaining": max(0, state["points_required"] - points.earned)}


def _entry(change: Change) -> TierHistoryEntry:
    achieved_at = clock.to_text(change.achieved_us)
    return shown(
        TierHistoryEntry,
        change.upgrade,
        source=change.source,
        reason=change.reason,
        achieved_at=achieved_at,
    )
