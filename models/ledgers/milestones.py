"""Milestones: the counts of a streak that each participant has reached.

The count and the tick's period are kept, so that a milestone is given once, or once in each run,
even if the rules change.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from models.db import Connection, array, copy, run

MilestoneKey = tuple[int, int, int, int]  # tenant, participant, streak, count

UNKNOWN_PERIOD = 0  # of rows that migration 0008 took over from the ledger of points

_SELECT = """
    SELECT m.tenant_id, m.participant_id, m.streak_id, m.count, m.period
    FROM unnest(CAST(%(tenants)s AS int[]), CAST(%(participants)s AS bigint[]),
      CAST(%(streaks)s AS int[]), CAST(%(counts)s AS int[]))
      AS k (tenant_id, participant_id, streak_id, count)
    JOIN streak_milestones m USING (tenant_id, participant_id, streak_id, count)
    """


def reached(connection: Connection, keys: Iterable[MilestoneKey]) -> dict[MilestoneKey, set[int]]:
    """The periods that reached some counts; a count never reached is missing.

    The caller holds the participants' row locks.
    """
    tenants, participants, streaks, counts = zip(*sorted(keys), strict=True)
    rows = run(
        connection,
        _SELECT,
        {
            "tenants": array(tenants),
            "participants": array(participants),
            "streaks": array(streaks),
            "counts": array(counts),
        },
    )
    found: dict[MilestoneKey, set[int]] = {}
    for row in rows:
        found.setdefault((row[0], row[1], row[2], row[3]), set()).add(row[4])
    return found


_COLUMNS = ("tenant_id", "participant_id", "streak_id", "count", "period", "tick_id")


def write(connection: Connection, fresh: dict[MilestoneKey, dict[int, str]]) -> None:
    """Write reached counts, each with its period and its tick."""
    lines = [
        f"{key[0]}\t{key[1]}\t{key[2]}\t{key[3]}\t{period}\t{tick_id}\n"
        for key, periods in sorted(fresh.items())
        for period, tick_id in sorted(periods.items())
    ]
    if lines:
        copy(connection, "streak_milestones", _COLUMNS, lines)


# -- what they gave --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GivenBadge:
    """A badge that a milestone gave."""

    id: str
    code: str
    name: str
    award_id: str


@dataclass(frozen=True, slots=True)
class GivenPrize:
    """A count that was reached, and what it gave."""

    state_key: tuple[int, int, int]  # tenant, participant, streak
    count: int
    period: int
    points: int  # 0: none
    badge: GivenBadge | None

    @property
    def key(self) -> tuple[int, int, int, int, int]:
        """Its row's key."""
        return (*self.state_key, self.count, self.period)


_GIVEN = """
    SELECT m.count, m.period, m.tick_id::text, COALESCE((
      SELECT sum(w.amount) FROM point_transactions w
      WHERE w.tenant_id = m.tenant_id AND w.participant_id = m.participant_id
        AND CASE w.kind WHEN 'milestone' THEN w.metadata::json ->> 'tick_id' = m.tick_id::text
          AND w.metadata::json ->> 'milestone' = m.count::text END), 0)
    FROM streak_milestones m
    WHERE m.tenant_id = %(tenant_id)s AND m.participant_id = %(participant_id)s
      AND m.streak_id = %(streak_id)s
    ORDER BY m.count, m.period
    """
_BADGES = """
    SELECT e.metadata, b.id::text, b.code, b.name, e.award_id::text
    FROM participant_badges e
    JOIN badges b ON b.tenant_id = e.tenant_id AND b.id = e.badge_id
    WHERE e.tenant_id = %(tenant_id)s AND e.participant_id = %(participant_id)s
      AND e.metadata IS NOT NULL
    """


def given(connection: Connection, state_key: tuple[int, int, int]) -> list[GivenPrize]:
    """The counts that a participant has reached in a streak, with the prizes that are still there.

    A prize names its milestone in its metadata.
    """
    names = ("tenant_id", "participant_id", "streak_id")
    values = dict(zip(names, state_key, strict=True))
    rows = run(connection, _GIVEN, values)
    badges = {}
    if rows:
        for metadata, *badge in run(connection, _BADGES, values):
            badges[_origin(json.loads(metadata))] = GivenBadge(*badge)
    return [
        GivenPrize(state_key, count, period, int(points), badges.get((tick_id, count)))
        for count, period, tick_id, points in rows
    ]


def _origin(metadata: dict[str, Any]) -> tuple[Any, Any]:
    """The tick and the count of a milestone's prize; anything else of another award."""
    origin = (metadata.get("tick_id"), metadata.get("milestone"))
    return origin if set(map(type, origin)) <= {str, int} else (None, None)


def forget(connection: Connection, prizes: Iterable[GivenPrize]) -> None:
    """Forget that counts were reached, and remove the badges that they gave."""
    for prize in prizes:
        values = dict(zip(("t", "p", "s", "count", "period"), prize.key, strict=True))
        run(
            connection,
            "DELETE FROM streak_milestones WHERE tenant_id = %(t)s AND participant_id = %(p)s"
            " AND streak_id = %(s)s AND count = %(count)s AND period = %(period)s",
            values,
        )
        if prize.badge is not None:
            run(
                connection,
                "DELETE FROM participant_badges WHERE tenant_id = %(t)s AND participant_id = %(p)s"
                " AND badge_id = CAST(%(badge)s AS uuid) AND award_id = CAST(%(award)s AS uuid)",
                values | {"badge": prize.badge.id, "award": prize.badge.award_id},
            )
