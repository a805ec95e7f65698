"""Milestones: the counts of a streak that each participant has reached.

The count and the tick's period are kept, so that a milestone is given once, or once in each run,
even if the rules change.
"""

from __future__ import annotations

from collections.abc import Iterable

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
