"""Ticks: record one, record a batch, read a tick's status (seed 004, contract §2)."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from flask import Blueprint, Response
from pydantic import Field
from typing_extensions import TypedDict

from api.http.auth import principal
from api.http.describe import describe
from api.http.idempotency import IDEMPOTENCY_KEY, idempotency
from api.http.key_cache import Principal
from api.http.problems import FieldError, Problem, invalid_field
from api.http.rate_limits import render_refusal
from api.http.request_context import app_context
from api.input.field_types import TickValue
from api.input.validation import Body, Code, FreeForm, Instant, ParticipantId, Zone
from api.resources.shared.target_progress import TargetProgress
from api.resources.shared.write_ledgers import TICKS
from api.writes import batch, submit
from api.writes.batch import BATCH_MAX, ItemError
from api.writes.status import WriteStatus, get_status
from api.writes.submit import NoSuchDefinition, QueuedWrite, WriteStamp
from models.rules.periods import DAY_US, HOUR_US
from models.rules.streaks import RecordOutcome
from models.streaks.states import Streak
from workers.intake.client import TickV1

blueprint = Blueprint("ticks", __name__)
blueprint.register_error_handler(Exception, render_refusal)


class TickBody(Body):
    """One tick of a batch."""

    participant_id: ParticipantId
    streak_code: Code
    timestamp: Instant | None = None
    timezone: Zone | None = None
    metadata: FreeForm | None = None
    value: Annotated[
        TickValue | None,
        Field(
            description="What the tick adds to its period, for a streak with a `target` of kind"
            " `value`: above 0, up to 1,000,000,000, with at most three decimals."
        ),
    ] = None
    counted_timezone: Annotated[
        Zone | None,
        Field(
            description="The IANA time zone whose calendar this tick counts in, instead of"
            " `timezone` and the streak's boundary. `unbroken export` writes it, so"
            " that a tick counts for the same day after an import. The at-risk and"
            " broken state follow the other two."
        ),
    ] = None


class TickBatch(Body):
    """A batch of ticks; each is validated separately."""

    ticks: Annotated[list[TickBody], Field(min_length=1, max_length=BATCH_MAX)]


class TickResult(TypedDict):
    """The result of a tick: the five documented fields, then the others (contract §3.3)."""

    streak_code: str
    new_count: int
    longest_count: int
    is_new_record: bool
    already_recorded: bool
    participant_id: str
    tick_id: str
    outcome: RecordOutcome
    previous_count: int
    grace_remaining: int
    period_key: str
    progress: NotRequired[TargetProgress]  # of a streak with a target


class TickAccepted(TypedDict):
    """An accepted tick, and the URL of its status."""

    tick_id: str
    status: Literal["accepted"]
    status_url: str


class TickItem(TypedDict):
    """The result of one item of a batch."""

    index: int
    tick_id: NotRequired[str]
    error: NotRequired[ItemError]


class TicksAccepted(TypedDict):
    """One entry per item in order, and how many were accepted."""

    results: list[TickItem]
    accepted: int
    rejected: int


class TickOutcome(TypedDict):
    """The status of a tick."""

    tick_id: str
    status: WriteStatus
    result: TickResult | None
    code: NotRequired[str]


_EXAMPLE = {"participant_id": "user_42", "streak_code": "daily_login"}


@blueprint.post("/streaks/record")
@describe(
    "Record a tick",
    answers={200: TickResult, 202: TickAccepted},
    body=TickBody,
    example=_EXAMPLE,
    problems=("streak_not_found", "idempotency_conflict", *submit.PROBLEMS),
    parameters=(submit.PREFER, IDEMPOTENCY_KEY),
)
@submit.on_current_configuration
def record() -> Response:
    """Record one tick and wait for the worker, as `Prefer` says."""
    posted = submit.read(TickBody)
    with submit.waiting(posted.participant_id) as wish:
        tick = _message(principal(), posted, submit.stamp(TICK.ledger, wish))
        accepted = submit.submit(tick, idempotency("", posted))
        return submit.outcome(TICK.ledger, tick, accepted, wish)


@blueprint.post("/streaks/record/batch")
@describe(
    "Record up to 1,000 ticks",
    answers={202: TicksAccepted},
    body=TickBatch,
    example={"ticks": [_EXAMPLE]},
    problems=batch.PROBLEMS,
    parameters=(*batch.PARAMETERS, batch.EFFECTS),
    content_types=(batch.JSON, batch.LINES),
)
def record_batch() -> Response:
    """Accept up to 1,000 ticks, each with its own result."""
    return batch.post(TICK, "ticks")


@blueprint.get("/ticks/<tick_id>")
@describe("Get the status of a tick", answers={200: TickOutcome}, problems=("tick_not_found",))
def get_tick(tick_id: str) -> Response:
    """The status of a tick, and its result once it is applied."""
    return get_status(TICK.ledger, tick_id)


def _message(caller: Principal, posted: TickBody, stamp: WriteStamp) -> TickV1:
    """The message of a tick, checked against the streak's definition and the clock."""
    streak = caller.streaks.get(posted.streak_code)
    if streak is None or not streak.is_active:
        raise NoSuchDefinition("streak", posted.streak_code)
    _check_value(posted, streak)
    occurred_us = stamp.received_us if posted.timestamp is None else posted.timestamp
    settings = app_context().settings
    newest = stamp.received_us + settings.tick_ahead_hours_max * HOUR_US
    oldest = stamp.received_us - settings.tick_age_days_max * DAY_US
    if not oldest <= occurred_us <= newest:
        raise _out_of_range(settings.tick_age_days_max, settings.tick_ahead_hours_max)
    return TickV1(
        caller.tenant.id,
        stamp.id,
        posted.participant_id,
        streak.id,
        occurred_us,
        posted.timezone,
        posted.metadata,
        stamp.is_awaited,
        stamp.is_silent,
        posted.counted_timezone,
        stamp.is_alone,
        posted.value,
    )


def _check_value(posted: TickBody, streak: Streak) -> None:
    is_needed = streak.target is not None and streak.target.kind == "value"
    if is_needed and posted.value is None:
        raise invalid_field("value", "missing", "must be given: the streak's target adds up values")
    if posted.value is not None and not is_needed:
        text = "must be left out: the streak has no target of kind value"
        raise invalid_field("value", "unexpected", text)


def _out_of_range(days_ago: int, hours_ahead: int) -> Problem:
    detail = f"timestamp must lie between {days_ago} days ago and {hours_ahead} hours ahead"
    error = FieldError("timestamp", "timestamp_out_of_range", detail)
    return Problem(422, "timestamp_out_of_range", detail, [error])


TICK = QueuedWrite(TICKS, TickBody, _message, may_be_alone=True)
