"""Points: award, deduct, read the balance and the ledger (contract §6)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired
from uuid import UUID

from flask import Blueprint, Response, request
from pydantic import Field
from pydantic_core import from_json
from typing_extensions import TypedDict

from api.http.auth import principal, tenant
from api.http.describe import PAGE, Id, Moment, Parameter, describe, shown
from api.http.idempotency import IDEMPOTENCY_KEY, idempotency
from api.http.key_cache import Principal
from api.http.problems import invalid_field
from api.http.rate_limits import render_refusal
from api.http.responses import answer
from api.http.tenant_session import reading
from api.input import cursors
from api.input.validation import (
    Body,
    FreeForm,
    ParticipantId,
    ReasonText,
    page_window,
    participant_id_in_path,
)
from api.resources.shared.tier_progress import as_points
from api.writes import batch, submit
from api.writes.batch import BATCH_MAX, ItemError
from api.writes.status import WriteLedger, WriteStatus, get_status
from api.writes.submit import QueuedWrite, WriteStamp
from models import clock
from models.ledgers import points
from models.ledgers.points import ACCOUNTS, Account, Transaction
from workers.intake.client import PointsV1

blueprint = Blueprint("points", __name__)
blueprint.register_error_handler(Exception, render_refusal)

AMOUNT_MAX = 1_000_000  # contract §6
_CURSOR_BYTES = 24  # a sequence, and a UUID
_SEQUENCE_MAX = 2**63 - 1  # a bigint
KINDS: tuple[points.MovementKind, ...] = tuple(ACCOUNTS)

Amount = Annotated[int, Field(ge=1, le=AMOUNT_MAX)]


class PointsBody(Body):
    """Points to award or to deduct."""

    participant_id: ParticipantId
    amount: Amount
    reason: ReasonText | None = None
    metadata: FreeForm | None = None


class PointsBatch(Body):
    """A batch of awards; each is validated separately."""

    awards: Annotated[list[PointsBody], Field(min_length=1, max_length=BATCH_MAX)]


class TierUpgrade(TypedDict):
    """The tier that points reached, and the previous one."""

    code: str
    name: str
    level: int
    previous_code: str | None
    previous_level: int | None


class MovementResult(TypedDict):
    """The result of an award or a deduction."""

    transaction_id: str
    participant_id: str
    amount: int
    new_balance: int
    tier_upgrade: TierUpgrade | None


class MovementAccepted(TypedDict):
    """An accepted movement of points, and the URL of its status."""

    transaction_id: str
    status: Literal["accepted"]
    status_url: str


class MovementItem(TypedDict):
    """The result of one item of a batch."""

    index: int
    transaction_id: NotRequired[str]
    error: NotRequired[ItemError]


class MovementsAccepted(TypedDict):
    """One entry per item in order, and how many were accepted."""

    results: list[MovementItem]
    accepted: int
    rejected: int


class MovementOutcome(TypedDict):
    """The status of an award or a deduction."""

    transaction_id: str
    status: WriteStatus
    result: MovementResult | None
    code: NotRequired[str]
    detail: NotRequired[str]


class ParticipantPoints(TypedDict):
    """The points of a participant."""

    participant_id: str
    balance: int
    total_earned: int
    total_spent: int


class TransactionEntry(TypedDict):
    """One movement of the ledger."""

    id: Id
    kind: points.MovementKind
    amount: int  # negative for a deduction
    balance_after: int
    debit: Account
    credit: Account
    source: str | None
    reason: str | None
    metadata: dict[str, Any] | None
    created_at: Moment


class TransactionPage(TypedDict):
    """A page of movements in the order of their application, newest first; `balance_after` of the
    first row is the balance. `next_cursor` continues without gaps or repeats."""

    items: list[TransactionEntry]
    total: int
    page: int
    page_size: int
    next_cursor: str | None


# -- writing ---------------------------------------------------------------------------------

_AWARD = {
    "participant_id": "user_123",
    "amount": 100,
    "reason": "Purchase completed",
    "metadata": {"order_id": "ord_abc"},
}
_DEDUCT = {"participant_id": "user_123", "amount": 50, "reason": "Reward redemption"}


@blueprint.post("/points/award")
@describe(
    "Award points",
    answers={200: MovementResult, 202: MovementAccepted},
    body=PointsBody,
    example=_AWARD,
    problems=("idempotency_conflict", *submit.PROBLEMS),
    parameters=(submit.PREFER, IDEMPOTENCY_KEY),
)
@submit.on_current_configuration
def award_points() -> Response:
    """Award points and the tier that they reach, and wait for the worker."""
    posted = submit.read(PointsBody)
    with submit.waiting(posted.participant_id) as wish:
        award = _award(principal(), posted, submit.stamp(_LEDGER, wish))
        accepted = submit.submit(award, idempotency("points/award", posted))
        return submit.outcome(_LEDGER, award, accepted, wish)


@blueprint.post("/points/deduct")
@describe(
    "Deduct points",
    answers={200: MovementResult, 202: MovementAccepted},
    body=PointsBody,
    example=_DEDUCT,
    problems=("insufficient_points", "idempotency_conflict", *submit.PROBLEMS),
    parameters=(submit.PREFER, IDEMPOTENCY_KEY),
)
@submit.on_current_configuration
def deduct_points() -> Response:
    """Deduct points, if there are enough, and wait for the worker."""
    posted = submit.read(PointsBody)
    with submit.waiting(posted.participant_id) as wish:
        deduct = _deduct(principal(), posted, submit.stamp(_LEDGER, wish))
        accepted = submit.submit(deduct, idempotency("points/deduct", posted))
        return submit.outcome(_LEDGER, deduct, accepted, wish)


@blueprint.post("/points/award-batch")
@describe(
    "Award points to up to 1,000 participants",
    answers={202: MovementsAccepted},
    body=PointsBatch,
    example={"awards": [_AWARD]},
    problems=batch.PROBLEMS,
    parameters=batch.PARAMETERS,
    content_types=(batch.JSON, batch.LINES),
)
def award_points_batch() -> Response:
    """Accept up to 1,000 awards, each with its own result."""
    return batch.post(AWARD, "awards")


@blueprint.get("/points/transactions/<transaction_id>")
@describe(
    "Get the status of an award or a deduction",
    answers={200: MovementOutcome},
    problems=("transaction_not_found",),
)
def get_transaction(transaction_id: str) -> Response:
    """The status of a movement of points, and its result once it is applied."""
    return get_status(AWARD.ledger, transaction_id)


def _award(caller: Principal, posted: PointsBody, stamp: WriteStamp) -> PointsV1:
    return _message(caller, posted, stamp, posted.amount)


def _deduct(caller: Principal, posted: PointsBody, stamp: WriteStamp) -> PointsV1:
    return _message(caller, posted, stamp, -posted.amount)


def _message(caller: Principal, posted: PointsBody, stamp: WriteStamp, amount: int) -> PointsV1:
    return PointsV1(
        caller.tenant.id,
        stamp.id,
        posted.participant_id,
        amount,
        posted.reason,
        posted.metadata,
        stamp.is_awaited,
        stamp.is_silent,
    )


_LEDGER = WriteLedger("transaction", "points/transactions", points.find, salt=b"points")
AWARD = QueuedWrite(_LEDGER, PointsBody, _award)

# -- reading ---------------------------------------------------------------------------------


@blueprint.get("/participants/<participant:participant_id>/points")
@describe("Get a participant's points", answers={200: ParticipantPoints})
def participant_points(participant_id: str) -> Response:
    """A participant's balance and totals; zero for an unknown one (contract §2)."""
    participant_id = participant_id_in_path(participant_id)
    with reading() as connection:
        found = points.balance(connection, tenant().id, participant_id)
    return answer({"participant_id": participant_id, **as_points(found)})


