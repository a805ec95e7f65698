"""Restores of many: by list, by span, previewed, killed, cancelled, bounded."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models import clock
from models.db import Engine, transaction
from models.streaks import restores as table
from settings import Settings
from tests.calls import count, make_streak, noon, post_json, post_tick, problem
from tests.conftest import BASE, Account
from tests.integration.batches import DIED, PATIENCE_SECONDS, ROOT, scalar
from tests.integration.earning import facts_of
from tests.integration.mending import STREAK, day, history_of, pause, record_days, streak_of
from tests.pipeline import Pipeline
from workers.apply import apply_batch
from workers.apply.batch import Configurations
from workers.intake import redis_keys
from workers.maintenance import restores, sweep
from workers.runtime.celery_config import UPKEEP
from workers.runtime.context import Context

JOBS = f"{BASE}/streaks/{STREAK}/restores"
REASON = "The login service was down"
FIGURES = ("total", "scanned", "found", "restored", "nothing_to_restore", "refused")


def start(client: FlaskClient, **body: Any) -> TestResponse:
    """POST a restore of many."""
    headers = {"Idempotency-Key": body.pop("key")} if "key" in body else None
    return post_json(client, f"{BASE}/streaks/{STREAK}/restore", {"reason": REASON} | body, headers)


def started(client: FlaskClient, **body: Any) -> str:
    """The id of a restore that was taken."""
    response = start(client, **body)
    assert response.status_code == 202, response.text
    return str(response.get_json()["id"])


def job(client: FlaskClient, restore_id: str) -> dict[str, Any]:
    """A restore as it is now."""
    return dict(client.get(f"{JOBS}/{restore_id}").get_json())


def figures(client: FlaskClient, restore_id: str) -> tuple[int, ...]:
    """The figures of a restore that must be done."""
    found = job(client, restore_id)
    assert found["status"] == "done", found
    return tuple(found[name] for name in FIGURES)


def lost(first: int, last: int) -> dict[str, str]:
    """A span of days, counted back from today."""
    return {"from": day(first), "to": day(last)}


def counts(client: FlaskClient, *people: str) -> list[int]:
    """The current counts of some participants."""
    return [streak_of(client, who)["current_count"] for who in people]


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run ends when nothing is left, however slow the machine is."""
    monkeypatch.setattr(restores, "RUN_SECONDS", 60.0)


# -- whose streak ----------------------------------------------------------------------------


def test_all_who_lost_it_in_a_span_get_it_back(
    client: FlaskClient, pipeline: Pipeline, context: Context, engine: Engine, account: Account
) -> None:
    make_streak(client)
    record_days(client, pipeline, 5, 4, 2, 1, 0, who="outage")  # missed 3: broke on day 2
    record_days(client, pipeline, 5, 4, 3, 1, 0, who="later")  # broke on day 1
    record_days(client, pipeline, 5, 4, 3, 2, 1, 0, who="never")
    record_days(client, pipeline, 5, 4, who="gone")
    made = started(client, lost_between=lost(2, 2))
    restores.run(context)
    assert figures(client, made) == (4, 4, 2, 2, 0, 0)
    assert counts(client, "outage", "later", "never", "gone") == [5, 2, 6, 0 + 2]
    assert list(history_of(client, "outage").values())[2] == "repair"
    repaired = [
        fact["payload"] for fact in facts_of(engine, account.live.id)
        if fact["type"] == "behavior.streak_repaired"
    ]  # fmt: skip
    assert {(fact["cause"], fact["reason"]) for fact in repaired} == {("restore", REASON)}
    assert len(repaired) == 2


def test_the_break_within_the_span_is_restored_and_no_later_one(
    client: FlaskClient, pipeline: Pipeline, context: Context
) -> None:
    make_streak(client)
    record_days(client, pipeline, 8, 7, 5, 4, 2, 1, 0)
    made = started(client, lost_between=lost(5, 5))
    restores.run(context)
    assert figures(client, made) == (1, 1, 1, 1, 0, 0)
    shown = history_of(client)
    assert (shown[day(6)], shown[day(3)]) == ("repair", "missed")
    assert streak_of(client)["longest_count"] == 4


