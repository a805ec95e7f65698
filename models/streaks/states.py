"""Streaks: the definitions, and each participant's states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from models import clock
from models.db import Connection, array, change, metadata, run
from models.definitions.base import Definitions
from models.identity.participants import KnownParticipant
from models.rules.periods import DAILY, Cadence, PeriodKind, cadence_of
from models.rules.reminders import Reminder, reminder_of
from models.rules.streaks import Ranges, Rules, StreakTotals
from models.rules.targets import PeriodTarget, target_of
from models.streaks import deadline_reviews
from models.streaks.extras import Extras, decode, encode
from models.streaks.forgiveness import forgiveness_of, ranges_in
from models.streaks.terms import rewalk

Boundary = Literal["utc", "participant"]
StateKey = tuple[int, int, int]  # tenant, participant, streak: the order in which states are locked

streaks = sa.Table(
    "streaks",
    metadata,
    sa.Column("tenant_id", sa.Integer, primary_key=True),
    sa.Column("id", sa.Integer, sa.Identity(always=True), primary_key=True),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("period", sa.Text, nullable=False),
    sa.Column("grace_periods", sa.Integer, nullable=False),
    sa.Column("reset_on_miss", sa.Boolean, nullable=False),
    sa.Column("is_active", sa.Boolean, nullable=False),
    sa.Column("boundary", sa.Text, nullable=False),
    sa.Column("milestones", sa.JSON, nullable=False),
    sa.Column("at_risk_lead_hours", sa.Integer),
    sa.Column("reminder", JSONB(none_as_null=True)),
    sa.Column("revision", sa.Integer, nullable=False, default=1),
    sa.Column("forgiveness", JSONB(none_as_null=True)),
    sa.Column("holidays", JSONB(none_as_null=True)),
    sa.Column("outages", JSONB(none_as_null=True)),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
)


@dataclass(frozen=True, slots=True)
class Streak:
    """A streak definition (seed 004, contract §3)."""

    tenant_id: int
    id: int
    code: str
    name: str
    description: str | None
    period: PeriodKind
    rules: Rules
    is_active: bool
    boundary: Boundary
    milestones: list[dict[str, Any]]
    at_risk_lead_hours: int | None  # None: at risk when its last period begins
    revision: int  # grows when the rules change: states walked under an older one are stale
    created_at: datetime
    updated_at: datetime
    forgiveness: dict[str, Any] | None = None  # the optional fields that were given
    holidays: Ranges = ()  # days since 1970
    outages: Ranges = ()  # microseconds since 1970
    target: PeriodTarget | None = None  # what a period needs to be recorded; None: one tick
    cadence: Cadence = DAILY  # its period, with the start of its weeks and days
    reminder: Reminder | None = None  # None: no one is reminded
    reminder_fields: dict[str, Any] | None = None  # as it was given
    is_plain: bool = True  # its walk needs no terms, where a state has no extras either

    def is_plenty(self, value: int) -> bool:
        """Whether progress (thousandths) earns missed periods back."""
        given = self.rules.forgiveness
        if self.target is None or given is None or given.earn_back is None:
            return False
        return value >= given.earn_back.times * self.target.amount

    def zone(self, tick_zone: str | None, participant_zone: str | None) -> str | None:
        """The zone whose calendar counts (contract §3.1); None is UTC."""
        if tick_zone is not None:
            return tick_zone
        return participant_zone if self.boundary == "participant" else None


@dataclass(slots=True)
class StreakState:
    """One participant's state under one definition; the row alone decides."""

    ranges: Ranges
    totals: StreakTotals
    last_recorded_us: int  # the latest instant of any tick, in microseconds
    last_zone: str | None  # the tick's own zone
    ctid: str | None = None  # the row's address, under the participant's lock
    is_watched: bool = False  # whether it has a deadline (models/streaks/deadlines.py)
    extras: Extras | None = None  # None: walked without forgiveness
    broken_at: int | None = None  # the break that was published last


# -- definitions -----------------------------------------------------------------------------


