"""The door: all checks and all appends in one round trip; accepted or not, nothing in between."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient

from models.db import Engine
from models.streaks.states import Streak
from settings import Settings
from tests.conftest import BASE, Account
from tests.integration.batches import count, rows, short, tick
from tests.pipeline import Pipeline
from workers.intake import redis_keys
from workers.intake.client import (
    UNVERSIONED,
    Append,
    Caps,
    Full,
    Idempotency,
    IdempotencyConflict,
    Intake,
    IntakeSettings,
    Stale,
    Unavailable,
    may_be_cached,
    open_intake,
)
from workers.intake.messages import decode
from workers.intake.stream import depth
from workers.runtime.celery_config import DRAIN

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def make_intake(settings: Settings, redis_client: redis.Redis) -> Iterator[Callable[..., Intake]]:
    """Open intakes under other settings."""
    opened: list[Intake] = []

    def make(**values: Any) -> Intake:
        opened.append(open_intake(short(settings, **values).of(IntakeSettings)))
        return opened[-1]

    yield make
    for intake in opened:
        intake.close()
        intake.celery.close()


def request_of(streak: Streak, number: int = 1, **values: Any) -> Append:
    """An append of so many ticks, under the configuration of a tenant that never changed."""
    ticks = [tick(streak, f"user_{nth}") for nth in range(number)]
    return replace(Append(streak.tenant_id, UNVERSIONED, Caps(), ticks), **values)


def kicks(client: redis.Redis) -> int:
    """Drain messages that wait."""
    return int(client.llen(DRAIN))


# -- accepted --------------------------------------------------------------------------------


def test_what_is_accepted_stands_in_the_tenants_stream_in_order(
    make_intake: Callable[..., Intake], streak: Streak, redis_client: redis.Redis
) -> None:
    request = request_of(streak, 5)
    assert make_intake().append(request).ahead == 0
    found: Any = redis_client.xrange(redis_keys.stream(redis_keys.stream_of(streak.tenant_id)))
    assert [decode(fields[b"m"]) for _, fields in found] == list(request.messages)


def test_it_says_how_many_are_ahead(make_intake: Callable[..., Intake], streak: Streak) -> None:
    intake = make_intake()
    assert [intake.append(request_of(streak, 3)).ahead for _ in range(3)] == [0, 3, 6]


def test_kicks_are_coalesced(
    make_intake: Callable[..., Intake], streak: Streak, redis_client: redis.Redis
) -> None:
    intakes = [make_intake() for _ in range(3)]
    for intake in intakes * 5:
        intake.append(request_of(streak))
    assert kicks(redis_client) == 1


def test_a_tick_after_the_drain_has_left_kicks_again(
    make_intake: Callable[..., Intake], streak: Streak, pipeline: Pipeline
) -> None:
    intake = make_intake()
    intake.append(request_of(streak))
    pipeline.drain()
    intake.append(request_of(streak))
    assert kicks(pipeline.client) == 2


def test_a_script_that_redis_forgot_is_loaded_again(
    make_intake: Callable[..., Intake], streak: Streak, redis_client: redis.Redis
) -> None:
    intake = make_intake()
    intake.append(request_of(streak))
    redis_client.script_flush()
    intake.append(request_of(streak))
    assert depth(redis_client) == 2


# -- refused ---------------------------------------------------------------------------------


def test_a_full_intake_takes_all_or_nothing(
    make_intake: Callable[..., Intake], streak: Streak, redis_client: redis.Redis
) -> None:
    intake = make_intake(intake_entries_max=10)
    intake.append(request_of(streak, 8))
    with pytest.raises(Full):
        intake.append(request_of(streak, 3))
    assert depth(redis_client) == 8
    intake.append(request_of(streak, 2))
    with pytest.raises(Full):
        intake.append(request_of(streak))


def test_a_redis_out_of_memory_refuses_and_is_drained_all_the_same(
    make_intake: Callable[..., Intake], streak: Streak, pipeline: Pipeline, engine: Engine
) -> None:
    intake = make_intake()
    pipeline.make_drain().streams.create_groups()
    intake.append(request_of(streak, 4))
    pipeline.client.config_set("maxmemory", "1")
    try:
        with pytest.raises(Full):
            intake.append(request_of(streak, 1))
        pipeline.drain()
    finally:
        pipeline.client.config_set("maxmemory", "0")
    assert count(engine, "ticks", streak.tenant_id) == 4
    intake.append(request_of(streak, 1))
    pipeline.drain()
    assert count(engine, "ticks", streak.tenant_id) == 5


def test_a_redis_that_is_away_is_unavailable(
    make_intake: Callable[..., Intake], streak: Streak
) -> None:
    intake = make_intake(redis_url=NOWHERE)
    with pytest.raises(Unavailable):
        intake.append(request_of(streak))
    with pytest.raises(Unavailable):
        intake.version(streak.tenant_id)
    with pytest.raises(Unavailable):
        intake.ping()
    assert intake.wait("any", 0.1) is None


def test_a_stale_configuration_is_refused_until_it_is_read_again(
    make_intake: Callable[..., Intake], streak: Streak, redis_client: redis.Redis
) -> None:
    intake, other = make_intake(), make_intake()
    tenant_id = streak.tenant_id
    with other.changing([tenant_id]):
        assert not may_be_cached(intake.version(tenant_id))
        with pytest.raises(Stale):
            intake.append(request_of(streak))
        during = intake.version(tenant_id)
        intake.append(request_of(streak, version=during))  # writes go on, checked afresh
    with pytest.raises(Stale):
        intake.append(request_of(streak, version=during))
    after = intake.version(tenant_id)
    assert may_be_cached(after)
    intake.append(request_of(streak, version=after))
    assert depth(redis_client) == 2


def test_a_change_that_fails_leaves_a_version_that_may_be_kept(
    make_intake: Callable[..., Intake], streak: Streak
) -> None:
    intake = make_intake()
    with pytest.raises(ValueError, match="refused"), intake.changing([streak.tenant_id]):
        raise ValueError("refused")
    assert may_be_cached(intake.version(streak.tenant_id))


def test_nothing_is_changed_while_redis_is_away(
    make_intake: Callable[..., Intake], streak: Streak
) -> None:
    with pytest.raises(Unavailable), make_intake(redis_url=NOWHERE).changing([streak.tenant_id]):
        pytest.fail("the block must not run")


# -- the same request again ------------------------------------------------------------------


def test_the_same_key_and_body_give_the_first_tick(
    make_intake: Callable[..., Intake], streak: Streak, redis_client: redis.Redis
) -> None:
    intake, key = make_intake(), Idempotency("k-1", "body")
    first = request_of(streak, idempotency=key)
    assert intake.append(first).known_id is None
    again = intake.append(request_of(streak, idempotency=key))
    assert again.known_id == first.messages[0].id
    with pytest.raises(IdempotencyConflict):
        intake.append(request_of(streak, idempotency=Idempotency("k-1", "another")))
    assert depth(redis_client) == 1


def test_a_refused_request_does_not_use_its_key_up(
    make_intake: Callable[..., Intake], streak: Streak, redis_client: redis.Redis
) -> None:
    key = Idempotency("k-2", "body")
    with pytest.raises(Stale):
        make_intake().append(request_of(streak, version="old", idempotency=key))
    with pytest.raises(Full):
        make_intake(intake_entries_max=0).append(request_of(streak, idempotency=key))
    assert make_intake().append(request_of(streak, idempotency=key)).known_id is None
    assert depth(redis_client) == 1


# -- caps ------------------------------------------------------------------------------------

KEY_ID = UUID(int=7)


def written(intake: Intake, streak: Streak, caps: Caps, *who: str) -> list[str]:
    """The fate of one tick of each: `ok`, or whose cap or status refused it."""
    ticks = [tick(streak, one) for one in who]
    accepted = intake.append(Append(streak.tenant_id, UNVERSIONED, caps, ticks, KEY_ID))
    fates = {place: refusal.reason for place, refusal in accepted.refused.items()}
    return [fates.get(place, "ok") for place in range(len(who))]


@pytest.mark.parametrize("caps", [Caps(participant=30), Caps(key=30), Caps(tenant=30)])
def test_a_cap_is_exact_across_processes(
    make_intake: Callable[..., Intake], streak: Streak, redis_client: redis.Redis, caps: Caps
) -> None:
    intakes = [make_intake() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        fates = pool.map(lambda one: written(one, streak, caps, *["busy"] * 5), intakes * 5)
        accepted = sum(each.count("ok") for each in fates)
    assert accepted == depth(redis_client) == 30


def test_a_participant_over_the_cap_spoils_nobody_elses_tick(
    make_intake: Callable[..., Intake], streak: Streak, redis_client: redis.Redis
) -> None:
    ticks = [tick(streak, who) for who in ("a", "b", "a", "a", "c")]
    accepted = make_intake().append(Append(streak.tenant_id, UNVERSIONED, Caps(2), ticks))
    assert list(accepted.refused) == [3]
    assert accepted.refused[3].reason == "participant"
    assert accepted.rate
    assert (accepted.rate.limit, accepted.rate.remaining) == (2, 0)
    assert 0 < accepted.refused[3].reset_ms <= accepted.rate.reset_ms <= 60_000
    assert depth(redis_client) == 4


def test_what_one_cap_refuses_costs_nothing_of_the_others(
    make_intake: Callable[..., Intake], streak: Streak
) -> None:
    intake = make_intake()
    assert written(intake, streak, Caps(1, 3, 4), "a", "a", "a", "b") == [
        "ok", "participant", "participant", "ok",
    ]  # fmt: skip
    assert written(intake, streak, Caps(1, 3, 4), "c", "d", "d") == ["ok", "key", "key"]
    assert written(intake, streak, Caps(1, 9, 4), "d", "e") == ["ok", "tenant"]
    assert written(intake, streak, Caps(1, 9, 9), "a", "e") == ["participant", "ok"]
    assert written(intake, streak, Caps(2, 1, 1), "e") == ["tenant"]


def test_the_tightest_cap_is_told(make_intake: Callable[..., Intake], streak: Streak) -> None:
    intake = make_intake()

    def told(*caps: int) -> tuple[int, int]:
        request = Append(streak.tenant_id, UNVERSIONED, Caps(*caps), [tick(streak, "a")], KEY_ID)
        rate = intake.append(request).rate
        return (rate.limit, rate.remaining) if rate else (0, 0)

    assert told() == (0, 0)
    assert told(5, 0, 0) == (5, 4)
    assert told(9, 5, 0) == (5, 4)
    assert told(9, 9, 3) == (3, 2)
    assert told(4, 9, 9) == (4, 0)
    assert told(4, 9, 3) == (4, 0)


# -- participants who are not active ---------------------------------------------------------


def test_an_inactive_participant_is_refused_and_charged_nothing(
    make_intake: Callable[..., Intake], streak: Streak, redis_client: redis.Redis
) -> None:
    intake, other = make_intake(), make_intake()
    intake.mark(streak.tenant_id, "gone", is_active=False)
    fates = written(other, streak, Caps(2, 3, 3), "gone", "here", "gone", "a", "gone", "b", "c")
    assert fates == ["inactive", "ok", "inactive", "ok", "inactive", "ok", "tenant"]
    assert depth(redis_client) == 3
    other.mark(streak.tenant_id, "gone", is_active=True)
    assert written(intake, streak, Caps(2), "gone", "gone", "gone") == ["ok", "ok", "participant"]


def test_an_inactive_participant_of_one_tenant_is_nobody_in_another(
    make_intake: Callable[..., Intake], streak: Streak
) -> None:
    intake = make_intake()
    for tenant_id in (streak.tenant_id + 1, streak.tenant_id + redis_keys.STREAM_COUNT):
        intake.mark(tenant_id, "user_42", is_active=False)
    assert written(intake, streak, Caps(), "user_42") == ["ok"]


def test_marking_needs_redis(make_intake: Callable[..., Intake]) -> None:
    with pytest.raises(Unavailable):
        make_intake(redis_url=NOWHERE).mark(1, "user_42", is_active=False)


# -- one period, many callers ----------------------------------------------------------------


def test_of_200_posts_of_one_period_at_once_one_is_the_first(
    app: Flask, account: Account, engine: Engine, pipeline: Pipeline, streak: Streak
) -> None:
    body = {"participant_id": "user_42", "streak_code": "daily"}
    stopping = threading.Event()
    drains = [
        threading.Thread(target=drain.run, args=(60,))
        for drain in (pipeline.make_drain(f"d{nth}", 20, stopping.is_set) for nth in range(2))
    ]

    def post_one(_: int) -> dict[str, Any]:
        client = app.test_client()
        headers = {"X-API-Key": account.keys["live"], "Prefer": "wait=10"}
        answer = client.post(f"{BASE}/streaks/record", json=body, headers=headers)
        assert answer.status_code in (200, 202)
        return answer.get_json()  # type: ignore[no-any-return]

    for drain in drains:
        drain.start()
    try:
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(post_one, range(200)))
    finally:
        stopping.set()
        for drain in drains:
            drain.join()
    pipeline.drain()
    results = [settled(app, account, answer) for answer in answers]
    assert len({result["tick_id"] for result in results}) == 200
    assert [result["already_recorded"] for result in results].count(False) == 1
    assert {result["new_count"] for result in results} == {1}
    found = rows(engine, account.live.id)
    assert found.facts == {"user_42": [1]}
    assert found.events == {"user_42": 200}


def settled(app: Flask, account: Account, answer: dict[str, Any]) -> dict[str, Any]:
    """The result of a tick, asked for if it was not in the answer."""
    if "new_count" in answer:
        return answer
    client: FlaskClient = app.test_client()
    headers = {"X-API-Key": account.keys["live"]}
    found = client.get(answer["status_url"], headers=headers).get_json()
    assert found["status"] == "applied"
    return found["result"]  # type: ignore[no-any-return]
