"""Leaderboards follow the facts: they cost a tick or a point nothing.

One leaderboard after the other, each updated by one process at a time, even if any process crashes:

1. Its row is locked; a process that finds it locked takes the next leaderboard.
2. The participants to read: the next ones while it is built, those of the facts after its cursor,
   those noted for another reason, and those whose scores time alone has changed.
3. Their scores come from their states or their ledger, not from the facts, so reading a participant
   twice, or late, does no harm.
4. Entries, counts and the cursor are written in one transaction.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from models import clock, db
from models.db import Connection, Engine, transaction
from models.delivery import facts
from models.delivery.facts import FactQuery
from models.failpoints import failpoint
from models.leaderboards import definitions, entries
from models.leaderboards.definitions import Leaderboard
from models.leaderboards.entries import LeaderboardProgress
from models.rules.leaderboards import Score, of_forgiving_streak, of_points, of_streak
from models.rules.periods import DAY_US
from models.streaks import states as streaks
from models.streaks.states import Streak, StreakState
from models.streaks.terms import terms_of
from webhooks.facts import POINTS_AWARDED, STREAK_RECORDED
from workers.runtime.context import Context

log = logging.getLogger("unbroken.leaderboards")

RUN_SECONDS = 0.8  # of the second between two runs: upkeep has other work
PORTION = 1_000  # participants read in one transaction
# A retry may help; a row whose participant is erased meanwhile breaks a foreign key.
_PASSING = (db.DatabaseUnavailable, db.Contended, db.UniqueViolation, db.ForeignKeyViolation)
FACTS_MAX = 5_000  # read at once: most of a busy tenant's facts may concern another streak


def run(context: Context) -> None:
    """Update the leaderboards for a while."""
    updater = LeaderboardUpdater(context.engine, context.settings.facts_days, context.should_stop)
    try:
        updater.run(RUN_SECONDS)
    except _PASSING as error:
        log.warning("the next run tries again: %s", type(error).__name__)


@dataclass(frozen=True)
class LeaderboardUpdater:
    """One run with its connections."""

    engine: Engine
    facts_days: int  # for how long facts are kept
    should_stop: Callable[[], bool] = lambda: False

    def run(self, seconds: float) -> int:
        """Update until every leaderboard is current, for `seconds` at most; return how many
        participants were read."""
        ends, looked = time.monotonic() + seconds, 0
        finished, seen = list[UUID](), list[UUID]()
        while time.monotonic() < ends and not self.should_stop():
            step = self._advance_next([*finished, *seen])
            if step is None and not seen:
                break
            if step is None:  # every leaderboard has had its turn: a build delays no other one
                seen.clear()
                continue
            (finished if step.is_all else seen).append(step.board_id)
            looked += step.looked
        return looked

    def _advance_next(self, passed_over: Sequence[UUID]) -> LeaderboardStep | None:
        """A step of the next leaderboard; None when there is none."""
        with transaction(self.engine) as connection:
            progress = entries.lock_next(connection, passed_over)
            if progress is None:
                return None
            step = _step(connection, progress, self.facts_days)
            failpoint("leaderboards.mid_sql")
            return step


@dataclass(frozen=True, slots=True)
class LeaderboardStep:
    """What one transaction did for one leaderboard."""

    board_id: UUID
    looked: int
    is_all: bool  # whether nothing is left to do now


def _step(
    connection: Connection, progress: LeaderboardProgress, facts_days: int
) -> LeaderboardStep:
    board, began_us = progress.board, clock.now_us()
    streak = _streak(connection, board)
    if _is_stale(progress, streak, began_us - facts_days * DAY_US):
        definitions.start_over(connection, board, streak.revision if streak else 0)
        return LeaderboardStep(board.id, 0, False)
    participant_ids, progress, is_all = _participants_due(connection, progress)
    if participant_ids:
        today = definitions.today(clock.from_us(began_us))
        entries.write(
            connection, board, _scores(connection, board, streak, sorted(participant_ids), today)
        )
    if is_all:
        progress = replace(progress, followed_us=began_us)
    entries.write_progress(connection, progress)
    return LeaderboardStep(board.id, len(participant_ids), is_all)


def _streak(connection: Connection, board: Leaderboard) -> Streak | None:
    if board.streak_code is None:
        return None
    return streaks.definitions.by_code(connection, board.tenant_id, board.streak_code)


def _is_stale(progress: LeaderboardProgress, streak: Streak | None, oldest_us: int) -> bool:
    """Whether it must be rebuilt: its rules have changed, or facts may have been dropped unread."""
    revision = streak.revision if streak else 0
    return progress.revision != revision or progress.followed_us < oldest_us


def _participants_due(
    connection: Connection, progress: LeaderboardProgress
) -> tuple[set[int], LeaderboardProgress, bool]:
    """The participants to read, the cursor after them, and whether they are all for now."""
    board, participant_ids, is_all = progress.board, set[int](), True
    if progress.built_to is not None:
        some = entries.after(connection, board.tenant_id, progress.built_to, PORTION)
        participant_ids.update(some)
        is_all = False
        progress = replace(progress, built_to=some[-1] if len(some) == PORTION else None)
    types = (STREAK_RECORDED,) if board.metric == "streak" else (POINTS_AWARDED,)
    wanted = FactQuery(FACTS_MAX, types, streak_code=board.streak_code)
    found = facts.touched(connection, board.tenant_id, progress.cursor, wanted)
    today = definitions.today()
    due = entries.due(connection, board, today, PORTION)
    noted = entries.take_changes(connection, board, PORTION)
    participant_ids.update(found.participant_ids, due, noted)
    is_all = is_all and found.is_all and len(due) < PORTION and len(noted) < PORTION
    return participant_ids, replace(progress, cursor=found.cursor), is_all


def _scores(
    connection: Connection,
    board: Leaderboard,
    streak: Streak | None,
    participant_ids: Sequence[int],
    today: int,
) -> dict[int, Score | None]:
    """The scores of some participants; none for those suspended or erased meanwhile."""
    scores: dict[int, Score | None] = dict.fromkeys(participant_ids)
    active = sorted(entries.active(connection, board.tenant_id, participant_ids))
    if not active:
        return scores
    window = (board.window_days, today)
    if streak is None:
        first = today - board.window_days + 1
        earned = entries.points_by_day(connection, board.tenant_id, active, first)
        return scores | {who: of_points(days, window) for who, days in earned.items()}
    keys = [(board.tenant_id, who, streak.id) for who in active]
    states = streaks.states(connection, keys, {(board.tenant_id, streak.id): streak}, {})
    return scores | {key[1]: _of_streak(streak, state, window) for key, state in states.items()}


def _of_streak(streak: Streak, state: StreakState, window: tuple[int, int]) -> Score | None:
    terms = terms_of(streak, state.extras, streak.zone(state.last_zone, None))
    if terms is None:
        return of_streak(state.ranges, streak.rules, streak.cadence, window)
    return of_forgiving_streak(state.ranges, terms, window)
