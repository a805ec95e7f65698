"""Repairs: repair named periods of a streak, or those of its last break (contract §7.3)."""

from __future__ import annotations

from typing import Annotated, Literal

from flask import Blueprint, Response
from pydantic import Field, StringConstraints

from api.http.auth import require_admin
from api.http.describe import describe
from api.http.key_cache import Principal
from api.http.problems import invalid_field
from api.http.rate_limits import render_refusal
from api.input.validation import Body, Code, ParticipantId, ReasonText, participant_id_in_path
from api.resources.repair.days import Day, check_span, period_named
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
from api.resources.shared.write_ledgers import STREAK_CHANGES
from api.writes import batch, submit
from api.writes.batch import BATCH_MAX
from api.writes.submit import QueuedWrite, WriteStamp
from models.rules.periods import period_of_day
from models.streaks.pauses import DAYS_MAX
from models.streaks.states import Streak
from workers.intake.client import RepairV1

blueprint = Blueprint("repairs", __name__)
blueprint.register_error_handler(Exception, render_refusal)

PERIODS_MAX = 366
PeriodKey = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=10)]
PeriodKeys = Annotated[list[PeriodKey], Field(min_length=1, max_length=PERIODS_MAX)]


class RepairBody(Body):
    """Periods to repair: those of the days `from` to `to`, both included, or named ones."""

    first_day: Annotated[Day | None, Field(alias="from")] = None
    last_day: Annotated[Day | None, Field(alias="to")] = None
    periods: PeriodKeys | None = None  # such as 2026-05-23, 2026-W21 or 2026-05
    how: Annotated[Literal["protected", "recorded"], Field(alias="as")] = "protected"
    reason: ReasonText | None = None


class RepairItem(RepairBody):
    """A repair of a batch."""

    participant_id: ParticipantId
    streak_code: Code


class RepairBatch(Body):
    """A batch of repairs; each is validated separately."""

    repairs: Annotated[list[RepairItem], Field(min_length=1, max_length=BATCH_MAX)]


class RestoreBody(Body):
    """Why a streak is restored."""

    reason: ReasonText | None = None


class RestoreItem(RestoreBody):
    """A restore of a batch."""

    participant_id: ParticipantId
    streak_code: Code


class RestoreBatch(Body):
    """A batch of restores; each is validated separately."""

    restores: Annotated[list[RestoreItem], Field(min_length=1, max_length=BATCH_MAX)]


_REPAIR = {"from": "2026-05-21", "to": "2026-05-22", "as": "protected", "reason": "Hospital stay"}
_PATH = "/participants/<participant:participant_id>/streaks/<code>"


@blueprint.post(f"{_PATH}/repair")
@describe(
    "Repair periods of a streak",
    answers=ANSWERS,
    body=RepairBody,
    example=_REPAIR,
    problems=("streak_not_found", "streak_not_started", "period_in_future", *PROBLEMS),
    parameters=PARAMETERS,
)
@require_admin
@submit.on_current_configuration
def repair_streak(participant_id: str, code: str) -> Response:
    """Protect up to 366 periods, or record them as if each had a tick. Prizes of milestones are not
    given for it."""
    participant_id = participant_id_in_path(participant_id)
    posted = read(RepairBody)

    def make(caller: Principal, stamp: WriteStamp) -> RepairV1:
        streak = streak_named(caller, code)
        return _message(caller, stamp, participant_id, streak, _periods(streak, posted), posted)

    return queue("repair", participant_id, make, code=code)


@blueprint.post("/repairs/batch")
@describe(
    "Repair up to 1,000 streaks",
    answers={202: StreakChangesAccepted},
    body=RepairBatch,
    example={"repairs": [{"participant_id": "user_123", "streak_code": "daily_login"} | _REPAIR]},
    problems=batch.PROBLEMS,
    parameters=batch.PARAMETERS,
    content_types=(batch.JSON, batch.LINES),
)
@require_admin
def repair_streaks() -> Response:
    """Accept up to 1,000 repairs, each with its own result."""
    return batch.post(REPAIR, "repairs")


def _repair_item(caller: Principal, posted: RepairItem, stamp: WriteStamp) -> RepairV1:
    streak = streak_named(caller, posted.streak_code)
    periods = _periods(streak, posted)
    return _message(caller, stamp, posted.participant_id, streak, periods, posted)


REPAIR = QueuedWrite(STREAK_CHANGES, RepairItem, _repair_item)


@blueprint.post(f"{_PATH}/restore")
@describe(
    "Restore a broken streak",
    answers=ANSWERS,
    body=RestoreBody,
    example={"reason": "Our outage"},
    problems=("streak_not_found", "streak_not_started", "nothing_to_restore", *PROBLEMS),
    parameters=PARAMETERS,
)
@require_admin
@submit.on_current_configuration
def restore_streak(participant_id: str, code: str) -> Response:
    """Protect exactly the missed periods of the last break, so that the count goes on."""
    participant_id = participant_id_in_path(participant_id)
    posted = read(RestoreBody)

    def make(caller: Principal, stamp: WriteStamp) -> RepairV1:
        streak = streak_named(caller, code)
        return _message(caller, stamp, participant_id, streak, [], posted)

    return queue("restore", participant_id, make, code=code)


@blueprint.post("/restores/batch")
@describe(
    "Restore up to 1,000 broken streaks",
    answers={202: StreakChangesAccepted},
    body=RestoreBatch,
    example={"restores": [{"participant_id": "user_123", "streak_code": "daily_login"}]},
    problems=batch.PROBLEMS,
    parameters=batch.PARAMETERS,
    content_types=(batch.JSON, batch.LINES),
)
@require_admin
def restore_streaks() -> Response:
    """Accept up to 1,000 restores, each with its own result."""
    return batch.post(RESTORE, "restores")


def _restore_item(caller: Principal, posted: RestoreItem, stamp: WriteStamp) -> RepairV1:
    streak = streak_named(caller, posted.streak_code)
    return _message(caller, stamp, posted.participant_id, streak, [], posted)


RESTORE = QueuedWrite(STREAK_CHANGES, RestoreItem, _restore_item)


def _message(
    caller: Principal,
    stamp: WriteStamp,
    participant_id: str,
    streak: Streak,
    periods: list[list[int]],
    posted: RepairBody | RestoreBody,
) -> RepairV1:
    return RepairV1(
        caller.tenant.id,
        stamp.id,
        participant_id,
        streak.id,
        periods,
        isinstance(posted, RepairBody) and posted.how == "recorded",
        posted.reason,
        stamp.is_awaited,
        by(),
        stamp.is_silent,
    )


def _periods(streak: Streak, posted: RepairBody) -> list[list[int]]:
    """The periods of a body, as first and last of each range; 422 unless given in one way."""
    if posted.periods is not None:
        if posted.first_day is not None or posted.last_day is not None:
            raise invalid_field("periods", "unexpected", "must not be given with from and to")
        named = (period_named("periods", streak.cadence, key) for key in posted.periods)
        return [[period, period] for period in sorted(set(named))]
    if posted.first_day is None or posted.last_day is None:
        field = "from" if posted.first_day is None else "to"
        raise invalid_field(field, "missing", "must be given, or periods")
    check_span(posted.first_day, posted.last_day, DAYS_MAX)
    days = (posted.first_day, posted.last_day)
    return [[period_of_day(streak.cadence, day) for day in days]]
