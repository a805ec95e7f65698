"""Which modules and functions of the product one tick passes, from HTTP to the webhook.

`python -m tests.house.tick_path [--json]` runs the server's front and the API, a drain and a
deliverer in this process, on a Postgres and a Redis of its own, with a profile hook. It counts the
second tick of a streak: definitions, the key, scripts and connections are known by then.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import redis
from cryptography.fernet import Fernet

from api.app import create_app
from api.cli.local.embedded import embedded
from api.http.auth import knows
from api.server.asgi import Api
from models import clock
from models.db import Engine, schema, transaction
from models.db import engine as make_engine
from models.identity import tenants
from settings import Settings
from tests.pipeline import worker_context
from tests.receiver import Receiver
from workers.apply.batch import Configurations
from workers.maintenance import dispatch
from workers.runtime.celery_config import make_celery
from workers.tasks import run_drain

ROOT = Path(__file__).parents[2]
PRODUCT = ("api", "workers", "webhooks", "models", "settings.py")
STAGES = ("api", "drain", "deliverer")
BASE = "/api/v1/gamify"
_COMPREHENSIONS = ("<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>")


@dataclass
class TickPath:
    """The functions that were called, by module and in the order of their first calls."""

    stages: dict[str, dict[str, list[str]]] = field(
        default_factory=lambda: {stage: {} for stage in STAGES}
    )

    comprehensions: set[str] = field(default_factory=set)  # no functions, and no calls from 3.12 on

    def add(self, stage: str, module: str, function: str) -> None:
        """Note a call."""
        functions = self.stages[stage].setdefault(module, [])
        if function.endswith(_COMPREHENSIONS):
            self.comprehensions.add(f"{module} {function}")
            return
        if function not in functions:
            functions.append(function)

    def whole(self) -> dict[str, list[str]]:
        """All stages as one."""
        whole: dict[str, list[str]] = {}
        for stage in self.stages.values():
            for module, functions in stage.items():
                known = whole.setdefault(module, [])
                known += [name for name in functions if name not in known]
        return whole

    def counts(self) -> dict[str, dict[str, int]]:
        """Modules and functions of each stage, and of the whole path."""
        return {
            name: {"modules": len(stage), "functions": sum(map(len, stage.values()))}
            for name, stage in {**self.stages, "whole": self.whole()}.items()
        }


class Profiler:
    """Notes each call of the product's functions, in all threads that start while it is on."""

    def __init__(self) -> None:
        self.path = TickPath()
        self._stage: str | None = None
        self._prefix = f"{ROOT}/"

    @contextmanager
    def on(self) -> Iterator[Profiler]:
        """Listen to calls; those outside a stage are not noted."""
        threading.setprofile(self._called)
        sys.setprofile(self._called)
        try:
            yield self
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    def run(self, stage: str, step: Callable[[], object]) -> None:
        """Note the calls of a step."""
        self._stage = stage
        try:
            step()
        finally:
            self._stage = None

    def _called(self, frame: FrameType, event: str, _: object) -> None:
        stage, file = self._stage, frame.f_code.co_filename
        if event != "call" or stage is None or not file.startswith(self._prefix):
            return
        module = file[len(self._prefix) :]
        if module.split("/", 1)[0] in PRODUCT:
            self.path.add(stage, module, frame.f_code.co_qualname.replace(".<locals>", ""))


class Front:
    """The API behind its event loop, asked as its server asks it."""

    def __init__(self, api: Api, loop: asyncio.Runner, key: str) -> None:
        self._api, self._loop, self._key = api, loop, key

    def post(self, path: str, body: Any, status: int) -> None:
        """Send one request; its answer has this status."""
        self._loop.run(self._post(path, json.dumps(body).encode(), status))

    async def _post(self, path: str, body: bytes, status: int) -> None:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        def send(message: dict[str, Any]) -> None:  # the server sends at once, and is not awaited
            sent.append(message)

        await self._api(self._scope(path, len(body)), receive, send)  # type: ignore[arg-type]
        assert sent[0]["status"] == status, sent

    def _scope(self, path: str, length: int) -> dict[str, Any]:
        headers = {
            "host": "127.0.0.1",
            "content-type": "application/json",
            "content-length": str(length),
            "x-api-key": self._key,
        }
        return {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "raw_path": path.encode(),
            "query_string": b"",
            "server": ("127.0.0.1", 80),
            "client": ("127.0.0.1", 1),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }


