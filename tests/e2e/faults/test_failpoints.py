"""Every role dies at every failpoint, is started again, and the end is right."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from models import clock, failpoints
from models.db import Engine, transaction
from models.failpoints import FAILPOINTS
from models.streaks.states import Streak
from models.streaks.states import definitions as all_streaks
from settings import Settings, SettingsError
from tests.calls import client_of, make_streak
from tests.conftest import BASE, Account
from tests.integration.batches import (
    DAY_US,
    DIED,
    PATIENCE_SECONDS,
    ROOT,
    Planned,
    assert_one_fact_a_change,
    assert_states,
    count,
    pending,
    post,
    rows,
    scalar,
)
from tests.integration.mending import day
from tests.integration.telling import of_noon
from tests.pipeline import Pipeline, worker_context
from tests.receiver import Receiver
from workers.intake import redis_keys
from workers.intake.stream import depth
from workers.maintenance import (
    dispatch,
    leaderboards,
    replays,
    restores,
    streak_deadlines,
    sweep,
)
from workers.runtime.celery_config import DRAIN, make_celery
from workers.runtime.context import Context

pytestmark = pytest.mark.promise("P1")

NAMED = re.compile(r"""failpoint\(["']([\w.]+)["']\)""")
PEOPLE = 8

# What a process of a role does, by what comes before the dot in a failpoint's name.
_WORK = "from workers.app import context; from workers.maintenance import {0}; {0}.{1}(context())"
WORK = {
    "drain": "from workers.app import context; from workers.tasks import run_drain;"
    " run_drain(context())",
    "deliver": _WORK.format("dispatch", "run"),
    "deadlines": _WORK.format("streak_deadlines", "run"),
    "leaderboards": _WORK.format("leaderboards", "run"),
    "replay": _WORK.format("replays", "run"),
    "restore": _WORK.format("restores", "run"),
    "sweep": _WORK.format("sweep", "sweep"),
    "partitions": _WORK.format("sweep", "partitions"),
    "api": "import json, sys; from api.app import create_app;"
    " create_app().test_client().open(**json.loads(sys.argv[1]))",
}


# -- the list is closed ----------------------------------------------------------------------


def test_every_failpoint_in_the_code_is_listed_and_killed_at() -> None:
    folders = ("api", "workers", "webhooks", "models")
    sources = [path for each in folders for path in (ROOT / each).rglob("*.py")]
    found = [name for path in sources for name in NAMED.findall(path.read_text())]
    listed = [name for names in FAILPOINTS.values() for name in names]
    assert sorted(found) == sorted(listed)
    assert {name.partition(".")[0] for name in listed} == WORK.keys()


def test_they_are_refused_in_production() -> None:
    env = {**os.environ, "DATABASE_URL": "postgresql://a/b", "REDIS_URL": "redis://c"}
    for program in ("import workers.app", "from api.app import create_app; create_app()"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**env, "UNBROKEN_FAILPOINTS": "drain.mid_sql"},
            check=False,
        )
        assert done.returncode == 1
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("settings.SettingsError: UNBROKEN_FAILPOINTS makes processes die")
        assert "UNBROKEN_ENVIRONMENT=test" in last
    with pytest.raises(SettingsError):
        Settings.from_env({"UNBROKEN_FAILPOINTS": "x", "UNBROKEN_ENVIRONMENT": "production"})


def test_one_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match=r"there is no failpoint drain\.never"):
        failpoints.arm("drain.mid_sql, drain.never")
    assert failpoints._armed == frozenset()


# -- the deaths ------------------------------------------------------------------------------


