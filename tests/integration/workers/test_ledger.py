"""The ledger by the day: days made ahead, ticks in the right one, old days dropped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import redis
import sqlalchemy as sa
from flask.testing import FlaskClient

from models import clock, ids
from models.db import Engine, reading, schema, transaction
from models.db.schema import DAYS_AHEAD, Kept
from models.streaks.states import Streak
from settings import Settings
from tests.conftest import BASE
from tests.integration.batches import (
    DAY_US,
    count,
    post,
    replace_message,
    rows,
    short,
    tick,
)
from tests.pipeline import Pipeline, worker_context
from workers.maintenance import sweep
from workers.runtime.celery_config import make_celery
from workers.runtime.context import Context

TABLES = ("ticks", "facts", "deliveries_done", "attempts")
LONG_AGO = datetime(2020, 2, 28, 12, tzinfo=UTC)


def days_of(engine: Engine, table: str) -> set[str]:
    """The names of a table's day partitions."""
    return set(schema._days(engine, table))


def partition_of(engine: Engine, tick_id: str) -> str:
    """In which table a tick stands."""
    statement = sa.text("SELECT tableoid::regclass::text FROM ticks WHERE id = :id")
    with reading(engine) as session:
        return str(session.execute(statement, {"id": tick_id}).scalar_one())


def at(instant: datetime) -> str:
    """A fresh id of an instant."""
    return str(ids.uuid7(clock.to_us(instant)))


def apply_at(pipeline: Pipeline, streak: Streak, *instants: datetime) -> list[str]:
    """Apply ticks that were accepted at some instants; return their ids."""
    messages = [
        replace_message(tick(streak, f"user_{nth}"), id=at(instant))
        for nth, instant in enumerate(instants)
    ]
    post(pipeline.client, messages)
    pipeline.drain()
    return [message.id for message in messages]


# -- days ahead ------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
def test_days_are_made_from_yesterday_to_two_weeks_ahead(table: str, engine: Engine) -> None:
    wanted = {
        f"{table}_{clock.now() + timedelta(days=ahead):%Y%m%d}"
        for ahead in range(-1, DAYS_AHEAD + 1)
    }
    assert wanted <= days_of(engine, table)


def test_making_days_again_or_at_once_does_no_harm(engine: Engine) -> None:
    failures: list[BaseException] = []

    def make() -> None:
        try:
            schema.ensure_partitions(engine, [Kept("attempts", 1)], LONG_AGO)
        except BaseException as error:  # noqa: BLE001 - the main thread judges it
            failures.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = {name for name in days_of(engine, "attempts") if name < "attempts_2021"}
    assert failures == []
    assert len(made) == DAYS_AHEAD + 2
    assert "attempts_20200229" in made
    assert set(schema.drop_partitions(engine, [Kept("attempts", 30)], clock.now()).names) >= made


# -- the right day ---------------------------------------------------------------------------


def test_a_tick_lands_in_the_day_it_was_accepted(
    engine: Engine, pipeline: Pipeline, streak: Streak
) -> None:
    today = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    instants = [
        today - timedelta(milliseconds=1),
        today,
        today + timedelta(days=1) - timedelta(milliseconds=1),
        today + timedelta(days=1),
    ]
    found = [partition_of(engine, one) for one in apply_at(pipeline, streak, *instants)]
    assert found == [f"ticks_{instant:%Y%m%d}" for instant in instants]


def test_a_late_tick_lands_in_the_day_it_was_accepted_not_the_one_it_is_about(
    engine: Engine, pipeline: Pipeline, streak: Streak
) -> None:
    message = tick(streak, occurred_us=clock.now_us() - 300 * DAY_US)
    post(pipeline.client, [message])
    pipeline.drain()
    accepted = clock.from_us(ids.issued_at_us(UUID(message.id)))
    assert partition_of(engine, message.id) == f"ticks_{accepted:%Y%m%d}"


# -- no day for it ---------------------------------------------------------------------------