def _streak(row: Any) -> Streak:
    forgiveness, holidays = None, ranges_in(row.holidays)
    cadence = cadence_of(row.period, row.forgiveness)
    if row.forgiveness is not None:
        forgiveness = forgiveness_of(cadence, row.forgiveness, holidays)
    return Streak(
        tenant_id=row.tenant_id,
        id=row.id,
        code=row.code,
        name=row.name,
        description=row.description,
        period=row.period,
        rules=Rules(row.grace_periods, row.reset_on_miss, forgiveness),
        is_active=row.is_active,
        boundary=row.boundary,
        milestones=row.milestones,
        at_risk_lead_hours=row.at_risk_lead_hours,
        revision=row.revision,
        created_at=row.created_at,
        updated_at=row.updated_at,
        forgiveness=row.forgiveness,
        holidays=holidays,
        outages=ranges_in(row.outages),
        target=None if row.forgiveness is None else target_of(row.forgiveness),
        cadence=cadence,
        reminder=None if row.reminder is None else reminder_of(row.reminder),
        reminder_fields=row.reminder,
        is_plain=forgiveness is None and not row.outages,
    )


class StreakDefinitions(Definitions[Streak]):
    """Streaks: a change of the rules has effects on the states."""

    def revise(self, connection: Connection, before: Streak, values: Mapping[str, Any]) -> Streak:
        """Change a definition; raise NotFound. New rules make a new revision.

        Where deadlines may have moved, every state under it is checked again.
        """
        changed: dict[str, Any] = dict(values)
        is_moved = "boundary" in values and before.outages  # their periods depend on the zone
        if values.keys() & _RULES or is_moved:
            changed["revision"] = streaks.c.revision + 1
        revised = super().revise(connection, before, changed)
        if values.keys() & _MOVES_DEADLINES or values.get("is_active"):
            deadline_reviews.ask(connection, revised.tenant_id, revised.id)
        return revised


_RULES = {"grace_periods", "reset_on_miss", "forgiveness", "holidays", "outages"}
_MOVES_DEADLINES = _RULES | {"boundary", "at_risk_lead_hours", "reminder"}

definitions = StreakDefinitions(streaks, _streak, (streaks.c.code,))


def hold_active(connection: Connection, tenant_id: int, code: str) -> bool:
    """Whether an active streak has the code; it stays active until this transaction ends."""
    statement = (
        sa.select(streaks.c.is_active)
        .where(streaks.c.tenant_id == tenant_id, streaks.c.code == code)
        .with_for_update(read=True)
    )
    return bool(connection.execute(statement).scalar_one_or_none())


def hold(connection: Connection, before: Streak) -> Streak:
    """A definition as it is now; it changes only by this transaction until it ends."""
    statement = (
        sa.select(streaks)
        .where(streaks.c.tenant_id == before.tenant_id, streaks.c.id == before.id)
        .with_for_update(key_share=True)
    )
    return _streak(connection.execute(statement).one())


def hold_naming(connection: Connection, tenant_id: int, calendar_code: str) -> list[Streak]:
    """The streaks that name a calendar, each as `hold` gives it."""
    names = streaks.c.forgiveness["calendar_codes"].contains([calendar_code])
    statement = (
        sa.select(streaks)
        .where(streaks.c.tenant_id == tenant_id, names)
        .order_by(streaks.c.id)
        .with_for_update(key_share=True)
    )
    return [_streak(row) for row in connection.execute(statement)]


# -- states ----------------------------------------------------------------------------------

STATE_COLUMNS = (
    "s.tenant_id, s.participant_id, s.streak_id, s.recorded::text AS recorded, s.current_count,"
    " s.longest_count, s.grace_remaining, s.revision, s.last_recorded_at, s.last_timezone, s.ctid,"
    " s.is_watched, s.forgiveness::text, s.told_broken"
)

_SELECT_STATES = f"""
    SELECT {STATE_COLUMNS}
    FROM unnest(CAST(%(tenants)s AS int[]), CAST(%(participants)s AS bigint[]),
      CAST(%(streaks)s AS int[]))
         AS k (tenant_id, participant_id, streak_id)
    JOIN streak_states s USING (tenant_id, participant_id, streak_id)
    """  # noqa: S608 - column names of this file


