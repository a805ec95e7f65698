"""A 503 means that nothing was kept and nothing is later; where that is not known, it says so."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from flask import Flask

from api.cli.local.proc import wait_until
from models import db
from models.db import CommitUnknown, DatabaseUnavailable, Engine
from models.streaks.states import Streak
from settings import Settings
from tests.calls import another_app, client_of, problem
from tests.conftest import BASE, Account
from tests.integration.batches import count, make_badge, tick
from tests.integration.workers.test_intake import make_intake as make_intake
from tests.integration.workers.test_intake import request_of
from tests.links import Link, target_of, through
from tests.pipeline import Pipeline
from workers.intake import accept, redis_keys, redis_scripts
from workers.intake.client import Full, Intake, OutcomeUnknown, Stale, Unavailable
from workers.intake.messages import decode, encode
from workers.intake.stream import depth

pytestmark = pytest.mark.promise("P6")

MakeIntake = Callable[..., Intake]
TIMEOUT_MS = 200
STOPPED_SECONDS = 0.6


@contextmanager
def stopped(client: redis.Redis) -> Iterator[None]:
    """The process of Redis takes what is sent and does nothing, for the length of a block."""
    info: Any = client.info("server")
    os.kill(info["process_id"], signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(info["process_id"], signal.SIGCONT)


def kept(client: redis.Redis, streak: Streak) -> set[str]:
    """The ids of the tenant's entries, once Redis has done all that it was sent."""
    client.ping()
    number = redis_keys.stream_of(streak.tenant_id)
    found: Any = client.xrange(redis_keys.stream(number)) + client.xrange(
        redis_keys.backlog(number)
    )  # type: ignore[operator]
    return {decode(fields[b"m"]).id for _, fields in found}


@dataclass
class Callers:
    """Threads that append without a pause, and what each append was answered."""

    intake: Intake
    streak: Streak
    accepted: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    is_over: bool = False

    def run(self) -> None:
        """Append until it is over."""
        while not self.is_over:
            request = request_of(self.streak)
            answers = self.accepted
            try:
                self.intake.append(request)
            except Unavailable:
                answers = self.refused
            except OutcomeUnknown:
                answers = self.unknown
            answers.add(request.messages[0].id)


