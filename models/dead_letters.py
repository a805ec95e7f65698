"""Dead letters: accepted writes that could not be applied, kept to be looked at and replayed."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa

from models.db import Session

UNKNOWN_TENANT = 0  # a message too broken to name its tenant


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message that failed every try."""

    tenant_id: int
    id: UUID
    kind: str  # tick | award
    participant_id: str | None  # the external id, where the message names one
    message: str
    error: str
    tries: int


def append(session: Session, letter: DeadLetter) -> None:
    """Keep a dead letter; the same one twice (a crash before the acknowledgement) is one."""
    session.execute(
        sa.text(
            "INSERT INTO dead_letters (tenant_id, id, kind, participant_id, message, error, tries)"
            " VALUES (:tenant_id, :id, :kind, :participant_id, :message, :error, :tries)"
            " ON CONFLICT (tenant_id, id) DO NOTHING"
        ),
        {
            "tenant_id": letter.tenant_id,
            "id": str(letter.id),
            "kind": letter.kind,
            "participant_id": letter.participant_id,
            "message": letter.message,
            "error": letter.error,
            "tries": letter.tries,
        },
    )


def find(session: Session, tenant_id: int, letter_id: UUID) -> DeadLetter | None:
    """A dead letter of a tenant, or None."""
    row = session.execute(
        sa.text("SELECT * FROM dead_letters WHERE tenant_id = :tenant_id AND id = :id"),
        {"tenant_id": tenant_id, "id": str(letter_id)},
    ).one_or_none()
    if row is None:
        return None
    return DeadLetter(
        row.tenant_id, row.id, row.kind, row.participant_id, row.message, row.error, row.tries
    )
