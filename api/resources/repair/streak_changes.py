"""Streak changes: their status, and what every one of them is answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NotRequired, TypeVar

from flask import Blueprint, Response, g
from typing_extensions import TypedDict

from api.http.auth import principal
from api.http.describe import Id, Parameter, describe
from api.http.failed_key_throttle import client_address
from api.http.idempotency import IDEMPOTENCY_KEY, idempotency
from api.http.key_cache import Principal
from api.http.rate_limits import render_refusal
from api.http.request_context import app_context, this_request
from api.input.validation import REASON_CHARS_MAX, Body, query_bool
from api.resources.repair.previews import PREVIEW, PreviewedFact, answer_preview
from api.resources.shared.write_ledgers import STREAK_CHANGES
from api.writes import submit
from api.writes.batch import ItemError
from api.writes.status import WriteStatus, get_status
from api.writes.submit import NoSuchDefinition, WriteStamp
from models.ledgers.streak_changes import ChangeKind
from models.streaks.states import Streak
from workers.intake.client import ByV1
from workers.intake.messages import StreakChangeMessage

blueprint = Blueprint("streak_changes", __name__)
blueprint.register_error_handler(Exception, render_refusal)

PROBLEMS = ("idempotency_conflict", *submit.PROBLEMS)
PARAMETERS_WITHOUT_PREVIEW = (submit.PREFER, IDEMPOTENCY_KEY)
PARAMETERS = (*PARAMETERS_WITHOUT_PREVIEW, PREVIEW)
REASON = Parameter(
    "reason",
    {"type": "string", "maxLength": REASON_CHARS_MAX},
    "Why, for the ledger of streak changes.",
)


class ChangedStreak(TypedDict):
    """The current count of a streak before and after a change."""

    streak_code: str
    count: int
    previous_count: int
    longest_count: int


class RevokedMilestone(TypedDict):
    """A milestone that is no longer reached, and what was taken back."""

    count: int
    badge_code: str | None
    points_deducted: int  # as many of its points as were left


StreakEffect = TypedDict(
    "StreakEffect",
    {
        "kind": ChangeKind,
        "participant_id": str,
        "streak_code": str | None,  # null: several
        "reason": str | None,
        "streaks": list[ChangedStreak],  # empty before the first tick
        "pause_id": NotRequired[Id],
        "from": NotRequired[str],  # of a merge: the id that became an alias
        "to": NotRequired[str],
        "streak_codes": NotRequired[list[str] | None],  # of a pause; null: every streak
        "periods": NotRequired[list[str]],  # repaired
        "as": NotRequired[Literal["protected", "recorded"]],
        "restore_id": NotRequired[Id],  # of the restore of many that did it
        "amount": NotRequired[int],  # of freezes
        "points_deducted": NotRequired[int],
        "new_balance": NotRequired[int],  # of points
        "freezes_remaining": NotRequired[int | None],  # null before the first tick
        "tick_id": NotRequired[Id | None],
        "period_key": NotRequired[str],
        "is_period_removed": NotRequired[bool],  # false: another tick or a repair holds it
        "revoked": NotRequired[list[RevokedMilestone]],  # with `revoke`: no longer reached
        "is_repeated": NotRequired[bool],  # of a merge: it was an alias before, nothing changed
    },
)
StreakEffect.__doc__ = "What a change does; the fields of its kind follow the first five."


class _Accepted(TypedDict):
    streak_change_id: Id


class StreakChanged(_Accepted, StreakEffect):
    """The result of a change; the fields of its kind follow the first six."""


class StreakChangePreview(TypedDict):
    """The answer to `preview=true`: the result, without ids that are not given yet, and the facts
    that would be sent."""

    result: StreakEffect
    facts: list[PreviewedFact]


class StreakChangeAccepted(TypedDict):
    """An accepted change, and the URL of its status."""

    streak_change_id: str
    status: Literal["accepted"]
    status_url: str


class StreakChangeItem(TypedDict):
    """The result of one item of a batch."""

    index: int
    streak_change_id: NotRequired[str]  # of a pause: also its id
    error: NotRequired[ItemError]


class StreakChangesAccepted(TypedDict):
    """One entry per item in order, and how many were accepted."""

    results: list[StreakChangeItem]
    accepted: int
    rejected: int


class StreakChangeOutcome(TypedDict):
    """The status of a change."""

    streak_change_id: str
    status: WriteStatus
    result: StreakChanged | None
    code: NotRequired[str]
    detail: NotRequired[str]


ANSWERS = {200: StreakChanged | StreakChangePreview, 202: StreakChangeAccepted}


@blueprint.get("/streak-changes/<streak_change_id>")
@describe(
    "Get the status of a streak change",
    answers={200: StreakChangeOutcome},
    problems=("streak_change_not_found",),
)
def get_streak_change(streak_change_id: str) -> Response:
    """The status of a pause, of freezes, of a repair, of a retraction or of a merge; its result
    once it is applied, or the reason for its refusal."""
    return get_status(STREAK_CHANGES, streak_change_id)


# -- for the other modules -------------------------------------------------------------------

B = TypeVar("B", bound=Body)
MakeMessage = Callable[[Principal, WriteStamp], StreakChangeMessage]


def queue(operation: str, participant_id: str, make: MakeMessage, **named: str) -> Response:
    """Queue one change and answer as `Prefer` says; `named` are the other parts of its path. With
    `preview=true` nothing is queued."""
    key = idempotency(operation, None, participant_id=participant_id, **named)
    if query_bool("preview"):
        return answer_preview(make)
    with submit.waiting(participant_id) as wish:
        message = make(principal(), submit.stamp(STREAK_CHANGES, wish))
        accepted = submit.submit(message, key)
        return submit.outcome(STREAK_CHANGES, message, accepted, wish)


def read(model: type[B]) -> B:
    """The body of a change; its query is checked first."""
    query_bool("preview")
    return submit.read(model)


def by() -> ByV1:
    """The key behind this request, for the audit log."""
    return ByV1(str(principal().key.id), g.request_id, client_address(this_request()))


def streak_named(caller: Principal, code: str) -> Streak:
    """A definition by its code, active or not; 404."""
    streak = caller.streaks.get(code)
    if streak is None:
        raise NoSuchDefinition("streak", code)
    return streak


def refuse_if_full() -> None:
    """Raise first if the write is certain to be refused, as `submit.read` does."""
    if not app_context().memory.is_empty:
        submit.check_write(principal())
