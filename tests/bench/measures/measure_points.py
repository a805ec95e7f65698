"""How fast points are awarded and rewards claimed, against ticks posted in the same way."""

from __future__ import annotations

import json
from collections.abc import Sequence

import sqlalchemy as sa

from models import clock, ids
from models.db import transaction
from models.definitions import rewards
from models.ledgers import tier_changes
from tests.bench import load, workload
from tests.bench.measures.measure_apply import BATCH_TICKS, NOWHERE, posted, seconds
from tests.bench.results import Row
from tests.bench.stack import Stack
from tests.bench.workload import Crowd
from workers.intake.client import Append, Caps, Message, RedemptionV1

POINTS_BATCH = "/api/v1/gamify/points/award-batch"
TIERS = (("silver", 1, 150), ("gold", 2, 450), ("platinum", 3, 1_000_000))
AMOUNT = 100
COST = 1
APPEND = 1_000  # in one script call


def points(stack: Stack) -> list[Row]:
    """Points posted by batch until all are applied, tiers reached on the way; claims."""
    crowd = workload.gather(
        stack.engine, "points", stack.some(20_000), url=NOWHERE, ring=stack.settings.secret_keys
    )
    reward_id = _define(stack, crowd)
    given, ticked = [], []
    with stack.drain(), stack.api() as port:
        posted(stack, crowd, port, len(crowd.names))  # everybody is known, every state exists
        for _ in stack.rounds(4):
            ticked.append(posted(stack, crowd, port, 2 * len(crowd.names)))
            given.append(_given(stack, crowd, port))
    claimed = [_claimed(stack, crowd, reward_id) for _ in stack.rounds(4)]
    same = "ticks of the same people, posted in the same way"
    return [
        Row(
            "points posted by batch, applied, facts and deliveries written",
            same,
            "/s",
            given,
            ticked,
            at_least=0.6,
            note="each writes balance, ledger, fact; two tiers are reached on the way",
        ),
        Row(
            "claims of one reward, limited in stock, from a full intake, one drain",
            same,
            "/s",
            claimed,
            ticked,
            note="each locks the stock and writes two ledgers and two facts",
        ),
    ]


def _define(stack: Stack, crowd: Crowd) -> str:
    """Tiers on the way, and a reward with stock for all."""
    tenant_id = crowd.tenant.id
    with stack.intake.changing([tenant_id]), transaction(stack.engine) as session:
        for code, level, min_points in TIERS:
            values = {"code": code, "name": code, "level": level, "min_points": min_points}
            tier_changes.definitions.create(session, tenant_id, values | _TIER)
        reward = rewards.definitions.create(session, tenant_id, _REWARD)
        rewards.set_stock(session, tenant_id, reward.id, 10**9)
        session.execute(
            sa.text(
                "UPDATE webhooks SET event_types = '{*}' WHERE tenant_id = :id"  # as of the ticks
            ),
            {"id": tenant_id},
        )
    return str(reward.id)


_TIER = {"description": None, "color": None, "award_type": "automatic", "is_active": True}
_REWARD = {
    "code": "mug", "name": "Mug", "description": None, "image_url": None, "type": "physical",
    "points_cost": COST, "max_claims_per_user": None, "starts_at": None, "ends_at": None,
    "is_active": True,
}  # fmt: skip


def _given(stack: Stack, crowd: Crowd, port: int) -> float:
    items = [{"participant_id": name, "amount": AMOUNT} for _ in range(2) for name in crowd.names]
    bodies = [
        json.dumps({"awards": items[start : start + BATCH_TICKS]})
        for start in range(0, len(items), BATCH_TICKS)
    ]
    outcome = load.run(load.Plan(port, POINTS_BATCH, {"X-API-Key": crowd.key}, bodies, 4), "202")
    return len(items) / (outcome.seconds + seconds(stack.wait_drained))


def _claimed(stack: Stack, crowd: Crowd, reward_id: str) -> float:
    """From a full intake: the route takes one claim at a time."""
    issued = ids.issue(clock.now_us(), crowd.tenant.tick_secret, len(crowd.names))
    claims = [
        RedemptionV1(crowd.tenant.id, str(number), name, reward_id)
        for number, name in zip(issued, crowd.names, strict=True)
    ]
    _append(stack, crowd, claims)
    with stack.drain():
        return len(claims) / seconds(stack.wait_drained)


def _append(stack: Stack, crowd: Crowd, messages: Sequence[Message]) -> None:
    version = stack.intake.version(crowd.tenant.id)
    for start in range(0, len(messages), APPEND):
        some = messages[start : start + APPEND]
        stack.intake.append(Append(crowd.tenant.id, version, Caps(), some))
