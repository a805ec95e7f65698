"""Redemptions: redeem a reward, read a redemption's status, list redemptions (contract §6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NotRequired

from flask import Blueprint, Response
from typing_extensions import TypedDict

from api.http.auth import principal, tenant
from api.http.describe import PAGE, Id, Moment, describe, shown
from api.http.idempotency import IDEMPOTENCY_KEY, idempotency
from api.http.key_cache import Principal
from api.http.problems import Problem
from api.http.rate_limits import render_refusal
from api.http.tenant_session import reading
from api.input.field_types import uuid_in_path
from api.input.validation import Body, FreeForm, ParticipantId, page_window, participant_id_in_path
from api.writes import submit
from api.writes.status import WriteLedger, WriteStatus, get_status
from api.writes.submit import NoSuchDefinition, WriteStamp
from models import clock
from models.ledgers import redemptions
from models.ledgers.redemptions import RedemptionRow
from workers.intake.client import RedemptionV1

blueprint = Blueprint("claims", __name__)
blueprint.register_error_handler(Exception, render_refusal)


class RedemptionBody(Body):
    """The participant who redeems a reward."""

    participant_id: ParticipantId
    metadata: FreeForm | None = None


class RedemptionResult(TypedDict):
    """The result of a redemption."""

    claim_id: str
    participant_id: str
    reward_id: Id
    reward_code: str
    reward_name: str
    reward_type: str
    points_deducted: int
    new_balance: int
    transaction_id: str | None
    claimed_at: Moment


class RedemptionAccepted(TypedDict):
    """An accepted redemption, and the URL of its status."""

    claim_id: str
    status: Literal["accepted"]
    status_url: str


class RedemptionOutcome(TypedDict):
    """The status of a redemption."""

    claim_id: str
    status: WriteStatus
    result: RedemptionResult | None
    code: NotRequired[str]
    detail: NotRequired[str]


class RedemptionEntry(TypedDict):
    """A redemption of a participant."""

    claim_id: str
    reward_id: Id
    reward_code: str
    reward_name: str
    reward_type: str
    points_deducted: int
    claimed_at: Moment


class ParticipantRedemptions(TypedDict):
    """A page of a participant's redemptions, newest first."""

    items: list[RedemptionEntry]
    total: int
    page: int
    page_size: int


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A body together with the reward in its path."""

    participant_id: str
    reward_id: str
    metadata: str | None


@blueprint.post("/rewards/<reward_id>/claim")
@describe(
    "Redeem a reward",
    answers={200: RedemptionResult, 202: RedemptionAccepted},
    body=RedemptionBody,
    example={"participant_id": "user_123"},
    problems=(
        "reward_not_found",
        "reward_not_open",
        "reward_out_of_stock",
        "reward_limit_reached",
        "insufficient_points",
        "idempotency_conflict",
        *submit.PROBLEMS,
    ),
    parameters=(submit.PREFER, IDEMPOTENCY_KEY),
)
@submit.on_current_configuration
def claim_reward(reward_id: str) -> Response:
    """Redeem a reward for its cost in points, if it is in stock, and wait for the worker."""
    number = str(uuid_in_path("reward", reward_id))
    posted = submit.read(RedemptionBody)
    wanted = _Wanted(posted.participant_id, number, posted.metadata)
    with submit.waiting(posted.participant_id) as wish:
        claim = _message(principal(), wanted, submit.stamp(LEDGER, wish))
        accepted = submit.submit(claim, idempotency("rewards/claim", wanted, reward_id=number))
        return submit.outcome(LEDGER, claim, accepted, wish)


@blueprint.get("/claims/<claim_id>")
@describe(
    "Get the status of a redemption",
    answers={200: RedemptionOutcome},
    problems=("claim_not_found",),
)
def get_claim(claim_id: str) -> Response:
    """The status of a redemption, its result, or the reason for its refusal."""
    return get_status(LEDGER, claim_id)


@blueprint.get("/participants/<participant:participant_id>/rewards")
@describe(
    "List a participant's redemptions",
    answers={200: ParticipantRedemptions},
    parameters=PAGE,
)
def participant_rewards(participant_id: str) -> Response:
    """A participant's redemptions, newest first; empty for an unknown one (contract §2)."""
    participant_id = participant_id_in_path(participant_id)
    window = page_window()
    with reading() as connection:
        key = (tenant().id, participant_id)
        found, total = redemptions.of_participant(connection, key, window.slice)
    return window.answer([_entry(row) for row in found], total)


def _message(caller: Principal, wanted: _Wanted, stamp: WriteStamp) -> RedemptionV1:
    """The message that redeems an active reward inside its window."""
    reward = caller.rewards.get(wanted.reward_id)
    if reward is None or not reward.is_active:
        raise NoSuchDefinition("reward", wanted.reward_id)
    if not reward.is_open_at(clock.from_us(stamp.received_us)):
        detail = f"Reward '{reward.code}' cannot be claimed now: see starts_at and ends_at"
        raise Problem(409, "reward_not_open", detail)
    return RedemptionV1(
        caller.tenant.id,
        stamp.id,
        wanted.participant_id,
        wanted.reward_id,
        wanted.metadata,
        stamp.is_awaited,
    )


LEDGER = WriteLedger("claim", "claims", redemptions.find, salt=b"claim")


def _entry(found: RedemptionRow) -> RedemptionEntry:
    redemption = found.redemption
    return shown(
        RedemptionEntry,
        redemption,
        claim_id=redemption.id,
        reward_code=found.code,
        reward_name=found.name,
        reward_type=found.type,
        claimed_at=clock.to_text(redemption.claimed_us),
    )
