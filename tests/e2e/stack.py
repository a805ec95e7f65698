"""The whole service as processes of one's own, behind links that can be cut."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
import requests
from cryptography.fernet import Fernet

from api.cli.local import child_process, data_dir, embedded, postgres, process_specs
from api.cli.local import redis as redis_server
from api.cli.local.child_process import Role
from api.cli.local.data_dir import Data
from api.cli.local.database import bring_up_to_date
from api.cli.local.proc import wait_until
from models import clock
from models.db import engine as make_engine
from models.db import transaction
from models.identity import tenants
from settings import Settings
from tests.bench.process import Process, free_port, started
from tests.e2e.faults.test_kill import left, stored_bodies, undelivered
from tests.integration.batches import (
    Planned,
    assert_one_fact_a_change,
    assert_states,
    count,
    pending,
    rows,
)
from tests.links import Link, target_of, through
from tests.receiver import Receiver
from workers.intake.stream import depth

PATIENCE_SECONDS = 120.0  # ends a test that hangs; nothing is measured by it
PACE_SECONDS = 0.03  # between two ticks of the load
CONNECTIONS = 12  # one after the other they reach both processes of the API
WORKERS = ("drain", "webhooks", "upkeep", "beat")
BASE = "/api/v1/gamify"


@dataclass
class Server:
    """Postgres or Redis, to be killed and started again."""

    role: Role
    folder: Data
    child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.child = child = embedded.start(self.role, self.folder, os.environ)
        embedded.wait_ready(self.role, self.folder, lambda: child.poll() is None)

    def kill(self) -> None:
        """Kill it as `kill -9` does, and what it has started."""
        assert self.child
        self.child.kill()
        self.child.wait()
        child_process.clear(self.role, self.folder)

    def stop(self) -> None:
        """Stop it, should it run."""
        if self.child and self.child.poll() is None:
            self.child.send_signal(self.role.stop_signal)
            child_process.stop(self.role, self.folder, self.child)


@dataclass
class Stack:
    """Servers, links and processes."""

    folder: Data
    settings: Settings
    servers: dict[str, Server]
    links: dict[str, Link]  # {api,workers}-{redis,postgres}
    url: str
    port: int
    processes: dict[str, Process] = field(default_factory=dict)

    def environment(self, role: str) -> Mapping[str, str]:
        """Where a role finds the servers: behind links of its own."""
        side = "api" if role == "api" else "workers"
        return {
            "PATH": os.environ["PATH"],
            "PYTHONUNBUFFERED": "1",
            "DATABASE_URL": through(self.links[f"{side}-postgres"], self.settings.database_url),
            "REDIS_URL": through(self.links[f"{side}-redis"], self.settings.redis_url),
            "UNBROKEN_SECRET_KEYS": self.settings.secret_keys,
            "UNBROKEN_WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8",
            "UNBROKEN_WEBHOOK_ALLOW_HTTP": "1",
            "UNBROKEN_WEBHOOK_PORTS": "*",
        }

    def pids(self) -> dict[str, int]:
        """Who plays each role; a process that ended is missing."""
        running = {name: one.popen for name, one in self.processes.items()}
        return {name: one.pid for name, one in running.items() if one.poll() is None}

    def get(self, path: str, key: str = "") -> requests.Response:
        """GET with a key; whatever takes longer than any promise is a failure."""
        return requests.get(f"{self.url}{path}", headers={"X-API-Key": key}, timeout=20)

    def is_ready(self) -> bool:
        """Whether /readyz is green."""
        try:
            return self.get("/readyz").status_code == 200
        except requests.RequestException:
            return False

    def is_settled(self) -> bool:
        """Whether all its processes are ready: each connection may reach another."""
        return all(self.is_ready() for _ in range(CONNECTIONS))

    def log(self) -> str:
        """The last words of all roles, for whoever looks into a failure."""
        logs = [self.folder.log(name) for name in self.processes]
        return "\n".join(f"-- {one.name}\n{one.read_text()[-1_500:]}" for one in logs)


def make_stack(path: Path, exits: ExitStack) -> Stack:
    """Links to servers that do not run yet."""
    folder = data_dir.prepare(path)
    exits.enter_context(data_dir.locked(folder))
    found = {each.prepare(folder).name: Server(each.prepare(folder), folder)
             for each in (postgres, redis_server)}  # fmt: skip
    settings = Settings(
        database_url=postgres.url(folder),
        redis_url=redis_server.url(folder),
        secret_keys=Fernet.generate_key().decode(),
    )
    for server in found.values():
        exits.callback(server.stop)
    targets = {
        "redis": target_of(settings.redis_url, 6379),
        "postgres": target_of(settings.database_url, 5432),
    }
    links = {
        f"{side}-{name}": exits.enter_context(Link(target))
        for side in ("api", "workers")
        for name, target in targets.items()
    }
    port = free_port()
    return Stack(folder, settings, found, links, f"http://127.0.0.1:{port}", port)


def start_roles(stack: Stack, exits: ExitStack, *names: str) -> None:
    """Start roles; none waits for what it needs."""
    plan = process_specs.ProcessPlan("127.0.0.1", stack.port, drain_workers=1, webhook_workers=1)
    for role in process_specs.ours(plan, stack.folder):
        if role.name in names:
            log = stack.folder.log(role.name)
            process = started(role.argv, log, stack.environment(role.name))
            made = stack.processes[role.name] = exits.enter_context(process)
            # In the end nobody has to be asked kindly.
            exits.callback(os.killpg, made.popen.pid, signal.SIGKILL)


def start_servers(stack: Stack, *names: str) -> None:
    """Start servers; Postgres with its database."""
    for name in names:
        stack.servers[name].start()
        if name == "postgres":
            postgres.ensure_database(stack.folder)


def migrate(stack: Stack) -> None:
    """What `unbroken migrate` does."""
    bring_up_to_date(stack.settings)


# -- load --------------------------------------------------------------------------------------


@dataclass
class Load:
    """A tenant that posts a tick now and then, and repeats what was not accepted."""

    stack: Stack
    receiver: Receiver
    key: str = ""
    other_key: str = ""  # that nobody has shown yet
    tenant_id: int = 0
    planned: list[Planned] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    statuses: set[int] = field(default_factory=set)  # of the ticks; 0: no answer
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def begin(self) -> None:
        """Make the tenant with its definitions."""
        engine = make_engine(self.stack.settings.database_url, timeout_ms=30_000)
        with transaction(engine) as session:
            side = tenants.create(session, f"load-{os.urandom(4).hex()}", 0)["live"]
            self.key, self.other_key = (
                tenants.create_key(session, side, ["admin"])[1] for _ in range(2)
            )
        engine.dispose()
        self.tenant_id = side.id
        self.post("streaks", {"code": "daily", "name": "D", "period": "daily", "grace_periods": 1})
        hook = {"url": self.receiver.url, "event_types": ["behavior.*"]}
        self.receiver.trust(self.post("admin/webhooks", hook).json()["secret"])
        for _ in range(CONNECTIONS):  # so that no process has yet to look its key up
            assert self.stack.get(f"{BASE}/streaks", self.key).status_code == 200

    def post(self, path: str, body: Any) -> requests.Response:
        """POST what must succeed."""
        url = f"{self.stack.url}{BASE}/{path}"
        answer = requests.post(url, json=body, headers={"X-API-Key": self.key}, timeout=20)
        assert answer.ok, answer.text
        return answer

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Ticks, one after the other, for as long as the block runs."""
        self._over.clear()
        self._thread = threading.Thread(target=self._go)
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()

    def _go(self) -> None:
        with requests.Session() as session:
            session.headers.update({"X-API-Key": self.key, "Prefer": "respond-async"})
            while not self._over.is_set():
                nth = len(self.planned)
                one = Planned(f"user_{nth % 40}", "daily", _instant(nth // 40), None)
                self.planned.append(one)
                while not self._is_accepted(session, one, f"tick-{nth}"):
                    time.sleep(PACE_SECONDS)
                self._over.wait(PACE_SECONDS)

    def _is_accepted(self, session: requests.Session, one: Planned, name: str) -> bool:
        answer = tick(self.stack, session, one, name)
        self.statuses.add(0 if answer is None else answer.status_code)
        if answer is None or answer.status_code == 503:
            return False
        if answer.status_code == 202:
            self.accepted.add(answer.json()["tick_id"])
        return True

    def wait_for(self, more: int) -> None:
        """Wait until so many more ticks have been accepted."""
        wanted = len(self.accepted) + more
        assert wait_until(lambda: len(self.accepted) >= wanted, PATIENCE_SECONDS), self.stack.log()

    def assert_right(self) -> None:
        """Wait until nothing is left to do; each tick and each fact came once."""
        stack, settings = self.stack, self.stack.settings
        engine = make_engine(settings.database_url, timeout_ms=30_000)
        client = redis.Redis.from_url(settings.redis_url, protocol=2)
        try:
            for is_done in (lambda: depth(client) == 0, lambda: undelivered(engine) == 0):
                assert wait_until(is_done, PATIENCE_SECONDS), left(engine, client) + stack.log()
            assert pending(client) == 0
            found = rows(engine, self.tenant_id)
            assert set(found.tick_ids) == self.accepted
            assert len(found.tick_ids) == len(self.planned)
            assert_states(found, self.planned)
            assert_one_fact_a_change(found)
            assert count(engine, "dead_letters", self.tenant_id) == 0
            assert self.receiver.invalid == []
            assert self.receiver.bodies() == stored_bodies(engine, self.tenant_id)
        finally:
            client.close()
            engine.dispose()


def _instant(days_ago: int) -> int:
    return clock.now_us() // 1_000_000 * 1_000_000 - days_ago * 86_400_000_000


def tick(
    stack: Stack, session: requests.Session, one: Planned, name: str
) -> requests.Response | None:
    """Post a tick under an Idempotency-Key; None when no answer came."""
    body = {
        "participant_id": one.participant,
        "streak_code": one.code,
        "timestamp": clock.to_text(one.occurred_us),
    }
    url, headers = f"{stack.url}{BASE}/streaks/record", {"Idempotency-Key": name}
    try:
        return session.post(url, json=body, headers=headers, timeout=20)
    except requests.RequestException:
        return None
