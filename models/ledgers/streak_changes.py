"""Streak changes: the ledger of what was done to a participant's streaks (contract §7.3)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args
from uuid import UUID

import sqlalchemy as sa

from models import ids
from models.db import Connection, array, copy, copy_text, run
from models.identity.participants import ParticipantKey
from models.ledgers.base import Ledger
from models.rules.periods import Cadence, day_at, period_of_day

ChangeKind = Literal[
    "pause", "pause_removed", "freeze_granted", "freeze_bought", "repair", "restore",
    "tick_retracted", "period_retracted", "merge",
]  # fmt: skip
KINDS: tuple[ChangeKind, ...] = get_args(ChangeKind)


@dataclass(frozen=True, slots=True)
class StreakChangeRow:
    """One applied change, as a row of the ledger."""

    tenant_id: int
    id: str  # UUIDv7: when it was accepted
    participant_id: int
    streak_id: int | None  # None: it concerns several streaks
    kind: ChangeKind
    reason: str | None
    details: Mapping[str, Any] = field(default_factory=dict)  # what it changed
    result: Mapping[str, Any] = field(default_factory=dict)  # the answer to the write

    def granted_in(self, cadence: Cadence, zone: str | None) -> int:
        """The period in which its freezes were given. `zone` counts for changes from before the
        local day was kept."""
        day: int | None = self.details.get("granted_day")
        if day is None:
            day = day_at(ids.issued_at_us(UUID(self.id)), zone, cadence.day_starts_us)
        return period_of_day(cadence, day)

    def answer(self) -> dict[str, Any]:
        """The answer to the write."""
        return dict(self.result)


_COLUMNS = (
    "tenant_id", "id", "participant_id", "streak_id", "kind", "reason", "details", "answer",
)  # fmt: skip


def append(connection: Connection, changes: Iterable[StreakChangeRow]) -> None:
    """Write changes to the ledger; raise UniqueViolation when one of them is already there."""
    lines = list(map(_line, changes))
    if lines:
        copy(connection, "streak_changes", _COLUMNS, lines)


def _line(change: StreakChangeRow) -> str:
    streak_id = "\\N" if change.streak_id is None else str(change.streak_id)
    return (
        f"{change.tenant_id}\t{change.id}\t{change.participant_id}\t{streak_id}\t{change.kind}\t"
        f"{copy_text(change.reason)}\t{copy_text(json.dumps(change.details))}\t"
        f"{copy_text(json.dumps(change.result))}\n"
    )


_COLUMNS_READ = (
    "w.tenant_id, w.id::text AS id, w.participant_id, w.streak_id, w.kind, w.reason, w.details,"
    " w.answer"
)
_SELECT = f"SELECT {_COLUMNS_READ} FROM streak_changes w"  # noqa: S608 - a constant of this file


def _found(row: Any) -> StreakChangeRow:
    return StreakChangeRow(*row)


ledger = Ledger(_SELECT, _found)
find, some = ledger.find, ledger.some

_OF_PARTICIPANTS = f"""
    SELECT {_COLUMNS_READ}
    FROM unnest(CAST(%(tenants)s AS int[]), CAST(%(participants)s AS bigint[]))
      AS k (tenant_id, participant_id)
    JOIN streak_changes w USING (tenant_id, participant_id)
    WHERE w.kind = ANY(CAST(%(kinds)s AS text[]))
    ORDER BY w.tenant_id, w.participant_id, w.sequence
    """  # noqa: S608 - a constant of this file


def of_participants(
    connection: Connection, keys: Sequence[ParticipantKey], kinds: Sequence[ChangeKind] = KINDS
) -> dict[ParticipantKey, list[StreakChangeRow]]:
    """The changes of some kinds of some participants, in the order in which they were applied."""
    found: dict[ParticipantKey, list[StreakChangeRow]] = {}
    if keys:
        tenants, participants = zip(*keys, strict=True)
        values = {
            "tenants": array(tenants), "participants": array(participants), "kinds": array(kinds)
        }  # fmt: skip
        for row in run(connection, _OF_PARTICIPANTS, values):
            found.setdefault((row[0], row[2]), []).append(_found(row))
    return found


def history(
    connection: Connection, tenant_id: int, participant_id: int, streak_id: int
) -> list[StreakChangeRow]:
    """The changes of one streak of a participant, in the order in which they were applied."""
    rows = connection.execute(
        sa.text(
            f"{_SELECT} WHERE w.tenant_id = :tenant_id AND w.participant_id = :participant_id"
            " AND (w.streak_id = :streak_id OR w.streak_id IS NULL) ORDER BY w.sequence"
        ),
        {"tenant_id": tenant_id, "participant_id": participant_id, "streak_id": streak_id},
    )
    return list(map(_found, rows))