@blueprint.get("/participants/<participant:participant_id>/points/transactions")
@describe(
    "List the movements of a participant's points",
    answers={200: TransactionPage},
    parameters=(
        *PAGE,
        cursors.after_parameter(_CURSOR_BYTES, " Instead of `page`, with the same `kind`."),
        Parameter("kind", {"type": "string", "enum": list(KINDS)}, "Only movements of this kind."),
    ),
)
def participant_transactions(participant_id: str) -> Response:
    """The ledger of one participant, newest first; empty for an unknown one (contract §2)."""
    participant_id = participant_id_in_path(participant_id)
    window = page_window()
    kind, after = cursors.query_choice("kind", *KINDS), _decoded_cursor()
    wanted = points.MovementQuery(kind, *window.slice, after)
    with reading() as connection:
        found = points.page(connection, (tenant().id, participant_id), wanted)
    entries = [_entry(transaction) for transaction in found.items]
    return window.answer(entries, found.total, next_cursor=_cursor(found.last))


def _decoded_cursor() -> points.PointsCursor | None:
    """The end of the previous page; 422 if given together with a page number."""
    position = cursors.decode("after", _CURSOR_BYTES)
    if position is None:
        return None
    if "page" in request.args:
        raise invalid_field("page", "unexpected", "must not be given with after")
    sequence = int.from_bytes(position[:8])
    if sequence > _SEQUENCE_MAX:
        raise cursors.no_cursor("after")
    return sequence, UUID(bytes=position[8:])


def _cursor(position: points.PointsCursor | None) -> str | None:
    return None if position is None else cursors.encode(position[0].to_bytes(8) + position[1].bytes)


def _entry(transaction: Transaction) -> TransactionEntry:
    debit, credit = ACCOUNTS[transaction.kind]
    return shown(
        TransactionEntry,
        transaction,
        amount=transaction.amount if transaction.is_credit else -transaction.amount,
        debit=debit,
        credit=credit,
        metadata=from_json(transaction.metadata) if transaction.metadata else None,
        created_at=clock.to_text(transaction.created_us),
    )
