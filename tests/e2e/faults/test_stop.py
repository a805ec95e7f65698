"""SIGTERM in the middle of work: each role ends by itself in time, and nothing is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import redis
import requests
from celery import Celery
from flask.testing import FlaskClient

from api.cli.local.proc import wait_until
from api.cli.ports import free_port
from models.db import Engine
from models.streaks.states import Streak
from settings import Settings
from tests.conftest import BASE, Account
from tests.e2e.composed import GRACE_SECONDS, is_ready, running
from tests.e2e.running import PATIENCE_SECONDS
from tests.integration.batches import assert_applied_once, count, days, make_streak, post
from tests.pipeline import Pipeline, forget_deliveries
from tests.receiver import Answer, Receiver
from workers.intake.stream import depth
from workers.runtime.celery_config import make_celery

INTERRUPTIONS = 3  # then a drain may end its work
PEOPLE, DAYS = 400, 60  # more than a drain applies, and a deliverer sends, before it is stopped


@pytest.fixture
def streak(engine: Engine, account: Account) -> Streak:
    """A daily streak of the account's live side."""
    return make_streak(engine, account.live.id)


@pytest.fixture
def celery(settings: Settings) -> Iterator[Celery]:
    """To kick a worker with."""
    app = make_celery(settings.redis_url)
    yield app
    app.close()


def test_a_drain_finishes_its_batch_and_the_next_one_goes_on(
    engine: Engine,
    settings: Settings,
    redis_client: redis.Redis,
    celery: Celery,
    streak: Streak,
    tmp_path: Path,
) -> None:
    messages = [message for nth in range(PEOPLE) for message in days(streak, DAYS, f"user_{nth}")]
    post(redis_client, messages)
    applied = interrupted = 0
    while depth(redis_client):
        with running("drain", settings, tmp_path) as drain:
            celery.send_task("drain", queue="drain")
            is_last = interrupted == INTERRUPTIONS
            until = (
                partial(is_idle, redis_client)
                if is_last
                else partial(has_gone_on, engine, streak, applied)
            )
            assert wait_until(until, PATIENCE_SECONDS)
            assert drain.stop() < GRACE_SECONDS
        applied = count(engine, "ticks", streak.tenant_id)
        interrupted += depth(redis_client) > 0
        assert applied + depth(redis_client) == len(messages), "applied and not acknowledged"
    assert interrupted, "it was never stopped in the middle"
    assert_applied_once(engine, streak, messages)


def is_idle(client: redis.Redis) -> bool:
    """Whether nothing waits to be applied."""
    return depth(client) == 0


def has_gone_on(engine: Engine, streak: Streak, applied: int) -> bool:
    """Whether more than so many ticks have been applied."""
    return count(engine, "ticks", streak.tenant_id) > applied


def test_a_deliverer_finishes_what_it_has_sent_and_records_it(
    engine: Engine,
    settings: Settings,
    pipeline: Pipeline,
    celery: Celery,
    streak: Streak,
    account: Account,
    client: FlaskClient,
    tmp_path: Path,
) -> None:
    forget_deliveries(engine)
    slow = Answer(delay_seconds=2.0)
    with Receiver(reply=lambda _: slow) as receiver:
        hook = {"url": receiver.url, "event_types": ["behavior.*"]}
        receiver.trust(client.post(f"{BASE}/admin/webhooks", json=hook).get_json()["secret"])
        ticks = [one for nth in range(PEOPLE // 8) for one in days(streak, DAYS, f"user_{nth}")]
        facts = len(ticks)
        post(pipeline.client, ticks)
        pipeline.drain()
        with running("webhooks", settings, tmp_path) as deliverer:
            celery.send_task("deliver", queue="webhooks")
            receiver.wait_for(1, PATIENCE_SECONDS)
            assert deliverer.stop() < GRACE_SECONDS
        sent, recorded = receiver.count, count(engine, "deliveries_done", account.live.id)
        assert 0 < sent == recorded < facts
        receiver.reply = None
        assert pipeline.deliver() == facts - sent, "due at once: no lease had to end"
        assert [len(bodies) for bodies in receiver.bodies().values()] == [1] * facts
        assert (receiver.count, receiver.invalid) == (facts, [])


def test_the_api_answers_the_request_that_waits_and_takes_no_more(
    settings: Settings, redis_client: redis.Redis, streak: Streak, account: Account, tmp_path: Path
) -> None:
    port = free_port("127.0.0.1", 0)
    url = f"http://127.0.0.1:{port}"
    answers: list[requests.Response] = []
    headers = {"X-API-Key": account.keys["live"], "Prefer": "wait=5"}
    tick = {"participant_id": "user_42", "streak_code": "daily"}

    def record() -> None:
        path = f"{url}{BASE}/streaks/record"
        answers.append(requests.post(path, json=tick, headers=headers, timeout=20))

    with running("api", settings, tmp_path, port) as api:
        assert wait_until(lambda: is_ready(url), PATIENCE_SECONDS), api.log.read_text()
        waiting = threading.Thread(target=record)
        waiting.start()
        assert wait_until(lambda: depth(redis_client) == 1, PATIENCE_SECONDS)
        assert api.stop() < GRACE_SECONDS
        waiting.join()
    assert [answer.status_code for answer in answers] == [202], "nobody applied it: it is safe"
    assert depth(redis_client) == 1


def is_at_work(role: str, client: redis.Redis) -> bool:
    """Whether a worker waits for messages, or the scheduler has sent one."""
    if role == "beat":
        return client.dbsize() > 0
    return any(one["cmd"] == "brpop" for one in client.client_list())


@pytest.mark.parametrize("role", ["drain", "webhooks", "upkeep", "beat"])
def test_a_worker_that_is_idle_stops_at_once(
    role: str, settings: Settings, redis_client: redis.Redis, tmp_path: Path
) -> None:
    with running(role, settings, tmp_path) as process:
        assert wait_until(lambda: is_at_work(role, redis_client), PATIENCE_SECONDS)
        assert process.stop() < GRACE_SECONDS / 2
