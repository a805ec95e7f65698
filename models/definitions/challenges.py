"""Challenges: the definitions, and each participant's progress."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from models import clock
from models.db import Connection, array, run
from models.definitions.base import CodedDefinition, Definitions, definition_table
from models.identity.participants import ID_OF
from models.rules.challenges import Objective
from models.rules.windows import is_open

challenges = definition_table(
    "challenges",
    sa.Column("objective", sa.JSON, nullable=False),
    sa.Column("target", sa.BigInteger, nullable=False),
    sa.Column("points", sa.Integer),
    sa.Column("badge_code", sa.Text),
    sa.Column("starts_at", sa.DateTime(timezone=True)),
    sa.Column("ends_at", sa.DateTime(timezone=True)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge(CodedDefinition):
    """A challenge definition (contract §6)."""

    objective: Objective
    target: int
    points: int | None  # the points for completing it, beside the badge
    badge_code: str | None
    starts_at: datetime | None
    ends_at: datetime | None

    def is_open_at(self, instant: datetime) -> bool:
        """Whether an event at an instant counts."""
        return is_open(self.starts_at, self.ends_at, instant)


# -- definitions -----------------------------------------------------------------------------


def _challenge(row: Any) -> Challenge:
    values = row._asdict()
    return Challenge(**values | {"objective": Objective.of(values["objective"])})


definitions = Definitions(challenges, _challenge, (challenges.c.code,))


# -- progress --------------------------------------------------------------------------------

ProgressKey = tuple[int, int, str]  # tenant, participant, challenge


@dataclass(slots=True)
class ChallengeProgress:
    """A participant's progress."""

    progress: int = 0
    completed_us: int | None = None


def progress(
    connection: Connection,
    participant_keys: Iterable[tuple[int, int]],
    challenge_ids: Iterable[str],
) -> dict[ProgressKey, ChallengeProgress]:
    """The progress of some (tenant, participant) in some challenges; missing before it begins.

    The caller holds the participants' row locks, so that no other process changes the progress.
    """
    tenants, participants = zip(*sorted(participant_keys), strict=True)
    rows = run(
        connection,
        """
        SELECT g.tenant_id, g.participant_id, g.challenge_id::text, g.progress, g.completed_at
        FROM unnest(CAST(%(tenants)s AS int[]), CAST(%(participants)s AS bigint[]))
          AS k (tenant_id, participant_id)
        JOIN challenge_progress g USING (tenant_id, participant_id)
        WHERE g.challenge_id = ANY(CAST(%(challenges)s AS uuid[]))
        """,
        {
            "tenants": array(tenants),
            "participants": array(participants),
            "challenges": array(challenge_ids),
        },
    )
    return {
        (row[0], row[1], row[2]): ChallengeProgress(row[3], row[4] and clock.to_us(row[4]))
        for row in rows
    }


def write(
    connection: Connection, changed: Mapping[ProgressKey, ChallengeProgress], now_us: int
) -> None:
    """Write the participants' progress, in key order."""
    if not changed:
        return
    found = sorted(changed.items())
    tenants, participants, ids = zip(*(key for key, _ in found), strict=True)
    run(
        connection,
        """
        INSERT INTO challenge_progress
          (tenant_id, participant_id, challenge_id, progress, completed_at, updated_at)
        SELECT tenant_id, participant_id, challenge_id, progress,
          CAST(completed_at AS timestamptz), CAST(%(now)s AS timestamptz)
        FROM unnest(CAST(%(tenants)s AS int[]), CAST(%(participants)s AS bigint[]),
          CAST(%(challenges)s AS uuid[]), CAST(%(progress)s AS bigint[]),
          CAST(%(completed)s AS text[]))
          AS k (tenant_id, participant_id, challenge_id, progress, completed_at)
        ON CONFLICT (tenant_id, participant_id, challenge_id) DO UPDATE SET
          progress = EXCLUDED.progress, completed_at = EXCLUDED.completed_at,
          updated_at = EXCLUDED.updated_at
        """,
        {
            "tenants": array(tenants),
            "participants": array(participants),
            "challenges": array(ids),
            "progress": array(state.progress for _, state in found),
            "completed": array(clock.to_text_or_none(state.completed_us) for _, state in found),
            "now": clock.to_text(now_us),
        },
    )


@dataclass(frozen=True, slots=True)
class ChallengeState:
    """A challenge as one participant sees it."""

    challenge: Challenge
    progress: int
    completed_at: datetime | None


def of_participant(
    connection: Connection, tenant_id: int, external_id: str
) -> list[ChallengeState]:
    """The challenges that a participant can see, by code: those that count now, and those begun or
    completed, whether or not they still count."""
    progress_of = {
        row.challenge_id: row
        for row in connection.execute(
            sa.text(
                "SELECT g.challenge_id, g.progress, g.completed_at"  # noqa: S608 - a constant
                " FROM challenge_progress g"
                f" WHERE g.tenant_id = :tenant_id AND g.participant_id = {ID_OF}"
            ),
            {"tenant_id": tenant_id, "external_id": external_id},
        )
    }
    now, found = clock.now(), []
    for challenge in definitions.all_of(connection, tenant_id):
        mine = progress_of.get(challenge.id)
        if mine is not None:
            found.append(ChallengeState(challenge, mine.progress, mine.completed_at))
        elif challenge.is_active and challenge.is_open_at(now):
            found.append(ChallengeState(challenge, 0, None))
    return found
