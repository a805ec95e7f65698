"""Freezes of a streak: granted, bought for points, and where they went (contract §7.3)."""

from __future__ import annotations

from typing import Annotated

from flask import Blueprint, Response
from pydantic import Field
from typing_extensions import TypedDict

from api.http.auth import require_admin, tenant
from api.http.describe import Id, describe
from api.http.key_cache import Principal
from api.http.problems import Problem
from api.http.rate_limits import render_refusal
from api.http.responses import answer
from api.http.tenant_session import reading
from api.input.validation import (
    Body,
    Code,
    ParticipantId,
    ReasonText,
    participant_id_in_path,
)
from api.resources.repair.days import PastDay
from api.resources.repair.streak_changes import (
    ANSWERS,
    PARAMETERS,
    PROBLEMS,
    StreakChangesAccepted,
    by,
    queue,
    read,
    streak_named,
)
from api.resources.shared.streak_in_path import streak_in_path
from api.resources.shared.write_ledgers import STREAK_CHANGES
from api.writes import batch, submit
from api.writes.batch import BATCH_MAX
from api.writes.submit import QueuedWrite, WriteStamp
from models import clock
from models.identity import participants
from models.ledgers import streak_changes
from models.ledgers.streak_changes import StreakChangeRow
from models.people.freeze_ledger import FreezeEntry, FreezeWhat, entries
from models.rules.periods import key_of, period_at
from models.streaks import states
from models.streaks.states import Streak
from models.streaks.terms import explain, live
from workers.intake.client import FreezeV1

blueprint = Blueprint("freezes", __name__)
blueprint.register_error_handler(Exception, render_refusal)

FREEZES_MAX = 100  # of one call
_PATH = "/participants/<participant:participant_id>/streaks/<code>/freezes"


class GrantBody(Body):
    """Freezes to give."""

    amount: Annotated[int, Field(ge=1, le=FREEZES_MAX)]
    reason: ReasonText | None = None


class GrantItem(GrantBody):
    """A grant of a batch."""

    participant_id: ParticipantId
    streak_code: Code
    granted_on: Annotated[
        PastDay | None,
        Field(description="The local day on which it was given, for an import; default: today."),
    ] = None


class GrantBatch(Body):
    """A batch of grants; each is validated separately."""

    freezes: Annotated[list[GrantItem], Field(min_length=1, max_length=BATCH_MAX)]


class PurchaseBody(Body):
    """Freezes to buy."""

    amount: Annotated[int, Field(ge=1, le=FREEZES_MAX)] = 1
    reason: ReasonText | None = None


class FreezeEntryShown(TypedDict):
    """Freezes that came or went."""

    what: FreezeWhat
    period_key: str
    amount: int  # negative: used
    streak_change_id: Id | None  # of those granted or bought
    reason: str | None


class StreakFreezes(TypedDict):
    """The freezes of a streak, and where they came from and went, oldest first."""

    participant_id: str
    streak_code: str
    freezes_remaining: int
    price_points: int | None  # null: not sold
    entries: list[FreezeEntryShown]


@blueprint.get(_PATH)
@describe(
    "List a streak's freezes",
    answers={200: StreakFreezes},
    problems=("streak_not_found",),
)
def list_freezes(participant_id: str, code: str) -> Response:
    """The balance now, and its ledger: initial, granted, bought, earned in which period, used for
    which. Before the first tick: those that wait for it."""
    participant_id = participant_id_in_path(participant_id)
    streak = streak_in_path(code)
    with reading() as connection:
        participant = participants.find(connection, tenant().id, participant_id)
        changes: list[StreakChangeRow] = []
        state = None
        if participant is not None:
            participant_id = participant.external_id
            changes = streak_changes.history(connection, tenant().id, participant.id, streak.id)
            found = states.states_of(connection, tenant().id, participant, [streak])
            state = found[0][1] if found else None
    zone = streak.zone(
        state.last_zone if state else None, participant.timezone if participant else None
    )
    current = period_at(streak.cadence, clock.now_us(), zone)
    history = list(explain(streak, state, zone, current)) if state else []
    shown: StreakFreezes = {
        "participant_id": participant_id,
        "streak_code": streak.code,
        "freezes_remaining": live(streak, state, zone, current).freezes_remaining if state else 0,
        "price_points": _price_of(streak),
        "entries": [_entry(streak, entry) for entry in entries(streak, history, changes, zone)],
    }
    return answer(shown)


