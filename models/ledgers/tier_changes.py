"""Tiers: the definitions, and the history of each participant's tier."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa

from models import clock, ids
from models.db import Connection, copy, copy_text
from models.definitions.base import CodedDefinition, Definitions, definition_table, of_columns
from models.errors import LevelTaken
from models.ledgers.base import Ledger

AwardType = Literal["automatic", "manual"]
Source = Literal["points", "assigned"]

tiers = definition_table(
    "tiers",
    sa.Column("level", sa.Integer, nullable=False),
    sa.Column("color", sa.Text),
    sa.Column("min_points", sa.BigInteger),
    sa.Column("award_type", sa.Text, nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier(CodedDefinition):
    """A tier definition (contract §6)."""

    level: int
    color: str | None
    min_points: int | None  # ever earned; None: never reached by points
    award_type: AwardType


# -- definitions -----------------------------------------------------------------------------


definitions = Definitions(
    tiers, of_columns(Tier), (tiers.c.level, tiers.c.code), {"tiers_level": LevelTaken}
)  # lowest level first


# -- changes ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A change of a participant's tier, up or down."""

    tier_id: str
    code: str
    name: str
    level: int
    previous_id: str | None = None
    previous_code: str | None = None
    previous_level: int | None = None

    @staticmethod
    def between(previous: Tier | None, tier: Tier) -> Upgrade:
        """From one definition (None: no tier) to another."""
        found = Upgrade(str(tier.id), tier.code, tier.name, tier.level)
        if previous is None:
            return found
        return replace(
            found,
            previous_id=str(previous.id),
            previous_code=previous.code,
            previous_level=previous.level,
        )

    def answer(self) -> dict[str, Any]:
        """In the form of an award of points (contract §6)."""
        return {
            "code": self.code,
            "name": self.name,
            "level": self.level,
            "previous_code": self.previous_code,
            "previous_level": self.previous_level,
        }


@dataclass(frozen=True, slots=True)
class Change:
    """The change of a participant's tier, as a row of the ledger."""

    tenant_id: int
    id: str  # UUIDv7: the instant; the id of the points or of the assignment that caused it
    participant_id: int
    upgrade: Upgrade
    source: Source
    reason: str | None = None
    metadata: str | None = None  # JSON as sent

    @property
    def is_change(self) -> bool:
        """False for an assignment of the tier that the participant already had."""
        return self.upgrade.tier_id != self.upgrade.previous_id

    @property
    def achieved_us(self) -> int:
        """Its instant, in microseconds, to the millisecond."""
        return ids.issued_at_us(UUID(self.id))


_COLUMNS = (
    "tenant_id", "id", "participant_id", "tier_id", "previous_tier_id", "source", "reason",
    "metadata",
)  # fmt: skip


def append(connection: Connection, changes: Iterable[Change]) -> None:
    """Write changes to the ledger; raise UniqueViolation when one of them is already there."""
    lines = list(map(_line, changes))
    if lines:
        copy(connection, "tier_changes", _COLUMNS, lines)


def _line(change: Change) -> str:
    upgrade = change.upgrade
    return (
        f"{change.tenant_id}\t{change.id}\t{change.participant_id}\t{upgrade.tier_id}\t"
        f"{copy_text(upgrade.previous_id)}\t{change.source}\t{copy_text(change.reason)}\t"
        f"{copy_text(change.metadata)}\n"
    )


@dataclass(frozen=True, slots=True)
class TierChangeRow:
    """A change of the ledger with its participant's external id."""

    change: Change
    external_id: str

    def answer(self) -> dict[str, Any]:
        """The answer to an assignment."""
        return answer(self.change, self.external_id)


def answer(change: Change, external_id: str) -> dict[str, Any]:
    """The answer to an assignment."""
    upgrade = change.upgrade
    return {
        "assignment_id": change.id,
        "participant_id": external_id,
        "tier_code": upgrade.code,
        "tier_name": upgrade.name,
        "level": upgrade.level,
        "previous_code": upgrade.previous_code,
        "previous_level": upgrade.previous_level,
        "already_assigned": not change.is_change,
        "assigned_at": clock.to_text(change.achieved_us),
    }


_SELECT = """
    SELECT w.tenant_id, w.id::text AS id, w.participant_id, w.source, w.reason, w.metadata,
      p.external_id, w.tier_id::text AS tier_id, n.code, n.name, n.level,
      w.previous_tier_id::text AS previous_id, o.code AS previous_code, o.level AS previous_level
    FROM tier_changes w
    JOIN participants p ON p.tenant_id = w.tenant_id AND p.id = w.participant_id
    JOIN tiers n ON n.tenant_id = w.tenant_id AND n.id = w.tier_id
    LEFT JOIN tiers o ON o.tenant_id = w.tenant_id AND o.id = w.previous_tier_id
"""


HISTORY_MAX = 100  # of one participant: the latest


def history(connection: Connection, tenant_id: int, participant_id: int) -> list[Change]:
    """A participant's latest tier changes, in the order in which they were applied: each continues
    from the one before."""
    rows = connection.execute(
        sa.text(
            f"{_SELECT} WHERE w.tenant_id = :tenant_id AND w.participant_id = :participant_id"
            " AND w.tier_id IS DISTINCT FROM w.previous_tier_id"
            " ORDER BY COALESCE(w.sequence, 0) DESC, w.id DESC LIMIT :most"
        ),
        {"tenant_id": tenant_id, "participant_id": participant_id, "most": HISTORY_MAX},
    )
    return [_found(row).change for row in rows][::-1]


def _found(row: Any) -> TierChangeRow:
    upgrade = Upgrade(
        row.tier_id, row.code, row.name, row.level,
        row.previous_id, row.previous_code, row.previous_level,
    )  # fmt: skip
    change = Change(
        row.tenant_id, row.id, row.participant_id, upgrade, row.source, row.reason, row.metadata
    )
    return TierChangeRow(change, row.external_id)


# An assignment is a write of its own; a change by points belongs to the points' write.
ledger = Ledger(_SELECT, _found, "w.source = 'assigned'")
find, some = ledger.find, ledger.some
