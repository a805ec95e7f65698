"""Participants: created on their first write, locked in key order by every batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from models import clock
from models.db import Connection, array, change, pairs, run

ParticipantKey = tuple[int, int]  # tenant, participant
ExternalKey = tuple[int, str]  # tenant, external id: the order in which participants are locked

_NO_ROW = 0  # ids begin at 1
_ROUNDS_MAX = 5  # another batch created the row and a third erased it meanwhile: try again


@dataclass(slots=True)
class Participant:
    """The data of a participant that a batch reads and writes back."""

    id: int
    timezone: str | None
    fact_sequence: int
    ctid: str = ""  # the row's address, while it is locked
    inactive_us: int | None = None  # since when writes are rejected
    erased_us: int | None = None  # when the earlier holder of this id was erased
    is_created: bool = False  # by this batch
    earned: int = 0  # points ever earned
    spent: int = 0  # points ever spent
    tier_id: str | None = None
    rewards_claimed: int = 0
    has_pauses: bool = False  # or freezes or repairs: a new state of it begins with them
    merged_into: int | None = None  # the participant it is an alias of (aliases.py)
    tier_us: int | None = None  # since when, if this batch has changed it
    is_richer: bool = False  # or poorer: whether points, tier or rewards have changed
    events: int = 0  # of this batch
    first_us: int | None = None
    last_us: int | None = None
    is_changed: bool = False

    def saw(self, instant_us: int) -> None:
        """Count one event at an instant."""
        self.events += 1
        self.is_changed = True
        self.first_us = instant_us if self.first_us is None else min(self.first_us, instant_us)
        self.last_us = instant_us if self.last_us is None else max(self.last_us, instant_us)

    @property
    def balance(self) -> int:
        """Points left."""
        return self.earned - self.spent

    def next_sequence(self) -> int:
        """The number of the next fact about this participant."""
        self.fact_sequence += 1
        self.is_changed = True
        return self.fact_sequence


_KEYS = "unnest(CAST(%(tenants)s AS int[]), CAST(%(ids)s AS text[])) AS k (tenant_id, external_id)"

_READ = f"""
    SELECT p.tenant_id, p.external_id, p.id, p.timezone, p.fact_sequence, p.ctid,
      p.inactive_since, p.erased_at, false, p.points_earned, p.points_spent, p.tier_id::text,
      p.rewards_claimed, p.has_pauses, p.merged_into
    FROM {_KEYS} JOIN participants p USING (tenant_id, external_id)
    """  # noqa: S608 - a fragment of this file

_LOCK = f"{_READ} ORDER BY p.tenant_id, p.external_id FOR NO KEY UPDATE OF p"

_CREATE = f"""
    INSERT INTO participants (tenant_id, external_id)
    SELECT tenant_id, external_id FROM {_KEYS} ORDER BY tenant_id, external_id COLLATE "C"
    ON CONFLICT (tenant_id, external_id) DO NOTHING
    RETURNING tenant_id, external_id, id, timezone, fact_sequence, ctid,
      inactive_since, erased_at, true, points_earned, points_spent, tier_id::text, rewards_claimed,
      has_pauses, merged_into
    """  # noqa: S608 - a fragment of this file


def lock(connection: Connection, keys: set[ExternalKey]) -> dict[ExternalKey, Participant]:
    """Lock the participants of a batch in key order, creating the missing ones.

    The lock also guards their streak states and their fact sequence. A row that another batch
    creates at the same moment is waited for and then locked in the next round.
    """
    found: dict[ExternalKey, Participant] = {}
    for _ in range(_ROUNDS_MAX):
        for statement in (_LOCK, _CREATE):
            missing = sorted(keys - found.keys())
            if not missing:
                return found
            found |= _run(connection, statement, missing)
    raise RuntimeError(f"{len(keys - found.keys())} participants could not be locked")


def hold(connection: Connection, keys: set[ExternalKey]) -> None:
    """Lock those of the participants that exist, in key order; they are read when they are locked
    again."""
    run(connection, _LOCK, pairs(sorted(keys)))


def as_is(connection: Connection, key: ExternalKey) -> Participant:
    """A participant without a lock, for decisions that are not written; one that is missing as if
    just created."""
    found = _run(connection, _READ, [key])
    return found.get(key) or Participant(_NO_ROW, None, 0, is_created=True)


def _run(
    connection: Connection, statement: str, keys: Sequence[ExternalKey]
) -> dict[ExternalKey, Participant]:
    rows = run(connection, statement, pairs(keys))
    return {
        (row[0], row[1]): Participant(
            row[2],
            row[3],
            row[4],
            row[5],
            row[6] and clock.to_us(row[6]),
            row[7] and clock.to_us(row[7]),
            *row[8:15],
        )
        for row in rows
    }


def keep_erasures(connection: Connection, created: Sequence[Participant]) -> None:
    """Store, for new participants, when the earlier holder of their id was erased."""
    if not created:
        return
    rows = run(
        connection,
        """
        UPDATE participants p SET erased_at = CAST(k.erased_at AS timestamptz)
        FROM unnest(CAST(%(ctids)s AS tid[]), CAST(%(instants)s AS text[])) AS k (ctid, erased_at)
        WHERE p.ctid = k.ctid RETURNING p.id, p.ctid
        """,
        {
            "ctids": array(row.ctid for row in created),
            "instants": array(clock.to_text_or_none(row.erased_us) for row in created),
        },
    )
    ctids = dict(rows)
    for row in created:
        row.ctid = ctids[row.id]


def remove(connection: Connection, created: Sequence[Participant]) -> None:
    """Delete participants that this transaction has created."""
    if created:
        ctids = array(row.ctid for row in created)
        statement = "DELETE FROM participants WHERE ctid = ANY(CAST(%(ctids)s AS tid[]))"
        change(connection, statement, {"ctids": ctids}, len(created))


_COUNTED = """
      total_events = p.total_events + k.events,
      fact_sequence = k.fact_sequence,
      first_seen_at = LEAST(p.first_seen_at, CAST(k.first_at AS timestamptz)),
      last_seen_at = GREATEST(p.last_seen_at, CAST(k.last_at AS timestamptz))"""

_TOUCH = f"""
    UPDATE participants p SET {_COUNTED}
    FROM unnest(CAST(%(ctids)s AS tid[]), CAST(%(events)s AS int[]),
      CAST(%(sequences)s AS bigint[]), CAST(%(firsts)s AS text[]), CAST(%(lasts)s AS text[]))
      AS k (ctid, events, fact_sequence, first_at, last_at)
    WHERE p.ctid = k.ctid
    """  # noqa: S608 - a fragment of this file

_TOUCH_RICHER = f"""
    UPDATE participants p SET {_COUNTED},
      points_earned = k.earned, points_spent = k.spent, rewards_claimed = k.rewards_claimed,
      tier_id = k.tier_id, has_pauses = k.has_pauses,
      tier_achieved_at = COALESCE(CAST(k.tier_at AS timestamptz), p.tier_achieved_at)
    FROM unnest(CAST(%(ctids)s AS tid[]), CAST(%(events)s AS int[]),
      CAST(%(sequences)s AS bigint[]), CAST(%(firsts)s AS text[]), CAST(%(lasts)s AS text[]),
      CAST(%(earned)s AS bigint[]), CAST(%(spent)s AS bigint[]), CAST(%(claimed)s AS int[]),
      CAST(%(tiers)s AS uuid[]), CAST(%(tiers_at)s AS text[]), CAST(%(paused)s AS boolean[]))
      AS k (ctid, events, fact_sequence, first_at, last_at, earned, spent, rewards_claimed,
        tier_id, tier_at, has_pauses)
    WHERE p.ctid = k.ctid
    """  # noqa: S608 - a fragment of this file


def touch(connection: Connection, participants: Iterable[Participant]) -> None:
    """Write back the counts of a batch: events, facts, first and last seen, and the participant's
    points, tier and rewards."""
    changed = [participant for participant in participants if participant.is_changed]
    rows = [row for row in changed if not row.is_richer]
    if rows:
        change(connection, _TOUCH, _counted(rows), len(rows))
    rows = [row for row in changed if row.is_richer]
    if rows:
        change(connection, _TOUCH_RICHER, _counted(rows) | _had(rows), len(rows))


def _counted(rows: Sequence[Participant]) -> dict[str, str]:
    return {
        "ctids": array(row.ctid for row in rows),
        "events": array(row.events for row in rows),
        "sequences": array(row.fact_sequence for row in rows),
        "firsts": array(clock.to_text_or_none(row.first_us) for row in rows),
        "lasts": array(clock.to_text_or_none(row.last_us) for row in rows),
    }


def _had(rows: Sequence[Participant]) -> dict[str, str]:
    return {
        "earned": array(row.earned for row in rows),
        "spent": array(row.spent for row in rows),
        "claimed": array(row.rewards_claimed for row in rows),
        "tiers": array(row.tier_id for row in rows),
        "tiers_at": array(clock.to_text_or_none(row.tier_us) for row in rows),
        "paused": array(row.has_pauses for row in rows),
    }


@dataclass(frozen=True, slots=True)
class KnownParticipant:
    """A participant as a read finds it."""

    id: int
    timezone: str | None
    external_id: str  # of the survivor, where an alias was asked for


# The number of the participant that an external id counts for.
ID_OF = """(SELECT COALESCE(a.merged_into, a.id) FROM participants a
    WHERE a.tenant_id = :tenant_id AND a.external_id = :external_id)"""
ID_OF_PLAIN = ID_OF.replace(":tenant_id", "%(tenant_id)s").replace(
    ":external_id", "%(external_id)s"
)


def find(connection: Connection, tenant_id: int, external_id: str) -> KnownParticipant | None:
    """The participant that an external id counts for, or None."""
    row = connection.execute(
        sa.text(
            "SELECT id, timezone, external_id FROM participants"  # noqa: S608 - of this file
            f" WHERE tenant_id = :tenant_id AND id = {ID_OF}"
        ),
        {"tenant_id": tenant_id, "external_id": external_id},
    ).one_or_none()
    return None if row is None else KnownParticipant(row.id, row.timezone, row.external_id)
