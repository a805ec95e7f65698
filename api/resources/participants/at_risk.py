"""Streaks at risk: the feed for a save-my-streak campaign (seed 004, contract §3.5)."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

from flask import Blueprint, Response, request
from typing_extensions import TypedDict

from api.http.auth import tenant
from api.http.describe import Moment, Parameter, describe
from api.http.problems import invalid_field, not_found
from api.http.responses import answer
from api.http.tenant_session import reading
from api.input import cursors
from api.input.validation import PAGE_SIZE_MAX, query_int
from models import clock
from models.errors import NotFound
from models.people import at_risk
from models.people.at_risk import AtRisk, AtRiskQuery
from models.rules.periods import starts_at
from models.streaks import states
from models.streaks.states import Streak

blueprint = Blueprint("at_risk", __name__)

MIN_COUNT_MAX = 1_000_000
# A participant's row id as a positive bigint: 8 bytes in URL-safe base64 without padding.
_CURSOR = "^[A-Za-f][A-Za-z0-9_-]{9}[AEIMQUYcgkosw048]$"


class StreakAtRisk(TypedDict):
    """A participant whose streak breaks at `expires_at` unless a tick is recorded before."""

    participant_id: str
    streak_code: str
    current_count: int
    longest_count: int
    last_recorded_at: Moment
    expires_at: Moment
    grace_remaining: int
    timezone: str | None


class AtRiskPage(TypedDict):
    """The next items. A page may be short although more follow; only a null `next_cursor` marks
    the end."""

    items: list[StreakAtRisk]
    next_cursor: str | None


@blueprint.get("/streaks/<code>/at-risk")
@describe(
    "List participants at risk of losing a streak",
    answers={200: AtRiskPage},
    problems=("streak_not_found",),
    parameters=(
        Parameter(
            "min_count",
            {"type": "integer", "minimum": 1, "maximum": MIN_COUNT_MAX, "default": 1},
            "Only streaks of at least this count.",
        ),
        Parameter(
            "after",
            {"type": "string", "pattern": _CURSOR},
            "The `next_cursor` of the previous page.",
        ),
        cursors.limit_parameter(PAGE_SIZE_MAX, 50),
    ),
)
def streaks_at_risk(code: str) -> Response:
    """A page of the feed; a paused streak has no participants at risk."""
    wanted = AtRiskQuery(
        now_us=clock.now_us(),
        min_count=query_int("min_count", 1, 1, MIN_COUNT_MAX),
        limit=query_int("limit", 50, 1, PAGE_SIZE_MAX),
        after=_after(),
    )
    with reading() as connection:
        try:
            streak = states.definitions.by_code(connection, tenant().id, code)
        except NotFound:
            raise not_found("streak", code) from None
        found, position = (
            at_risk.page(connection, streak, wanted) if streak.is_active else ([], None)
        )
    items = [_item(streak, risk) for risk in found]
    return answer({"items": items, "next_cursor": None if position is None else _cursor(position)})


def _item(streak: Streak, risk: AtRisk) -> StreakAtRisk:
    """`timezone` is the participant's, as far as known: for quiet hours."""
    expires = starts_at(streak.cadence, risk.breaks_at, risk.zone)
    return {
        "participant_id": risk.participant_id,
        "streak_code": streak.code,
        "current_count": risk.state.totals.count,
        "longest_count": risk.state.totals.longest,
        "last_recorded_at": clock.to_text(risk.state.last_recorded_us),
        "expires_at": clock.isoformat(expires),
        "grace_remaining": risk.state.totals.grace_remaining,
        "timezone": risk.participant_zone or risk.state.last_zone,
    }


def _cursor(position: int) -> str:
    return urlsafe_b64encode(position.to_bytes(8)).rstrip(b"=").decode()


def _after() -> int:
    """The position in a cursor; 0, before the first, if none is given."""
    text = request.args.get("after")
    if text is None:
        return 0
    if not re.fullmatch(_CURSOR, text):
        raise invalid_field("after", "cursor", "must be the next_cursor of a page of this feed")
    return int.from_bytes(urlsafe_b64decode(f"{text}="))
