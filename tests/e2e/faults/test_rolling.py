"""Every process replaced under load, new before old, as a rolling upgrade does it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis
import requests
from flask.testing import FlaskClient

from api.cli.local.proc import wait_until
from api.cli.ports import free_port
from models.db import Engine
from settings import Settings
from tests.conftest import BASE, Account
from tests.e2e.composed import GRACE_SECONDS, Running, is_ready, running
from tests.e2e.faults.test_kill import stored_bodies
from tests.e2e.running import PATIENCE_SECONDS
from tests.integration.batches import count, rows
from tests.pipeline import forget_deliveries
from tests.receiver import Receiver
from workers.intake.stream import depth

ORDER = ("drain", "webhooks", "upkeep", "beat", "api")  # docs/operations.md, Upgrade
OVERLAP_TICKS = 100  # while old and new are side by side: two seconds, more on a busy machine
PACE_SECONDS = 0.01


@dataclass
class Caller:
    """Posts ticks one after another and repeats none: a request that fails is a failure."""

    key: str
    url: str  # a load balancer's part: whoever replaces the API says where it is now
    accepted: set[str] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Ticks for as long as the block runs."""
        thread = threading.Thread(target=self._go)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def wait_for(self, more: int) -> None:
        """Wait until so many more have been answered."""
        wanted = self.answered + more
        assert wait_until(lambda: self.answered >= wanted, PATIENCE_SECONDS)

    @property
    def answered(self) -> int:
        """How many requests have ended."""
        return len(self.accepted) + len(self.refused)

    def _go(self) -> None:
        headers = {"X-API-Key": self.key, "Prefer": "respond-async"}
        for nth in range(1_000_000):
            if self._over.wait(PACE_SECONDS):
                return
            tick = {"participant_id": f"user_{nth}", "streak_code": "daily"}
            path = f"{self.url}{BASE}/streaks/record"
            try:
                answer = requests.post(path, json=tick, headers=headers, timeout=20)
                self.accepted.add(answer.json()["tick_id"])
            except (requests.RequestException, KeyError) as error:
                self.refused.append(repr(error))


def started(role: str, settings: Settings, folder: Path, exits: ExitStack) -> tuple[Running, str]:
    """One more process of a role, ready to work; and where it is, if it is the API."""
    port = free_port("127.0.0.1", 0)
    url = f"http://127.0.0.1:{port}"
    process = exits.enter_context(running(role, settings, folder, port))
    if role == "api":
        # Both of its processes: each connection may reach another.
        assert wait_until(lambda: all(is_ready(url) for _ in range(12)), PATIENCE_SECONDS)
    return process, url


def pending(engine: Engine, account: Account) -> int:
    """The account's deliveries that are not settled."""
    return count(engine, "deliveries_pending", account.live.id)


def test_no_request_fails_and_nothing_is_lost_while_every_role_is_replaced(
    settings: Settings,
    engine: Engine,
    redis_client: redis.Redis,
    client: FlaskClient,
    account: Account,
    tmp_path: Path,
) -> None:
    forget_deliveries(engine)
    with ExitStack() as exits, Receiver() as receiver:
        hook = {"url": receiver.url, "event_types": ["behavior.*"]}
        receiver.trust(client.post(f"{BASE}/admin/webhooks", json=hook).get_json()["secret"])
        streak = {"code": "daily", "name": "Daily", "period": "daily"}
        assert client.post(f"{BASE}/streaks", json=streak).status_code == 201
        old = {role: started(role, settings, tmp_path, exits) for role in ORDER}
        caller = Caller(account.keys["live"], old["api"][1])
        with caller.going_on():
            for role in ORDER:
                _, url = started(role, settings, tmp_path, exits)
                if role == "api":
                    caller.url = url
                caller.wait_for(OVERLAP_TICKS)
                assert old[role][0].stop() < GRACE_SECONDS
            caller.wait_for(OVERLAP_TICKS)
        assert caller.refused == []
        assert wait_until(lambda: depth(redis_client) == 0, PATIENCE_SECONDS)
        assert wait_until(lambda: pending(engine, account) == 0, PATIENCE_SECONDS)
        assert set(rows(engine, account.live.id).tick_ids) == caller.accepted
        assert len(caller.accepted) > 100
        assert receiver.bodies() == stored_bodies(engine, account.live.id)
        assert receiver.invalid == []
        assert count(engine, "dead_letters", account.live.id) == 0
