"""Migration 0008 on a database that an earlier release has filled."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import command

from api.cli.local.embedded import Urls
from models.db import Engine, reading, schema, transaction
from tests.integration.workers.test_schema import fresh_database

FILLED = """
INSERT INTO tenants (id, slug, mode, tick_secret) OVERRIDING SYSTEM VALUE
  VALUES (7, 'old', 'live', decode(repeat('00', 16), 'hex'));
INSERT INTO participants (tenant_id, id, external_id, points_earned) OVERRIDING SYSTEM VALUE
  VALUES (7, 1, 'ann', 107);
INSERT INTO streaks (tenant_id, id, code, name, period, grace_periods, reset_on_miss, is_active,
  boundary, milestones, revision, created_at, updated_at) OVERRIDING SYSTEM VALUE
  VALUES (7, 5, 'daily', 'Daily', 'daily', 0, true, true, 'utc', '[]', 1, now(), now());
"""
MOVED = sa.text("""
INSERT INTO point_transactions (tenant_id, id, participant_id, kind, debit, credit, amount,
  balance_after, source, metadata)
VALUES (7, gen_random_uuid(), 1, :kind, 'issued', 'available', 50, 50, :source, :metadata)
""")


def origin(count: int) -> str:
    """Where a milestone's points came from, as the ledger says it."""
    tick_id = "01939c7e-6a1b-7c3d-9e4f-0a1b2c3d4e5f"
    return json.dumps({"streak_code": "daily", "milestone": count, "tick_id": tick_id})


def fill(engine: Engine) -> None:
    """A database of revision 0007, whose participant was given 3 twice and 7 once."""
    with transaction(engine) as session:
        config = schema._config()
        config.attributes["connection"] = session
        command.upgrade(config, "0007")
        session.execute(sa.text(FILLED))
        for kind, source, metadata in (
            ("milestone", "daily", origin(3)),
            ("milestone", "daily", origin(3)),
            ("milestone", "daily", origin(7)),
            ("milestone", "renamed", origin(9)),
            ("award", None, None),
        ):
            session.execute(MOVED, {"kind": kind, "source": source, "metadata": metadata})


def test_what_the_ledger_knows_of_milestones_is_put_on_record_once(servers: Urls) -> None:
    with fresh_database(servers, "filled") as engine:
        fill(engine)
        schema.migrate(engine)
        with reading(engine) as session:
            rows = session.execute(
                sa.text("SELECT participant_id, streak_id, count FROM streak_milestones ORDER BY 3")
            )
            assert [tuple(row) for row in rows] == [(1, 5, 3), (1, 5, 7)]


def test_an_earlier_release_appends_on_and_takes_its_place_in_the_order(servers: Urls) -> None:
    with fresh_database(servers, "beside") as engine:
        fill(engine)
        schema.migrate(engine)
        with transaction(engine) as session:
            session.execute(MOVED, {"kind": "award", "source": None, "metadata": None})
            numbers = session.execute(sa.text("SELECT sequence FROM point_transactions")).scalars()
            assert sorted(one or 0 for one in numbers) == [0, 0, 0, 0, 0, 1]
