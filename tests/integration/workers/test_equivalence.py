"""Whatever the order, the cuts and the number of drains: the same set gives the same rows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from random import Random

import pytest
import redis

from api.cli.local.proc import wait_until
from models.db import Engine
from settings import Settings
from tests.conftest import Account
from tests.integration.batches import (
    PATIENCE_SECONDS,
    Planned,
    Rows,
    all_streaks,
    assert_correct,
    history,
    messages_of,
    post,
    rows,
    start_drain,
)
from tests.pipeline import Pipeline
from workers.intake.messages import TickV1
from workers.intake.stream import depth

pytestmark = pytest.mark.promise("P2")

MakeAccount = Callable[..., Account]


def posted(
    engine: Engine, client: redis.Redis, account: Account, planned: list[Planned]
) -> list[TickV1]:
    """A history as a tenant's ticks, some of them twice in the stream: redelivered."""
    messages = messages_of(planned, all_streaks(engine, account.live.id))
    post(client, messages + Random(len(messages)).sample(messages, len(messages) // 20))
    return messages


def drain_side_by_side(pipeline: Pipeline, drains: int, batch_max: int) -> None:
    """Several drains over one intake, each taking over at once whatever another holds."""
    workers = [
        pipeline.make_drain(f"d{nth}", batch_max, lambda: depth(pipeline.client) == 0)
        for nth in range(drains)
    ]
    failures: list[BaseException] = []

    def run(nth: int) -> None:
        try:
            workers[nth].run(PATIENCE_SECONDS)
        except BaseException as error:  # noqa: BLE001 - the main thread judges it
            failures.append(error)

    threads = [threading.Thread(target=run, args=(nth,)) for nth in range(drains)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert depth(pipeline.client) == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_it_gives_the_oracles_rows_however_the_batches_are_cut(
    seed: int, engine: Engine, pipeline: Pipeline, make_account: MakeAccount
) -> None:
    random = Random(seed)
    planned = history(random, 240)
    found: list[Rows] = []
    for batch_max in (1_000, 7, random.randrange(2, 60)):
        account = make_account()
        messages = posted(engine, pipeline.client, account, planned)
        drain_side_by_side(pipeline, 1, batch_max)
        found.append(rows(engine, account.live.id))
        assert_correct(found[-1], planned, [message.id for message in messages])
    assert found[0].outcomes == found[1].outcomes == found[2].outcomes


@pytest.mark.parametrize("seed", [4, 5])
def test_it_gives_the_same_rows_in_another_order(
    seed: int, engine: Engine, pipeline: Pipeline, make_account: MakeAccount
) -> None:
    random = Random(seed)
    planned = history(random, 240)
    found: list[Rows] = []
    for _ in range(2):
        account = make_account()
        messages = posted(engine, pipeline.client, account, planned)
        drain_side_by_side(pipeline, 1, 50)
        found.append(rows(engine, account.live.id))
        assert_correct(found[-1], planned, [message.id for message in messages])
        random.shuffle(planned)
    assert found[0].states == found[1].states


@pytest.mark.parametrize("seed", [6, 7])
def test_many_drains_at_once_give_the_oracles_rows(
    seed: int, engine: Engine, pipeline: Pipeline, make_account: MakeAccount
) -> None:
    random = Random(seed)
    planned, account = history(random, 800), make_account()
    messages = posted(engine, pipeline.client, account, planned)
    drain_side_by_side(pipeline, 6, random.choice((5, 20, 60)))
    assert_correct(rows(engine, account.live.id), planned, [message.id for message in messages])


def test_many_processes_at_once_give_the_oracles_rows(
    engine: Engine, pipeline: Pipeline, settings: Settings, make_account: MakeAccount
) -> None:
    histories = [history(Random(seed), 600) for seed in (8, 9)]
    accounts = [make_account() for _ in histories]
    messages = [
        posted(engine, pipeline.client, account, planned)
        for account, planned in zip(accounts, histories, strict=True)
    ]
    drains = [
        start_drain(settings, PATIENCE_SECONDS, drain_batch_max="25", takeover_idle_ms="1")
        for _ in range(3)
    ]
    assert wait_until(lambda: depth(pipeline.client) == 0, PATIENCE_SECONDS)
    for drain in drains:
        assert drain.poll() is None
        drain.terminate()
        drain.wait()
    for account, planned, mine in zip(accounts, histories, messages, strict=True):
        assert_correct(rows(engine, account.live.id), planned, [message.id for message in mine])


def test_replaying_the_ledger_changes_nothing(
    engine: Engine, pipeline: Pipeline, make_account: MakeAccount
) -> None:
    planned, account = history(Random(10), 200), make_account()
    messages = posted(engine, pipeline.client, account, planned)
    pipeline.drain()
    before = rows(engine, account.live.id)
    post(pipeline.client, messages)
    pipeline.drain()
    assert rows(engine, account.live.id) == before
