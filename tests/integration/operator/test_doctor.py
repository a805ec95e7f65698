"""`unbroken doctor` on real servers: what it sees when something is really wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from click.testing import CliRunner

from api.cli.main import main
from models import clock
from models.db import Engine, reading, schema, tenant_isolation, transaction
from models.operator import diagnosis
from models.streaks.states import Streak
from settings import Settings
from tests.integration.batches import tick
from tests.integration.world import World
from tests.pipeline import Pipeline
from workers.intake import redis_keys
from workers.maintenance import sweep
from workers.runtime.context import Context
from workers.telemetry import heartbeats

CANARY = "gEheim-7hx"


@dataclass(frozen=True)
class Doctor:
    """The command in the environment of a worker."""

    env: dict[str, str]

    def run(self, *arguments: str, **env: str) -> Any:
        return CliRunner().invoke(main, ["doctor", *arguments], env=self.env | env)

    def findings(self, **env: str) -> dict[tuple[str, str], dict[str, Any]]:
        """What it found, by area and check; the exit code is what they say."""
        done = self.run("--json", **env)
        told = json.loads(done.stdout)
        states = {one["state"] for one in told["checks"]}
        assert done.exit_code == (1 if "failed" in states else 0)
        assert told["state"] in states
        return {(one["area"], one["check"]): one for one in told["checks"]}

    def state(self, area: str, check: str) -> str:
        return str(self.findings()[area, check]["state"])


@pytest.fixture
def doctor(settings: Settings, context: Context) -> Doctor:
    """On the test servers, with a sweep that ran just now."""
    sweep.sweep(context)
    heartbeats.beat(context.client, "test:1", heartbeats.KINDS)
    return Doctor(
        {
            "DATABASE_URL": settings.database_url,
            "REDIS_URL": settings.redis_url,
            "UNBROKEN_SECRET_KEYS": settings.secret_keys,
        }
    )


def run(engine: Engine, statement: str) -> None:
    with transaction(engine) as session:
        session.execute(sa.text(statement))


@contextmanager
def configured(client: redis.Redis, name: str, value: str) -> Iterator[None]:
    was: Any = client.config_get(name)
    client.config_set(name, value)
    try:
        yield
    finally:
        client.config_set(name, was[name])


@pytest.mark.usefixtures("world")  # nobody's deliveries are left over
def test_on_servers_as_they_should_be_nothing_has_failed(doctor: Doctor) -> None:
    findings = doctor.findings()
    assert [one for one in findings.values() if one["state"] == "failed"] == []
    areas = [area for area, _ in findings]
    assert set(areas) == {"settings", "postgres", "redis", "workers", "backlog"}
    shown = doctor.run()
    assert shown.exit_code == 0
    assert "✓ append-only file" in shown.stdout
    assert f"{len(findings)} checks: " in shown.stdout


@pytest.mark.parametrize(
    ("name", "value", "check", "state"),
    [
        ("appendfsync", "everysec", "fsync", "warning"),
        ("maxmemory-policy", "allkeys-lru", "eviction", "failed"),
        ("maxmemory", "1000000", "memory", "failed"),
    ],
)
def test_a_redis_that_may_lose_ticks_is_seen(
    doctor: Doctor, redis_client: redis.Redis, name: str, value: str, check: str, state: str
) -> None:
    assert doctor.state("redis", check) == "ok"
    with configured(redis_client, name, value):
        assert doctor.state("redis", check) == state
    assert doctor.state("redis", check) == "ok"


def test_a_role_that_lost_a_right_is_seen_and_migrating_gives_it_back(
    doctor: Doctor, engine: Engine
) -> None:
    run(engine, f"REVOKE SELECT ON streaks FROM {tenant_isolation.ROLE}")
    try:
        found = doctor.findings()["postgres", "row-level security"]
        assert (found["state"], "streaks" in found["found"]) == ("failed", True)
    finally:
        schema.migrate(engine)
    assert doctor.state("postgres", "row-level security") == "ok"


def test_a_user_who_does_not_see_every_tenant_is_seen(engine: Engine) -> None:
    run(engine, "CREATE ROLE newcomer")
    try:
        with transaction(engine) as session:
            session.execute(sa.text("SET LOCAL ROLE newcomer"))
            seen = diagnosis.guard(session)
        assert (seen.is_there, seen.is_ours, "ticks" in seen.hidden) == (True, False, True)
    finally:
        run(engine, "DROP ROLE newcomer")


def test_a_day_without_a_partition_is_seen_and_upkeep_makes_it(
    doctor: Doctor, engine: Engine, context: Context
) -> None:
    tomorrow = clock.now() + timedelta(days=1)
    run(engine, f"DROP TABLE audit_log_{tomorrow:%Y%m%d}")
    try:
        found = doctor.findings()["postgres", "partitions"]
        assert (found["state"], "audit_log" in found["found"]) == ("failed", True)
    finally:
        sweep.partitions(context)
    assert doctor.state("postgres", "partitions") == "ok"


def test_facts_of_another_server_are_seen_and_numbered_anew(
    doctor: Doctor, engine: Engine, streak: Streak, pipeline: Pipeline
) -> None:
    pipeline.client.xadd(
        redis_keys.stream(redis_keys.stream_of(streak.tenant_id)), {"m": encoded(streak)}
    )
    pipeline.drain()
    run(engine, f"UPDATE facts SET xid = '99999999999' WHERE tenant_id = {streak.tenant_id}")
    assert doctor.state("postgres", "feed") == "failed"
    done = CliRunner().invoke(main, ["restored", "--json"], env=doctor.env)
    assert json.loads(done.stdout)["renumbered"] >= 1
    assert doctor.state("postgres", "feed") == "ok"


def encoded(streak: Streak) -> bytes:
    from_now = tick(streak)
    return json.dumps(
        ["tick.1", *[getattr(from_now, name) for name in from_now.__struct_fields__]]
    ).encode()


def test_an_entry_that_waits_while_no_drain_lives_is_seen(
    doctor: Doctor, redis_client: redis.Redis
) -> None:
    assert doctor.state("workers", "at work") == "ok"
    redis_client.xadd(redis_keys.stream(5), {"m": "x"}, id="1-0")
    findings = doctor.findings()
    assert findings["workers", "at work"]["state"] == "failed"
    assert findings["backlog", "stream 5 (fresh)"]["state"] == "warning"


def test_without_beat_it_says_so(doctor: Doctor, redis_client: redis.Redis) -> None:
    assert doctor.state("workers", "beat and upkeep") == "ok"
    redis_client.delete(redis_keys.SWEPT)
    assert doctor.state("workers", "beat and upkeep") == "failed"


def test_deliveries_that_nobody_sends_are_seen(doctor: Doctor, world: World) -> None:
    webhook_id, _ = world.subscribe("http://127.0.0.1:1/")
    world.publish(2)
    run(world.engine, "UPDATE deliveries SET next_attempt_at = now() - interval '1 hour'")
    found = doctor.findings()["backlog", "deliveries"]
    assert (found["state"], found["found"]) == ("failed", "2 due, the oldest for 60 min")
    world.change(webhook_id, is_enabled=False)
    findings = doctor.findings()
    assert findings["backlog", "deliveries"]["state"] == "ok"
    assert findings["backlog", "destinations"]["state"] == "warning"


def test_a_transaction_that_stays_open_is_named(engine: Engine) -> None:
    with transaction(engine) as writing:
        writing.execute(sa.text("SELECT pg_current_xact_id()"))
        pid = writing.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
        with reading(engine) as session:
            found = {one.pid: one for one in diagnosis.long_transactions(session, 0)}
    assert (found[pid].is_writing, found[pid].application) == (True, "unbroken")


def test_an_empty_database_is_told_to_be_migrated(doctor: Doctor, settings: Settings) -> None:
    empty = settings.database_url.replace("/unbroken?", "/postgres?")
    findings = doctor.findings(DATABASE_URL=empty)
    assert findings["postgres", "schema"]["advice"] == "run `unbroken migrate`"
    assert ("postgres", "partitions") not in findings


def test_when_one_server_is_away_the_other_is_still_looked_at(doctor: Doctor) -> None:
    findings = doctor.findings(REDIS_URL="redis://127.0.0.1:1")
    assert findings["redis", "answers"]["state"] == "failed"
    assert findings["postgres", "schema"]["state"] == "ok"
    findings = doctor.findings(DATABASE_URL="postgresql://nobody@127.0.0.1:1/x")
    assert findings["postgres", "answers"]["state"] == "failed"
    assert findings["redis", "fsync"]["state"] == "ok"


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("UNBROKEN_API_THREADS", "many", "readable"),
        ("UNBROKEN_SECRET_KEYS", CANARY, "secret ring"),
        ("UNBROKEN_WEBHOOK_ALLOW_CIDRS", "everywhere", "webhook addresses"),
        ("UNBROKEN_FAILPOINTS", "drain.mid_sql", "readable"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(
    doctor: Doctor, name: str, value: str, check: str
) -> None:
    found = doctor.findings(**{name: value})["settings", check]
    assert (found["state"], name in found["found"] + found["advice"]) == ("failed", True)


@pytest.mark.parametrize(
    "env",
    [
        {"DATABASE_URL": f"postgresql://me:{CANARY}@127.0.0.1:1/x"},
        {"DATABASE_URL": f"postgresql://me:{CANARY}/x@127.0.0.1:1/x"},
        {"DATABASE_URL": f"mysql://me:{CANARY}@127.0.0.1/x"},
        {"REDIS_URL": f"redis://:{CANARY}@127.0.0.1:1"},
        {"REDIS_URL": f"redis://:{CANARY}/x@127.0.0.1:1"},
        {"REDIS_URL": f"http://:{CANARY}@127.0.0.1:1"},
        {"UNBROKEN_SECRET_KEYS": CANARY},
    ],
)
def test_it_prints_no_secret(doctor: Doctor, env: dict[str, str]) -> None:
    for arguments in ((), ("--json",)):
        done = doctor.run(*arguments, **env)
        assert done.exit_code == 1
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert CANARY not in done.output


def test_it_says_which_servers_it_looks_at_and_why(doctor: Doctor, settings: Settings) -> None:
    found = doctor.findings()["settings", "servers"]["found"]
    socket = settings.redis_url.removeprefix("unix://")
    assert found.startswith("postgres /")
    assert f"redis {socket} database 0, from the environment" in found


def test_it_names_what_is_missing_and_what_is_too_many(
    doctor: Doctor, redis_client: redis.Redis
) -> None:
    redis_client.delete(heartbeats.processes("webhooks"))
    heartbeats.beat(redis_client, "test:2", ["drain"])
    assert doctor.state("workers", "webhook workers") == "failed"
    assert doctor.state("workers", "drain workers") == "warning"
    assert doctor.findings(UNBROKEN_DRAIN_PROCESSES="2")["workers", "drain workers"]["found"] == (
        "2 run"
    )
