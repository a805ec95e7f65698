"""Search: a tenant's participants as an admin searches, filters and sorts them (contract §5)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

import sqlalchemy as sa

from models.db import Connection
from models.people.profile import ParticipantStatus

SortKey = Literal["participant_id", "display_name", "created_at", "last_seen_at", "total_events"]
SORT_KEYS: tuple[SortKey, ...] = get_args(SortKey)

_NAMES = (
    "external_id", "display_name", "avatar_url", "timezone", "status", "tags", "total_events",
    "first_seen_at", "last_seen_at", "created_at", "updated_at",
)  # fmt: skip
_participants = sa.table(
    "participants", *map(sa.column, ("tenant_id", "id", "merged_into", *_NAMES))
)
_aliases = _participants.alias()
_enrolments = sa.table(
    "participant_programs", *map(sa.column, ("tenant_id", "participant_id", "program_id"))
)
_p, _e = _participants.c, _enrolments.c


@dataclass(frozen=True, slots=True)
class ParticipantSummary:
    """A participant as a list shows it."""

    external_id: str
    display_name: str | None
    avatar_url: str | None
    timezone: str | None
    status: ParticipantStatus
    tags: list[str]
    total_events: int
    first_seen_at: datetime | None
    last_seen_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class TimeFilter:
    """From an instant (inclusive) to another (exclusive); None: unbounded."""

    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True)
class ParticipantFilter:
    """A filter for participants: all given conditions must hold."""

    search: str = ""  # part of the id, of an alias or of the display name, in any case
    status: ParticipantStatus | None = None
    is_active: bool | None = None
    tag: str | None = None
    program_id: UUID | None = None
    created: TimeFilter = TimeFilter()
    last_seen: TimeFilter = TimeFilter()


@dataclass(frozen=True, slots=True)
class ParticipantOrder:
    """The column that sorts a list; participants without a value come last either way."""

    key: SortKey
    is_descending: bool


def page(
    connection: Connection,
    tenant_id: int,
    wanted: ParticipantFilter,
    order: ParticipantOrder,
    window: tuple[int, int],
) -> tuple[list[ParticipantSummary], int]:
    """A page (limit, offset) of the wanted participants, and how many there are."""
    is_mine = sa.and_(_p.tenant_id == tenant_id, _p.merged_into.is_(None))
    conditions = sa.and_(is_mine, *_conditions(wanted))
    limit, offset = window
    rows = connection.execute(
        sa.select(*(_p[name] for name in _NAMES))
        .where(conditions)
        .order_by(*_order_by(order))
        .limit(limit)
        .offset(offset)
    )
    found = [ParticipantSummary(*row) for row in rows]
    if found and offset == 0 and len(found) < limit:
        return found, len(found)
    total = connection.execute(
        sa.select(sa.func.count()).select_from(_participants).where(conditions)
    )
    return found, total.scalar_one()


def _order_by(order: ParticipantOrder) -> list[sa.ColumnElement[Any]]:
    """A total order: equal values by participant number, so that no page repeats a participant."""
    column = _p.external_id if order.key == "participant_id" else _p[order.key]
    if order.is_descending:
        return [column.desc().nulls_last(), _p.id.desc()]
    return [column.asc().nulls_last(), _p.id.asc()]


def _conditions(wanted: ParticipantFilter) -> list[sa.ColumnElement[bool]]:
    conditions = [
        *_within(_p.created_at, wanted.created),
        *_within(_p.last_seen_at, wanted.last_seen),
    ]
    if wanted.search:
        pattern = _in_any_case(wanted.search)
        conditions.append(
            sa.or_(
                _p.external_id.regexp_match(pattern),
                _p.display_name.regexp_match(pattern),
                _has_alias(pattern),
            )
        )
    if wanted.status is not None:
        conditions.append(_p.status == wanted.status)
    if wanted.is_active is not None:
        conditions.append((_p.status == "ACTIVE") == wanted.is_active)
    if wanted.tag is not None:
        conditions.append(sa.literal(wanted.tag) == sa.func.any(_p.tags))
    if wanted.program_id is not None:
        conditions.append(_is_enrolled(wanted.program_id))
    return conditions


def _within(column: Any, span: TimeFilter) -> list[sa.ColumnElement[bool]]:
    bounds = []
    if span.start is not None:
        bounds.append(column >= span.start)
    if span.end is not None:
        bounds.append(column < span.end)
    return bounds


def _is_enrolled(program_id: UUID) -> sa.ColumnElement[bool]:
    return sa.exists().where(
        _e.tenant_id == _p.tenant_id, _e.participant_id == _p.id, _e.program_id == program_id
    )


def _has_alias(pattern: str) -> sa.ColumnElement[bool]:
    """Whether an id that was merged into a participant's matches."""
    name = _aliases.c
    return sa.exists().where(
        name.tenant_id == _p.tenant_id,
        name.merged_into == _p.id,
        name.external_id.regexp_match(pattern),
    )


def _in_any_case(text: str) -> str:
    """A regular expression for a text in any case.

    ILIKE's letter cases depend on the server's locale: under C, which is common, Ä is not ä. Here
    the letters' cases are Python's, and no character is special.
    """
    return "".join(map(_character, text))


def _character(character: str) -> str:
    cases = {
        character,
        *(
            other_case
            for other_case in (character.lower(), character.upper())
            if len(other_case) == 1
        ),
    }
    if len(cases) > 1:
        return f"[{''.join(sorted(cases))}]"
    return character if character.isalnum() or ord(character) > 0x7F else f"\\{character}"
