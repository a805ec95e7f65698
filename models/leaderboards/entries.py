"""The entries of a leaderboard, and the counts of each score, written by one process at a time
(workers/maintenance/leaderboards.py).

The counts change by differences under the entries' own locks, so that an erasure, which deletes an
entry, and an update never count a participant twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa

from models import clock
from models.db import Connection, array, run
from models.delivery.facts import FeedCursor
from models.ids import floor
from models.leaderboards.definitions import Leaderboard, leaderboards
from models.rules.leaderboards import Score, prefixes
from models.rules.periods import DAY_US


@dataclass(frozen=True, slots=True)
class LeaderboardProgress:
    """A leaderboard's progress, under the lock of its row."""

    board: Leaderboard
    cursor: FeedCursor
    followed_us: int
    built_to: int | None  # None: it is built
    revision: int


def lock_next(connection: Connection, passed_over: Sequence[UUID]) -> LeaderboardProgress | None:
    """Lock an active leaderboard that no other process holds, the one updated longest ago first;
    None when only those passed over are left."""
    row = connection.execute(
        sa.text("""
            SELECT b.*, g.followed_xid, g.followed_id, g.followed_at, g.built_to, g.revision
            FROM leaderboard_progress g
            JOIN leaderboards b ON b.tenant_id = g.tenant_id AND b.id = g.leaderboard_id
            WHERE b.is_active AND g.leaderboard_id <> ALL(CAST(:passed AS uuid[]))
            ORDER BY g.followed_at LIMIT 1 FOR NO KEY UPDATE OF g SKIP LOCKED
        """),
        {"passed": list(passed_over)},
    ).one_or_none()
    if row is None:
        return None
    board = Leaderboard(**{column.name: row._mapping[column.name] for column in leaderboards.c})
    cursor = FeedCursor(row.followed_xid, row.followed_id)
    return LeaderboardProgress(
        board, cursor, clock.to_us(row.followed_at), row.built_to, row.revision
    )


def write_progress(connection: Connection, progress: LeaderboardProgress) -> None:
    """Write a leaderboard's progress."""
    connection.execute(
        sa.text("""
            UPDATE leaderboard_progress SET followed_xid = :xid, followed_id = :fact_id,
              followed_at = CAST(:at AS timestamptz), built_to = :built_to, revision = :revision
            WHERE tenant_id = :tenant_id AND leaderboard_id = :board_id
        """),
        {
            "tenant_id": progress.board.tenant_id,
            "board_id": progress.board.id,
            "xid": progress.cursor.xid,
            "fact_id": progress.cursor.id,
            "at": clock.to_text(progress.followed_us),
            "built_to": progress.built_to,
            "revision": progress.revision,
        },
    )


# -- participants to read --------------------------------------------------------------------


def after(connection: Connection, tenant_id: int, participant_id: int, limit: int) -> list[int]:
    """The next participants after one, by their numbers."""
    rows = run(
        connection,
        "SELECT id FROM participants WHERE tenant_id = %(tenant_id)s AND id > %(after)s"
        " ORDER BY id LIMIT %(limit)s",
        {"tenant_id": tenant_id, "after": participant_id, "limit": limit},
    )
    return [row[0] for row in rows]


def due(connection: Connection, board: Leaderboard, today: int, limit: int) -> list[int]:
    """The participants whose scores time alone has changed."""
    rows = run(
        connection,
        "SELECT participant_id FROM leaderboard_entries WHERE tenant_id = %(tenant_id)s"
        " AND leaderboard_id = %(board_id)s AND due_day <= %(today)s ORDER BY due_day"
        " LIMIT %(limit)s",
        _of(board) | {"today": today, "limit": limit},
    )
    return [row[0] for row in rows]


def take_changes(connection: Connection, board: Leaderboard, limit: int) -> list[int]:
    """The participants marked by `mark_changed`, with their marks removed.

    A mark that another transaction is writing now stays: its change is not visible yet.
    """
    rows = run(
        connection,
        """
        DELETE FROM leaderboard_changes WHERE tenant_id = %(tenant_id)s
          AND leaderboard_id = %(board_id)s AND participant_id = ANY(ARRAY(
            SELECT participant_id FROM leaderboard_changes WHERE tenant_id = %(tenant_id)s
              AND leaderboard_id = %(board_id)s
            ORDER BY participant_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
        RETURNING participant_id
        """,
        _of(board) | {"limit": limit},
    )
    return [row[0] for row in rows]


