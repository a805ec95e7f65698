"""The ledgers of writes that more than one chapter of the API reads."""

from __future__ import annotations

from api.writes.status import WriteLedger
from models.ledgers import streak_changes, ticks

TICKS = WriteLedger("tick", "ticks", ticks.find, salt=b"")
STREAK_CHANGES = WriteLedger(
    "streak_change", "streak-changes", streak_changes.find, salt=b"streak-change"
)