def states(
    connection: Connection,
    keys: Sequence[StateKey],
    definitions: Mapping[tuple[int, int], Streak],
    zones: Mapping[tuple[int, int], str | None],
) -> dict[StateKey, StreakState]:
    """The states of some keys; missing before the first tick.

    `zones` are the participants' own, by tenant and participant. The caller holds the participants'
    row locks, which guard the states.
    """
    if not keys:
        return {}
    tenants, participants, ids = zip(*keys, strict=True)
    rows = run(
        connection,
        _SELECT_STATES,
        {"tenants": array(tenants), "participants": array(participants), "streaks": array(ids)},
    )
    return {
        (row[0], row[1], row[2]): state_of_row(
            row, definitions[row[0], row[2]], zones.get((row[0], row[1]))
        )
        for row in rows
    }


_SELECT_OF_PARTICIPANTS = f"""
    SELECT {STATE_COLUMNS}
    FROM unnest(CAST(%(tenants)s AS int[]), CAST(%(participants)s AS bigint[]))
      AS k (tenant_id, participant_id)
    JOIN streak_states s USING (tenant_id, participant_id)
    """  # noqa: S608 - column names of this file


def of_participants(
    connection: Connection,
    people: Sequence[tuple[int, int]],
    definitions: Mapping[tuple[int, int], Streak],
    zones: Mapping[tuple[int, int], str | None],
) -> dict[StateKey, StreakState]:
    """Every state of some participants, as `states` reads them."""
    tenants, participants = zip(*people, strict=True)
    values = {"tenants": array(tenants), "participants": array(participants)}
    return {
        (row[0], row[1], row[2]): state_of_row(
            row, definitions[row[0], row[2]], zones.get((row[0], row[1]))
        )
        for row in run(connection, _SELECT_OF_PARTICIPANTS, values)
    }


def states_of(
    connection: Connection,
    tenant_id: int,
    participant: KnownParticipant,
    definitions: Sequence[Streak],
) -> list[tuple[Streak, StreakState]]:
    """A participant's states under some of the tenant's definitions, in their order."""
    rows = connection.execute(
        sa.text(
            f"SELECT {STATE_COLUMNS} FROM streak_states s"  # noqa: S608 - as above
            " WHERE s.tenant_id = :tenant_id AND s.participant_id = :participant_id"
        ),
        {"tenant_id": tenant_id, "participant_id": participant.id},
    )
    by_streak = {row.streak_id: row for row in rows}
    return [
        (streak, state_of_row(by_streak[streak.id], streak, participant.timezone))
        for streak in definitions
        if streak.id in by_streak
    ]


def state_of_row(row: Any, streak: Streak, participant_zone: str | None) -> StreakState:
    """The state in a row; walked again when the definition's rules changed since it was written.

    `row` is (tenant, participant, streak, recorded, current, longest, grace, revision, last
    instant, last zone, ctid, is watched, forgiveness, broken at, …).
    """
    ranges, extras = parse_ranges(row[3]), None if row[12] is None else decode(row[12])
    balance = None if extras is None else extras.balance
    totals = StreakTotals(ranges[-1][1] - 1, row[4], row[5], row[6], balance)
    state = StreakState(
        ranges, totals, clock.to_us(row[8]), row[9], row[10], row[11], extras, row[13]
    )
    zone = streak.zone(state.last_zone, participant_zone)
    has_moved = streak.outages and (extras is None or extras.zone != zone)
    if row[7] != streak.revision or has_moved:
        rewalk(streak, state, zone)
    return state


