"""Facts without a tick when sweeps meet, die or come before the ticks; and what a sweep costs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import redis
import sqlalchemy as sa

from models import clock
from models.db import Connection, Engine, reading, run, transaction
from models.streaks import deadlines
from settings import Settings
from tests.integration.batches import DAY_US, make_streak, post
from tests.integration.telling import (
    AT_RISK,
    BROKEN,
    STRICT,
    Notified,
    of_noon,
    sweep_until_death,
    us,
)
from tests.pipeline import worker_context
from workers.maintenance import streak_deadlines as sweeping
from workers.maintenance.streak_deadlines import horizons
from workers.runtime.celery_config import make_celery
from workers.runtime.context import Context

pytestmark = pytest.mark.promise("P10")

# -- together, killed, behind ----------------------------------------------------------------


def test_sweeps_and_ticks_at_the_same_moment_tell_each_once(
    told: Notified, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "PORTION", 20)
    streak = make_streak(told.engine, told.tenant_id, STRICT)
    noon = us("2027-03-10T12:00")
    people = [f"user_{nth}" for nth in range(200)]
    told.apply([of_noon(streak, who, noon) for who in people])
    post(told.pipeline.client, [of_noon(streak, who, noon + DAY_US) for who in people[:100]])
    with beside(told.pipeline.drain), beside(*(sweeper(told, noon + DAY_US) for _ in range(3))):
        pass
    facts = told.facts()
    assert len({fact["participant_id"] for fact in facts}) == len(facts) >= 100
    assert {fact["type"] for fact in facts} == {AT_RISK}
    with beside(*(sweeper(told, noon + 2 * DAY_US) for _ in range(3))):
        pass
    broken = [fact["participant_id"] for fact in told.facts() if fact["type"] == BROKEN]
    assert sorted(broken) == sorted(people[100:])


def sweeper(told: Notified, now_us: int) -> Callable[[], object]:
    """Sweeps that go on until nothing is left that is due."""

    def work() -> None:
        until = [0] * told.tenant_id + [now_us]
        while True:
            told.make_sweep(now_us).run(60)
            with reading(told.engine) as session:
                if not deadlines.is_due(session, until):
                    return

    return work


@contextmanager
def beside(*works: Callable[[], object]) -> Iterator[None]:
    """Run some work in threads; whatever they raise is raised."""
    errors: list[Exception] = []

    def guarded(work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.parametrize("failpoint", ["deadlines.mid_sql", "deadlines.after_commit"])
def test_a_kill_loses_and_doubles_nothing(
    failpoint: str, told: Notified, settings: Settings
) -> None:
    streak = make_streak(told.engine, told.tenant_id, STRICT)
    two_days_ago = clock.now_us() - 2 * DAY_US
    told.apply([of_noon(streak, f"user_{nth}", two_days_ago) for nth in range(20)])
    sweep_until_death(settings, failpoint)
    is_committed = failpoint == "deadlines.after_commit"
    assert len(told.facts()) == (20 if is_committed else 0)
    for _ in range(2):
        assert told.sweep(clock.now_us()) == [(BROKEN, "daily")] * 20


def test_it_looks_no_further_than_ticks_have_been_applied(
    told: Notified, settings: Settings, redis_client: redis.Redis
) -> None:
    """Ticks wait while no drain runs: nobody is told to have broken what a waiting tick saves."""
    streak = make_streak(told.engine, told.tenant_id, STRICT)
    began = clock.now_us()
    told.apply([of_noon(streak, "user_42", began - DAY_US * 3 // 2)])
    redis_client.flushdb()
    mine = told.tenant_id % 8
    name = f"unbroken:{{{mine}}}:intake"
    redis_client.xadd(name, {"m": b"x"}, id=f"{(began - 3 * DAY_US) // 1_000}-0")
    found = horizons(redis_client, began)
    others = [one for number, one in enumerate(found) if number != mine]
    assert set(others) == {began - sweeping.APPEND_MARGIN_US}
    assert found[mine] == (began - 3 * DAY_US) // 1_000 * 1_000 - sweeping.APPEND_MARGIN_US
    context = context_of(settings, told.engine, redis_client)
    sweeping.run(context)
    assert told.facts() == []
    redis_client.delete(name)
    sweeping.run(context)
    assert len(told.facts()) == 1
    context.celery.close()


def context_of(settings: Settings, engine: Engine, client: redis.Redis) -> Context:
    celery = make_celery(settings.redis_url)
    return worker_context(settings, engine, client, celery, "sweeping")


def test_a_zone_that_nobody_knows_any_more_holds_nobody_else_up(told: Notified) -> None:
    streak = make_streak(told.engine, told.tenant_id, STRICT)
    for who in ("a", "b", "c"):
        told.tick(streak, "2027-03-10T12:00", who)
    with transaction(told.engine) as session:
        statement = (
            "UPDATE streak_states s SET last_timezone = 'Mars/Olympus' FROM participants p"
            " WHERE s.tenant_id = :t AND p.tenant_id = :t AND p.id = s.participant_id"
            " AND p.external_id = 'b'"
        )
        session.execute(sa.text(statement), {"t": told.tenant_id})
    assert told.sweep("2027-03-11T00:00") == [(AT_RISK, "daily")] * 2


def test_its_cost_depends_on_what_is_due(told: Notified) -> None:
    """By the index in its order, whatever the statistics say of a table that moves all day."""
    with transaction(told.engine) as session:
        plan = explain(session)
    assert "Index Scan using streak_deadlines_due" in plan
    assert "Seq Scan" not in plan
    assert "Sort" not in plan


def explain(session: Connection) -> str:
    run(session, deadlines._BY_INDEX, {})
    values = {"latest": "now", "horizons": "{now}", "count": 1, "limit": 500}
    return "\n".join(row[0] for row in run(session, f"EXPLAIN {deadlines._DUE}", values))
