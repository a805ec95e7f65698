"""Streak deadlines: when to check which state again, kept lazily.

A live state has one row, never later than it can become at risk or break. A tick does not change
the row: the check that finds it due reads what was recorded meanwhile and moves it. The rows belong
to the participant, like the states: a process that changes one holds the participant's lock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from models import clock
from models.db import Connection, array, change, run
from models.identity.participants import Participant, ParticipantKey
from models.rules.deadlines import (
    Calendar,
    Deadlines,
    Notified,
    Reminded,
    deadlines,
    of_walk,
)
from models.rules.periods import period_at
from models.rules.reminders import LastTick, next_us
from models.streaks.extras import Extras, encode
from models.streaks.states import STATE_COLUMNS, StateKey, Streak, StreakState, state_of_row
from models.streaks.terms import terms_of


@dataclass(frozen=True, slots=True)
class Locked:
    """States to check, whose participants this transaction has locked."""

    keys: Sequence[StateKey]
    participants: Mapping[ParticipantKey, Participant]
    names: Mapping[ParticipantKey, str]  # their external ids


@dataclass(frozen=True, slots=True)
class WatchedState:
    """A state, and the facts published about it."""

    state: StreakState
    notified: Notified
    extras: Extras | None  # as read


@dataclass(frozen=True, slots=True)
class DeadlineOutcome:
    """The result of one check."""

    ctid: str | None  # the address of the state's row
    notified: Notified
    is_watched: bool
    again_us: int | None = None  # None, while it is watched: not before a review
    extras: Extras | None = None  # of a state with forgiveness


def of(
    streak: Streak, state: StreakState, participant_zone: str | None, now_us: int = 0
) -> Deadlines:
    """The deadlines of a state, on the calendar that counts for it; with forgiveness, those that
    follow an instant."""
    zone = streak.zone(state.last_zone, participant_zone)
    calendar = Calendar(streak.cadence, zone, streak.at_risk_lead_hours)
    terms = None
    if not streak.is_plain or state.extras is not None:
        terms = terms_of(streak, state.extras, zone)
    if terms is None:
        found = deadlines(state.totals, calendar)
    else:
        since = max(period_at(streak.cadence, now_us, zone), state.ranges[-1][1])
        known = state.extras.breaks_at if state.extras else None
        found = of_walk(state.totals, terms, calendar, since, known)
    if streak.reminder is None:
        return found
    last = LastTick(state.ranges[-1][1] - 1, state.last_recorded_us)
    return replace(found, reminder_us=next_us(streak.reminder, calendar, last, now_us))


# -- finding states to check ------------------------------------------------------------------

# The statistics of a table whose rows change all day are always wrong: only the index is right.
_BY_INDEX = """
    SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off;
    SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off
    """

_PARTICIPANT = """p.tenant_id, p.id, p.external_id, p.timezone, p.fact_sequence, p.ctid,
      p.inactive_since"""

# Locked participants are skipped and found again by the next sweep. Waiting for one while holding
# others would need an order, and the order here is that of the deadlines.
_DUE = f"""
    SELECT {_PARTICIPANT}, d.streak_id
    FROM streak_deadlines d
    JOIN participants p ON p.tenant_id = d.tenant_id AND p.id = d.participant_id
    WHERE d.due_at <= CAST(%(latest)s AS timestamptz)
      AND d.due_at <= (CAST(%(horizons)s AS timestamptz[]))[d.tenant_id %% %(count)s + 1]
    ORDER BY d.due_at LIMIT %(limit)s FOR NO KEY UPDATE OF p SKIP LOCKED
    """  # noqa: S608 - a fragment of this file


def lock_due(connection: Connection, horizons_us: Sequence[int], limit: int) -> Locked:
    """The due states of every tenant, earliest first.

    A tenant's limit is `horizons_us[tenant_id % len(horizons_us)]`.
    Another sweep may have checked the states a moment ago: read them under the lock.
    """
    run(connection, _BY_INDEX, {})
    return _locked(run(connection, _DUE, _until(horizons_us) | {"limit": limit}))


def is_due(connection: Connection, horizons_us: Sequence[int]) -> bool:
    """Whether a sweep would find a state to check."""
    rows = run(
        connection,
        "SELECT EXISTS (SELECT FROM streak_deadlines d"
        " WHERE d.due_at <= CAST(%(latest)s AS timestamptz)"
        " AND d.due_at <= (CAST(%(horizons)s AS timestamptz[]))[d.tenant_id %% %(count)s + 1])"
        " OR EXISTS (SELECT FROM streak_reviews)",
        _until(horizons_us),
    )
    return bool(rows[0][0])


def _until(horizons_us: Sequence[int]) -> dict[str, Any]:
    return {
        "latest": clock.to_text(max(horizons_us)),
        "horizons": array(map(clock.to_text, horizons_us)),
        "count": len(horizons_us),
    }


# States broken long ago, by any rules and in any zone, are skipped.
_CANDIDATES = """
    SELECT s.participant_id, s.is_watched OR upper(s.recorded) + %(grace)s + 1 >= %(current)s
      OR s.told_broken >= %(broken_since)s
    FROM streak_states s
    WHERE s.tenant_id = %(tenant_id)s AND s.streak_id = %(streak_id)s
      AND s.participant_id > %(after)s
    ORDER BY s.participant_id LIMIT %(limit)s
    """

_LOCK = f"""
    SELECT {_PARTICIPANT}, CAST(%(streak_id)s AS int)
    FROM participants p
    WHERE p.tenant_id = %(tenant_id)s AND p.id = ANY(CAST(%(ids)s AS bigint[]))
    ORDER BY p.tenant_id, p.external_id FOR NO KEY UPDATE OF p
    """  # noqa: S608 - a fragment of this file


def lock_next(
    connection: Connection, streak: Streak, current: int, after: int, limit: int
) -> tuple[Locked, int | None]:
    """The states that may be alive among a definition's next `limit` after a participant, and the
    participant to continue after; None after the last.

    `current` is the period in UTC. Locks are waited for, in the order in which a batch takes them.
    """
    values = {
        "tenant_id": streak.tenant_id,
        "streak_id": streak.id,
        "grace": streak.rules.grace_periods,
        "current": current,
        "broken_since": _broken_since(streak),
        "after": after,
        "limit": limit,
    }
    rows = run(connection, _CANDIDATES, values)
    participants = array(participant_id for participant_id, may_be_alive in rows if may_be_alive)
    found = _locked(run(connection, _LOCK, values | {"ids": participants}))
    return found, rows[-1][0] if len(rows) == limit else None


def _broken_since(streak: Streak) -> int:
    """The first break, in periods, that a change of a definition may undo beside recent ones."""
    if streak.rules.forgiveness is not None:
        return -(1 << 31)
    if not streak.outages:
        return (1 << 31) - 1
    return period_at(streak.cadence, streak.outages[0][0], None) - streak.rules.grace_periods - 1


def _locked(rows: Sequence[Any]) -> Locked:
    participants, names = {}, {}
    for tenant_id, participant_id, name, zone, sequence, ctid, inactive, _ in rows:
        inactive_us = None if inactive is None else clock.to_us(inactive)
        key = (tenant_id, participant_id)
        participants[key] = Participant(participant_id, zone, sequence, ctid, inactive_us)
        names[key] = name
    return Locked(sorted((row[0], row[1], row[7]) for row in rows), participants, names)


_STATES = f"""
    SELECT {STATE_COLUMNS}, s.told_at_risk, s.told_reminder, s.told_reminder_due_at
    FROM unnest(CAST(%(tenants)s AS int[]), CAST(%(participants)s AS bigint[]),
      CAST(%(streaks)s AS int[])) AS k (tenant_id, participant_id, streak_id)
    JOIN streak_states s USING (tenant_id, participant_id, streak_id)
    """  # noqa: S608 - column names of models/streaks/states.py


def watched(
    connection: Connection, found: Locked, definitions: Mapping[ParticipantKey, Streak]
) -> dict[StateKey, WatchedState]:
    """The locked states with the facts published about them.

    `definitions` are those of the keys, by tenant and number.
    """
    keys = found.keys
    if not keys:
        return {}
    found_states = {}
    for row in run(connection, _STATES, _columns(keys)):
        key, zone = (row[0], row[1], row[2]), found.participants[row[0], row[1]].timezone
        state = state_of_row(row, definitions[row[0], row[2]], zone)
        notified = Notified(row[14], row[13], _reminded(row[15], row[16]))
        found_states[key] = WatchedState(state, notified, state.extras)
    return found_states


def _reminded(period: int | None, due_at: datetime | None) -> Reminded:
    return Reminded(period, None if due_at is None else clock.to_us(due_at))


# -- writing -----------------------------------------------------------------------------------

_SET = """
    INSERT INTO streak_deadlines AS d (tenant_id, participant_id, streak_id, due_at)
    SELECT tenant_id, participant_id, streak_id, CAST(due_at AS timestamptz)
    FROM unnest(CAST(%(tenants)s AS int[]), CAST(%(participants)s AS bigint[]),
      CAST(%(streaks)s AS int[]), CAST(%(instants)s AS text[]))
      AS k (tenant_id, participant_id, streak_id, due_at)
    ON CONFLICT (tenant_id, participant_id, streak_id) DO UPDATE SET due_at = EXCLUDED.due_at
    """


def watch(connection: Connection, due_us: Mapping[StateKey, int]) -> None:
    """Have some states checked, not later than at these instants."""
    if due_us:
        values = _columns(list(due_us)) | {"instants": array(map(clock.to_text, due_us.values()))}
        run(connection, f"{_SET} WHERE d.due_at > EXCLUDED.due_at", values)


def write_outcomes(
    connection: Connection,
    outcomes: Mapping[StateKey, DeadlineOutcome],
    before: Mapping[StateKey, WatchedState],
) -> None:
    """Write what was published and when to check again; `before` is the state as read."""
    changed = [outcome for key, outcome in outcomes.items() if _is_changed(outcome, before[key])]
    if changed:
        change(connection, _MARK_NOTIFIED, _notified(changed), len(changed))
    again = {key: outcome for key, outcome in outcomes.items() if outcome.is_watched}
    if again:
        instants = array(_instant(deadline.again_us) for deadline in again.values())
        statement = f"{_SET} WHERE d.due_at <> EXCLUDED.due_at"
        run(connection, statement, _columns(list(again)) | {"instants": instants})
    gone = [key for key, outcome in outcomes.items() if not outcome.is_watched]
    if gone:
        run(connection, _FORGET, _columns(gone))


def _is_changed(outcome: DeadlineOutcome, before: WatchedState) -> bool:
    return (outcome.notified, outcome.is_watched, outcome.extras) != (
        before.notified,
        before.state.is_watched,
        before.extras,
    )


def _instant(again_us: int | None) -> str:
    return "infinity" if again_us is None else clock.to_text(again_us)


_MARK_NOTIFIED = """
    UPDATE streak_states s
    SET is_watched = k.is_watched, told_at_risk = k.at_risk, told_broken = k.broken,
      told_reminder = k.reminder, told_reminder_due_at = CAST(k.reminder_due_at AS timestamptz),
      forgiveness = COALESCE(CAST(k.forgiveness AS jsonb), s.forgiveness)
    FROM unnest(CAST(%(ctids)s AS tid[]), CAST(%(watched)s AS boolean[]),
      CAST(%(at_risk)s AS int[]), CAST(%(broken)s AS int[]), CAST(%(reminders)s AS int[]),
      CAST(%(reminders_due)s AS text[]), CAST(%(forgiveness)s AS text[]))
      AS k (ctid, is_watched, at_risk, broken, reminder, reminder_due_at, forgiveness)
    WHERE s.ctid = k.ctid
    """

_FORGET = """
    DELETE FROM streak_deadlines d
    USING unnest(CAST(%(tenants)s AS int[]), CAST(%(participants)s AS bigint[]),
      CAST(%(streaks)s AS int[])) AS k (tenant_id, participant_id, streak_id)
    WHERE (d.tenant_id, d.participant_id, d.streak_id)
      = (k.tenant_id, k.participant_id, k.streak_id)
    """


def _notified(outcomes: Sequence[DeadlineOutcome]) -> dict[str, str]:
    reminders = [outcome.notified.reminded for outcome in outcomes]
    return {
        "ctids": array(outcome.ctid for outcome in outcomes),
        "watched": array(outcome.is_watched for outcome in outcomes),
        "at_risk": array(outcome.notified.at_risk for outcome in outcomes),
        "broken": array(outcome.notified.broken for outcome in outcomes),
        "reminders": array(reminded.period for reminded in reminders),
        "reminders_due": array(
            None if reminded.due_us is None else clock.to_text(reminded.due_us)
            for reminded in reminders
        ),
        "forgiveness": array(
            None if outcome.extras is None else encode(outcome.extras) for outcome in outcomes
        ),
    }


def _columns(keys: Sequence[StateKey]) -> dict[str, str]:
    tenants, participants, streaks = zip(*keys, strict=True)
    return {
        "tenants": array(tenants), "participants": array(participants), "streaks": array(streaks)
    }  # fmt: skip


def write_breaks(connection: Connection, breaks: Mapping[StateKey, int | None]) -> None:
    """Note the break that was published last of some states, None where it did not happen; under
    their locks."""
    if breaks:
        statement = """
            UPDATE streak_states s SET told_broken = k.broken
            FROM unnest(CAST(%(tenants)s AS int[]), CAST(%(participants)s AS bigint[]),
              CAST(%(streaks)s AS int[]), CAST(%(broken)s AS int[]))
              AS k (tenant_id, participant_id, streak_id, broken)
            WHERE (s.tenant_id, s.participant_id, s.streak_id)
              = (k.tenant_id, k.participant_id, k.streak_id)
            """
        keys = sorted(breaks)
        run(connection, statement, _columns(keys) | {"broken": array(breaks[key] for key in keys)})


_LOOK_AGAIN = sa.text("""
INSERT INTO streak_deadlines AS d (tenant_id, participant_id, streak_id, due_at)
SELECT tenant_id, participant_id, streak_id, now() FROM streak_states
WHERE tenant_id = :tenant_id AND participant_id = :participant_id
  AND (is_watched OR told_broken IS NOT NULL)
ON CONFLICT (tenant_id, participant_id, streak_id) DO UPDATE SET due_at = EXCLUDED.due_at
WHERE d.due_at > EXCLUDED.due_at
""")


def look_again(connection: Connection, tenant_id: int, participant_id: int) -> None:
    """Have a participant's streaks checked now, since its calendar or status has changed.

    The caller has changed the participant's row, and so holds its lock.
    """
    connection.execute(_LOOK_AGAIN, {"tenant_id": tenant_id, "participant_id": participant_id})
