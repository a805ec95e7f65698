"""Retractions: a tick, or a period, is taken out of a streak (contract §7.3)."""

from __future__ import annotations

from typing import Annotated, NamedTuple, Self
from uuid import UUID

from flask import Blueprint, Response
from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from api.http.auth import require_admin, tenant
from api.http.describe import Parameter, describe
from api.http.key_cache import Principal
from api.http.problems import Problem, not_found
from api.http.rate_limits import render_refusal
from api.http.tenant_session import reading
from api.input.validation import (
    Body,
    Code,
    ParticipantId,
    ReasonText,
    participant_id_in_path,
    query_bool,
    reason_in_query,
)
from api.resources.repair.days import period_named
from api.resources.repair.streak_changes import (
    ANSWERS,
    PARAMETERS,
    PROBLEMS,
    REASON,
    StreakChangesAccepted,
    by,
    queue,
    refuse_if_full,
    streak_named,
)
from api.resources.shared.write_ledgers import STREAK_CHANGES, TICKS
from api.writes import batch, submit
from api.writes.batch import BATCH_MAX
from api.writes.status import is_waiting
from api.writes.submit import QueuedWrite, WriteStamp
from models.ledgers import ticks
from models.ledgers.ticks import TickRow
from workers.intake.client import RetractionV1

blueprint = Blueprint("retractions", __name__)
blueprint.register_error_handler(Exception, render_refusal)

_REVOKE = Parameter(
    "revoke",
    {"type": "boolean", "default": False},
    "`true`: also take back the badges and points of milestones that are no longer reached.",
)
TickId = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=36)]
PeriodKey = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=10)]


class RetractionItem(Body):
    """A retraction of a batch: a tick by its id, or a period with all its ticks."""

    tick_id: TickId | None = None
    participant_id: ParticipantId | None = None
    streak_code: Code | None = None
    period_key: PeriodKey | None = None
    reason: ReasonText | None = None
    revoke: bool = False  # also take back badges and points of milestones no longer reached

    @model_validator(mode="after")
    def _check(self) -> Self:
        period = (self.participant_id, self.streak_code, self.period_key)
        if self.tick_id is not None and any(part is not None for part in period):
            raise PydanticCustomError("unexpected", "must name a tick or a period, not both")
        if self.tick_id is None and None in period:
            text = "must name a tick_id, or participant_id, streak_code and period_key"
            raise PydanticCustomError("incomplete", text)
        return self


class RetractionBatch(Body):
    """A batch of retractions; each is validated separately."""

    retractions: Annotated[list[RetractionItem], Field(min_length=1, max_length=BATCH_MAX)]


@blueprint.delete("/ticks/<tick_id>")
@describe(
    "Retract a tick",
    answers=ANSWERS,
    problems=("tick_not_found", "tick_not_applied", "already_retracted", *PROBLEMS),
    parameters=(*PARAMETERS, REASON, _REVOKE),
)
@require_admin
@submit.on_current_configuration
def retract_tick(tick_id: str) -> Response:
    """Take a tick back. Its period leaves the streak unless another tick holds it. Badges and
    points already given stay, unless `revoke` is true."""
    found, why = _tick(tick_id), _why()
    refuse_if_full()

    def make(caller: Principal, stamp: WriteStamp) -> RetractionV1:
        return _of_tick(caller, found, stamp, why)

    return queue("ticks/retract", found.external_id, make, tick_id=tick_id, **why.named())


@blueprint.delete("/participants/<participant:participant_id>/streaks/<code>/periods/<period_key>")
@describe(
    "Retract a period",
    answers=ANSWERS,
    problems=("streak_not_found", "streak_not_started", "period_not_recorded", *PROBLEMS),
    parameters=(*PARAMETERS, REASON, _REVOKE),
)
@require_admin
@submit.on_current_configuration
def retract_period(participant_id: str, code: str, period_key: str) -> Response:
    """Take a recorded period back, with all its ticks. Badges and points already given stay, unless
    `revoke` is true."""
    participant_id = participant_id_in_path(participant_id)
    why = _why()
    refuse_if_full()

    def make(caller: Principal, stamp: WriteStamp) -> RetractionV1:
        streak = streak_named(caller, code)
        period = period_named("period_key", streak.cadence, period_key)
        return RetractionV1(
            caller.tenant.id, stamp.id, participant_id, streak.id, period, None,
            why.reason, stamp.is_awaited, by(), stamp.is_silent, why.revoke,
        )  # fmt: skip

    named = {"code": code, "period_key": period_key} | why.named()
    return queue("periods/retract", participant_id, make, **named)


class _Why(NamedTuple):
    """How a retraction is asked for, whatever it retracts."""

    reason: str | None
    revoke: bool

    def named(self) -> dict[str, str]:
        """For the fingerprint of the request."""
        return {"reason": self.reason or "", "revoke": str(self.revoke)}


def _why() -> _Why:
    return _Why(reason_in_query(), query_bool("revoke") or False)


@blueprint.post("/retractions/batch")
@describe(
    "Retract up to 1,000 ticks or periods",
    answers={202: StreakChangesAccepted},
    body=RetractionBatch,
    example={
        "retractions": [
            {
                "participant_id": "user_42",
                "streak_code": "daily_login",
                "period_key": "2026-05-23",
                "reason": "A bug of ours",
            }
        ]
    },
    problems=batch.PROBLEMS,
    parameters=batch.PARAMETERS,
    content_types=(batch.JSON, batch.LINES),
)
@require_admin
def retract_batch() -> Response:
    """Accept up to 1,000 retractions, each with its own result."""
    return batch.post(RETRACTION, "retractions")


def _item(caller: Principal, posted: RetractionItem, stamp: WriteStamp) -> RetractionV1:
    if posted.tick_id is not None:
        return _of_tick(caller, _tick(posted.tick_id), stamp, _Why(posted.reason, posted.revoke))
    streak = streak_named(caller, str(posted.streak_code))
    period = period_named("period_key", streak.cadence, str(posted.period_key))
    return RetractionV1(
        caller.tenant.id, stamp.id, str(posted.participant_id), streak.id, period, None,
        posted.reason, stamp.is_awaited, by(), stamp.is_silent, posted.revoke,
    )  # fmt: skip


RETRACTION = QueuedWrite(STREAK_CHANGES, RetractionItem, _item)


def _of_tick(caller: Principal, found: TickRow, stamp: WriteStamp, why: _Why) -> RetractionV1:
    tick = found.tick
    return RetractionV1(
        caller.tenant.id, stamp.id, found.external_id, tick.streak_id, tick.period, tick.id,
        why.reason, stamp.is_awaited, by(), stamp.is_silent, why.revoke,
    )  # fmt: skip


def _tick(tick_id: str) -> TickRow:
    """An applied tick; 404, or 409 while it waits."""
    is_queued = is_waiting(TICKS, tick_id)
    with reading() as connection:
        found = ticks.find(connection, tenant().id, UUID(tick_id))
    if found is not None:
        return found
    if is_queued:
        detail = f"Tick '{tick_id}' waits to be applied: retract it once it is"
        raise Problem(409, "tick_not_applied", detail)
    raise not_found("tick", tick_id)
