"""A person with a row in every table that knows people, and where such rows are."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from flask.testing import FlaskClient

from models import clock, ids
from models.db import Engine, reading, transaction
from models.identity.tenants import Tenant
from models.ledgers import dead_letters, rejections, streak_changes
from models.ledgers.dead_letters import DeadLetter
from models.ledgers.rejections import Rejection
from models.ledgers.streak_changes import StreakChangeRow
from models.streaks import pauses
from models.streaks.pauses import Pause
from tests.calls import make_badge, make_streak, noon, post_award, post_json, post_tick
from tests.conftest import BASE
from tests.integration.earning import award_points, claim, make_challenge, make_reward, make_tier
from tests.integration.ranking import Place
from tests.integration.world import World
from tests.pipeline import Pipeline
from workers.intake.messages import TickV1, encode

# A row about a participant names it, or a fact that is about it. Partitions go with their tables.
_TABLES = sa.text("""
SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace
  AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped
    AND a.attname IN ('participant_id', 'external_id', 'fact_id'))
ORDER BY 1
""")


def tables_of_people(engine: Engine) -> list[str]:
    """Every table of the schema that can hold a row about a participant."""
    with reading(engine) as session:
        return list(session.execute(_TABLES).scalars())


def filled(engine: Engine, tenant: Tenant) -> list[str]:
    """Those of them in which a tenant has rows."""
    found = []
    with reading(engine) as session:
        for table in tables_of_people(engine):
            statement = sa.text(f"SELECT EXISTS (SELECT FROM {table} WHERE tenant_id = :id)")
            if session.execute(statement, {"id": tenant.id}).scalar_one():
                found.append(table)
    return found


def define(client: FlaskClient, place: Place, world: World, url: str) -> dict[str, Any]:
    """What a life needs: a definition of every kind, and a destination."""
    make_streak(client, boundary="participant", milestones=[{"count": 1}])
    make_badge(client)
    make_tier(client, "silver", 1, 50)
    make_challenge(client, {"type": "points"}, 10)
    place.make()
    world.subscribe(f"{url}/hook?token=secret")
    make_streak(client, code="steps", target={"kind": "value", "amount": 10})
    program = post_json(client, f"{BASE}/admin/programs", {"name": "Loyalty"}).get_json()
    return {"program_id": program["id"], "reward_id": make_reward(client, points_cost=20)["id"]}


def live(client: FlaskClient, place: Place, world: World, who: str, made: dict[str, Any]) -> None:
    """Something of everything that there is about a participant."""
    pipeline, engine = place.pipeline, place.engine
    body = {"participant_id": who, "display_name": "Jane", "timezone": "Australia/Sydney"}
    assert post_json(client, f"{BASE}/participants", body).status_code == 201
    enrolled = {"external_id": who, "program_id": made["program_id"], "tags": ["vip"]}
    enrolled["attributes"] = {"plan": "x"}
    assert post_json(client, "/v1/participants", enrolled).status_code == 200
    post_tick(client, who, timestamp=noon(5), metadata={"note": who})
    post_tick(client, who)
    post_tick(client, who, streak_code="steps", value=2.5)
    post_award(client, who, metadata={"why": "first"})
    award_points(client, 100, who, reason="order", metadata={"order": 7})
    pipeline.drain()
    claim(client, made["reward_id"], who, metadata={"size": "L"})
    pipeline.drain()
    place.follow()
    world.deliver()
    keep_leftovers(engine, world.tenant, pipeline, who)


def keep_leftovers(engine: Engine, tenant: Tenant, pipeline: Pipeline, who: str) -> None:
    """A refused write, one that could not be applied, a pause and its place in the ledger, and a
    leaderboard that is to look again."""
    with transaction(engine) as session:
        statement = "SELECT id FROM participants WHERE tenant_id = :t AND external_id = :who"
        person_id = session.execute(sa.text(statement), {"t": tenant.id, "who": who}).scalar_one()
        write_id = str(ids.uuid7(clock.now_us()))
        rejections.append(session, [Rejection(tenant.id, write_id, person_id, "x", "why")])
        paused = Pause(tenant.id, write_id, person_id, 20_000, 20_001, None, "ill", 0)
        pauses.append(session, [paused])
        change = StreakChangeRow(tenant.id, write_id, person_id, None, "pause", "ill")
        streak_changes.append(session, [change])
        lost = TickV1(tenant.id, str(uuid4()), who, 2**31 - 1, clock.now_us())
        letter = DeadLetter(tenant.id, uuid4(), "tick", who, encode(lost).decode(), "boom", 5)
        dead_letters.append(session, letter)
        session.execute(
            sa.text(
                "INSERT INTO leaderboard_changes (tenant_id, leaderboard_id, participant_id)"
                " SELECT tenant_id, id, :who FROM leaderboards WHERE tenant_id = :t"
            ),
            {"t": tenant.id, "who": person_id},
        )
