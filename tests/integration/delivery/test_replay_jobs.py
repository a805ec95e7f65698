"""Replays as jobs: killed, beside one another, swept, purged."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

from flask.testing import FlaskClient

from models import clock
from models.db import reading, transaction
from models.delivery import replays as table
from settings import Settings
from tests.integration.batches import DIED, PATIENCE_SECONDS, ROOT
from tests.integration.sending_again import due, ids_of, now_of, path, replay
from tests.integration.world import World
from tests.receiver import Receiver
from webhooks.facts import public_id
from workers.intake import redis_keys
from workers.maintenance import replays, sweep
from workers.runtime.celery_config import UPKEEP
from workers.runtime.context import Context

# -- whatever is killed ----------------------------------------------------------------------

_RUN = """
from workers.maintenance import replays
from workers.app import context
replays.PORTION = 10
replays.RUN_SECONDS = 60
replays.run(context())
"""


def start(settings: Settings, failpoint: str = "") -> subprocess.Popen[bytes]:
    """A process that carries out replays."""
    urls = {"DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url}
    env = {**os.environ, **urls, "UNBROKEN_ENVIRONMENT": "test", "UNBROKEN_FAILPOINTS": failpoint}
    return subprocess.Popen([sys.executable, "-c", _RUN], cwd=ROOT, env=env)


def test_everything_is_queued_once_whenever_a_process_dies(
    world: World, client: FlaskClient, context: Context, settings: Settings
) -> None:
    published = world.publish(55)
    mine, _ = world.subscribe("https://example.invalid/hook")
    made = replay(client, mine)
    for failpoint, seen in (
        ("replay.after_commit", 10),
        ("replay.before_commit", 10),  # the portion is lost, and looked at again
        ("replay.after_commit", 20),
    ):
        assert start(settings, failpoint).wait(PATIENCE_SECONDS) == DIED
        assert (now_of(client, made)["seen"], now_of(client, made)["queued"]) == (seen, seen)
    assert start(settings).wait(PATIENCE_SECONDS) == 0
    done = now_of(client, made)
    assert (done["status"], done["seen"], done["queued"]) == ("done", 55, 55)
    assert due(world, mine) == ids_of(published)


def test_processes_at_the_same_replays_do_no_harm(
    world: World, receiver: Receiver, client: FlaskClient, context: Context, settings: Settings
) -> None:
    """Three of them, with a deliverer that settles what they queue and facts that come."""
    world.subscribe(receiver.url)
    published = world.publish(300)
    world.deliver()
    mine = [world.subscribe(f"{receiver.url}/{nth}")[0] for nth in range(2)]
    made = [replay(client, one, only_missing=False) for one in mine for _ in range(2)]
    processes = [start(settings) for _ in range(3)]
    while any(process.poll() is None for process in processes):
        world.deliver()
    assert [process.wait() for process in processes] == [0, 0, 0]
    replays.run(context)
    world.deliver()
    assert {now_of(client, one)["status"] for one in made} == {"done"}
    assert {now_of(client, one)["seen"] for one in made} == {300}
    for one in mine:
        assert due(world, one) == []
    assert receiver.bodies().keys() == {public_id(one.id) for one in published}


# -- upkeep ----------------------------------------------------------------------------------


def test_the_sweep_asks_for_what_is_running_and_for_nothing_else(
    world: World, client: FlaskClient, context: Context
) -> None:
    def asked() -> int:
        context.client.delete(redis_keys.SWEEP_LOCK, UPKEEP)
        sweep.sweep(context)
        return int(context.client.llen(UPKEEP))

    mine, _ = world.subscribe("https://example.invalid/hook")
    assert asked() == 0
    replay(client, mine)
    assert asked() == 1
    replays.run(context)
    assert asked() == 0


def test_a_stopping_process_begins_no_portion(
    world: World, client: FlaskClient, context: Context
) -> None:
    world.publish(1)
    mine, _ = world.subscribe("https://example.invalid/hook")
    made = replay(client, mine)
    replays.run(replace(context, should_stop=lambda: True))
    assert now_of(client, made) == made


def test_ended_replays_are_forgotten_after_a_while(
    world: World, client: FlaskClient, context: Context
) -> None:
    mine, _ = world.subscribe("https://example.invalid/hook")
    kept, ended = replay(client, mine), replay(client, mine)
    client.delete(path(mine, f"replays/{ended['id']}"))
    with transaction(world.engine) as session:
        table.purge(session, clock.now() - timedelta(days=1))
        assert table.page(session, world.tenant.id, mine, (9, 0))[1] == 2
        table.purge(session, clock.now() + timedelta(days=1))
    with reading(world.engine) as session:
        found, total = table.page(session, world.tenant.id, mine, (9, 0))
    assert (total, str(found[0].id)) == (1, kept["id"])