@dataclass
class Story:
    """A tenant's day: what is posted, and what passes through every role until it is delivered."""

    settings: Settings
    engine: Engine
    app: Flask
    account: Account
    pipeline: Pipeline
    context: Context
    receiver: Receiver
    planned: list[Planned] = field(default_factory=list)
    tick_ids: set[str] = field(default_factory=set)

    @property
    def client(self) -> FlaskClient:
        """A client with the tenant's key."""
        return client_of(self.app, self.account.keys["live"])

    def start(self, failpoint: str, argument: str = "{}") -> int:
        """Let a process do its work, and die where it is told to; return how it ended."""
        env = {
            "DATABASE_URL": self.settings.database_url,
            "REDIS_URL": self.settings.redis_url,
            "UNBROKEN_SECRET_KEYS": self.settings.secret_keys,
            "UNBROKEN_WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8",
            "UNBROKEN_WEBHOOK_ALLOW_HTTP": "1",
            "UNBROKEN_WEBHOOK_PORTS": "*",
            "UNBROKEN_ENVIRONMENT": "test",
            "UNBROKEN_FAILPOINTS": failpoint,
        }
        work = WORK[failpoint.partition(".")[0]]
        command = [sys.executable, "-c", work, argument]
        return subprocess.run(
            command, cwd=ROOT, env={**os.environ, **env}, timeout=PATIENCE_SECONDS, check=False
        ).returncode

    def begin(self) -> None:
        """Definitions, a destination, ticks of some days, and streaks that broke meanwhile."""
        make_streak(self.client, "daily", grace_periods=1)
        hook = {"url": self.receiver.url, "event_types": ["behavior.*"]}
        made = self.client.post(f"{BASE}/admin/webhooks", json=hook).get_json()
        self.receiver.trust(made["secret"])
        board = {"code": "best", "name": "Best", "metric": "streak", "streak_code": "daily"}
        path = f"{BASE}/admin/leaderboards"
        assert self.client.post(path, json=board).status_code == 201
        now_us = clock.now_us() // 1_000_000 * 1_000_000
        some = [self.plan(f"user_{nth}", now_us - ago * DAY_US) for nth in range(PEOPLE)
                for ago in (3, 1, 0)]  # fmt: skip
        response = self.client.post(f"{BASE}/streaks/record/batch", json={"ticks": some})
        self.tick_ids |= {one["tick_id"] for one in response.get_json()["results"]}
        gone = [self.plan(f"gone_{nth}", now_us - 3 * DAY_US) for nth in range(PEOPLE)]
        late = [of_noon(self.streak(), one["participant_id"], now_us - 3 * DAY_US) for one in gone]
        self.tick_ids |= {one.id for one in late}
        post(self.context.client, late)
        replays_of = f"{BASE}/admin/webhooks/{made['id']}/replays"
        body = {"since": "2020-01-01T00:00:00Z", "only_missing": False}
        assert self.client.post(replays_of, json=body).status_code == 202
        lost = {"lost_between": {"from": day(5), "to": day(0)}, "reason": "Ours"}
        assert self.client.post(f"{BASE}/streaks/daily/restore", json=lost).status_code == 202

    def plan(self, who: str, occurred_us: int) -> dict[str, str]:
        """The body of a tick that is to be in the end."""
        self.planned.append(Planned(who, "daily", occurred_us, None))
        return {
            "participant_id": who,
            "streak_code": "daily",
            "timestamp": clock.to_text(occurred_us),
        }

    def streak(self) -> Streak:
        """The definition."""
        with transaction(self.engine) as session:
            return all_streaks.all_of(session, self.account.live.id)[0]

    def deliver(self) -> None:
        """What a deliverer does when what a dead one had claimed is due again."""
        statement = (
            "UPDATE deliveries SET leased_until = now() - interval '1 second'"
            " WHERE status = 'pending' AND leased_until IS NOT NULL"
        )
        with transaction(self.engine) as session:
            session.execute(sa.text(statement))
        dispatch.run(self.context)

    def assert_right(self) -> None:
        """Each tick once in the ledger, states as the oracle's, each fact once and delivered."""
        tenant_id = self.account.live.id
        assert (depth(self.context.client), pending(self.context.client)) == (0, 0)
        found = rows(self.engine, tenant_id)
        assert set(found.tick_ids) == self.tick_ids
        assert len(found.tick_ids) == len(self.tick_ids) == len(self.planned)
        assert_states(found, self.planned)
        assert_one_fact_a_change(found)
        of_mine = f"WHERE tenant_id = {tenant_id} AND "
        facts = f"SELECT count(*) FROM facts {of_mine}"
        assert scalar(self.engine, f"{facts} type = 'behavior.streak_broken'") == PEOPLE
        assert scalar(self.engine, f"{facts} type = 'behavior.streak_repaired'") == PEOPLE
        assert count(self.engine, "streak_changes", tenant_id) == PEOPLE
        unsettled = f"SELECT count(*) FROM deliveries {of_mine} status <> 'delivered'"
        assert scalar(self.engine, unsettled) == 0
        assert count(self.engine, "dead_letters", tenant_id) == 0
        board = self.client.get(f"{BASE}/leaderboards/best").get_json()
        assert board["total_participants"] == len({one.participant for one in self.planned})
        assert self.receiver.invalid == []
        with transaction(self.engine) as session:
            stored = session.execute(
                sa.text("SELECT id, body FROM facts WHERE tenant_id = :id"), {"id": tenant_id}
            ).all()
        assert self.receiver.bodies() == {
            f"evt_{row.id.hex}": {row.body.encode()} for row in stored
        }


