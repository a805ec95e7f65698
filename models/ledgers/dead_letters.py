"""Dead letters: accepted writes that could not be applied, kept for inspection and replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa

from models import clock
from models.db import Connection
from models.errors import NotFound

UNKNOWN_TENANT = 0  # a message too broken to name its tenant

DeadLetterStatus = Literal["dead", "replayed", "discarded"]
STATUSES: tuple[DeadLetterStatus, ...] = ("dead", "replayed", "discarded")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message that failed every try."""

    tenant_id: int
    id: UUID
    kind: str  # tick | award | points | assignment | claim
    participant_id: str | None  # the external id, where the message names one
    message: str
    error: str
    tries: int  # of all rounds: it may have failed again after a replay
    status: DeadLetterStatus = "dead"
    dead_since: datetime = field(default_factory=clock.now)  # its last try
    settled_at: datetime | None = None  # when it was replayed or discarded


@dataclass(frozen=True, slots=True)
class DeadLetterQuery:
    """A filter for dead letters, and their maximum number; None: any."""

    limit: int
    tenant_ids: Sequence[int] | None  # None only for the operator
    after: UUID | None = None  # the end of the previous page
    status: DeadLetterStatus | None = None
    kind: str | None = None
    participant_id: str | None = None


# -- keeping ---------------------------------------------------------------------------------

# A replayed write that fails again is a dead letter again, and its count of tries continues. The
# same entry stored twice (a crash before its acknowledgement) is one dead letter. A discarded one
# stays so.
_APPEND = sa.text("""
INSERT INTO dead_letters AS l
  (tenant_id, id, kind, participant_id, message, error, tries, created_at)
VALUES (:tenant_id, :id, :kind, :participant_id, :message, :error, :tries, :dead_since)
ON CONFLICT (tenant_id, id) DO UPDATE SET
  status = 'dead', settled_at = NULL, error = EXCLUDED.error,
  tries = CASE l.status WHEN 'replayed' THEN l.tries + EXCLUDED.tries
          ELSE greatest(l.tries, EXCLUDED.tries) END,
  created_at = CASE l.status WHEN 'replayed' THEN EXCLUDED.created_at ELSE l.created_at END
WHERE l.status <> 'discarded'
""")


def append(connection: Connection, dead_letter: DeadLetter) -> None:
    """Keep a dead letter; an existing one is dead again, unless it was discarded."""
    connection.execute(
        _APPEND,
        {
            "tenant_id": dead_letter.tenant_id,
            "id": str(dead_letter.id),
            "kind": dead_letter.kind,
            "participant_id": dead_letter.participant_id,
            "message": dead_letter.message,
            "error": dead_letter.error,
            "tries": dead_letter.tries,
            "dead_since": dead_letter.dead_since,
        },
    )


# -- reading ---------------------------------------------------------------------------------


def find(connection: Connection, tenant_id: int, dead_letter_id: UUID) -> DeadLetter | None:
    """A dead letter of a tenant, or None."""
    return _one(connection, "", tenant_id, dead_letter_id)


def lock(connection: Connection, tenant_id: int, dead_letter_id: UUID) -> DeadLetter:
    """A dead letter of a tenant, held until the end of the transaction; raise NotFound."""
    dead_letter = _one(connection, "FOR UPDATE", tenant_id, dead_letter_id)
    if dead_letter is None:
        raise NotFound(f"Dead letter '{dead_letter_id}' not found")
    return dead_letter


def _one(
    connection: Connection, how: str, tenant_id: int, dead_letter_id: UUID
) -> DeadLetter | None:
    row = connection.execute(
        sa.text(f"SELECT * FROM dead_letters WHERE tenant_id = :tenant_id AND id = :id {how}"),  # noqa: S608 - one of two words of ours
        {"tenant_id": tenant_id, "id": str(dead_letter_id)},
    ).one_or_none()
    return None if row is None else _dead_letter(row)


def owner(connection: Connection, dead_letter_id: UUID) -> int:
    """The tenant of a dead letter's id, for the operator's command line.

    Raises NotFound.
    """
    row = connection.execute(
        sa.text("SELECT tenant_id FROM dead_letters WHERE id = :id ORDER BY tenant_id LIMIT 1"),
        {"id": str(dead_letter_id)},
    ).one_or_none()
    if row is None:
        raise NotFound(f"Dead letter '{dead_letter_id}' not found")
    return int(row.tenant_id)


_MATCHING = """
FROM dead_letters
WHERE (CAST(:tenant_ids AS integer[]) IS NULL OR tenant_id = ANY(CAST(:tenant_ids AS integer[])))
  AND (CAST(:status AS text) IS NULL OR status = :status)
  AND (CAST(:kind AS text) IS NULL OR kind = :kind)
  AND (CAST(:participant_id AS text) IS NULL OR participant_id = :participant_id)
"""
_PAGE = sa.text(f"""
SELECT * {_MATCHING} AND (CAST(:after AS uuid) IS NULL OR id < CAST(:after AS uuid))
ORDER BY id DESC, tenant_id DESC LIMIT :limit
""")
_LOCK = sa.text(f"""
SELECT * {_MATCHING} AND (CAST(:after AS uuid) IS NULL OR id > CAST(:after AS uuid))
ORDER BY id, tenant_id LIMIT :limit FOR UPDATE
""")
_COUNT = sa.text(f"SELECT count(*) {_MATCHING}")


def page(connection: Connection, wanted: DeadLetterQuery) -> list[DeadLetter]:
    """The newest writes first; `after` is the id of the last one seen."""
    return [_dead_letter(row) for row in connection.execute(_PAGE, _values(wanted))]


def lock_some(connection: Connection, wanted: DeadLetterQuery) -> list[DeadLetter]:
    """The oldest writes first, held until the end of the transaction."""
    return [_dead_letter(row) for row in connection.execute(_LOCK, _values(wanted))]


def count(connection: Connection, wanted: DeadLetterQuery) -> int:
    """How many there are, without the limit."""
    return int(connection.execute(_COUNT, _values(wanted)).scalar_one())


def _values(wanted: DeadLetterQuery) -> dict[str, Any]:
    return {
        "limit": wanted.limit,
        "tenant_ids": None if wanted.tenant_ids is None else list(wanted.tenant_ids),
        "after": None if wanted.after is None else str(wanted.after),
        "status": wanted.status,
        "kind": wanted.kind,
        "participant_id": wanted.participant_id,
    }


def _dead_letter(row: Any) -> DeadLetter:
    return DeadLetter(
        row.tenant_id,
        row.id,
        row.kind,
        row.participant_id,
        row.message,
        row.error,
        row.tries,
        row.status,
        row.created_at,
        row.settled_at,
    )


# -- closing ---------------------------------------------------------------------------------


def close(
    connection: Connection, dead_letter: DeadLetter, status: DeadLetterStatus, now: datetime
) -> DeadLetter:
    """Mark a locked dead letter as replayed or discarded; return its new state."""
    row = connection.execute(
        sa.text(
            "UPDATE dead_letters SET status = :status, settled_at = :now"
            " WHERE tenant_id = :tenant_id AND id = :id RETURNING *"
        ),
        {
            "tenant_id": dead_letter.tenant_id,
            "id": str(dead_letter.id),
            "status": status,
            "now": now,
        },
    ).one()
    return _dead_letter(row)
