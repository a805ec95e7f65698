"""How fast a profile is read, against a route that selects one row by its key."""

from __future__ import annotations

import sqlalchemy as sa

from models.db import transaction
from models.definitions import badges
from tests.bench import load, workload
from tests.bench.measures.measure_apply import seed
from tests.bench.measures.measure_award import definition
from tests.bench.peers.routes import PROFILE
from tests.bench.results import Row
from tests.bench.stack import Stack
from tests.bench.workload import Crowd

PEOPLE = 20_000
CONNECTIONS = 16
BADGES_EACH = 2

_FILL = (
    """
    UPDATE participants SET display_name = 'Jane Doe', first_seen_at = now(), last_seen_at = now(),
      avatar_url = 'https://example.com/avatar.png',
      attributes = '{"plan":"premium","signup_source":"referral"}'
    WHERE tenant_id = :tenant_id
    """,
    """
    INSERT INTO participant_badges (tenant_id, participant_id, badge_id, award_id, earned_at)
    SELECT p.tenant_id, p.id, b.id, gen_random_uuid(), now()
    FROM participants p JOIN badges b USING (tenant_id) WHERE p.tenant_id = :tenant_id
    """,
    """
    INSERT INTO tiers (tenant_id, id, code, name, level, min_points)
    SELECT :tenant_id, gen_random_uuid(), 'tier_' || n, 'Tier ' || n, n, 1000 * n
    FROM generate_series(1, 4) n
    """,
    """
    UPDATE participants p SET points_earned = 3000, points_spent = 500, rewards_claimed = 3,
      tier_id = t.id, tier_achieved_at = now()
    FROM tiers t WHERE t.tenant_id = p.tenant_id AND t.level = 3 AND p.tenant_id = :tenant_id
    """,
    """
    INSERT INTO peer_states
    SELECT 1, external_id, 'profile', 20000, 30, 30 FROM participants WHERE tenant_id = :tenant_id
    """,
)


def read(stack: Stack) -> list[Row]:
    """The full profile (points, tier, two badges, a streak) of people in an order of chance."""
    crowd = workload.gather(stack.engine, "read", stack.some(PEOPLE))
    seed(stack.engine, crowd)
    with transaction(stack.engine) as session:
        for nth in range(BADGES_EACH):
            badges.definitions.create(session, crowd.tenant.id, definition(f"read_{nth}"))
        for statement in _FILL:
            session.execute(sa.text(statement), {"tenant_id": crowd.tenant.id})
    ours, theirs = [], []
    with stack.api("tests.bench.peers.routes:selecting") as peer_port, stack.api() as port:
        for _ in stack.rounds(5):
            theirs.append(_read(stack, crowd, peer_port, PROFILE))
            ours.append(_read(stack, crowd, port, "/api/v1/gamify/participants/"))
    return [
        Row(
            "full profile read: identity, points, tier and the next, two badges, a live streak",
            "a Flask route that selects one row by its key",
            "/s",
            ours,
            theirs,
            at_least=0.5,
            note=f"{CONNECTIONS} connections; the key is checked, the streak computed for now",
        )
    ]


def _read(stack: Stack, crowd: Crowd, port: int, path: str) -> float:
    headers = {"X-API-Key": crowd.key}
    warm = crowd.names[: min(500, len(crowd.names))]
    load.run(load.Plan(port, path, headers, warm, CONNECTIONS, "GET"), "200")
    names = crowd.names[: stack.some(10_000)]
    return load.run(load.Plan(port, path, headers, names, CONNECTIONS, "GET"), "200").per_second