@pytest.fixture
def story(
    settings: Settings,
    engine: Engine,
    redis_client: redis.Redis,
    app: Flask,
    account: Account,
    pipeline: Pipeline,
) -> Iterator[Story]:
    """A tenant of its own; nobody else's work is left over."""
    with transaction(engine) as session:
        session.execute(sa.text("UPDATE leaderboards SET is_active = false"))
        for table in ("deliveries", "streak_deadlines", "replays", "streak_restores"):
            session.execute(sa.text(f"TRUNCATE {table}"))
        session.execute(sa.text("UPDATE streak_states SET is_watched = false WHERE is_watched"))
    celery = make_celery(settings.redis_url)
    quick = replace(settings, deliver_idle_seconds=0.0)
    context = worker_context(quick, engine, redis_client, celery, "again")
    with Receiver() as receiver:
        yield Story(settings, engine, app, account, pipeline, context, receiver)
    celery.close()


def after_append(story: Story) -> None:
    """The caller gets no answer, and repeats what it asked for."""
    body = story.plan("user_again", clock.now_us() // 1_000_000 * 1_000_000)
    headers = {"X-API-Key": story.account.keys["live"], "Idempotency-Key": "again"}
    path = f"{BASE}/streaks/record"
    asked = {"path": path, "method": "POST", "json": body, "headers": headers}
    assert story.start("api.after_append", json.dumps(asked)) == DIED
    first, second = (story.client.post(path, json=body, headers=headers) for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.get_json() == second.get_json()
    story.tick_ids.add(first.get_json()["tick_id"])


def after_commit(story: Story) -> None:
    """The change stands, though no cache was told so; writes see it before the sweep heals that."""
    headers = {"X-API-Key": story.account.keys["live"]}
    path = f"{BASE}/streaks/daily"
    asked = {"path": path, "method": "PATCH", "json": {"is_active": False}, "headers": headers}
    ticking = {"participant_id": "nobody", "streak_code": "daily"}
    assert story.client.get(path).get_json()["is_active"]
    assert story.start("api.after_commit", json.dumps(asked)) == DIED
    assert story.client.post(f"{BASE}/streaks/record", json=ticking).status_code == 404
    assert story.client.patch(path, json={"is_active": True}).status_code == 200


def dies_at(failpoint: str) -> Callable[[Story], None]:
    """A worker that finds its work and dies."""

    def die(story: Story) -> None:
        assert story.start(failpoint) == DIED

    return die


def after_lock(story: Story) -> None:
    """Who died with the lock holds nobody up for longer than the time between two sweeps."""
    assert story.start("sweep.after_lock") == DIED
    assert int(story.context.client.pttl(redis_keys.SWEEP_LOCK)) <= sweep.SWEEP_LOCK_MS
    story.context.client.delete(redis_keys.SWEEP_LOCK)
    sweep.sweep(story.context)
    assert int(story.context.client.llen(DRAIN)) >= 1


DEATHS: dict[str, Callable[[Story], None]] = {
    "api.after_append": after_append,
    "api.after_commit": after_commit,
    "sweep.after_lock": after_lock,
}


@pytest.mark.parametrize("failpoint", [name for names in FAILPOINTS.values() for name in names])
def test_a_death_loses_and_doubles_nothing(failpoint: str, story: Story) -> None:
    """The work passes from role to role; before one of them does its part, another of it dies."""
    story.begin()
    doing = failpoint.partition(".")[0]
    work: dict[str, Callable[[], object]] = {
        "api": lambda: None,
        "sweep": lambda: sweep.sweep(story.context),
        "drain": story.pipeline.drain,
        "deadlines": lambda: streak_deadlines.run(story.context),
        "leaderboards": lambda: leaderboards.run(story.context),
        "replay": lambda: replays.run(story.context),
        "restore": lambda: restores.run(story.context),
        "deliver": story.deliver,
        "partitions": lambda: sweep.partitions(story.context),
    }
    for name, do in work.items():
        if name == doing:
            DEATHS.get(failpoint, dies_at(failpoint))(story)
        do()
    story.assert_right()