def test_a_tick_without_a_day_is_kept_found_and_not_doubled(
    engine: Engine, pipeline: Pipeline, client: FlaskClient, streak: Streak
) -> None:
    ((tick_id,), far) = (
        apply_at(pipeline, streak, clock.now() + timedelta(days=90)),
        "ticks_default",
    )
    assert partition_of(engine, tick_id) == far
    assert client.get(f"{BASE}/ticks/{tick_id}").get_json()["status"] == "applied"
    post(pipeline.client, [replace_message(tick(streak, "user_0"), id=tick_id)])
    pipeline.drain()
    assert count(engine, "ticks", streak.tenant_id) == 1
    assert rows(engine, streak.tenant_id).events == {"user_0": 1}


def test_a_day_that_is_made_late_takes_over_what_the_default_partition_holds(
    engine: Engine, pipeline: Pipeline, streak: Streak
) -> None:
    day = clock.now() + timedelta(days=50)
    tick_ids = apply_at(pipeline, streak, day, day, day + timedelta(days=1))
    assert {partition_of(engine, one) for one in tick_ids} == {"ticks_default"}
    before = rows(engine, streak.tenant_id)
    with transaction(engine) as session:
        schema._create(session, "ticks", day)
    found = [partition_of(engine, one) for one in tick_ids]
    assert found == [f"ticks_{day:%Y%m%d}"] * 2 + ["ticks_default"]
    assert rows(engine, streak.tenant_id) == before


# -- retention -------------------------------------------------------------------------------


@pytest.fixture
def make_context(
    settings: Settings, engine: Engine, redis_client: redis.Redis
) -> Callable[..., Context]:
    """What the upkeep task is given, under other settings."""

    def make(**values: int) -> Context:
        celery = make_celery(settings.redis_url)
        return worker_context(short(settings, **values), engine, redis_client, celery, "upkeep")

    return make


def test_upkeep_drops_days_past_keeping_with_what_is_in_them_and_no_others(
    engine: Engine,
    pipeline: Pipeline,
    streak: Streak,
    make_context: Callable[..., Context],
) -> None:
    now = clock.now()
    kept_day, dropped_day = now - timedelta(days=400), now - timedelta(days=401)
    for day in (kept_day, dropped_day):
        with transaction(engine) as session:
            schema._create(session, "ticks", day)
    kept, dropped, today = apply_at(pipeline, streak, kept_day, dropped_day, now)
    sweep.partitions(make_context(ticks_days=400))
    assert rows(engine, streak.tenant_id).tick_ids == sorted([kept, today])
    assert f"ticks_{dropped_day:%Y%m%d}" not in days_of(engine, "ticks")
    assert f"ticks_{kept_day:%Y%m%d}" in days_of(engine, "ticks")
    assert dropped not in rows(engine, streak.tenant_id).tick_ids
    sweep.partitions(make_context(ticks_days=399))
    assert rows(engine, streak.tenant_id).tick_ids == [today]


def test_the_state_outlives_the_ledger(
    engine: Engine,
    pipeline: Pipeline,
    streak: Streak,
    make_context: Callable[..., Context],
) -> None:
    day = clock.now() - timedelta(days=401)
    with transaction(engine) as session:
        schema._create(session, "ticks", day)
    apply_at(pipeline, streak, day)
    before = rows(engine, streak.tenant_id).states
    sweep.partitions(make_context())
    assert count(engine, "ticks", streak.tenant_id) == 0
    assert rows(engine, streak.tenant_id).states == before


@pytest.mark.parametrize("table", TABLES)
def test_each_table_keeps_its_own_number_of_days(table: str, engine: Engine) -> None:
    schema.ensure_partitions(engine, [Kept(table, 1)], LONG_AGO)
    old = {name for name in days_of(engine, table) if name < f"{table}_2021"}
    assert len(old) == DAYS_AHEAD + 2
    others = [Kept(other, 1) for other in TABLES if other != table]
    dropped = schema.drop_partitions(engine, others, LONG_AGO)
    assert not old & set(dropped.names)
    still = schema.drop_partitions(engine, [Kept(table, 10)], LONG_AGO + timedelta(days=12))
    assert set(still.names) == {
        f"{table}_20200227",
        f"{table}_20200228",
        f"{table}_20200229",
    }
    schema.drop_partitions(engine, [Kept(table, 30)], clock.now())
    assert not old & days_of(engine, table)