def mark_changed(connection: Connection, tenant_id: int, participant_ids: Iterable[int]) -> None:
    """Have every leaderboard of a tenant read some participants, although no fact says so.

    The change is not committed yet: the mark becomes visible together with it. An existing mark is
    written again, so that no process takes it before the change.
    """
    run(
        connection,
        """
        INSERT INTO leaderboard_changes (tenant_id, leaderboard_id, participant_id)
        SELECT b.tenant_id, b.id, k.id FROM leaderboards b
        CROSS JOIN unnest(CAST(%(ids)s AS bigint[])) AS k (id)
        WHERE b.tenant_id = %(tenant_id)s AND b.is_active ORDER BY b.id, k.id
        ON CONFLICT (tenant_id, leaderboard_id, participant_id)
          DO UPDATE SET participant_id = EXCLUDED.participant_id
        """,
        {"tenant_id": tenant_id, "ids": array(sorted(participant_ids))},
    )


# -- scores ----------------------------------------------------------------------------------


def active(connection: Connection, tenant_id: int, participant_ids: Sequence[int]) -> set[int]:
    """The participants, among some, that exist and are neither suspended nor closed."""
    rows = run(
        connection,
        "SELECT id FROM participants WHERE tenant_id = %(tenant_id)s"
        " AND id = ANY(CAST(%(ids)s AS bigint[])) AND inactive_since IS NULL",
        {"tenant_id": tenant_id, "ids": array(participant_ids)},
    )
    return {row[0] for row in rows}


def points_by_day(
    connection: Connection, tenant_id: int, participant_ids: Sequence[int], first_day: int
) -> dict[int, dict[int, int]]:
    """The points that some participants earned from a day on, by day. Opening balances do not
    count: they were earned elsewhere, on unknown days.

    Ids are UUIDv7, so a time is a range of the ledger's index, and the first 48 bits hold the day.
    """
    rows = run(
        connection,
        """
        SELECT t.participant_id,
          CAST(CAST('x' || replace(left(CAST(t.id AS text), 13), '-', '') AS bit(48)) AS bigint)
            / 86400000 AS day, sum(t.amount)
        FROM unnest(CAST(%(ids)s AS bigint[])) AS k (participant_id)
        JOIN point_transactions t ON t.tenant_id = %(tenant_id)s
          AND t.participant_id = k.participant_id AND t.id >= %(first)s
        WHERE t.credit = 'available' AND t.kind <> 'opening' GROUP BY 1, 2
        """,
        {
            "tenant_id": tenant_id,
            "ids": array(participant_ids),
            "first": str(floor(clock.from_us(first_day * DAY_US))),
        },
    )
    found: dict[int, dict[int, int]] = {}
    for participant_id, day, points in rows:
        found.setdefault(participant_id, {})[int(day)] = int(points)
    return found


# -- writing ---------------------------------------------------------------------------------


def write(connection: Connection, board: Leaderboard, scores: Mapping[int, Score | None]) -> None:
    """Write the scores of some participants; None removes the entry."""
    held = _lock(connection, board, sorted(scores))
    fresh = {who: score for who, score in scores.items() if score and who not in held}
    kept = {who: score for who, score in scores.items() if score and who in held}
    gone = [who for who in held if scores[who] is None]
    if fresh:
        run(connection, _INSERT, _of(board) | _columns(fresh))
    if kept:
        run(connection, _UPDATE, _of(board) | _columns(kept))
    if gone:
        run(connection, _DELETE, _of(board) | {"ids": array(gone)})
    _count(connection, board, held, scores)


def _lock(
    connection: Connection, board: Leaderboard, participant_ids: Sequence[int]
) -> dict[int, int]:
    """Lock the entries of some participants, and read their scores."""
    rows = run(
        connection,
        "SELECT participant_id, score FROM leaderboard_entries WHERE tenant_id = %(tenant_id)s"
        " AND leaderboard_id = %(board_id)s AND participant_id = ANY(CAST(%(ids)s AS bigint[]))"
        " ORDER BY participant_id FOR UPDATE",
        _of(board) | {"ids": array(participant_ids)},
    )
    return {row[0]: row[1] for row in rows}


_VALUES = """unnest(CAST(%(ids)s AS bigint[]), CAST(%(scores)s AS bigint[]),
      CAST(%(due)s AS int[])) AS k (participant_id, score, due_day)"""
_INSERT = f"""
    INSERT INTO leaderboard_entries
      (tenant_id, leaderboard_id, participant_id, score, reached_at, due_day)
    SELECT %(tenant_id)s, CAST(%(board_id)s AS uuid), participant_id, score,
      CAST(%(now)s AS timestamptz), due_day FROM {_VALUES}
    """  # noqa: S608 - a fragment of this file
