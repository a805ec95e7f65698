"""Awards: each participant's badges, and the ledger of awards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models import clock
from models.db import Connection, array, copy, copy_text, run
from models.definitions.badges import Badge
from models.ledgers.base import Ledger

AwardKey = tuple[int, int, str]  # tenant, participant, badge


@dataclass(frozen=True, slots=True)
class Earned:
    """A badge that a participant has, since its first award."""

    award_id: str
    earned_us: int
    metadata: str | None  # JSON as sent


@dataclass(frozen=True, slots=True)
class Award:
    """One applied award, as a row of the ledger."""

    tenant_id: int
    id: str
    participant_id: int
    badge_id: str
    earned_us: int  # of the first award, whether or not this is it
    already_earned: bool


_SELECT_EARNED = """
    SELECT e.tenant_id, e.participant_id, e.badge_id::text, e.award_id::text, e.earned_at,
      e.metadata
    FROM unnest(CAST(%(tenants)s AS int[]), CAST(%(participants)s AS bigint[]),
      CAST(%(badges)s AS uuid[])) AS k (tenant_id, participant_id, badge_id)
    JOIN participant_badges e USING (tenant_id, participant_id, badge_id)
    """


def earned(connection: Connection, keys: Sequence[AwardKey]) -> dict[AwardKey, Earned]:
    """The badges, among some, that their participants have.

    The caller holds the participants' row locks, so that no other transaction awards them any.
    """
    tenants, participants, badges = zip(*keys, strict=True)
    rows = run(
        connection,
        _SELECT_EARNED,
        {
            "tenants": array(tenants),
            "participants": array(participants),
            "badges": array(badges),
        },
    )
    return {(row[0], row[1], row[2]): Earned(row[3], clock.to_us(row[4]), row[5]) for row in rows}


_EARNED = ("tenant_id", "participant_id", "badge_id", "award_id", "earned_at", "metadata")


def write_earned(connection: Connection, fresh: Mapping[AwardKey, Earned]) -> None:
    """Write first awards, in key order."""
    if fresh:
        copy(connection, "participant_badges", _EARNED, map(_earned_line, sorted(fresh.items())))


def _earned_line(item: tuple[AwardKey, Earned]) -> str:
    (tenant_id, participant_id, badge_id), one = item
    return (
        f"{tenant_id}\t{participant_id}\t{badge_id}\t{one.award_id}\t"
        f"{clock.to_text(one.earned_us)}\t{copy_text(one.metadata)}\n"
    )


_LEDGER = ("tenant_id", "id", "participant_id", "badge_id", "earned_at", "already_earned")


def append(connection: Connection, ledger: Iterable[Award]) -> None:
    """Write awards to the ledger; raise UniqueViolation when one of them is already there."""
    copy(connection, "awards", _LEDGER, map(_ledger_line, ledger))


def _ledger_line(award: Award) -> str:
    return (
        f"{award.tenant_id}\t{award.id}\t{award.participant_id}\t{award.badge_id}\t"
        f"{clock.to_text(award.earned_us)}\t{award.already_earned}\n"
    )


@dataclass(frozen=True, slots=True)
class AwardRow:
    """An award of the ledger with names in place of its numbers."""

    award: Award
    external_id: str
    badge_code: str
    badge_name: str
    icon_url: str | None
    rarity: str

    def answer(self) -> dict[str, Any]:
        """The answer to an award: the seven documented fields (seed 001), then its id."""
        return {
            "participant_id": self.external_id,
            "badge_code": self.badge_code,
            "badge_name": self.badge_name,
            "icon": self.icon_url,
            "rarity": self.rarity,
            "earned_at": clock.to_text(self.award.earned_us),
            "already_earned": self.award.already_earned,
            "award_id": self.award.id,
        }


def named(award: Award, external_id: str, badge: Badge) -> AwardRow:
    """An award with the names that its caller knows."""
    return AwardRow(award, external_id, badge.code, badge.name, badge.icon_url, badge.rarity)


_SELECT = """
    SELECT w.tenant_id, w.id::text AS id, w.participant_id, w.badge_id::text AS badge_id,
      w.earned_at, w.already_earned, p.external_id, b.code, b.name, b.icon_url, b.rarity
    FROM awards w
    JOIN participants p ON p.tenant_id = w.tenant_id AND p.id = w.participant_id
    JOIN badges b ON b.tenant_id = w.tenant_id AND b.id = w.badge_id
"""


def _found(row: Any) -> AwardRow:
    award = Award(
        row.tenant_id, row.id, row.participant_id, row.badge_id, clock.to_us(row.earned_at),
        row.already_earned,
    )  # fmt: skip
    return AwardRow(award, row.external_id, row.code, row.name, row.icon_url, row.rarity)


ledger = Ledger(_SELECT, _found)
find, some = ledger.find, ledger.some