def _entry(streak: Streak, entry: FreezeEntry) -> FreezeEntryShown:
    return {
        "what": entry.what,
        "period_key": key_of(streak.cadence, entry.period),
        "amount": entry.amount,
        "streak_change_id": entry.change.id if entry.change else None,
        "reason": entry.change.reason if entry.change else None,
    }


@blueprint.post(f"{_PATH}/grant")
@describe(
    "Grant freezes",
    answers=ANSWERS,
    body=GrantBody,
    example={"amount": 2, "reason": "A gift"},
    problems=("streak_not_found", *PROBLEMS),
    parameters=PARAMETERS,
)
@require_admin
@submit.on_current_configuration
def grant_freezes(participant_id: str, code: str) -> Response:
    """Give freezes, also beyond `freezes.max`. Before the first tick they are kept for it."""
    participant_id = participant_id_in_path(participant_id)
    posted = read(GrantBody)

    def make(caller: Principal, stamp: WriteStamp) -> FreezeV1:
        streak = streak_named(caller, code)
        return _message(caller, stamp, participant_id, streak, posted, None)

    return queue("freezes/grant", participant_id, make, code=code)


@blueprint.post("/freezes/batch")
@describe(
    "Grant freezes to up to 1,000 participants",
    answers={202: StreakChangesAccepted},
    body=GrantBatch,
    example={"freezes": [{"participant_id": "user_42", "streak_code": "daily_login", "amount": 1}]},
    problems=batch.PROBLEMS,
    parameters=batch.PARAMETERS,
    content_types=(batch.JSON, batch.LINES),
)
@require_admin
def grant_batch() -> Response:
    """Accept up to 1,000 grants, each with its own result."""
    return batch.post(GRANT, "freezes")


def _item(caller: Principal, posted: GrantItem, stamp: WriteStamp) -> FreezeV1:
    streak = streak_named(caller, posted.streak_code)
    return _message(caller, stamp, posted.participant_id, streak, posted, None)


GRANT = QueuedWrite(STREAK_CHANGES, GrantItem, _item)


@blueprint.post(f"{_PATH}/buy")
@describe(
    "Buy freezes",
    answers=ANSWERS,
    body=PurchaseBody,
    example={"amount": 1},
    problems=("streak_not_found", "freezes_not_for_sale", "insufficient_points", *PROBLEMS),
    parameters=PARAMETERS,
)
@submit.on_current_configuration
def buy_freezes(participant_id: str, code: str) -> Response:
    """Take `freezes.price_points` for each freeze from the participant's points, and give them in
    the same transaction."""
    participant_id = participant_id_in_path(participant_id)
    posted = read(PurchaseBody)

    def make(caller: Principal, stamp: WriteStamp) -> FreezeV1:
        streak = streak_named(caller, code)
        return _message(caller, stamp, participant_id, streak, posted, _price(streak))

    return queue("freezes/buy", participant_id, make, code=code)


def _price(streak: Streak) -> int:
    price = _price_of(streak)
    if price is None:
        detail = f"Freezes of streak '{streak.code}' are not sold: it has no freezes.price_points"
        raise Problem(409, "freezes_not_for_sale", detail)
    return price


def _price_of(streak: Streak) -> int | None:
    freezes = (streak.forgiveness or {}).get("freezes") or {}
    price: int | None = freezes.get("price_points")
    return price


def _message(
    caller: Principal,
    stamp: WriteStamp,
    participant_id: str,
    streak: Streak,
    posted: GrantBody | PurchaseBody,
    price_points: int | None,
) -> FreezeV1:
    return FreezeV1(
        caller.tenant.id,
        stamp.id,
        participant_id,
        streak.id,
        posted.amount,
        price_points,
        posted.reason,
        stamp.is_awaited,
        None if price_points is not None else by(),
        stamp.is_silent,
        posted.granted_on if isinstance(posted, GrantItem) else None,
    )