_UPDATE = f"""
    UPDATE leaderboard_entries e SET score = k.score, due_day = k.due_day,
      reached_at = CASE WHEN e.score = k.score THEN e.reached_at
        ELSE CAST(%(now)s AS timestamptz) END
    FROM {_VALUES}
    WHERE e.tenant_id = %(tenant_id)s AND e.leaderboard_id = CAST(%(board_id)s AS uuid)
      AND e.participant_id = k.participant_id
      AND (e.score, e.due_day) IS DISTINCT FROM (k.score, k.due_day)
    """  # noqa: S608 - a fragment of this file
_DELETE = """
    DELETE FROM leaderboard_entries WHERE tenant_id = %(tenant_id)s
      AND leaderboard_id = %(board_id)s AND participant_id = ANY(CAST(%(ids)s AS bigint[]))
    """


def _columns(scores: Mapping[int, Score]) -> dict[str, str]:
    return {
        "ids": array(scores),
        "scores": array(score.score for score in scores.values()),
        "due": array(score.due_day for score in scores.values()),
        "now": clock.to_text(clock.now_us()),
    }


def _count(
    connection: Connection,
    board: Leaderboard,
    held: Mapping[int, int],
    scores: Mapping[int, Score | None],
) -> None:
    """Change the counts, in key order."""
    changes: Counter[tuple[int, int]] = Counter()
    for score in held.values():
        changes.subtract(prefixes(score))
    for new_score in scores.values():
        if new_score:
            changes.update(prefixes(new_score.score))
    left = {key: count for key, count in sorted(changes.items()) if count}
    if left:
        run(connection, _LOCK_COUNTS, _of(board) | _counted(left))
        rows = run(connection, _CHANGE_COUNTS, _of(board) | _counted(left))
        for level, prefix in rows:
            del left[level, prefix]
    if left:
        run(connection, _ADD_COUNTS, _of(board) | _counted(left))


def _counted(changes: Mapping[tuple[int, int], int]) -> dict[str, str]:
    levels, firsts = zip(*changes, strict=True)
    return {
        "levels": array(levels),
        "prefixes": array(firsts),
        "counts": array(changes.values()),
    }


_COUNTS = """unnest(CAST(%(levels)s AS smallint[]), CAST(%(prefixes)s AS bigint[]),
      CAST(%(counts)s AS bigint[])) AS k (level, prefix, count)"""
# In the order in which `forget` takes them: an UPDATE alone would lock them in any order.
_LOCK_COUNTS = f"""
    SELECT FROM leaderboard_counts c JOIN {_COUNTS} USING (level, prefix)
    WHERE c.tenant_id = %(tenant_id)s AND c.leaderboard_id = CAST(%(board_id)s AS uuid)
    ORDER BY c.level, c.prefix FOR NO KEY UPDATE OF c
    """
_CHANGE_COUNTS = f"""
    UPDATE leaderboard_counts c SET count = c.count + k.count FROM {_COUNTS}
    WHERE c.tenant_id = %(tenant_id)s AND c.leaderboard_id = CAST(%(board_id)s AS uuid)
      AND c.level = k.level AND c.prefix = k.prefix
    RETURNING c.level, c.prefix
    """  # noqa: S608 - a fragment of this file
_ADD_COUNTS = f"""
    INSERT INTO leaderboard_counts (tenant_id, leaderboard_id, level, prefix, count)
    SELECT %(tenant_id)s, CAST(%(board_id)s AS uuid), level, prefix, count FROM {_COUNTS}
    """  # noqa: S608 - a fragment of this file


def forget(connection: Connection, tenant_id: int, participant_id: int) -> None:
    """Remove an erased participant from every leaderboard; the caller holds its row."""
    rows = connection.execute(
        sa.text(
            "DELETE FROM leaderboard_entries WHERE tenant_id = :tenant_id"
            " AND participant_id = :participant_id RETURNING leaderboard_id, score"
        ),
        {"tenant_id": tenant_id, "participant_id": participant_id},
    ).all()
    for board_id, score in sorted(rows):
        for level, prefix in prefixes(score):
            connection.execute(
                sa.text(
                    "UPDATE leaderboard_counts SET count = count - 1 WHERE tenant_id = :tenant_id"
                    " AND leaderboard_id = :board_id AND level = :level AND prefix = :prefix"
                ),
                {"tenant_id": tenant_id, "board_id": board_id, "level": level, "prefix": prefix},
            )


def _of(board: Leaderboard) -> dict[str, str | int]:
    return {"tenant_id": board.tenant_id, "board_id": str(board.id)}
