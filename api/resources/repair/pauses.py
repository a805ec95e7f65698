"""Pauses: protect days of a participant, list and remove them (contract §7.3)."""

from __future__ import annotations

from typing import Annotated

from flask import Blueprint, Response
from pydantic import Field
from typing_extensions import TypedDict

from api.http.auth import require_admin, tenant
from api.http.describe import PAGE, Id, Moment, describe
from api.http.key_cache import Principal
from api.http.problems import not_found
from api.http.rate_limits import render_refusal
from api.http.tenant_session import reading
from api.input.field_types import uuid_in_path
from api.input.validation import (
    Body,
    Code,
    ParticipantId,
    ReasonText,
    page_window,
    participant_id_in_path,
    reason_in_query,
)
from api.resources.repair.days import Day, check_span
from api.resources.repair.streak_changes import (
    ANSWERS,
    PARAMETERS,
    PROBLEMS,
    REASON,
    StreakChangesAccepted,
    by,
    queue,
    read,
    refuse_if_full,
    streak_named,
)
from api.resources.shared.write_ledgers import STREAK_CHANGES
from api.writes import batch, status, submit
from api.writes.batch import BATCH_MAX
from api.writes.submit import QueuedWrite, WriteStamp
from models import clock
from models.rules.periods import DAILY, key_of
from models.streaks import pauses, states
from models.streaks.pauses import DAYS_MAX, Pause
from workers.intake.client import PauseRemovalV1, PauseV1

blueprint = Blueprint("pauses", __name__)
blueprint.register_error_handler(Exception, render_refusal)

STREAKS_MAX = 100
StreakCodes = Annotated[list[Code], Field(min_length=1, max_length=STREAKS_MAX)]


class PauseBody(Body):
    """Local days of a participant to protect, both included, past or future."""

    first_day: Annotated[Day, Field(alias="from")]
    last_day: Annotated[Day, Field(alias="to")]
    streak_codes: StreakCodes | None = None  # null: every streak
    reason: ReasonText | None = None


class PauseItem(PauseBody):
    """A pause of a batch."""

    participant_id: ParticipantId


class PauseBatch(Body):
    """A batch of pauses; each is validated separately."""

    pauses: Annotated[list[PauseItem], Field(min_length=1, max_length=BATCH_MAX)]


PauseEntry = TypedDict(
    "PauseEntry",
    {
        "id": Id,
        "from": str,
        "to": str,
        "streak_codes": list[str] | None,
        "reason": str | None,
        "created_at": Moment,
    },
)
PauseEntry.__doc__ = "A pause; `streak_codes` is null when it protects every streak."


class ParticipantPauses(TypedDict):
    """A page of a participant's pauses, the latest days first."""

    items: list[PauseEntry]
    total: int
    page: int
    page_size: int


_EXAMPLE = {"from": "2026-07-01", "to": "2026-07-14", "reason": "Vacation"}


@blueprint.post("/participants/<participant:participant_id>/pauses")
@describe(
    "Pause a participant's streaks",
    answers=ANSWERS,
    body=PauseBody,
    example=_EXAMPLE,
    problems=("streak_not_found", "pause_overlaps", *PROBLEMS),
    parameters=PARAMETERS,
)
@require_admin
@submit.on_current_configuration
def create_pause(participant_id: str) -> Response:
    """Protect days, past or future, at most 366: they cost nothing and count nothing. A week or a
    month is protected when the pause covers more than half of its days."""
    participant_id = participant_id_in_path(participant_id)
    posted = read(PauseBody)
    return queue(
        "pauses",
        participant_id,
        lambda caller, stamp: _pause(caller, posted, stamp, participant_id),
    )


@blueprint.post("/pauses/batch")
@describe(
    "Pause up to 1,000 participants' streaks",
    answers={202: StreakChangesAccepted},
    body=PauseBatch,
    example={"pauses": [{"participant_id": "user_42", **_EXAMPLE}]},
    problems=batch.PROBLEMS,
    parameters=batch.PARAMETERS,
    content_types=(batch.JSON, batch.LINES),
)
@require_admin
def create_pauses() -> Response:
    """Accept up to 1,000 pauses, each with its own result."""
    return batch.post(PAUSE, "pauses")


@blueprint.get("/participants/<participant:participant_id>/pauses")
@describe("List a participant's pauses", answers={200: ParticipantPauses}, parameters=PAGE)
@require_admin
def list_pauses(participant_id: str) -> Response:
    """A participant's pauses, the latest days first; empty for an unknown one."""
    participant_id = participant_id_in_path(participant_id)
    window = page_window()
    with reading() as connection:
        found, total = pauses.page(connection, (tenant().id, participant_id), window.slice)
        definitions = states.definitions.all_of(connection, tenant().id) if found else []
    codes = {streak.id: streak.code for streak in definitions}
    return window.answer([_entry(pause, codes) for pause in found], total)


@blueprint.delete("/participants/<participant:participant_id>/pauses/<pause_id>")
@describe(
    "Remove a pause",
    answers=ANSWERS,
    problems=("pause_not_found", *PROBLEMS),
    parameters=(*PARAMETERS, REASON),
)
@require_admin
@submit.on_current_configuration
def delete_pause(participant_id: str, pause_id: str) -> Response:
    """Remove a pause: its days are as if it had never been."""
    participant_id = participant_id_in_path(participant_id)
    number, reason = str(uuid_in_path("pause", pause_id)), reason_in_query()
    refuse_if_full()
    _check_known(number)

    def make(caller: Principal, stamp: WriteStamp) -> PauseRemovalV1:
        return PauseRemovalV1(
            caller.tenant.id, stamp.id, participant_id, number, reason, stamp.is_awaited, by()
        )

    return queue("pauses/delete", participant_id, make, pause_id=number, reason=reason or "")


def _check_known(pause_id: str) -> None:
    """404 unless the tenant has the pause, or it waits to be applied."""
    is_waiting = status.is_waiting(STREAK_CHANGES, pause_id)  # first: a worker may apply it now
    with reading() as connection:
        if not is_waiting and not pauses.is_known(connection, tenant().id, pause_id):
            raise not_found("pause", pause_id)


def _pause(caller: Principal, posted: PauseBody, stamp: WriteStamp, participant_id: str) -> PauseV1:
    """The message of a pause within bounds, of streaks that there are."""
    check_span(posted.first_day, posted.last_day, DAYS_MAX)
    ids = None
    if posted.streak_codes is not None:
        ids = sorted({streak_named(caller, code).id for code in posted.streak_codes})
    return PauseV1(
        caller.tenant.id,
        stamp.id,
        participant_id,
        posted.first_day,
        posted.last_day,
        ids,
        posted.reason,
        stamp.is_awaited,
        by(),
        stamp.is_silent,
    )


def _item(caller: Principal, posted: PauseItem, stamp: WriteStamp) -> PauseV1:
    return _pause(caller, posted, stamp, posted.participant_id)


PAUSE = QueuedWrite(STREAK_CHANGES, PauseItem, _item)


def _entry(pause: Pause, codes: dict[int, str]) -> PauseEntry:
    ids = pause.streak_ids
    return {
        "id": pause.id,
        "from": key_of(DAILY, pause.first_day),
        "to": key_of(DAILY, pause.last_day),
        "streak_codes": None
        if ids is None
        else sorted(codes[streak_id] for streak_id in ids if streak_id in codes),
        "reason": pause.reason,
        "created_at": clock.to_text(pause.created_us),
    }
