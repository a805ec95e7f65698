"""Progress of periods towards the target of their streak.

The rows belong to the participant, like the states: a process that changes one holds the
participant's lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from models import clock
from models.db import Connection, array, run
from models.identity.participants import ParticipantKey
from models.rules.targets import Progress

PeriodKey = tuple[int, int, int, int]  # tenant, participant, streak, period

_KEYS = """unnest(CAST(%(tenants)s AS int[]), CAST(%(participants)s AS bigint[]),
      CAST(%(streaks)s AS int[]), CAST(%(periods)s AS int[]))
      AS k (tenant_id, participant_id, streak_id, period)"""
_SELECT = f"""
    SELECT w.tenant_id, w.participant_id, w.streak_id, w.period, w.value, w.days,
      w.last_recorded_at, w.last_timezone
    FROM {_KEYS} JOIN streak_progress w USING (tenant_id, participant_id, streak_id, period)
    """  # noqa: S608 - a fragment of this file
_WRITE = """
    INSERT INTO streak_progress (tenant_id, participant_id, streak_id, period, value, days,
      last_recorded_at, last_timezone)
    SELECT * FROM unnest(CAST(%(tenants)s AS int[]), CAST(%(participants)s AS bigint[]),
      CAST(%(streaks)s AS int[]), CAST(%(periods)s AS int[]), CAST(%(values)s AS bigint[]),
      CAST(%(days)s AS int[]), CAST(%(instants)s AS timestamptz[]), CAST(%(zones)s AS text[]))
    ON CONFLICT (tenant_id, participant_id, streak_id, period) DO UPDATE SET
      value = EXCLUDED.value, days = EXCLUDED.days,
      last_recorded_at = EXCLUDED.last_recorded_at, last_timezone = EXCLUDED.last_timezone
    """
_OF_WINDOW = """
    SELECT period, value FROM streak_progress
    WHERE tenant_id = %(tenant_id)s AND participant_id = %(participant_id)s
      AND streak_id = %(streak_id)s AND period BETWEEN %(first)s AND %(last)s
    """


def read(connection: Connection, keys: Iterable[PeriodKey]) -> dict[PeriodKey, Progress]:
    """The progress of some periods; missing before the first tick."""
    return _found(run(connection, _SELECT, _columns(sorted(keys))))


def _found(rows: Iterable[Any]) -> dict[PeriodKey, Progress]:
    return {
        (row[0], row[1], row[2], row[3]): Progress(row[4], row[5], clock.to_us(row[6]), row[7])
        for row in rows
    }


_OF_PARTICIPANTS = """
    SELECT w.tenant_id, w.participant_id, w.streak_id, w.period, w.value, w.days,
      w.last_recorded_at, w.last_timezone
    FROM unnest(CAST(%(tenants)s AS int[]), CAST(%(participants)s AS bigint[]))
      AS k (tenant_id, participant_id)
    JOIN streak_progress w USING (tenant_id, participant_id)
    """


def of_participants(
    connection: Connection, keys: Sequence[ParticipantKey]
) -> dict[PeriodKey, Progress]:
    """All progress of some participants."""
    tenants, participants = zip(*keys, strict=True)
    values = {"tenants": array(tenants), "participants": array(participants)}
    return _found(run(connection, _OF_PARTICIPANTS, values))


def forget(connection: Connection, key: ParticipantKey) -> None:
    """Remove all progress of a participant."""
    connection.execute(
        sa.text(
            "DELETE FROM streak_progress"
            " WHERE tenant_id = :tenant_id AND participant_id = :participant_id"
        ),
        {"tenant_id": key[0], "participant_id": key[1]},
    )


def write(connection: Connection, changed: Mapping[PeriodKey, Progress]) -> None:
    """Write the progress of some periods."""
    keys = sorted(changed)
    rows = [changed[key] for key in keys]
    values = _columns(keys) | {
        "values": array(row.value for row in rows),
        "days": array(row.days for row in rows),
        "instants": array(clock.to_text(row.last_us) for row in rows),
        "zones": array(row.last_zone for row in rows),
    }
    run(connection, _WRITE, values)


_REMOVE = f"""
    DELETE FROM streak_progress w USING {_KEYS}
    WHERE (w.tenant_id, w.participant_id, w.streak_id, w.period)
      = (k.tenant_id, k.participant_id, k.streak_id, k.period)
    """  # noqa: S608 - a fragment of this file


def replace(connection: Connection, changed: Mapping[PeriodKey, Progress | None]) -> None:
    """Write the progress of some periods; remove that of a period without any."""
    gone = sorted(key for key, after in changed.items() if after is None)
    if gone:
        run(connection, _REMOVE, _columns(gone))
    left = {key: after for key, after in changed.items() if after is not None}
    if left:
        write(connection, left)


def of_window(
    connection: Connection, state_key: tuple[int, int, int], window: tuple[int, int]
) -> dict[int, int]:
    """The progress, in thousandths, of a state's periods in a window [from, to]."""
    names = ("tenant_id", "participant_id", "streak_id", "first", "last")
    rows = run(connection, _OF_WINDOW, dict(zip(names, (*state_key, *window), strict=True)))
    return {row[0]: row[1] for row in rows}


def _columns(keys: list[PeriodKey]) -> dict[str, str]:
    tenants, participants, streaks, periods = zip(*keys, strict=True)
    return {
        "tenants": array(tenants),
        "participants": array(participants),
        "streaks": array(streaks),
        "periods": array(periods),
    }
