"""What chaos runs on: servers, links to them, and every role of ours, kept running."""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from subprocess import Popen

import requests

from api.cli.local import (
    child_process,
    data_dir,
    database,
    embedded,
    postgres,
    proc,
    process_specs,
    redis,
)
from api.cli.local.child_process import PROJECT_ROOT, Role
from api.cli.local.data_dir import Data
from api.cli.local.supervisor import Child, Start, Supervisor
from api.cli.local.up import LOCAL_WEBHOOKS
from api.cli.ports import free_port
from models import db
from settings import Settings, variable
from tests.links import Link, target_of, through

SITE = Path(__file__).with_name("site")
SERVERS = ("postgres", "redis")
PROBE_SECONDS = 0.3
ANSWER_SECONDS = 3.0
LATE_SECONDS = 2.0  # how long the roles may have to do without servers at their start

# Shorter than in production, so that what a fault has left behind is over within a run.
_BRISK = {
    variable("environment"): "test",
    variable("deliver_idle_seconds"): "3",
    variable("drain_run_seconds"): "10",
    variable("failed_keys_per_minute"): "0",  # bad keys are sent on purpose, from our own address
}


class Watch:
    """Looks at /readyz all the time, in a thread of its own."""

    def __init__(self, url: str) -> None:
        self.green_at = 0.0  # monotonic seconds: when the last request began that found it green
        self._url = f"{url}/readyz"
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(PROBE_SECONDS):
            began = time.monotonic()
            if self._is_green():
                self.green_at = began

    def _is_green(self) -> bool:
        try:
            with requests.Session() as session:
                session.trust_env = False
                return session.get(self._url, timeout=ANSWER_SECONDS).status_code == 200
        except requests.RequestException:
            return False

    def close(self) -> None:
        """Stop looking."""
        self._stopped.set()
        self._thread.join()


@dataclass
class Stack:
    """The running service. Only the main thread may start or tend it."""

    folder: Data
    settings: Settings  # with the servers' own addresses, not through the links
    port: int
    supervisor: Supervisor
    links: dict[tuple[str, str], Link]  # (role, server)
    environment: Mapping[str, str]
    engine: db.Engine
    watch: Watch
    next_start: dict[str, dict[str, str]] = field(default_factory=dict)  # by role, used up by it

    @property
    def url(self) -> str:
        """Where the API listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def roles(self) -> list[str]:
        """The names of our roles."""
        return [one.role.name for one in self.supervisor.members if one.role.name not in SERVERS]

    def child(self, name: str) -> Child:
        """A role or a server."""
        return next(one for one in self.supervisor.members if one.role.name == name)

    def pids(self, name: str) -> list[int]:
        """Every process of a role or server, the leading one first; none while it is down."""
        child = self.child(name)
        if child.process is None or child.process.poll() is not None:
            return []
        if name == "postgres":
            found = proc.named("postgres", self.folder.mark)
        else:
            found = proc.writing_to([self.folder.log(name)])
        return list(dict.fromkeys([child.process.pid, *sorted(found)]))

    def skew(self, role: str, seconds: int) -> None:
        """Let a role's clock be wrong by so much from now on."""
        with _skew_file(self.folder, role).open("r+b", buffering=0) as file:
            file.write(struct.pack("<q", seconds * 1_000_000))


@contextmanager
def running(path: Path, random: Random, more: Mapping[str, str]) -> Iterator[Stack]:
    """The service on a fresh folder, its roles started in any order; all ended with the block."""
    folder = data_dir.prepare(path)
    with data_dir.locked(folder), ExitStack() as ending:
        supervisor = Supervisor(folder, os.environ)
        ending.callback(_stop, supervisor)
        settings = _start_servers(supervisor)
        database.bring_up_to_date(settings)
        engine = db.engine(settings.database_url, timeout_ms=60_000, pool=4)
        ending.callback(engine.dispose)
        port = free_port("127.0.0.1", 0)
        environment = _environment(settings, more)
        watch = Watch(f"http://127.0.0.1:{port}")
        ending.callback(watch.close)
        stack = Stack(folder, settings, port, supervisor, {}, environment, engine, watch)
        ending.callback(_close, stack.links)
        _start_roles(stack, random)
        yield stack


