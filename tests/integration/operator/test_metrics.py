"""Metrics: what is exported equals the truth in the ledgers, whoever counts, and however often."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import redis
import requests
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from api.cli.commands.metrics import open_exposition, serve
from api.http import access_log
from api.prometheus import Exposition
from models.db import Engine, reading
from models.streaks.states import Streak
from settings import Settings
from tests.calls import post_tick
from tests.conftest import BASE, Account
from tests.links import Link, target_of, through
from tests.pipeline import Pipeline, forget_deliveries
from tests.promtool import promtool
from tests.receiver import Answer, Receiver
from workers.intake import redis_keys
from workers.maintenance.dispatch import count as count_attempts
from workers.telemetry import metrics_store
from workers.telemetry.metrics import METRICS, REQUESTS
from workers.telemetry.metrics_store import Flusher, MetricsBuffer

pytestmark = pytest.mark.promise("P21")

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def exposition(settings: Settings, engine: Engine, redis_client: redis.Redis) -> Exposition:
    """What is exported, asked anew each time; nothing has been counted."""
    metrics_store.BUFFER.take()
    return open_exposition(settings)


@pytest.fixture
def scrape(exposition: Exposition, redis_client: redis.Redis) -> Callable[[], Samples]:
    """Flush what this process counted, then scrape."""
    flusher = Flusher(redis_client)

    def look() -> Samples:
        assert flusher.flush()
        exposition._made = -1e9
        return samples(exposition.text().decode())

    return look


def samples(text: str) -> Samples:
    """Every sample of an answer; it is read as Prometheus reads it."""
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def by(found: Samples, name: str, **labels: str) -> float:
    """The sum of the samples of a name that have some labels."""
    wanted = set(labels.items())
    return sum(value for (one, has), value in found.items() if one == name and wanted <= has)


def rows(engine: Engine, tenant_id: int, table: str, more: str = "") -> int:
    with reading(engine) as session:
        statement = sa.text(f"SELECT count(*) FROM {table} WHERE tenant_id = :id {more}")
        return int(session.execute(statement, {"id": tenant_id}).scalar_one())


# -- equal to the truth ----------------------------------------------------------------------


def test_counters_equal_the_ledgers_after_a_run_of_every_kind(
    client: FlaskClient,
    account: Account,
    streak: Streak,
    engine: Engine,
    pipeline: Pipeline,
    redis_client: redis.Redis,
    scrape: Callable[[], Samples],
) -> None:
    tenant_id = account.live.id
    before = scrape()
    items = [{"participant_id": f"p{nth % 40}", "streak_code": streak.code} for nth in range(100)]
    answered = client.post(
        f"{BASE}/streaks/record/batch", json={"ticks": [*items, {"participant_id": "x"}]}
    )
    assert answered.json and answered.json["accepted"] == 100
    assert post_tick(client, "alone", streak_code=streak.code).status_code == 202
    assert client.post(f"{BASE}/points/award", json={"participant_id": "p1", "amount": 5}).json
    more = {"participant_id": "p1", "amount": 99}
    assert client.post(f"{BASE}/points/deduct", json=more).status_code == 202
    redis_client.xadd(redis_keys.stream(redis_keys.stream_of(tenant_id)), {"m": b"{boom"})
    for _ in range(pipeline.settings.entry_tries_max + 1):
        pipeline.make_drain(should_stop=lambda: False).run(0.3)
    found = scrape()

    def grew(name: str, **labels: str) -> float:
        return by(found, name, **labels) - by(before, name, **labels)

    assert grew("unbroken_writes_accepted_total", kind="tick") == 101
    assert grew("unbroken_writes_accepted_total", kind="points") == 2
    ticks = rows(engine, tenant_id, "ticks")
    assert grew("unbroken_writes_applied_total", kind="tick") == ticks == 101
    repeated = rows(engine, tenant_id, "ticks", "AND outcome = 'repeated'")
    assert grew("unbroken_ticks_repeated_total") == repeated == 60
    assert grew("unbroken_writes_applied_total", kind="points") == 1
    assert grew("unbroken_writes_rejected_total", code="insufficient_points") == 1
    assert rows(engine, tenant_id, "rejections") == 1
    assert grew("unbroken_facts_total") == rows(engine, tenant_id, "facts")
    assert grew("unbroken_writes_dead_total") == 1
    assert grew("unbroken_api_errors_total", code="validation_error") == 1
    assert grew("unbroken_batch_entries_count") == grew("unbroken_batch_seconds_count") >= 1
    assert grew("unbroken_batch_entries_sum") == 103
    routes = f"{BASE}/streaks/record/batch"
    assert grew("unbroken_api_request_seconds_count", route=routes, status="2xx") == 1


def test_attempts_are_counted_as_they_are_logged(
    client: FlaskClient,
    account: Account,
    streak: Streak,
    engine: Engine,
    pipeline: Pipeline,
    scrape: Callable[[], Samples],
) -> None:
    forget_deliveries(engine)  # others' would be attempted, too
    answers = iter([Answer(status=500)])
    with Receiver(reply=lambda _: next(answers, Answer(status=200))) as receiver:
        body = {"url": receiver.url, "event_types": ["*"]}
        assert client.post(f"{BASE}/admin/webhooks", json=body).status_code == 201
        for name in ("a", "b", "c"):
            post_tick(client, name, streak_code=streak.code)
        pipeline.drain()
        before = scrape()
        pipeline.deliver(note=count_attempts)
    found = scrape()

    def grew(name: str, **labels: str) -> float:
        return by(found, name, **labels) - by(before, name, **labels)

    told = "unbroken_delivery_attempts_total"
    assert grew(told) == rows(engine, account.live.id, "attempts") == 3
    assert grew(told, outcome="failed") == 1
    assert grew(told, outcome="delivered") == 2
    assert grew("unbroken_delivery_seconds_count") == 3


def test_what_waits_is_told(
    client: FlaskClient, streak: Streak, scrape: Callable[[], Samples], account: Account
) -> None:
    assert by(scrape(), "unbroken_intake_entries") == 0
    post_tick(client, "waits", streak_code=streak.code)
    time.sleep(0.05)
    found = scrape()
    number = str(redis_keys.stream_of(account.live.id))
    assert by(found, "unbroken_intake_entries", stream=number, kind="fresh") == 1
    assert by(found, "unbroken_intake_oldest_age_seconds", stream=number) >= 0.05
    assert by(found, "unbroken_server_up") == 2


# -- several processes, and Redis that fails ---------------------------------------------------


def test_processes_and_threads_add_up(
    redis_client: redis.Redis, scrape: Callable[[], Samples]
) -> None:
    tallies = [MetricsBuffer() for _ in range(3)]

    def work(one: MetricsBuffer) -> None:
        for _ in range(2_000):
            one.observe(REQUESTS, 0.003, "GET", "/x", "2xx")

    threads = [threading.Thread(target=work, args=(one,)) for one in tallies for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in tallies:
        assert Flusher(redis_client, one).flush()
    found = scrape()
    assert by(found, "unbroken_api_request_seconds_count", route="/x") == 12_000
    assert by(found, "unbroken_api_request_seconds_sum", route="/x") == pytest.approx(36)
    assert by(found, "unbroken_api_request_seconds_bucket", route="/x", le="0.0025") == 0
    assert by(found, "unbroken_api_request_seconds_bucket", route="/x", le="0.005") == 12_000


def test_a_flush_whose_answer_was_lost_counts_once(redis_client: redis.Redis) -> None:
    one = MetricsBuffer()
    one.add(METRICS[0], 7, "tick")
    flusher = Flusher(_Deaf(redis_client), one)  # type: ignore[arg-type]
    assert not flusher.flush()
    one.add(METRICS[0], 1, "tick")
    assert flusher.flush() and flusher.flush()
    assert metrics_store.read(redis_client)[METRICS[0].name] == {("tick",): 8}


class _Deaf:
    """A client that carries out its first command and does not hear the answer."""

    def __init__(self, client: redis.Redis) -> None:
        self._client, self._is_deaf = client, True

    def eval(self, *arguments: Any) -> Any:
        answer = self._client.eval(*arguments)
        if self._is_deaf:
            self._is_deaf = False
            raise redis.exceptions.TimeoutError
        return answer


def test_a_full_redis_takes_the_counters_later(redis_client: redis.Redis) -> None:
    one = MetricsBuffer()
    one.add(METRICS[0], 7, "tick")
    flusher = Flusher(redis_client, one)
    redis_client.config_set("maxmemory", "1")
    try:
        assert not flusher.flush()
    finally:
        redis_client.config_set("maxmemory", "0")
    assert flusher.flush()
    assert metrics_store.read(redis_client)[METRICS[0].name] == {("tick",): 7}


def test_prometheus_takes_what_is_exported(exposition: Exposition) -> None:
    done = subprocess.run(
        [promtool(), "check", "metrics"],
        input=exposition.text(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_counted_is_flushed_by_itself_and_at_the_end(redis_client: redis.Redis) -> None:
    one = MetricsBuffer()
    flusher = Flusher(redis_client, one)
    flusher.start()
    one.add(METRICS[0], 1, "tick")
    name = METRICS[0].name
    ends = time.monotonic() + 10
    while metrics_store.read(redis_client).get(name) != {("tick",): 1}:
        assert time.monotonic() < ends
        time.sleep(0.05)
    one.add(METRICS[0], 1, "tick")
    flusher.stop()
    flusher.stop()
    assert metrics_store.read(redis_client)[name] == {("tick",): 2}


# -- the answer --------------------------------------------------------------------------------


def test_a_server_that_is_away_is_told_of_and_the_rest_is_still_told(settings: Settings) -> None:
    with Link(target_of(settings.redis_url, 6_379)) as link:
        behind = replace(
            settings, redis_url=through(link, settings.redis_url), redis_timeout_ms=300
        )
        exposition = open_exposition(behind)
        link.cut()
        started = time.monotonic()
        found = samples(exposition.text().decode())
        assert time.monotonic() - started < 3
    assert by(found, "unbroken_server_up", server="redis") == 0
    assert by(found, "unbroken_server_up", server="postgres") == 1
    assert by(found, "unbroken_destinations") >= 0
    assert not [name for name, _ in found if name.startswith("unbroken_writes")]


def test_no_label_is_what_a_caller_chose(
    app: Flask, client: FlaskClient, scrape: Callable[[], Samples]
) -> None:
    client.open(f"{BASE}/streaks", method="CANARY")
    client.get(f"{BASE}/canary-path")
    client.get(f"{BASE}/participants/canary-person")
    client.get("/canary", headers={"X-API-Key": "canary"})
    found = scrape()
    assert by(found, "unbroken_api_request_seconds_count") >= 4
    labels = [text for _, has in found for pair in has for text in pair]
    assert not [text for text in labels if "canary" in text.lower()]
    names = {name for _, has in found for name, _ in has}
    assert not names & {"tenant", "tenant_id", "participant", "participant_id", "key_id"}


@contextmanager
def served(exposition: Exposition) -> Iterator[str]:
    with serve(exposition, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_it_is_served_on_a_port_of_its_own(exposition: Exposition, client: FlaskClient) -> None:
    with served(exposition) as url:
        answered = requests.get(f"{url}/metrics", timeout=10)
        assert answered.status_code == 200
        assert answered.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert "unbroken_build_info" in answered.text
        assert requests.get(f"{url}/other", timeout=10).status_code == 404
    assert client.get("/metrics").status_code == 404


def test_every_error_code_has_one_counter(
    client: FlaskClient, scrape: Callable[[], Samples]
) -> None:
    before = scrape()
    expected: Counter[str] = Counter()
    for path, code in (("nowhere", "route_not_found"), ("ticks/x", "tick_not_found")):
        answered = client.get(f"{BASE}/{path}")
        assert answered.json and answered.json["code"] == code
        expected[code] += 1
    found = scrape()
    for code, number in expected.items():
        grew = by(found, "unbroken_api_errors_total", code=code)
        assert grew - by(before, "unbroken_api_errors_total", code=code) == number


def test_methods_that_are_labels_are_those_of_our_routes(app: Flask) -> None:
    methods = {one for rule in app.url_map.iter_rules() for one in rule.methods or ()}
    assert methods <= access_log.METHODS
    assert not [rule.rule for rule in app.url_map.iter_rules() if re.search(r"\|", rule.rule)]