_VALUES = """unnest(CAST(%(tenants)s AS int[]), CAST(%(participants)s AS bigint[]),
      CAST(%(streaks)s AS int[]), CAST(%(ctids)s AS tid[]), CAST(%(recorded)s AS text[]),
      CAST(%(counts)s AS int[]), CAST(%(longest)s AS int[]), CAST(%(grace)s AS int[]),
      CAST(%(revisions)s AS int[]), CAST(%(instants)s AS text[]), CAST(%(zones)s AS text[]),
      CAST(%(watched)s AS boolean[]), CAST(%(forgiveness)s AS text[]))
      AS k (tenant_id, participant_id, streak_id, ctid, recorded, current_count, longest_count,
        grace_remaining, revision, last_recorded_at, last_timezone, is_watched, forgiveness)"""

_INSERT_STATES = f"""
    INSERT INTO streak_states (tenant_id, participant_id, streak_id, recorded, current_count,
      longest_count, grace_remaining, revision, last_recorded_at, last_timezone, is_watched,
      forgiveness)
    SELECT tenant_id, participant_id, streak_id, CAST(recorded AS int4multirange), current_count,
      longest_count, grace_remaining, revision, CAST(last_recorded_at AS timestamptz),
      last_timezone, is_watched, CAST(forgiveness AS jsonb)
    FROM {_VALUES} ORDER BY tenant_id, participant_id, streak_id
    """  # noqa: S608 - a fragment of this file

_UPDATE_STATES = f"""
    UPDATE streak_states s SET
      recorded = CAST(k.recorded AS int4multirange), current_count = k.current_count,
      longest_count = k.longest_count, grace_remaining = k.grace_remaining,
      revision = k.revision, last_recorded_at = CAST(k.last_recorded_at AS timestamptz),
      last_timezone = k.last_timezone, is_watched = k.is_watched,
      forgiveness = CAST(k.forgiveness AS jsonb)
    FROM {_VALUES} WHERE s.ctid = k.ctid
    """  # noqa: S608 - a fragment of this file


def write_states(
    connection: Connection, states: dict[StateKey, StreakState], revisions: dict[StateKey, int]
) -> None:
    """Write whole states: those that were read at their ctid, the others as new rows."""
    for statement, is_known in ((_UPDATE_STATES, True), (_INSERT_STATES, False)):
        some = {key: state for key, state in states.items() if (state.ctid is not None) is is_known}
        if some:
            change(connection, statement, _columns(some, revisions), len(some))


def remove(connection: Connection, ctids: Sequence[str]) -> None:
    """Delete states without a recorded period, at the addresses where they were read."""
    if ctids:
        statement = "DELETE FROM streak_states WHERE ctid = ANY(CAST(%(ctids)s AS tid[]))"
        change(connection, statement, {"ctids": array(ctids)}, len(ctids))


def _columns(states: dict[StateKey, StreakState], revisions: dict[StateKey, int]) -> dict[str, str]:
    tenants, participants, ids = zip(*states, strict=True)
    standings = [state.totals for state in states.values()]
    return {
        "tenants": array(tenants),
        "participants": array(participants),
        "streaks": array(ids),
        "ctids": array(state.ctid for state in states.values()),
        "recorded": array(format_ranges(state.ranges) for state in states.values()),
        "counts": array(totals.count for totals in standings),
        "longest": array(totals.longest for totals in standings),
        "grace": array(totals.grace_remaining for totals in standings),
        "revisions": array(revisions[key] for key in states),
        "instants": array(clock.to_text(state.last_recorded_us) for state in states.values()),
        "zones": array(state.last_zone for state in states.values()),
        "watched": array(state.is_watched for state in states.values()),
        "forgiveness": array(
            None if state.extras is None else encode(state.extras) for state in states.values()
        ),
    }


def parse_ranges(text: str) -> Ranges:
    """Read Postgres' spelling of an int4multirange: `{[1,3),[5,6)}`."""
    if text.count("[") == 1:  # nearly always
        start, _, end = text[2:-2].partition(",")
        return ((int(start), int(end)),)
    numbers = [int(number) for number in text[2:-2].replace("),[", ",").split(",")]
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def format_ranges(ranges: Ranges) -> str:
    """Spell a set of periods as an int4multirange."""
    return "{" + ",".join(f"[{start},{end})" for start, end in ranges) + "}"
