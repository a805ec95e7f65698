"""Any process may be killed at any time: nothing is lost, nothing doubled, nobody has to help."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
import redis
import requests

from api.cli.local import postgres
from api.cli.local import redis as redis_server
from api.cli.local.proc import wait_until
from models import clock
from models.db import Engine
from models.db import engine as make_engine
from tests.e2e.running import ROLES, Up, running_up, short_folder, unbroken_json
from tests.integration.batches import (
    DAY_US,
    Planned,
    assert_one_fact_a_change,
    assert_states,
    count,
    pending,
    rows,
    scalar,
)
from tests.receiver import Receiver
from workers.intake.stream import depth

pytestmark = pytest.mark.promise("P1")

BATCH = 500
PEOPLE, DAYS = 400, 30  # so that most ticks repeat a day: late, early, twice
CLIENTS = 2
PATIENCE_SECONDS = 120.0  # ends a test that hangs; nothing is measured by it
LEASE_PATIENCE_SECONDS = 150.0  # what a killed deliverer held is due again after its lease
RETRY_SECONDS = 0.2


@pytest.fixture
def up() -> Iterator[Up]:
    """A service of one's own."""
    parent = short_folder()
    with running_up(parent / "d") as running:
        yield running
    shutil.rmtree(parent)


def planned_ticks(random: Random, ticks: int) -> list[Planned]:
    """Ticks of some people on some days, in any order."""
    now = clock.now_us()
    return [
        Planned(
            f"user_{random.randrange(PEOPLE)}",
            "daily",
            (now - random.randrange(DAYS) * DAY_US) // 1_000_000 * 1_000_000,
            None,
        )
        for _ in range(ticks)
    ]


