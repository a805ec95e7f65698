"""`unbroken trace`: the way of a write to its deliveries, and what is not known of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
import redis
import sqlalchemy as sa
from click.testing import CliRunner, Result
from flask.testing import FlaskClient

from api.cli.main import main
from models import clock, ids
from models.db import Engine, transaction
from models.streaks.states import Streak
from settings import Settings
from tests.calls import post_tick
from tests.conftest import BASE, Account
from tests.pipeline import Pipeline
from tests.receiver import Answer, Receiver

Run = Callable[..., Result]


@pytest.fixture
def run(settings: Settings, engine: Engine, redis_client: redis.Redis) -> Run:
    env = {"DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url}
    return lambda *arguments: CliRunner().invoke(main, ["trace", *arguments], env=env)


def traced(run: Run, write_id: str) -> dict[str, Any]:
    done = run(write_id, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.output)
    return found


def names(found: dict[str, Any]) -> list[str]:
    return [step["step"] for step in found["steps"]]


def tick(client: FlaskClient, streak: Streak, participant: str = "Zq7-person") -> str:
    answered = post_tick(client, participant, streak_code=streak.code)
    assert answered.json
    return str(answered.json["tick_id"])


def test_a_tick_is_followed_to_its_receiver(
    run: Run, client: FlaskClient, streak: Streak, pipeline: Pipeline, account: Account
) -> None:
    answers = iter([Answer(status=500)])
    with Receiver(reply=lambda _: next(answers, Answer(status=200))) as receiver:
        body = {"url": receiver.url, "event_types": ["*"]}
        assert client.post(f"{BASE}/admin/webhooks", json=body).status_code == 201
        tick_id = tick(client, streak)
        waiting = traced(run, tick_id)
        assert (waiting["status"], names(waiting)) == ("queued", ["accepted", "queued"])
        assert "not read by a drain yet" in waiting["steps"][1]["detail"]
        pipeline.drain()
        pipeline.deliver()
    found = traced(run, tick_id)
    assert (found["kind"], found["tenant"], found["mode"]) == ("tick", account.slug, "live")
    assert found["status"] == "applied"
    assert names(found) == ["accepted", "applied", "fact", "attempt", "delivery"]
    assert "outcome started" in found["steps"][1]["detail"]
    assert found["steps"][3]["detail"].startswith("500 in ")
    assert found["steps"][4]["detail"].startswith("pending after 1 attempts")
    times = [step["at"] for step in found["steps"] if step["at"]]
    assert times == sorted(times) and len(times) == 4
    text = run(tick_id).output
    assert "behavior.streak_recorded evt_" in text and "Zq7-person" not in text
    assert tick_id[:18] in text


def test_a_repeat_says_that_it_told_nothing(
    run: Run, client: FlaskClient, streak: Streak, pipeline: Pipeline
) -> None:
    tick(client, streak)
    again = tick(client, streak)
    pipeline.drain()
    found = traced(run, again)
    assert names(found) == ["accepted", "applied", "unknown"]
    assert "changed nothing" in found["steps"][2]["detail"]


def test_awards_and_points_are_followed_and_a_refusal_says_why(
    run: Run, client: FlaskClient, pipeline: Pipeline
) -> None:
    badge = {"code": "b", "name": "B"}
    assert client.post(f"{BASE}/admin/badges", json=badge).status_code == 201
    award = client.post(f"{BASE}/badges/award", json={"participant_id": "p", "badge_code": "b"})
    points = client.post(f"{BASE}/points/award", json={"participant_id": "p", "amount": 5})
    deduct = client.post(f"{BASE}/points/deduct", json={"participant_id": "p", "amount": 9})
    pipeline.drain()
    for answered, field, kind in (
        (award, "award_id", "award"),
        (points, "transaction_id", "transaction"),
    ):
        assert answered.json, answered.text
        found = traced(run, answered.json[field])
        assert (found["kind"], names(found)) == (kind, ["accepted", "applied", "fact"])
    assert deduct.json
    found = traced(run, deduct.json["transaction_id"])
    assert (found["status"], names(found)) == ("rejected", ["accepted", "rejected"])
    assert found["steps"][1]["detail"].startswith("insufficient_points")


def test_a_dead_letter_an_erasure_and_what_is_too_old_are_told_apart(
    run: Run,
    client: FlaskClient,
    streak: Streak,
    pipeline: Pipeline,
    account: Account,
    engine: Engine,
) -> None:
    erased = tick(client, streak, "erased")
    pipeline.drain()
    assert client.delete(f"{BASE}/participants/erased").status_code in (200, 202, 204)
    found = traced(run, erased)
    assert (found["status"], names(found)) == ("gone", ["accepted", "unknown"])
    secret = account.live.tick_secret
    old = str(next(ids.issue(clock.now_us() - 500 * 86_400_000_000, secret)))
    assert traced(run, old)["status"] == "past_retention"
    dead = str(next(ids.issue(clock.now_us(), secret)))
    with transaction(engine) as session:
        session.execute(
            sa.text(
                "INSERT INTO dead_letters (tenant_id, id, kind, message, error, tries)"
                " VALUES (:tenant_id, :id, 'tick', 'm', 'e', 5)"
            ),
            {"tenant_id": account.live.id, "id": UUID(dead)},
        )
    found = traced(run, dead)
    assert (found["status"], names(found)) == ("dead", ["accepted", "dead_letter"])


def test_an_id_of_nobody_is_said_to_be_one(run: Run) -> None:
    done = run(str(ids.uuid7(clock.now_us())))
    assert done.exit_code != 0
    assert "no tenant was given the id" in done.output
    assert run("nonsense").exit_code == 2