def _start_servers(supervisor: Supervisor) -> Settings:
    folder = supervisor.data
    for prepare in (postgres.prepare, redis.prepare):
        child = supervisor.add(prepare(folder), embedded.start)
        embedded.wait_ready(child.role, folder, child.is_running)
    postgres.ensure_database(folder)
    return Settings(
        database_url=postgres.url(folder),
        redis_url=redis.url(folder),
        secret_keys=data_dir.secret_key(folder),
    )


def _start_roles(stack: Stack, random: Random) -> None:
    """Start our roles in any order; every other time before they can reach the servers."""
    plan = process_specs.ProcessPlan("127.0.0.1", stack.port, drain_workers=2, webhook_workers=2)
    wanted = process_specs.ours(plan, stack.folder)
    wanted.append(_second(next(one for one in wanted if one.name == "beat"), stack.folder))
    random.shuffle(wanted)
    for role in wanted:
        for server in SERVERS:
            stack.links[role.name, server] = _link(stack.settings, server)
    is_late = random.random() < 0.5
    if is_late:
        for link in stack.links.values():
            link.cut()
    for role in wanted:
        _skew_file(stack.folder, role.name).write_bytes(bytes(8))
        stack.supervisor.add(role, _starter(stack))
    if is_late:
        time.sleep(LATE_SECONDS)
        for link in stack.links.values():
            link.heal()


def _second(beat: Role, folder: Data) -> Role:
    """A second scheduler, with a schedule of its own: of two one acts."""
    first, other = str(folder.beat / "schedule"), str(folder.beat / "schedule-2")
    argv = [other if part == first else part for part in beat.argv]
    return replace(beat, name="beat-2", argv=argv)


def _link(settings: Settings, server: str) -> Link:
    if server == "postgres":
        return Link(target_of(settings.database_url, 5432))
    return Link(target_of(settings.redis_url, 6379))


def _starter(stack: Stack) -> Start:
    """Start a role with its own links, its own clock, and what the next start alone is to get."""

    def start(role: Role, folder: Data, environment: Mapping[str, str]) -> Popen[bytes]:
        mine = {
            "DATABASE_URL": through(
                stack.links[role.name, "postgres"], stack.settings.database_url
            ),
            "REDIS_URL": f"redis://127.0.0.1:{stack.links[role.name, 'redis'].port}/0",
            "CHAOS_SKEW_FILE": str(_skew_file(folder, role.name)),
        }
        once = stack.next_start.pop(role.name, {})
        return child_process.start(role, folder, {**stack.environment, **mine, **once})

    return start


def _skew_file(folder: Data, role: str) -> Path:
    return folder.root / f"skew-{role}"


def _environment(settings: Settings, more: Mapping[str, str]) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.endswith("_URL")}
    return {
        **plain,
        **LOCAL_WEBHOOKS,
        **_BRISK,
        "PYTHONPATH": f"{SITE}:{PROJECT_ROOT}",
        "PYTHONUNBUFFERED": "1",
        "UNBROKEN_LOG_FORMAT": "text",  # logs.py looks for tracebacks line by line
        variable("secret_keys"): settings.secret_keys,
        variable("drain_processes"): "2",
        variable("webhook_processes"): "2",
        **more,
    }


def _close(links: Mapping[tuple[str, str], Link]) -> None:
    for link in links.values():
        link.close()


def _stop(supervisor: Supervisor) -> None:
    """Stop everything, whatever was added when: who needs others first."""
    supervisor.members.sort(key=lambda child: child.role.stage)
    supervisor.stop()
