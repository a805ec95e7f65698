"""What a new state begins with: pauses, freezes and repairs from before its first tick.

They are looked for only where the participant's row says that there are any (`has_pauses`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.db import Connection
from models.identity.participants import ParticipantKey
from models.ledgers import streak_changes
from models.ledgers.streak_changes import ChangeKind, StreakChangeRow
from models.rules.periods import Cadence
from models.rules.streaks import Ranges, add_range
from models.streaks import pauses
from models.streaks.extras import Extras
from models.streaks.pauses import Pause, protected_by

FREEZES: tuple[ChangeKind, ...] = ("freeze_granted", "freeze_bought")
_KINDS: tuple[ChangeKind, ...] = (*FREEZES, "repair", "restore")


@dataclass(frozen=True, slots=True)
class Seed:
    """What was done to a participant's streaks so far."""

    pauses: Sequence[Pause]
    changes: Sequence[StreakChangeRow]  # in the order in which they were applied

    def extras(self, streak_id: int, cadence: Cadence, zone: str | None) -> Extras | None:
        """What a new state of a streak begins with; None: nothing."""
        changes = [change for change in self.changes if change.streak_id == streak_id]
        found = Extras(
            pauses=protected_by(self.pauses, streak_id, cadence),
            repairs=_repaired(changes),
            grants=grants(changes, cadence, zone),
        )
        return None if found.is_empty else found


def read(connection: Connection, people: Sequence[ParticipantKey]) -> dict[ParticipantKey, Seed]:
    """The seeds of some participants, under their locks."""
    paused = pauses.of_participants(connection, people)
    changes = streak_changes.of_participants(connection, people, _KINDS)
    return {key: Seed(paused.get(key, []), changes.get(key, [])) for key in people}


def grants(
    changes: Sequence[StreakChangeRow], cadence: Cadence, zone: str | None
) -> tuple[tuple[int, int], ...]:
    """The freezes granted and bought, each for the period in which it was given."""
    return tuple(
        sorted(
            (change.granted_in(cadence, zone), change.details["amount"])
            for change in changes
            if change.kind in FREEZES
        )
    )


def _repaired(changes: Sequence[StreakChangeRow]) -> Ranges:
    ranges: Ranges = ()
    for change in changes:
        if change.kind in ("repair", "restore") and change.details["as"] == "protected":
            for first, end in change.details["periods"]:
                ranges = add_range(ranges, first, end)
    return ranges
