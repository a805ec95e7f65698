"""Streaks of a participant: their current state, and their history by period (seed 004)."""

from __future__ import annotations

from typing import NotRequired

from flask import Blueprint, Response
from typing_extensions import TypedDict

from api.http.auth import tenant
from api.http.describe import Id, Moment, Parameter, describe
from api.http.problems import invalid_field
from api.http.responses import answer
from api.http.tenant_session import reading
from api.input.validation import participant_id_in_path, query_day
from api.resources.shared.streak_in_path import streak_in_path
from api.resources.shared.target_progress import TargetProgress, target_progress
from models import clock
from models.identity import participants
from models.ledgers import ticks
from models.rules.periods import PeriodKind, key_of, period_at, period_of_day, starts_at
from models.rules.streaks import Explained, PeriodOutcome, Protection, StreakStatus
from models.streaks import progress, states
from models.streaks.states import Streak, StreakState
from models.streaks.terms import explain, live

blueprint = Blueprint("participant_streaks", __name__)

HISTORY_PERIODS_MAX = 1_000  # per request: nearly three years of days


class ParticipantStreak(TypedDict):
    """The live state of one streak of a participant."""

    code: str
    name: str
    current_count: int
    longest_count: int
    last_recorded_at: Moment
    is_at_risk: bool
    period: PeriodKind
    status: StreakStatus
    expires_at: Moment | None
    grace_remaining: int
    freezes_remaining: int
    is_perfect: bool  # nothing was forgiven, protected or repaired in the current run
    is_protected: bool  # the current period
    protected_by: Protection | None


class ParticipantStreaks(TypedDict):
    """A participant's active streaks."""

    participant_id: str
    streaks: list[ParticipantStreak]


@blueprint.get("/participants/<participant:participant_id>/streaks")
@describe("Get a participant's streaks", answers={200: ParticipantStreaks})
def participant_streaks(participant_id: str) -> Response:
    """A participant's active streaks, live; empty for an unknown one (contract §2)."""
    participant_id = participant_id_in_path(participant_id)
    with reading() as connection:
        participant = participants.find(connection, tenant().id, participant_id)
        found: list[tuple[Streak, StreakState]] = []
        if participant:
            every = states.definitions.all_of(connection, tenant().id)
            active = [streak for streak in every if streak.is_active]
            found = states.states_of(connection, tenant().id, participant, active)
            participant_id = participant.external_id
    zone = participant.timezone if participant else None
    entries = [_entry(streak, state, zone, clock.now_us()) for streak, state in found]
    return answer({"participant_id": participant_id, "streaks": entries})


def _entry(
    streak: Streak, state: StreakState, participant_zone: str | None, now_us: int
) -> ParticipantStreak:
    """The seven documented fields, then the current state (contract §3.4)."""
    zone = streak.zone(state.last_zone, participant_zone)
    now = live(streak, state, zone, period_at(streak.cadence, now_us, zone))
    expires = None
    if now.breaks_at is not None:
        expires = clock.isoformat(starts_at(streak.cadence, now.breaks_at, zone))
    return {
        "code": streak.code,
        "name": streak.name,
        "current_count": now.count,
        "longest_count": state.totals.longest,
        "last_recorded_at": clock.to_text(state.last_recorded_us),
        "is_at_risk": now.status == "at_risk",
        "period": streak.period,
        "status": now.status,
        "expires_at": expires,
        "grace_remaining": now.grace_remaining,
        "freezes_remaining": now.freezes_remaining,
        "is_perfect": now.is_perfect,
        "is_protected": now.protected_by is not None,
        "protected_by": now.protected_by,
    }


class HistoryPeriod(TypedDict):
    """The result of one period."""

    period_key: str
    status: PeriodOutcome
    count: int
    grace_remaining: int
    tick_id: Id | None
    recorded_at: Moment | None
    freezes_remaining: int
    by: Protection | None  # the cause of a protected period
    progress: NotRequired[TargetProgress]  # of a streak with a target, where there are ticks


class StreakHistory(TypedDict):
    """A streak, period by period."""

    participant_id: str
    streak_code: str
    period: PeriodKind
    timezone: str
    periods: list[HistoryPeriod]


_DAY = {"type": "string", "format": "date"}


@blueprint.get("/participants/<participant:participant_id>/streaks/<code>/history")
@describe(
    "Explain a participant's streak",
    answers={200: StreakHistory},
    problems=("streak_not_found",),
    parameters=(
        Parameter("from", _DAY, "The first day; at most 1,000 periods before `to`."),
        Parameter("to", _DAY, "The last day; by default the current period."),
    ),
)
def streak_history(participant_id: str, code: str) -> Response:
    """A streak period by period: recorded (with its tick), grace or missed."""
    participant_id = participant_id_in_path(participant_id)
    streak = streak_in_path(code)
    with reading() as connection:
        participant = participants.find(connection, tenant().id, participant_id)
        found = (
            states.states_of(connection, tenant().id, participant, [streak]) if participant else []
        )
        state = found[0][1] if found else None
        zone = streak.zone(
            state.last_zone if state else None, participant.timezone if participant else None
        )
        current = period_at(streak.cadence, clock.now_us(), zone)
        first, last = _window(streak, current)
        recorded: dict[int, ticks.Tick] = {}
        reached: dict[int, int] = {}
        if participant:
            participant_id = participant.external_id
        if participant and state:
            key = (tenant().id, participant.id, streak.id)
            recorded = ticks.recorded_by(connection, key, (first, last))
            if streak.target is not None:
                reached = progress.of_window(connection, key, (first, last))
    explained = explain(streak, state, zone, current) if state else ()
    return answer(
        {
            "participant_id": participant_id,
            "streak_code": streak.code,
            "period": streak.period,
            "timezone": zone or "UTC",
            "periods": [
                _explained(streak, period, recorded.get(period.period), reached.get(period.period))
                for period in explained
                if first <= period.period <= last
            ],
        }
    )


def _window(streak: Streak, current: int) -> tuple[int, int]:
    """The periods of `from` and `to` (dates, both included); the latest periods by default."""
    last = _period_of("to", streak, current)
    first = _period_of("from", streak, last - HISTORY_PERIODS_MAX + 1)
    if first > last:
        raise invalid_field("from", "range", "must not be after to")
    if last - first >= HISTORY_PERIODS_MAX:
        message = f"must be at most {HISTORY_PERIODS_MAX} periods before to"
        raise invalid_field("from", "range", message)
    return first, last


def _period_of(name: str, streak: Streak, default: int) -> int:
    day = query_day(name)
    return default if day is None else period_of_day(streak.cadence, day)


def _explained(
    streak: Streak, explained: Explained, tick: ticks.Tick | None, reached: int | None
) -> HistoryPeriod:
    period: HistoryPeriod = {
        "period_key": key_of(streak.cadence, explained.period),
        "status": explained.what,
        "count": explained.count,
        "grace_remaining": explained.grace_remaining,
        "tick_id": tick.id if tick else None,
        "recorded_at": clock.to_text(tick.occurred_us) if tick else None,
        "freezes_remaining": explained.freezes_remaining,
        "by": explained.by,
    }
    if reached is not None and streak.target is not None:
        period["progress"] = target_progress(reached, streak.target)
    return period