def measure(settings: Settings, engine: Engine, slug: str = "path") -> TickPath:
    """The path of one tick, on a migrated database and a Redis that nobody else uses."""
    with transaction(engine) as session:
        live = tenants.create(session, slug, 0)["live"]
        key = tenants.create_key(session, live, ["admin"])[1]
    client = redis.Redis.from_url(settings.redis_url, protocol=2)
    context = worker_context(settings, engine, client, make_celery(settings.redis_url), "path")
    configurations = Configurations()
    with Receiver() as receiver, Profiler().on() as profiler, asyncio.Runner() as loop, client:
        app = create_app(settings)
        front = Front(Api(app.wsgi_app, knows(app), 1), loop, key)
        front.post(f"{BASE}/streaks", {"code": "daily_login", "name": "Daily login"}, 201)
        destination = {"url": receiver.url, "event_types": ["*"]}
        front.post(f"{BASE}/admin/webhooks", destination, 201)
        _tick(front, days_ago=1)
        run_drain(context, configurations)
        dispatch.run(context)
        profiler.run("api", lambda: _tick(front, days_ago=0))
        profiler.run("drain", lambda: run_drain(context, configurations))
        profiler.run("deliverer", lambda: dispatch.run(context))
        assert receiver.count == 2, receiver.count
        app.extensions["unbroken"].close()
    return profiler.path


def _tick(front: Front, days_ago: int) -> None:
    when = clock.now() - timedelta(days=days_ago)
    body = {
        "participant_id": "user_42",
        "streak_code": "daily_login",
        "timestamp": clock.isoformat(when),
    }
    front.post(f"{BASE}/streaks/record", body, 202)


def measured() -> TickPath:
    """The path of one tick, on servers that are started for it."""
    with tempfile.TemporaryDirectory() as folder, embedded(Path(folder)) as urls:
        settings = path_settings(urls.database_url, urls.redis_url)
        engine = make_engine(settings.database_url, timeout_ms=30_000, pool=4)
        schema.migrate(engine)
        schema.ensure_partitions(engine, schema.kept(settings.retention_days), clock.now())
        path = measure(settings, engine)
        engine.dispose()
    return path


def path_settings(database_url: str, redis_url: str) -> Settings:
    """No wait for the worker, short runs, a destination on this machine."""
    return Settings(
        database_url=database_url,
        redis_url=redis_url,
        secret_keys=Fernet.generate_key().decode(),
        webhook_allow_cidrs="127.0.0.0/8,::1/128",
        webhook_allow_http=True,
        webhook_ports="*",
        wait_seconds=0.0,
        drain_run_seconds=0.5,
        deliver_idle_seconds=0.3,
    )


def main() -> None:
    """Print the path."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.house.tick_path",
        description="Modules and functions that one tick passes, from HTTP to the webhook.",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    is_json = parser.parse_args().json
    path = measured()
    if is_json:
        found = {"counts": path.counts(), "comprehensions": len(path.comprehensions)}
        sys.stdout.write(json.dumps(found | {"stages": path.stages}) + "\n")
        return
    for stage, modules in path.stages.items():
        count = path.counts()[stage]
        sys.stdout.write(f"\n{stage}: {count['modules']} modules, {count['functions']} functions\n")
        for module, functions in modules.items():
            sys.stdout.write(f"  {module}: {', '.join(functions)}\n")
    whole = path.counts()["whole"]
    comprehensions = len(path.comprehensions)
    sys.stdout.write(
        f"\na tick: {whole['modules']} modules, {whole['functions']} functions,"
        f" {comprehensions} comprehensions beside them\n"
    )


if __name__ == "__main__":
    main()
