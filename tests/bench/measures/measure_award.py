"""How fast awards are applied, against ticks posted in the same way."""

from __future__ import annotations

import json

from models.db import Engine, transaction
from models.definitions import badges
from models.identity import tenants
from tests.bench import load, workload
from tests.bench.measures.measure_apply import BATCH_TICKS, NOWHERE, posted, seconds
from tests.bench.results import Row
from tests.bench.stack import Stack
from tests.bench.workload import Crowd
from workers.intake.client import Intake

AWARD_BATCH = "/api/v1/gamify/badges/award/batch"


def award(stack: Stack) -> list[Row]:
    """First awards posted by batch until all are applied; the same people's ticks beside them."""
    crowd = workload.gather(
        stack.engine, "award", stack.some(20_000), url=NOWHERE, ring=stack.settings.secret_keys
    )
    ours, theirs = [], []
    with stack.drain(), stack.api() as port:
        posted(stack, crowd, port, len(crowd.names))  # everybody is known, every state exists
        for turn in stack.rounds(4):
            codes = _badges(stack.engine, stack.intake, crowd, [f"b{turn}a", f"b{turn}b"])
            theirs.append(posted(stack, crowd, port, 2 * len(crowd.names)))
            ours.append(_awarded(stack, crowd, port, codes))
    return [
        Row(
            "awards posted by batch, applied, facts and deliveries written",
            "ticks of the same people, posted in the same way",
            "/s",
            ours,
            theirs,
            at_least=0.7,
            note="every award is a first one, every tick extends: each writes state, ledger, fact",
        )
    ]


def _badges(engine: Engine, intake: Intake, crowd: Crowd, codes: list[str]) -> list[str]:
    """Define badges, so that their awards are first ones."""
    with intake.changing([crowd.tenant.id]), transaction(engine) as session:
        tenant = tenants.by_id(session, crowd.tenant.id)
        for code in codes:
            badges.definitions.create(session, tenant.id, definition(code))
    return codes


def definition(code: str) -> dict[str, object]:
    """The values of a badge."""
    return {
        "code": code,
        "name": "Power User",
        "description": None,
        "icon_url": "https://cdn.example.com/badges/power.png",
        "badge_color": None,
        "rarity": "rare",
        "category": "engagement",
        "is_active": True,
        "is_hidden": False,
        "display_order": 0,
    }


def _awarded(stack: Stack, crowd: Crowd, port: int, codes: list[str]) -> float:
    items = [{"participant_id": name, "badge_code": code} for code in codes for name in crowd.names]
    bodies = [
        json.dumps({"awards": items[start : start + BATCH_TICKS]})
        for start in range(0, len(items), BATCH_TICKS)
    ]
    outcome = load.run(load.Plan(port, AWARD_BATCH, {"X-API-Key": crowd.key}, bodies, 4), "202")
    return len(items) / (outcome.seconds + seconds(stack.wait_drained))
