"""A tenant's pauses, freezes and repairs, row after row, for export and for `unbroken import`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from models.db import Connection, stream
from models.ledgers.streak_changes import ChangeKind, StreakChangeRow
from models.people.streak_seeds import FREEZES
from models.rules.periods import DAILY, Cadence, days_before, key_of
from models.rules.streaks import Ranges, add_range, remove
from models.streaks import states
from models.streaks.pauses import DAYS_MAX
from models.streaks.states import Streak

_PAUSES = """
    SELECT p.external_id AS participant_id, w.first_day, w.last_day,
      (SELECT json_agg(d.code ORDER BY d.code) FROM streaks d
       WHERE d.tenant_id = w.tenant_id AND d.id = ANY (w.streak_ids)) AS streak_codes,
      w.reason, w.id::text AS pause_id
    FROM pauses w
    JOIN participants p ON p.tenant_id = w.tenant_id AND p.id = w.participant_id
    WHERE w.tenant_id = :tenant_id ORDER BY w.participant_id, w.first_day, w.id
"""
_CHANGES = """
    SELECT w.tenant_id, w.id::text AS id, w.participant_id, w.streak_id, w.kind, w.reason,
      w.details, p.external_id, p.timezone
    FROM streak_changes w
    JOIN participants p ON p.tenant_id = w.tenant_id AND p.id = w.participant_id
    WHERE w.tenant_id = :tenant_id AND w.kind = ANY (:kinds)
    ORDER BY w.participant_id, w.streak_id, w.sequence
"""
_REPAIRS: tuple[ChangeKind, ...] = ("repair", "restore", "period_retracted")
# Periods that are at most as long as one repair may be.
_PERIODS_MAX = {"daily": DAYS_MAX, "weekly": DAYS_MAX // 7, "monthly": 12}


def pauses(connection: Connection, tenant_id: int) -> Iterator[dict[str, Any]]:
    """All pauses; `streak_codes` is None for one of every streak."""
    for row in stream(connection, _PAUSES, {"tenant_id": tenant_id}):
        yield {
            "participant_id": row.participant_id,
            "from": key_of(DAILY, row.first_day),
            "to": key_of(DAILY, row.last_day),
            "streak_codes": row.streak_codes,
            "reason": row.reason,
            "pause_id": row.pause_id,
        }


def freezes(connection: Connection, tenant_id: int) -> Iterator[dict[str, Any]]:
    """All freezes granted and bought. Those earned follow from the recorded periods."""
    for streak, changes in _by_streak(connection, tenant_id, FREEZES):
        for row in changes:
            change = StreakChangeRow(*row[:7])
            period = change.granted_in(streak.cadence, streak.zone(None, row.timezone))
            yield {
                "participant_id": row.external_id,
                "streak_code": streak.code,
                "amount": change.details["amount"],
                "granted_on": key_of(DAILY, days_before(streak.cadence, period)),
                "reason": change.reason,
                "what": "granted" if change.kind == "freeze_granted" else "bought",
                "streak_change_id": change.id,
            }


def repairs(connection: Connection, tenant_id: int) -> Iterator[dict[str, Any]]:
    """All repairs and restores, as spans of days; without the recorded periods that were retracted
    later."""
    for streak, changes in _by_streak(connection, tenant_id, _REPAIRS):
        for row, ranges in _lasting(changes):
            for first_day, last_day in _spans(streak.cadence, ranges):
                yield {
                    "participant_id": row.external_id,
                    "streak_code": streak.code,
                    "from": key_of(DAILY, first_day),
                    "to": key_of(DAILY, last_day),
                    "as": row.details["as"],
                    "reason": row.reason,
                    "streak_change_id": row.id,
                }


def _by_streak(
    connection: Connection, tenant_id: int, kinds: Sequence[ChangeKind]
) -> Iterator[tuple[Streak, Iterator[Any]]]:
    """The changes of each streak of each participant, in the order in which they were applied."""
    definitions = {streak.id: streak for streak in states.definitions.all_of(connection, tenant_id)}
    rows = stream(connection, _CHANGES, {"tenant_id": tenant_id, "kinds": list(kinds)})
    for key, changes in groupby(rows, lambda row: (row.participant_id, row.streak_id)):
        yield definitions[key[1]], changes


def _lasting(changes: Iterator[Any]) -> list[tuple[Any, Ranges]]:
    """The repairs of a streak, each with the periods that it still holds."""
    found: list[tuple[Any, Ranges]] = []
    for row in changes:
        if row.kind == "period_retracted":
            gone = row.details["period"]
            found = [
                (other, remove(ranges, gone) if other.details["as"] == "recorded" else ranges)
                for other, ranges in found
            ]
            continue
        ranges: Ranges = ()
        for first, end in row.details["periods"]:
            ranges = add_range(ranges, first, end)
        found.append((row, ranges))
    return found


def _spans(cadence: Cadence, ranges: Ranges) -> Iterator[tuple[int, int]]:
    """The first and the last day of each range, none longer than a repair may be."""
    step = _PERIODS_MAX[cadence.kind]
    for first, end in ranges:
        for start in range(first, end, step):
            yield days_before(cadence, start), days_before(cadence, min(start + step, end)) - 1
