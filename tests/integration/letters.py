"""Dead letters of tests: made, and looked for in the audit log."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa

from models.db import Engine, reading, transaction
from models.ledgers import dead_letters
from models.ledgers.dead_letters import DeadLetter
from models.streaks.states import Streak
from settings import Settings
from tests.integration.batches import pending, tick
from tests.pipeline import Pipeline
from workers.intake.messages import encode
from workers.intake.stream import depth


def fail_every_try(pipeline: Pipeline, settings: Settings) -> None:
    """Try what waits until it is put away."""
    for _ in range(settings.entry_tries_max):
        drain = pipeline.make_drain()
        drain.streams.create_groups()
        drain._round(drain.streams.take_over(1_000))
        drain._round(drain.streams.read(1_000, block_ms=1))
    assert (depth(pipeline.client), pending(pipeline.client)) == (0, 0)


def keep(engine: Engine, streak: Streak, who: str = "user_42", **values: Any) -> DeadLetter:
    """A letter whose write could be applied by now."""
    message = tick(streak, who)
    plain = {"tenant_id": streak.tenant_id, "id": UUID(message.id), "kind": "tick"}
    told = {"participant_id": who, "message": encode(message).decode(), "error": "x", "tries": 5}
    letter = DeadLetter(**{**plain, **told, **values})
    with transaction(engine) as session:
        dead_letters.append(session, letter)
    return letter


def acts(engine: Engine, tenant_id: int) -> list[tuple[str, str | None]]:
    """What the audit log says was done to dead letters."""
    with reading(engine) as session:
        rows = session.execute(
            sa.text(
                "SELECT action, target FROM audit_log WHERE tenant_id = :id"
                " AND action LIKE 'dead_letter.%' ORDER BY id"
            ),
            {"id": tenant_id},
        )
        return [(row.action, row.target) for row in rows]