class Pace:
    """Holds the posts back, so that some of them fall before, into and after each death."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._begun, self._allowed = 0, 0

    def begin(self) -> None:
        """Wait until one batch more may be posted."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._begun < self._allowed, PATIENCE_SECONDS)
            self._begun += 1
            self._changed.notify_all()

    def allow(self, batches: int) -> None:
        """Let so many batches be posted in all."""
        with self._changed:
            self._allowed = batches
            self._changed.notify_all()

    def wait_begun(self, batches: int) -> None:
        """Wait until that many have begun."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._begun >= batches, PATIENCE_SECONDS)


@dataclass
class Client:
    """A caller that posts batches and repeats those of which it does not know what became."""

    url: str
    key: str
    pace: Pace
    accepted: list[str] = field(default_factory=list)  # tick ids
    faults: list[str] = field(default_factory=list)

    def post_all(self, planned: Sequence[Planned]) -> None:
        """Post everything, batch by batch."""
        with requests.Session() as session:
            session.headers["X-API-Key"] = self.key
            for start in range(0, len(planned), BATCH):
                body = {"ticks": [as_json(one) for one in planned[start : start + BATCH]]}
                self.pace.begin()
                while not self._post(session, body):
                    time.sleep(RETRY_SECONDS)

    def _post(self, session: requests.Session, body: dict[str, Any]) -> bool:
        """Post one batch; False when it is to be posted again, with the same instants."""
        try:
            answer = session.post(f"{self.url}/streaks/record/batch", json=body, timeout=15)
        except requests.RequestException:
            return False
        if answer.status_code == 503:
            return False
        if answer.status_code != 202 or answer.json()["rejected"]:
            self.faults.append(f"{answer.status_code} {answer.text[:500]}")
        else:
            self.accepted += [one["tick_id"] for one in answer.json()["results"]]
        return True


def as_json(one: Planned) -> dict[str, str]:
    """A tick as it is posted."""
    return {
        "participant_id": one.participant,
        "streak_code": one.code,
        "timestamp": clock.to_text(one.occurred_us),
    }


def kill(up: Up, role: str) -> None:
    """Kill a role as `kill -9` does, and wait until another process plays it."""
    before = up.pid(role)
    os.kill(before, signal.SIGKILL)
    assert wait_until(lambda: up.pid(role) not in (0, before), PATIENCE_SECONDS), role


def kill_each_role(up: Up, pace: Pace, batches: int) -> None:
    """Kill one role after the other, each in the middle of posts; it is back before the next."""
    step = batches // (len(ROLES) + 1)
    for nth, role in enumerate(ROLES):
        pace.allow((nth + 1) * step)
        pace.wait_begun(nth * step + step // 2)
        kill(up, role)


def set_up(up: Up, receiver: Receiver) -> str:
    """A tenant with a daily streak and a destination; return its key."""
    made = unbroken_json(
        *("tenant", "create", "acme", "--participant-writes-per-minute", "0"),
        *("--data", str(up.data.root)),
    )
    headers = {"X-API-Key": made["live_key"]}
    base = f"{up.url}/api/v1/gamify"
    streak = {"code": "daily", "name": "Daily", "period": "daily", "grace_periods": 1}
    hook = {"url": receiver.url, "event_types": ["behavior.*"]}
    assert requests.post(f"{base}/streaks", json=streak, headers=headers, timeout=15).ok
    answer = requests.post(f"{base}/admin/webhooks", json=hook, headers=headers, timeout=15)
    receiver.trust(answer.json()["secret"])
    return str(made["live_key"])


@pytest.mark.parametrize("ticks", [18_000, pytest.param(50_000, marks=pytest.mark.soak)])
def test_every_tick_survives_the_death_of_every_role(up: Up, ticks: int) -> None:
    planned, batches = planned_ticks(Random(7), ticks), ticks // BATCH
    with Receiver() as receiver:
        key = set_up(up, receiver)
        pace = Pace()
        clients = [Client(f"{up.url}/api/v1/gamify", key, pace) for _ in range(CLIENTS)]
        threads = [
            threading.Thread(target=client.post_all, args=(planned[nth::CLIENTS],))
            for nth, client in enumerate(clients)
        ]
        for thread in threads:
            thread.start()
        try:
            kill_each_role(up, pace, batches)
        finally:
            pace.allow(batches)
            for thread in threads:
                thread.join()
        assert [fault for client in clients for fault in client.faults] == []
        check(up, receiver, planned, [one for client in clients for one in client.accepted])


def check(up: Up, receiver: Receiver, planned: list[Planned], accepted: list[str]) -> None:
    """Wait until nothing is left to do, then compare everything with what must be."""
    engine = make_engine(postgres.url(up.data), timeout_ms=30_000)
    client = redis.Redis.from_url(redis_server.url(up.data), protocol=2)
    tenant_id = scalar(engine, "SELECT id FROM tenants WHERE mode = 'live'")
    try:
        assert wait_until(lambda: depth(client) == 0, PATIENCE_SECONDS), left(engine, client)
        assert wait_until(lambda: deadlines_due(engine) == 0, PATIENCE_SECONDS)
        assert wait_until(lambda: undelivered(engine) == 0, LEASE_PATIENCE_SECONDS), left(
            engine, client
        )
        assert pending(client) == 0
        found = rows(engine, tenant_id)
        assert len(accepted) == len(set(accepted)) == len(planned)
        assert len(found.tick_ids) == len(set(found.tick_ids))
        assert set(accepted) <= set(found.tick_ids)
        assert_states(found, planned)
        assert_one_fact_a_change(found)
        assert sum(found.events.values()) == len(found.tick_ids)
        assert count(engine, "dead_letters", tenant_id) == 0
        assert count(engine, "deliveries", tenant_id) == count(engine, "facts", tenant_id)
        assert receiver.invalid == []
        assert receiver.bodies() == stored_bodies(engine, tenant_id)
    finally:
        client.close()
        engine.dispose()


def undelivered(engine: Engine) -> int:
    """Deliveries that are not settled."""
    return scalar(engine, "SELECT count(*) FROM deliveries WHERE status <> 'delivered'")


def deadlines_due(engine: Engine) -> int:
    """Streaks that are to be looked at, since they may be at risk or broken."""
    return scalar(engine, "SELECT count(*) FROM streak_deadlines WHERE due_at <= now()")


def left(engine: Engine, client: redis.Redis) -> str:
    """What is still to be done, for whoever looks into a failure."""
    return f"{depth(client)} entries, {undelivered(engine)} deliveries"


def stored_bodies(engine: Engine, tenant_id: int) -> dict[str, set[bytes]]:
    """Each fact's public id and the bytes that must have been received."""
    with engine.connect() as session:
        found = session.exec_driver_sql(
            "SELECT id, body FROM facts WHERE tenant_id = %s", (tenant_id,)
        )
        return {f"evt_{row.id.hex}": {row.body.encode()} for row in found}


def test_workers_resume_by_themselves_after_redis_is_killed_while_they_are_idle(up: Up) -> None:
    with Receiver() as receiver:
        key = set_up(up, receiver)
        expected = 0
        for role in ("redis", "postgres", "redis"):
            expected += 1
            post_until_accepted(up, key, f"user_{expected}")
            receiver.wait_for(expected, PATIENCE_SECONDS)
            workers = {name: up.pid(name) for name in ROLES if name not in ("redis", "postgres")}
            kill(up, role)
            assert workers == {name: up.pid(name) for name in workers}
        post_until_accepted(up, key, "last")
        receiver.wait_for(expected + 1, PATIENCE_SECONDS)


def post_until_accepted(up: Up, key: str, who: str) -> None:
    """Record one tick; again while the service says that it cannot."""
    body = {"participant_id": who, "streak_code": "daily"}
    url, headers = f"{up.url}/api/v1/gamify/streaks/record", {"X-API-Key": key}

    def is_accepted() -> bool:
        answer = requests.post(url, json=body, headers=headers, timeout=15)
        assert answer.status_code in (200, 202, 503), answer.text
        return answer.status_code != 503

    assert wait_until(is_accepted, PATIENCE_SECONDS)
