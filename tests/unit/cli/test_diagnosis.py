"""What the doctor thinks of values: each check is red for its cause, and says what to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from api.cli.doctor import checks as diagnosis
from api.cli.doctor import redis_checks
from api.cli.doctor.checks import CheckState, Finding, worst
from models.operator.diagnosis import Backlog, Guard, Long, Server
from workers.intake.client import IntakeStatus, StreamStatus
from workers.telemetry.heartbeats import KINDS, Processes

NOW = datetime(2026, 5, 23, 12, tzinfo=UTC)
SERVER = Server(
    version=180_004,
    encoding="UTF8",
    settings={"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"},
    now=NOW,
    connections_max=100,
    connections_used=10,
    locks=6_400,
    prepared=0,
)
VITALS = IntakeStatus(
    version="7.2.4",
    time_us=0,
    settings={
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory": "0",
        "maxmemory-policy": "noeviction",
    },
    used_memory_bytes=1_000_000,
    aof_bytes=0,
    is_aof_well=True,
    streams=[],
    drains=0,
    deliverers=0,
    swept_seconds_ago=1.0,
    processes={kind: Processes(1) for kind in KINDS},
)
WANTED = dict.fromkeys(KINDS, 1)
GUARD = Guard(is_there=True, is_ours=True, ungranted=[], hidden=[])
BACKLOG = Backlog(due=0, oldest_due=None, disabled=0, failing=0, dead_letters=0)


def judge(findings: list[Finding]) -> tuple[CheckState, list[str]]:
    """The verdict, and the checks that are not well; each of those says what to do."""
    bad = [one for one in findings if one.state != "ok"]
    assert all(one.advice for one in bad)
    return worst(findings), [one.check for one in bad]


def test_what_is_well_is_said_to_be_well() -> None:
    findings = [
        *diagnosis.server(SERVER, 0.0, 20),
        *redis_checks.redis(VITALS),
        *redis_checks.workers(VITALS, WANTED),
        *diagnosis.backlog(BACKLOG, NOW, 0),
        diagnosis.guard(GUARD),
        diagnosis.schema("0005", "0005"),
        diagnosis.environment("production", ""),
        diagnosis.long_transactions([]),
        diagnosis.strays([]),
        diagnosis.feed(0),
    ]
    assert judge(findings) == ("ok", [])
    assert all(one.advice is None for one in findings)


@pytest.mark.parametrize(
    ("values", "state", "check"),
    [
        ({"version": 140_011}, "failed", "version"),
        ({"encoding": "SQL_ASCII"}, "failed", "encoding"),
        ({"settings": {"fsync": "off"}}, "failed", "fsync"),
        ({"settings": {"synchronous_commit": "off"}}, "failed", "synchronous_commit"),
        ({"settings": {"synchronous_commit": "local"}}, "warning", "synchronous_commit"),
        ({"settings": {"full_page_writes": "off"}}, "failed", "full_page_writes"),
        ({"connections_used": 90}, "warning", "connections"),
        ({"connections_used": 99}, "failed", "connections"),
        ({"locks": 3_200}, "warning", "locks"),
        ({"prepared": 1}, "warning", "prepared transactions"),
    ],
)
def test_a_postgres_that_is_not_as_it_should_be(
    values: dict[str, Any], state: CheckState, check: str
) -> None:
    findings = diagnosis.server(replace(SERVER, **values), 0.0, 20)
    assert judge(findings) == (state, [check])


@pytest.mark.parametrize(("skew", "state"), [(-3.0, "warning"), (3.0, "warning"), (61, "failed")])
def test_clocks_that_differ(skew: float, state: CheckState) -> None:
    assert diagnosis.clock("redis", skew).state == state


@pytest.mark.parametrize(
    ("values", "state", "checks"),
    [
        ({"version": "6.0.16"}, "failed", ["version"]),
        ({"appendonly": "no"}, "failed", ["append-only file", "fsync"]),
        ({"appendfsync": "everysec"}, "warning", ["fsync"]),
        ({"appendfsync": "no"}, "failed", ["fsync"]),
        ({"is_aof_well": False}, "failed", ["last write"]),
        ({"maxmemory-policy": "allkeys-lru"}, "failed", ["eviction"]),
        ({"maxmemory": "1200000"}, "warning", ["memory"]),
        ({"maxmemory": "1000001"}, "failed", ["memory"]),
        ({"appendonly": None, "appendfsync": None}, "warning", ["append-only file", "fsync"]),
        ({"maxmemory-policy": None, "maxmemory": None}, "warning", ["eviction"]),
    ],
)
def test_a_redis_that_is_not_as_it_should_be(
    values: dict[str, Any], state: CheckState, checks: list[str]
) -> None:
    settings = {name: values.pop(name) for name in list(values) if name in VITALS.settings}
    seen = replace(VITALS, settings={**VITALS.settings, **settings}, **values)
    assert judge(redis_checks.redis(seen)) == (state, checks)


STUCK = StreamStatus(3, "fresh", entries=7, pending=2, oldest_age_seconds=90.0)


@pytest.mark.parametrize(
    ("values", "state", "checks"),
    [
        ({"swept_seconds_ago": None}, "failed", ["beat and upkeep"]),
        ({"swept_seconds_ago": 90.0}, "failed", ["beat and upkeep"]),
        ({"streams": [STUCK]}, "failed", ["at work", "stream 3 (fresh)"]),
        ({"streams": [STUCK], "drains": 1}, "warning", ["stream 3 (fresh)"]),
        ({"streams": [replace(STUCK, oldest_age_seconds=0.2)]}, "ok", []),
    ],
)
def test_workers_that_are_not_there(
    values: dict[str, Any], state: CheckState, checks: list[str]
) -> None:
    assert judge(redis_checks.workers(replace(VITALS, **values), WANTED)) == (state, checks)


LATE = {"due": 5, "oldest_due": NOW - timedelta(hours=3)}


@pytest.mark.parametrize(
    ("values", "deliverers", "state", "check"),
    [
        (LATE, 0, "failed", "deliveries"),
        (LATE, 1, "warning", "deliveries"),
        (LATE, None, "warning", "deliveries"),
        ({"disabled": 1}, 0, "warning", "destinations"),
        ({"failing": 1}, 0, "warning", "destinations"),
        ({"dead_letters": 3}, 0, "warning", "dead letters"),
    ],
)
def test_a_backlog_that_nobody_works_on(
    values: dict[str, Any], deliverers: int | None, state: CheckState, check: str
) -> None:
    findings = diagnosis.backlog(replace(BACKLOG, **values), NOW, deliverers)
    assert judge(findings) == (state, [check])


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"is_there": False}, "missing"),
        ({"is_ours": False}, "may not become"),
        ({"ungranted": ["streaks"]}, "streaks"),
        ({"hidden": ["ticks"]}, "does not see all rows of ticks"),
    ],
)
def test_row_level_security_that_does_not_hold(values: dict[str, Any], word: str) -> None:
    found = diagnosis.guard(replace(GUARD, **values))
    assert (found.state, word in found.found) == ("failed", True)


@pytest.mark.parametrize("revision", [None, "0004", "9999"])
def test_a_schema_of_another_release(revision: str | None) -> None:
    assert diagnosis.schema(revision, "0005").state == "failed"


def test_days_without_a_partition() -> None:
    today = date(2026, 5, 23)
    days = [today + timedelta(days=nth) for nth in range(5)]
    assert diagnosis.partitions({"ticks": days, "facts": days[:3]}, today).state == "ok"
    for short in (days[:2], days[1:], [*days[:1], *days[2:]], []):
        found = diagnosis.partitions({"ticks": days, "facts": short}, today)
        assert (found.state, "facts" in found.found) == ("failed", True)
    assert diagnosis.strays(["ticks"]).state == "warning"


def test_transactions_that_stay_open_are_named() -> None:
    found = diagnosis.long_transactions([Long(7, 900, "psql", is_writing=True)])
    assert (found.state, found.found) == ("warning", "psql (pid 7, 900 s, writing)")


def test_facts_of_another_server() -> None:
    assert diagnosis.feed(2).state == "failed"


def test_names_that_nobody_reads_come_with_the_nearest_known_one() -> None:
    known = ["UNBROKEN_DRAIN_PROCESSES", "DATABASE_URL"]
    found = diagnosis.variables(["UNBROKEN_DRAIN_PROCESES", "UNBROKEN_XYZ", "PATH"], known)
    assert found.state == "warning"
    assert "did you mean UNBROKEN_DRAIN_PROCESSES?" in found.found
    assert "UNBROKEN_XYZ" in found.found
    assert diagnosis.variables(known, known).state == "ok"


def test_failpoints_are_no_setting_for_anything_worth_keeping() -> None:
    assert diagnosis.environment("test", "").state == "warning"
    assert diagnosis.environment("test", "drain.mid_sql").state == "failed"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (90_000, "25 h"), (2e5, "2 d")],
)
def test_a_duration_is_said_in_its_largest_unit(seconds: float, said: str) -> None:
    assert diagnosis.duration(seconds) == said


@pytest.mark.parametrize(
    ("there", "wanted", "state", "said"),
    [
        (Processes(1, {"a:7": 12.0}), 1, "ok", "1 run"),
        (Processes(0), 1, "failed", "0 of 1 run"),
        (Processes(0, {"a:7": 12.0}), 1, "failed", "0 of 1 run: a:7 has been silent for 12 s"),
        (Processes(1, {"a:7": 12.0}), 2, "warning", "1 of 2 run: a:7 has been silent for 12 s"),
        (Processes(3), 1, "warning", "3 run, UNBROKEN_DRAIN_PROCESSES says 1"),
    ],
)
def test_drains_are_counted_though_they_be_idle(
    there: Processes, wanted: int, state: str, said: str
) -> None:
    seen = replace(VITALS, processes={**VITALS.processes, "drain": there})
    found = redis_checks.workers(seen, {**WANTED, "drain": wanted})[0]
    assert (found.check, found.state) == ("drain workers", state)
    assert said in found.found
    assert bool(found.advice) == (state != "ok")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://me:geheim@db:5433/x?password=geheim", "postgres db:5433 database x"),
        ("postgresql://me@a:1,b:2/x?sslpassword=geheim", "postgres a:1,b:2 database x"),
        ("postgresql://me@/x?host=%2Frun%2Fpg", "postgres /run/pg database x"),
        ("rediss://:geheim@cache:6380/2?password=geheim", "redis cache:6380 database 2"),
        ("redis://:a@geheim@cache", "redis cache database 0"),
        ("unix://:geheim@/run/r.sock?db=3", "redis /run/r.sock database 3"),
        ("redis://[geheim", "a URL that cannot be read"),
        ("redis://:geheim/x@cache", "a URL that cannot be read"),
        ("redis://:geheim#x@cache", "a URL that cannot be read"),
        ("redis://:geheim?x@cache", "a URL that cannot be read"),
    ],
)
def test_a_server_is_named_without_its_password(url: str, said: str) -> None:
    assert diagnosis.address(url) == said


def test_it_tells_of_log_lines_that_were_dropped() -> None:
    (found,) = [one for one in redis_checks.workers(VITALS, {}) if one.check == "logs"]
    assert found.state == "ok"
    dropping = replace(VITALS, log_lines_dropped=12)
    (found,) = [one for one in redis_checks.workers(dropping, {}) if one.check == "logs"]
    assert (found.state, "12 in all" in found.found) == ("warning", True)
