"""Pauses: local days on which streaks of a participant are protected (contract §7.3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from models import clock
from models.db import Connection, array, copy, copy_text, run
from models.identity.participants import ID_OF, ParticipantKey
from models.rules.periods import Cadence
from models.rules.streaks import Ranges, add_range
from models.streaks.forgiveness import periods_of_days

DAYS_MAX = 366  # of one pause


@dataclass(frozen=True, slots=True)
class Pause:
    """One pause; the last day is included."""

    tenant_id: int
    id: str  # UUIDv7: the id of the write that made it
    participant_id: int
    first_day: int  # local days since 1970
    last_day: int
    streak_ids: tuple[int, ...] | None  # None: every streak
    reason: str | None
    created_us: int

    def concerns(self, streak_id: int) -> bool:
        """Whether it protects a streak."""
        return self.streak_ids is None or streak_id in self.streak_ids

    def overlaps(self, other: Pause) -> bool:
        """Whether both protect a day of the same streak."""
        if self.last_day < other.first_day or other.last_day < self.first_day:
            return False
        if self.streak_ids is None or other.streak_ids is None:
            return True
        return not set(self.streak_ids).isdisjoint(other.streak_ids)

    def is_same_as(self, other: Pause) -> bool:
        """Whether both protect the same days of the same streaks."""
        return (self.first_day, self.last_day, self.streak_ids) == (
            other.first_day,
            other.last_day,
            other.streak_ids,
        )


def protected_by(pauses: Iterable[Pause], streak_id: int, cadence: Cadence) -> Ranges:
    """The periods of a streak that pauses protect: a week or a month when they cover more than half
    of its days."""
    days: Ranges = ()
    for pause in pauses:
        if pause.concerns(streak_id):
            days = add_range(days, pause.first_day, pause.last_day + 1)
    return periods_of_days(cadence, days)


_READ = (
    "w.tenant_id, w.id::text, w.participant_id, w.first_day, w.last_day, w.streak_ids, w.reason,"
    " w.created_at"
)


def _found(row: Any) -> Pause:
    streak_ids = None if row[5] is None else tuple(row[5])
    return Pause(row[0], row[1], row[2], row[3], row[4], streak_ids, row[6], clock.to_us(row[7]))


_OF_PARTICIPANTS = f"""
    SELECT {_READ}
    FROM unnest(CAST(%(tenants)s AS int[]), CAST(%(participants)s AS bigint[]))
      AS k (tenant_id, participant_id)
    JOIN pauses w USING (tenant_id, participant_id)
    ORDER BY w.tenant_id, w.participant_id, w.first_day, w.id
    """  # noqa: S608 - a constant of this file


def of_participants(
    connection: Connection, keys: Sequence[ParticipantKey]
) -> dict[ParticipantKey, list[Pause]]:
    """The pauses of some participants, the first day first."""
    found: dict[ParticipantKey, list[Pause]] = {}
    if keys:
        tenants, participants = zip(*keys, strict=True)
        values = {"tenants": array(tenants), "participants": array(participants)}
        for row in run(connection, _OF_PARTICIPANTS, values):
            found.setdefault((row[0], row[2]), []).append(_found(row))
    return found


def is_known(connection: Connection, tenant_id: int, pause_id: str) -> bool:
    """Whether a tenant has a pause of that id."""
    statement = "SELECT 1 FROM pauses WHERE tenant_id = :tenant_id AND id = :id"
    values = {"tenant_id": tenant_id, "id": pause_id}
    return connection.execute(sa.text(statement), values).one_or_none() is not None


def page(
    connection: Connection, key: tuple[int, str], window: tuple[int, int]
) -> tuple[list[Pause], int]:
    """A page (limit, offset) of the pauses of a participant (tenant, external id), the latest days
    first, and how many there are."""
    values = {"tenant_id": key[0], "external_id": key[1], "limit": window[0], "offset": window[1]}
    rows = connection.execute(sa.text(_PAGE), values)
    total = connection.execute(sa.text(_COUNT), values)
    return list(map(_found, rows)), total.scalar_one()


_OF_ONE = f"pauses w WHERE w.tenant_id = :tenant_id AND w.participant_id = {ID_OF}"
_COUNT = f"SELECT count(*) FROM {_OF_ONE}"  # noqa: S608 - a constant of this file
_PAGE = f"""
    SELECT {_READ} FROM {_OF_ONE} ORDER BY w.first_day DESC, w.id DESC LIMIT :limit OFFSET :offset
"""  # noqa: S608 - constants of this file


_COLUMNS = (
    "tenant_id", "id", "participant_id", "first_day", "last_day", "streak_ids", "reason",
    "created_at",
)  # fmt: skip


def append(connection: Connection, pauses: Iterable[Pause]) -> None:
    """Write pauses; raise UniqueViolation when one of them is already there."""
    lines = list(map(_line, pauses))
    if lines:
        copy(connection, "pauses", _COLUMNS, lines)


def _line(pause: Pause) -> str:
    streak_ids = "\\N" if pause.streak_ids is None else array(pause.streak_ids)
    return (
        f"{pause.tenant_id}\t{pause.id}\t{pause.participant_id}\t{pause.first_day}\t"
        f"{pause.last_day}\t{streak_ids}\t{copy_text(pause.reason)}\t"
        f"{clock.to_text(pause.created_us)}\n"
    )


def remove(connection: Connection, pauses: Iterable[Pause]) -> None:
    """Delete pauses."""
    keys = [(pause.tenant_id, pause.id) for pause in pauses]
    if keys:
        run(
            connection,
            "DELETE FROM pauses w USING unnest(CAST(%(tenants)s AS int[]),"
            " CAST(%(ids)s AS uuid[])) AS k (tenant_id, id)"
            " WHERE w.tenant_id = k.tenant_id AND w.id = k.id",
            {
                "tenants": array(tenant_id for tenant_id, _ in keys),
                "ids": array(pause_id for _, pause_id in keys),
            },
        )