def test_instants_are_those_of_the_participants_midnight(
    client: FlaskClient, pipeline: Pipeline, context: Context
) -> None:
    make_streak(client)
    for who, zone in (("east", "Pacific/Auckland"), ("utc", "UTC")):
        for ago in (5, 4, 2, 1, 0):
            post_tick(client, who, timestamp=f"{day(ago)}T00:30:00Z", timezone=zone)
    pipeline.drain()
    span = {"from": f"{day(3)}T23:59:59Z", "to": f"{day(2)}T00:00:01Z"}
    made = started(client, lost_between=span, is_preview=True)
    restores.run(context)
    assert figures(client, made)[2] == 1
    assert job(client, made)["lost_between"] == {
        "from": f"{day(3)}T23:59:59Z", "to": f"{day(2)}T00:00:01Z"
    }  # fmt: skip


def test_listed_participants_get_their_last_streak_back(
    client: FlaskClient, pipeline: Pipeline, context: Context, engine: Engine, account: Account
) -> None:
    make_streak(client)
    record_days(client, pipeline, 5, 4, 2, 1, who="ann")
    record_days(client, pipeline, 2, 1, who="ben")
    record_days(client, pipeline, 5, 4, 2, 1, who="cleo")
    suspended = {"external_id": "cleo", "status": "SUSPENDED"}
    assert client.post("/v1/participants", json=suspended).status_code == 200
    listed = ["ann", "ben", "cleo", "dora", "ann"]
    made = started(client, participant_ids=listed)
    restores.run(context)
    found = job(client, made)
    assert (found["total"], found["scanned"], found["restored"]) == (4, 4, 1), found
    assert (found["nothing_to_restore"], found["refused"]) == (2, 1)
    assert counts(client, "ann", "ben") == [4, 2]
    assert client.get(f"{BASE}/participants/dora").status_code == 404
    listed_now = "SELECT cardinality(participants) FROM streak_restores"
    assert scalar(engine, listed_now) == 0
    assert count(engine, "streak_changes", account.live) == 1


def test_an_alias_is_the_participant_that_it_counts_for(
    client: FlaskClient, pipeline: Pipeline, context: Context
) -> None:
    make_streak(client)
    record_days(client, pipeline, 5, 4, 2, 1, who="ann")
    record_days(client, pipeline, 1, who="guest")
    merged = post_json(client, f"{BASE}/participants/ann/merge", {"from": "guest"})
    assert merged.status_code == 202, merged.text
    pipeline.drain()
    made = started(client, participant_ids=["ann", "guest"])
    restores.run(context)
    assert figures(client, made) == (2, 2, 1, 1, 1, 0)
    assert counts(client, "ann") == [4]


# -- preview ---------------------------------------------------------------------------------


def test_a_preview_counts_and_changes_nothing(
    client: FlaskClient, pipeline: Pipeline, context: Context, engine: Engine, account: Account
) -> None:
    make_streak(client)
    record_days(client, pipeline, 5, 4, 2, 1, 0)
    before = {name: count(engine, name, account.live) for name in ("facts", "audit_log")}
    made = started(client, lost_between=lost(9, 0), is_preview=True, reason=None)
    restores.run(context)
    assert figures(client, made) == (1, 1, 1, 0, 0, 0)
    assert streak_of(client)["current_count"] == 3
    assert before == {name: count(engine, name, account.live) for name in before}


# -- exactly once ----------------------------------------------------------------------------

_RUN = """
from workers.maintenance import restores
from workers.app import context
restores.PORTION = 2
restores.SCANNED_MAX = 3
restores.RUN_SECONDS = 60
restores.run(context())
"""


