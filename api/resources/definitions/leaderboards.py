"""Leaderboards: definitions for admins; the top and a participant's rank for every key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from flask import Blueprint, Response
from pydantic import Field
from typing_extensions import TypedDict

from api.http.auth import require_admin, tenant
from api.http.describe import (
    IS_ACTIVE,
    PAGE,
    MessageAnswer,
    Moment,
    Parameter,
    describe,
    shown,
)
from api.http.problems import FieldError, Problem, invalid, not_found
from api.http.responses import answer
from api.http.tenant_session import reading
from api.input.validation import (
    Body,
    Code,
    Fixed,
    Name,
    Text,
    body,
    participant_id_in_path,
    query_int,
)
from api.resources.definitions.crud import DefinitionAnswer, Managed, tenant_shown
from models import clock
from models.errors import NotFound, TooMany
from models.leaderboards import definitions
from models.leaderboards.definitions import ACTIVE_MAX, Leaderboard, Metric, RankedEntry
from models.streaks import states

blueprint = Blueprint("leaderboards", __name__)

TOP_MAX = 100

WindowDays = Annotated[int, Field(ge=1, le=366)]

# -- definitions -----------------------------------------------------------------------------


class NewLeaderboard(Body):
    """A definition to create."""

    code: Code
    name: Name
    description: Text | None = None
    metric: Metric
    streak_code: Code | None = None
    window_days: WindowDays = 30
    is_active: bool = True


class LeaderboardChange(Body):
    """The changeable fields of a definition; fields that are not given keep their values."""

    code: Fixed = None
    metric: Fixed = None  # its entries were computed by these fields
    streak_code: Fixed = None
    window_days: Fixed = None
    name: Name = ""
    description: Text | None = None
    is_active: bool = True


class LeaderboardDefinition(DefinitionAnswer):
    """A definition as admins see it."""

    metric: Metric
    streak_code: str | None
    window_days: int
    is_active: bool
    created_at: Moment
    updated_at: Moment


class LeaderboardPage(TypedDict):
    """A page of definitions."""

    items: list[LeaderboardDefinition]
    total: int
    page: int
    page_size: int


_LEADERBOARDS = Managed("leaderboard", definitions.definitions)


@blueprint.get("/admin/leaderboards")
@describe("List leaderboards", answers={200: LeaderboardPage}, parameters=(*PAGE, IS_ACTIVE))
@require_admin
def list_leaderboards() -> Response:
    """A page of the tenant's leaderboards by code."""
    page = _LEADERBOARDS.page()
    return page.answer([_definition(board) for board in page.found])


@blueprint.post("/admin/leaderboards")
@describe(
    "Create a leaderboard",
    answers={201: LeaderboardDefinition},
    body=NewLeaderboard,
    example={
        "code": "best_month",
        "name": "Most points of the last 30 days",
        "metric": "points",
        "window_days": 30,
    },
    problems=("leaderboard_code_conflict", "leaderboard_limit_reached"),
)
@require_admin
def create_leaderboard() -> Response:
    """Create a leaderboard; existing data is processed within seconds, or minutes for millions of
    facts."""
    new = body(NewLeaderboard)
    _check_metric(new)
    try:
        with _LEADERBOARDS.creating(new.code) as connection:
            board = _LEADERBOARDS.create(connection, new.model_dump(), new)
    except TooMany:
        raise _limit_reached() from None
    return answer(_definition(board), 201)


@blueprint.get("/admin/leaderboards/<leaderboard_id>")
@describe(
    "Get a leaderboard's definition",
    answers={200: LeaderboardDefinition},
    problems=("leaderboard_not_found",),
)
@require_admin
def get_leaderboard(leaderboard_id: str) -> Response:
    """One definition."""
    return answer(_definition(_LEADERBOARDS.find(leaderboard_id)))


@blueprint.patch("/admin/leaderboards/<leaderboard_id>")
@describe(
    "Change a leaderboard",
    answers={200: LeaderboardDefinition},
    body=LeaderboardChange,
    example={"name": "Streaks of the month"},
    problems=("leaderboard_not_found", "leaderboard_limit_reached", "no_fields_to_update"),
)
@require_admin
def change_leaderboard(leaderboard_id: str) -> Response:
    """Change the given fields; a leaderboard that is activated again is rebuilt."""
    board = _LEADERBOARDS.find(leaderboard_id)
    values = body(LeaderboardChange).model_dump(exclude_unset=True)
    try:
        with _LEADERBOARDS.revising(board, values) as connection:
            revised = definitions.definitions.revise(connection, board, values)
    except TooMany:
        raise _limit_reached() from None
    return answer(_definition(revised))


