"""Retractions: a tick, or a period, is taken out of a streak (contract §7.3)."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint, Response

from api.http.auth import require_admin, tenant
from api.http.describe import describe
from api.http.key_cache import Principal
from api.http.problems import Problem, not_found
from api.http.rate_limits import render_refusal
from api.http.tenant_session import reading
from api.input.validation import participant_id_in_path
from api.resources.repair.days import period_named
from api.resources.repair.streak_changes import (
    ANSWERS,
    PARAMETERS,
    PROBLEMS,
    REASON,
    by,
    queue,
    reason_in_query,
    refuse_if_full,
    streak_named,
)
from api.resources.shared.write_ledgers import TICKS
from api.writes import submit
from api.writes.status import is_waiting
from api.writes.submit import WriteStamp
from models.ledgers import ticks
from models.ledgers.ticks import TickRow
from workers.intake.client import RetractionV1

blueprint = Blueprint("retractions", __name__)
blueprint.register_error_handler(Exception, render_refusal)


@blueprint.delete("/ticks/<tick_id>")
@describe(
    "Retract a tick",
    answers=ANSWERS,
    problems=("tick_not_found", "tick_not_applied", "already_retracted", *PROBLEMS),
    parameters=(*PARAMETERS, REASON),
)
@require_admin
@submit.on_current_configuration
def retract_tick(tick_id: str) -> Response:
    """Take a tick back. Its period leaves the streak unless another tick holds it. Badges and
    points already given stay."""
    found, reason = _tick(tick_id), reason_in_query()
    refuse_if_full()

    def make(caller: Principal, stamp: WriteStamp) -> RetractionV1:
        tick = found.tick
        return RetractionV1(
            caller.tenant.id, stamp.id, found.external_id, tick.streak_id, tick.period, tick.id,
            reason, stamp.is_awaited, by(),
        )  # fmt: skip

    return queue("ticks/retract", found.external_id, make, tick_id=tick_id, reason=reason or "")


@blueprint.delete("/participants/<participant:participant_id>/streaks/<code>/periods/<period_key>")
@describe(
    "Retract a period",
    answers=ANSWERS,
    problems=("streak_not_found", "streak_not_started", "period_not_recorded", *PROBLEMS),
    parameters=(*PARAMETERS, REASON),
)
@require_admin
@submit.on_current_configuration
def retract_period(participant_id: str, code: str, period_key: str) -> Response:
    """Take a recorded period back, with all its ticks. Badges and points already given stay."""
    participant_id = participant_id_in_path(participant_id)
    reason = reason_in_query()
    refuse_if_full()

    def make(caller: Principal, stamp: WriteStamp) -> RetractionV1:
        streak = streak_named(caller, code)
        period = period_named("period_key", streak.period, period_key)
        return RetractionV1(
            caller.tenant.id, stamp.id, participant_id, streak.id, period, None,
            reason, stamp.is_awaited, by(),
        )  # fmt: skip

    named = {"code": code, "period_key": period_key, "reason": reason or ""}
    return queue("periods/retract", participant_id, make, **named)


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