def worker(settings: Settings, failpoint: str = "") -> subprocess.Popen[bytes]:
    """A process that carries out restores."""
    urls = {"DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url}
    env = {**os.environ, **urls, "UNBROKEN_ENVIRONMENT": "test", "UNBROKEN_FAILPOINTS": failpoint}
    return subprocess.Popen([sys.executable, "-c", _RUN], cwd=ROOT, env=env)


@pytest.fixture
def crowd(client: FlaskClient, pipeline: Pipeline) -> list[str]:
    """Participants who broke twice: restored twice, each would count 6 instead of 4."""
    make_streak(client)
    people = [f"user_{number}" for number in range(9)]
    for who in people:
        record_days(client, pipeline, 7, 6, 4, 3, 1, 0, who=who)
    return people


@pytest.mark.parametrize("body", [{"lost_between": None}, {"participant_ids": None}])
def test_each_is_restored_once_whenever_a_process_dies(
    body: dict[str, Any], crowd: list[str], client: FlaskClient, context: Context,
    settings: Settings, engine: Engine, account: Account,
) -> None:  # fmt: skip
    by_list = "participant_ids" in body
    asked = {"participant_ids": crowd} if by_list else {"lost_between": lost(9, 0)}
    made = started(client, **asked)
    for failpoint, done in (
        ("restore.after_commit", 2),
        ("restore.before_commit", 2),  # the portion is lost, and done again
        ("restore.after_commit", 4),
    ):
        assert worker(settings, failpoint).wait(PATIENCE_SECONDS) == DIED
        assert job(client, made)["restored"] == done
    assert worker(settings).wait(PATIENCE_SECONDS) == 0
    assert figures(client, made) == (9, 9, 9, 9, 0, 0)
    assert counts(client, *crowd) == [4] * 9
    assert count(engine, "streak_changes", account.live) == 9


def test_workers_side_by_side_restore_each_once(
    crowd: list[str], client: FlaskClient, context: Context, settings: Settings
) -> None:
    made = started(client, lost_between=lost(9, 0))
    processes = [worker(settings) for _ in range(3)]
    assert [process.wait(PATIENCE_SECONDS) for process in processes] == [0, 0, 0]
    restores.run(context)
    assert figures(client, made) == (9, 9, 9, 9, 0, 0)
    assert counts(client, *crowd) == [4] * 9


def test_the_same_key_is_the_same_restore(
    crowd: list[str], client: FlaskClient, context: Context
) -> None:
    first = start(client, participant_ids=crowd[:1], key="again").get_json()
    restores.run(context)
    second = start(client, participant_ids=crowd[:1], key="again").get_json()
    assert second["id"] == first["id"]
    restores.run(context)
    assert counts(client, crowd[0]) == [4]
    problem(start(client, participant_ids=crowd[1:2], key="again"), 409, "idempotency_conflict")
    assert len(client.get(JOBS).get_json()["items"]) == 1


def test_a_restore_waits_for_the_ticks_before_it(
    client: FlaskClient, pipeline: Pipeline, context: Context
) -> None:
    """The streak looks broken while its tick of yesterday waits."""
    make_streak(client)
    record_days(client, pipeline, 3, 2)
    post_tick(client, timestamp=noon(1))
    made = started(client, lost_between=lost(3, 0))
    restores.run(context)
    assert job(client, made)["scanned"] == 0
    pipeline.drain()
    restores.run(context)
    assert figures(client, made) == (1, 1, 0, 0, 0, 0)


def test_a_faulty_participant_is_refused_alone(
    crowd: list[str], client: FlaskClient, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = apply_batch.apply

    def fail(connection: Any, messages: Any, configurations: Any) -> Any:
        if any(message.participant_id == crowd[3] for message in messages):
            raise RuntimeError("cannot be applied")
        return apply(connection, messages, configurations)

    monkeypatch.setattr(apply_batch, "apply", fail)
    made = started(client, lost_between=lost(9, 0))
    restores.run(context)
    assert figures(client, made) == (9, 9, 9, 8, 0, 1)
    assert counts(client, crowd[2], crowd[3], crowd[4]) == [4, 2, 4]


# -- the job ---------------------------------------------------------------------------------


def test_a_cancelled_restore_goes_no_further(
    crowd: list[str], client: FlaskClient, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restores, "PORTION", 2)
    monkeypatch.setattr(restores, "RUN_SECONDS", 0.0)
    made = started(client, lost_between=lost(9, 0))
    job_run = restores.RestoreRun(context.engine, Configurations())
    [key] = restores.ready(context)
    assert job_run.goes_on(key)
    cancelled = client.delete(f"{JOBS}/{made}").get_json()
    assert (cancelled["status"], cancelled["restored"]) == ("cancelled", 2)
    assert not job_run.goes_on(key)
    assert job(client, made) == cancelled
    assert restores.ready(context) == []


def test_begin_and_end_are_audited_with_reason_and_figures(
    crowd: list[str], client: FlaskClient, context: Context
) -> None:
    made = started(client, lost_between=lost(9, 0))
    restores.run(context)
    log = client.get(f"{BASE}/admin/audit-log").get_json()["items"]
    [ended, begun] = [entry for entry in log if entry["target"] == made]
    shown = (begun["action"], begun["detail"]["reason"], begun["detail"]["lost_between"])
    assert shown == ("restore.started", REASON, lost(9, 0))
    assert (ended["action"], ended["actor"]) == ("restore.finished", "system")
    assert ended["detail"]["restored"] == 9


def test_one_restore_of_a_streak_runs_at_a_time_and_ten_of_a_tenant(client: FlaskClient) -> None:
    make_streak(client)
    started(client, lost_between=lost(1, 0))
    problem(start(client, lost_between=lost(1, 0)), 409, "restore_running")
    for _ in range(table.RUNNING_MAX - 1):
        started(client, lost_between=lost(1, 0), is_preview=True)
    refused = start(client, lost_between=lost(1, 0), is_preview=True)
    problem(refused, 409, "restore_limit_reached")


def test_the_sweep_asks_for_restores_that_run(
    client: FlaskClient, pipeline: Pipeline, context: Context
) -> None:
    def asked() -> int:
        context.client.delete(redis_keys.SWEEP_LOCK, UPKEEP)
        sweep.sweep(context)
        return int(context.client.llen(UPKEEP))

    make_streak(client)
    assert asked() == 0
    made = started(client, lost_between=lost(1, 0))
    assert asked() == 1
    restores.run(context)
    assert (asked(), job(client, made)["status"]) == (0, "done")


def test_ended_restores_are_forgotten_after_a_while(
    client: FlaskClient, context: Context, engine: Engine
) -> None:
    make_streak(client)
    ended, kept = (started(client, lost_between=lost(1, 0), is_preview=True) for _ in range(2))
    client.delete(f"{JOBS}/{ended}")
    for ahead, left in ((-1, 2), (1, 1)):
        with transaction(engine) as connection:
            table.purge(connection, clock.now() + timedelta(days=ahead))
        assert client.get(JOBS).get_json()["total"] == left
    assert client.get(f"{JOBS}/{kept}").status_code == 200
    problem(client.get(f"{JOBS}/{ended}"), 404, "restore_not_found")


# -- refused ---------------------------------------------------------------------------------

DAY = "2026-05-23"
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "lost_between"),
    ({"participant_ids": ["a"], "lost_between": {"from": DAY, "to": DAY}}, "lost_between"),
    ({"participant_ids": []}, "participant_ids"),
    ({"participant_ids": ["a"], "reason": None}, "reason"),
    ({"lost_between": {"from": DAY, "to": "2026-05-22"}}, "lost_between.to"),
    ({"lost_between": {"from": DAY, "to": f"{DAY}T08:00:00Z"}}, "lost_between.to"),
    ({"lost_between": {"from": f"{DAY}T08:00:00Z", "to": f"{DAY}T08:00:00Z"}}, "lost_between.to"),
    ({"lost_between": {"from": "2024-05-23", "to": DAY}}, "lost_between.to"),
    ({"lost_between": {"from": "2199-01-01", "to": "2199-01-01"}}, "lost_between.from"),
    ({"lost_between": {"from": "yesterday", "to": DAY}}, "lost_between.from"),
    ({"lost_between": {"from": DAY}}, "lost_between.to"),
]


@pytest.mark.parametrize(("body", "field"), REFUSED)
def test_a_body_that_does_not_say_whose_or_why_is_refused(
    body: dict[str, Any], field: str, client: FlaskClient
) -> None:
    make_streak(client)
    problem(start(client, **body), 422, "validation_error", field)
    assert client.get(JOBS).get_json()["total"] == 0


def test_a_pause_that_removed_the_break_leaves_nothing_to_restore(
    client: FlaskClient, pipeline: Pipeline, context: Context
) -> None:
    make_streak(client)
    record_days(client, pipeline, 4, 3, 1, 0)
    pause(client, 2, 2)
    pipeline.drain()
    made = started(client, participant_ids=["user_42"])
    restores.run(context)
    assert figures(client, made) == (1, 1, 0, 0, 1, 0)