@blueprint.delete("/admin/leaderboards/<leaderboard_id>")
@describe(
    "Deactivate a leaderboard", answers={200: MessageAnswer}, problems=("leaderboard_not_found",)
)
@require_admin
def deactivate_leaderboard(leaderboard_id: str) -> Response:
    """Stop updating and showing the leaderboard."""
    _LEADERBOARDS.change(leaderboard_id, {"is_active": False})
    return answer(MessageAnswer(message="Leaderboard deactivated"))


def _check_metric(new: NewLeaderboard) -> None:
    """422 unless a streak leaderboard names an existing streak, and a points leaderboard none."""
    field = "streak_code"
    if new.metric == "points" and new.streak_code is not None:
        raise invalid(FieldError(field, "unexpected", "must not be given for points"))
    if new.metric == "streak":
        if new.streak_code is None:
            raise invalid(FieldError(field, "missing", "must be given for a streak"))
        with reading() as connection:
            try:
                states.definitions.by_code(connection, tenant().id, new.streak_code)
            except NotFound:
                text = "must be a streak's code"
                raise invalid(FieldError(field, "unknown_streak", text)) from None


def _limit_reached() -> Problem:
    detail = f"A tenant may have {ACTIVE_MAX} active leaderboards: deactivate one first"
    return Problem(400, "leaderboard_limit_reached", detail)


def _definition(board: Leaderboard) -> LeaderboardDefinition:
    return shown(LeaderboardDefinition, board, tenant_id=tenant_shown())


# -- reading ---------------------------------------------------------------------------------


class LeaderboardEntry(TypedDict):
    """A participant on a leaderboard; equal scores share a rank."""

    rank: int
    participant_id: str
    display_name: str | None
    avatar_url: str | None
    score: int


class LeaderboardTop(TypedDict):
    """The top of a leaderboard, and the time of its data."""

    leaderboard_code: str
    name: str
    metric: Metric
    window_days: int
    as_of: Moment
    is_ready: bool
    entries: list[LeaderboardEntry]
    total_participants: int


class LeaderboardRank(TypedDict):
    """The rank of one participant; null if they are not on the leaderboard."""

    leaderboard_code: str
    participant_id: str
    rank: int | None
    score: int
    total_participants: int
    percentile: float | None


@blueprint.get("/leaderboards/<leaderboard_code>")
@describe(
    "Get the top of a leaderboard",
    answers={200: LeaderboardTop},
    problems=("leaderboard_not_found",),
    parameters=(
        Parameter(
            "limit",
            {"type": "integer", "minimum": 1, "maximum": TOP_MAX, "default": 20},
            "How many participants to list.",
        ),
    ),
)
def leaderboard_top(leaderboard_code: str) -> Response:
    """The top of the window; among equal scores, the participant who reached it first leads."""
    limit = query_int("limit", 20, 1, TOP_MAX)
    board = _board(leaderboard_code)
    with reading() as connection:
        found = definitions.top(connection, board, limit)
        followed = definitions.followed(connection, board)
    top = shown(
        LeaderboardTop,
        board,
        leaderboard_code=board.code,
        as_of=clock.isoformat(followed.at),
        is_ready=followed.is_ready,
        entries=_ranked(found),
        total_participants=followed.total,
    )
    return answer(top)


@blueprint.get("/leaderboards/<leaderboard_code>/rank/<participant:participant_id>")
@describe(
    "Get a participant's rank",
    answers={200: LeaderboardRank},
    problems=("leaderboard_not_found",),
)
def leaderboard_rank(leaderboard_code: str, participant_id: str) -> Response:
    """The rank of one participant, and the percentage of participants behind."""
    participant_id = participant_id_in_path(participant_id)
    board = _board(leaderboard_code)
    with reading() as connection:
        score = definitions.score_of(connection, board, participant_id)
        rank = definitions.rank(connection, board, score) if score else None
        total = definitions.followed(connection, board).total
    return answer(
        LeaderboardRank(
            leaderboard_code=board.code,
            participant_id=participant_id,
            rank=rank,
            score=score,
            total_participants=total,
            percentile=None if rank is None else round(100 * (total - rank) / max(total, 1), 1),
        )
    )


def _board(code: str) -> Leaderboard:
    with reading() as connection:
        try:
            return definitions.active(connection, tenant().id, code)
        except NotFound:
            raise not_found("leaderboard", code) from None


def _ranked(found: Sequence[RankedEntry]) -> list[LeaderboardEntry]:
    ranked: list[LeaderboardEntry] = []
    for index, entry in enumerate(found, start=1):
        is_equal = bool(ranked) and ranked[-1]["score"] == entry.score
        rank = ranked[-1]["rank"] if is_equal else index
        ranked.append(shown(LeaderboardEntry, entry, rank=rank, participant_id=entry.external_id))
    return ranked