@contextmanager
def appending(callers: Callers) -> Iterator[None]:
    """Eight of them, for the length of a block."""
    threads = [threading.Thread(target=callers.run) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        callers.is_over = True
        for thread in threads:
            thread.join()


def test_nothing_that_was_refused_under_load_is_kept_once_redis_goes_on(
    make_intake: MakeIntake, streak: Streak, redis_client: redis.Redis
) -> None:
    callers = Callers(make_intake(redis_timeout_ms=TIMEOUT_MS), streak)
    with appending(callers):
        time.sleep(0.2)
        with stopped(redis_client):
            time.sleep(STOPPED_SECONDS)
        time.sleep(0.2)
    found = kept(redis_client, streak)
    assert callers.refused
    assert found & callers.refused == set()
    assert callers.accepted <= found


def test_a_write_that_was_sent_to_a_stopped_redis_is_not_kept_after_its_deadline(
    make_intake: MakeIntake,
    streak: Streak,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redis_scripts, "QUIET_SECONDS", 60.0)
    intake = make_intake(redis_timeout_ms=TIMEOUT_MS)
    first, second = request_of(streak), request_of(streak)
    intake.append(first)
    with stopped(redis_client):
        with pytest.raises(OutcomeUnknown):
            intake.append(second)
        time.sleep(TIMEOUT_MS / 1_000)
    assert kept(redis_client, streak) == {first.messages[0].id}


def test_a_redis_that_has_not_answered_for_a_moment_is_sent_no_write(
    make_intake: MakeIntake, streak: Streak, redis_client: redis.Redis
) -> None:
    intake = make_intake(redis_timeout_ms=TIMEOUT_MS)
    intake.append(request_of(streak))
    time.sleep(redis_scripts.QUIET_SECONDS * 2)
    with stopped(redis_client), pytest.raises(Unavailable):
        intake.append(request_of(streak))
    assert depth(redis_client) == 1


def test_a_connection_that_is_cut_after_sending_leaves_it_unknown(
    make_intake: MakeIntake,
    streak: Streak,
    settings: Settings,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redis_scripts, "QUIET_SECONDS", 60.0)
    with Link(target_of(settings.redis_url, 6379)) as link:
        intake = make_intake(redis_timeout_ms=5_000, redis_url=through(link, settings.redis_url))
        intake.append(request_of(streak))
        written = request_of(streak)
        with stopped(redis_client):
            cutting = threading.Timer(0.1, link.cut)
            cutting.start()
            with pytest.raises(OutcomeUnknown):
                intake.append(written)
            cutting.join()
    assert written.messages[0].id in kept(redis_client, streak)  # so it is no refusal


def test_a_connection_that_had_ended_unnoticed_costs_no_write(
    make_intake: MakeIntake, streak: Streak, redis_client: redis.Redis
) -> None:
    intake = make_intake()
    intake.append(request_of(streak))
    redis_client.client_kill_filter(_type="normal", skipme=True)
    intake.append(request_of(streak))
    assert depth(redis_client) == 2


@pytest.mark.parametrize("ahead_seconds", [-3_600, 3_600])
def test_a_clock_of_redis_that_was_set_refuses_no_write(
    ahead_seconds: int, make_intake: MakeIntake, streak: Streak, redis_client: redis.Redis
) -> None:
    intake = make_intake()
    intake.append(request_of(streak))
    (line,) = intake.scripts._opened
    line.ahead_us += ahead_seconds * 1_000_000
    intake.append(request_of(streak))
    assert depth(redis_client) == 2


@pytest.mark.parametrize("answer", [[b"stale", b"1"], [b"full"]])
def test_a_refusal_after_a_try_that_was_not_answered_is_not_believed(answer: list[bytes]) -> None:
    with pytest.raises((Stale, Full)):
        accept.read(answer)
    with pytest.raises(OutcomeUnknown):
        accept.read_doubting(answer)


def test_a_dead_letter_that_a_stopped_redis_was_sent_is_not_replayed_later(
    make_intake: MakeIntake,
    streak: Streak,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redis_scripts, "QUIET_SECONDS", 60.0)
    intake = make_intake(redis_timeout_ms=TIMEOUT_MS)
    intake.resubmit(streak.tenant_id, encode(tick(streak)))
    with stopped(redis_client):
        with pytest.raises(OutcomeUnknown):
            intake.resubmit(streak.tenant_id, encode(tick(streak)))
        time.sleep(TIMEOUT_MS / 1_000)
    assert len(kept(redis_client, streak)) == 1


# -- over HTTP -------------------------------------------------------------------------------

WRITES: dict[str, Any] = {
    "/streaks/record": {"participant_id": "ann", "streak_code": "daily"},
    "/streaks/record/batch": {"ticks": [{"participant_id": "ann", "streak_code": "daily"}]},
    "/badges/award": {"participant_id": "ann", "badge_code": "first"},
    "/badges/award/batch": {"awards": [{"participant_id": "ann", "badge_code": "first"}]},
    "/points/award": {"participant_id": "ann", "amount": 5},
    "/points/deduct": {"participant_id": "ann", "amount": 5},
    "/points/award-batch": {"awards": [{"participant_id": "ann", "amount": 5}]},
    "/tiers/assign": {"participant_id": "ann", "tier_code": "gold"},
}


@pytest.mark.parametrize("path", WRITES)
def test_every_door_says_what_is_not_known_and_keeps_nothing_after_the_deadline(
    path: str,
    app: Flask,
    account: Account,
    settings: Settings,
    engine: Engine,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redis_scripts, "QUIET_SECONDS", 60.0)
    admin = client_of(app, account.keys["live"])
    admin.post(f"{BASE}/streaks", json={"code": "daily", "name": "D"})
    make_badge(engine, account.live.id, "first")
    tier = {"code": "gold", "name": "G", "level": 1, "award_type": "manual"}
    assert admin.post(f"{BASE}/admin/tiers", json=tier).status_code == 201
    with another_app(settings, redis_timeout_ms=TIMEOUT_MS) as short:
        client = client_of(short, account.keys["live"])
        headers = {"Prefer": "respond-async"}
        assert client.post(BASE + path, json=WRITES[path], headers=headers).status_code == 202
        before = depth(redis_client)
        with stopped(redis_client):
            unknown = client.post(BASE + path, json=WRITES[path], headers=headers)
            refused = client.post(BASE + path, json=WRITES[path], headers=headers)
            time.sleep(TIMEOUT_MS / 1_000)
    problem(unknown, 503, "outcome_unknown")
    assert "Idempotency-Key" in unknown.get_json()["detail"]
    assert unknown.headers["Retry-After"] == "1"
    problem(refused, 503, "unavailable")
    assert depth(redis_client) == before


def test_the_same_key_after_an_unknown_outcome_is_one_write(
    app: Flask,
    account: Account,
    settings: Settings,
    pipeline: Pipeline,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redis_scripts, "QUIET_SECONDS", 60.0)
    with Link(target_of(settings.redis_url, 6379)) as link:
        url = through(link, settings.redis_url)
        with another_app(settings, redis_url=url, redis_timeout_ms=3_000) as cut_off:
            client = client_of(cut_off, account.keys["live"])
            body, prefer = {"participant_id": "ann", "amount": 5}, {"Prefer": "respond-async"}
            path = f"{BASE}/points/award"
            assert client.post(path, json=body, headers=prefer).status_code == 202
            keyed = prefer | {"Idempotency-Key": "once"}
            with stopped(pipeline.client):
                cutting = threading.Timer(0.1, link.cut)
                cutting.start()
                problem(client.post(path, json=body, headers=keyed), 503, "outcome_unknown")
                cutting.join()
            link.heal()
            assert wait_until(
                lambda: client.post(path, json=body, headers=keyed).status_code == 202, 10
            )
    pipeline.drain()
    assert count(engine, "point_transactions", account.live.id) == 2


# -- Postgres --------------------------------------------------------------------------------

DIES_AT_COMMIT = """
CREATE TEMPORARY TABLE last (id int) ON COMMIT DROP;
CREATE FUNCTION pg_temp.die() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER dies AFTER INSERT ON last DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION pg_temp.die();
INSERT INTO last VALUES (1);
"""


def test_a_commit_that_postgres_does_not_answer_is_unknown_and_counts_as_away(
    settings: Settings,
) -> None:
    engine = db.engine(settings.database_url, timeout_ms=5_000)
    with pytest.raises(CommitUnknown) as caught, db.transaction(engine) as session:
        session.execute(sa.text(DIES_AT_COMMIT))
    assert isinstance(caught.value, DatabaseUnavailable)
    with suppress(Exception), db.transaction(engine) as session:
        session.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))
        pytest.fail("before the commit it is no commit")
    engine.dispose()
