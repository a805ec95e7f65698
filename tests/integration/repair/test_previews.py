"""`?preview=true`: the result that a change of a streak would have, and nothing is written."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.http.problems import CODES
from models.db import Engine, reading, transaction
from tests.calls import client_of, make_key, make_streak, post_tick, problem
from tests.conftest import BASE, Account
from tests.integration.earning import award_points, facts_of
from tests.integration.mending import WHO, day, of, record_days, streak_of
from tests.pipeline import Pipeline

_IDS = {"streak_change_id", "pause_id", "transaction_id"}  # given when a change is accepted
Send = Callable[[str], TestResponse]  # with the query


def rows(engine: Engine) -> dict[str, tuple[int, ...]]:
    """How many rows each table has, and a sum that changes when one of them is written."""
    with reading(engine) as session:
        names = session.execute(sa.text(_TABLES)).scalars().all()
        text = "SELECT count(*), COALESCE(sum(xmin::text::bigint), 0) FROM "
        return {name: tuple(session.execute(sa.text(text + name)).one()) for name in names}


_TABLES = """SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition
    AND relnamespace = 'public'::regnamespace ORDER BY relname"""


def keys(client: redis.Redis) -> dict[bytes | str, Any]:
    """Every key of Redis with its content."""
    return {name: client.dump(name) for name in sorted(client.keys("*"))}


def plain(value: Any) -> Any:
    """A value without the ids that a change gets when it is accepted."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items() if name not in _IDS}
    return [plain(item) for item in value] if isinstance(value, list) else value


def restore(client: FlaskClient, query: str = "") -> TestResponse:
    """POST a restore."""
    return client.post(f"{of()}/restore{query}", json={"reason": "Our outage"})


def test_a_preview_says_what_a_restore_would_do_and_send(
    client: FlaskClient, pipeline: Pipeline, engine: Engine
) -> None:
    make_streak(client)
    record_days(client, pipeline, 5, 4, 1, 0)
    answered = restore(client, "?preview=true")
    assert answered.status_code == 200, answered.text
    assert answered.get_json() == {
        "result": {
            "kind": "restore", "participant_id": WHO, "streak_code": "daily_login",
            "reason": "Our outage", "periods": [day(3), day(2)], "as": "protected",
            "streaks": [{"streak_code": "daily_login", "count": 4, "previous_count": 2,
                         "longest_count": 4}],
        },
        "facts": [{
            "type": "behavior.streak_repaired",
            "payload": {"streak_code": "daily_login", "count": 4, "previous_count": 2,
                        "longest_count": 4, "period": "daily", "cause": "restore",
                        "reason": "Our outage", "corrects": None},
        }],
    }  # fmt: skip
    assert streak_of(client)["current_count"] == 2


def test_a_preview_writes_nothing_and_queues_nothing(
    client: FlaskClient, pipeline: Pipeline, engine: Engine, redis_client: redis.Redis
) -> None:
    target = {"kind": "value", "amount": 10}
    make_streak(client)
    make_streak(client, "steps", target=target)
    [tick_id, _] = record_days(client, pipeline, 3, 0)
    post_tick(client, streak_code="steps", value=10)
    pipeline.drain()
    before, kept = rows(engine), keys(redis_client)
    for send in (*changes(client, random.Random(1), [tick_id], []), *unknown_people(client)):
        assert send("?preview=true").status_code in (200, 404, 409)
    steps = f"{of(code='steps')}/periods/{day(0)}"
    assert client.delete(f"{steps}?preview=true").status_code == 200
    assert rows(engine) == before
    assert keys(redis_client) == kept


def unknown_people(client: FlaskClient) -> list[Send]:
    """Changes of a participant that does not exist yet."""
    span = {"from": day(2), "to": day(1)}
    return [
        lambda query: client.post(f"{BASE}/participants/new/pauses{query}", json=span),
        lambda query: client.post(f"{of('new')}/freezes/grant{query}", json={"amount": 1}),
        lambda query: client.post(f"{of('new')}/restore{query}", json={}),
    ]


@pytest.mark.parametrize("seed", range(6))
def test_a_preview_says_exactly_what_then_happens(
    client: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account, seed: int
) -> None:
    """Over random sequences of ticks and changes: results, facts and refusals alike."""
    chance = random.Random(seed)
    freezes = {"initial": 1, "earn_every": 3, "max": 2, "price_points": 5}
    make_streak(client, grace_periods=chance.randrange(2), freezes=freezes)
    make_streak(client, "workouts", period="weekly", target={"kind": "ticks", "amount": 2})
    award_points(client, 12, WHO)
    ticks, pauses = record_days(client, pipeline, 9), list[str]()
    outcomes = set()
    for _ in range(14):
        ticks += record_days(client, pipeline, chance.randrange(10))
        post_tick(client, streak_code="workouts")
        pipeline.drain()
        send = chance.choice(changes(client, chance, ticks, pauses))
        outcomes.add(assert_alike(send, client, pipeline, engine, account, pauses))
    assert outcomes == {"applied", "rejected"}


def changes(
    client: FlaskClient, chance: random.Random, ticks: list[str], pauses: list[str]
) -> list[Send]:
    """Every sort of change, of some days."""
    first = chance.randrange(10)
    span = {"from": day(first), "to": day(max(first - chance.randrange(3), -1))}
    repaired = span | {"as": chance.choice(["protected", "recorded"])}
    tick_id = chance.choice(ticks)
    person = f"{BASE}/participants/{WHO}"
    found: list[Send] = [
        lambda query: client.post(f"{person}/pauses{query}", json=span),
        lambda query: client.post(f"{of()}/repair{query}", json=repaired),
        lambda query: restore(client, query),
        lambda query: client.delete(f"{BASE}/ticks/{tick_id}{query}"),
        lambda query: client.delete(f"{of()}/periods/{day(first)}{query}"),
        lambda query: client.post(f"{of()}/freezes/grant{query}", json={"amount": 2}),
        lambda query: client.post(f"{of()}/freezes/buy{query}", json={"amount": 1}),
    ]
    if pauses:
        pause_id = chance.choice(pauses)
        found.append(lambda query: client.delete(f"{person}/pauses/{pause_id}{query}"))
    return found


def assert_alike(
    send: Send,
    client: FlaskClient,
    pipeline: Pipeline,
    engine: Engine,
    account: Account,
    pauses: list[str],
) -> str:
    """Preview a change, make it, and compare; return what became of it."""
    previewed, known = send("?preview=true"), facts_of(engine, account.live.id)
    accepted = send("")
    if accepted.status_code == 404:  # a pause that is removed already
        problem(previewed, 404, accepted.get_json()["code"])
        return "rejected"
    assert accepted.status_code == 202, accepted.text
    pipeline.drain()
    became = client.get(accepted.get_json()["status_url"]).get_json()
    if became["status"] == "rejected":
        status = CODES[became["code"]][0]
        assert problem(previewed, status, became["code"])["detail"] == became["detail"]
        return "rejected"
    assert previewed.status_code == 200, (previewed.text, became)
    assert plain(previewed.get_json()["result"]) == plain(became["result"])
    sent = [fact for fact in facts_of(engine, account.live.id) if fact not in known]
    told = [{"type": fact["type"], "payload": fact["payload"]} for fact in sent]
    assert plain(previewed.get_json()["facts"]) == plain(told)
    if became["result"]["kind"] == "pause":
        pauses.append(became["result"]["pause_id"])
    return str(became["status"])


def test_a_preview_of_a_suspended_participant_is_refused_alike(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    record_days(client, pipeline, 2, 0)
    body = {"external_id": WHO, "status": "SUSPENDED"}
    assert client.post("/v1/participants", json=body).status_code == 200
    problem(restore(client, "?preview=true"), 409, "participant_inactive")


def test_a_preview_asks_for_the_same_scope_and_body(
    app: Flask, client: FlaskClient, account: Account, pipeline: Pipeline, engine: Engine
) -> None:
    make_streak(client)
    record_days(client, pipeline, 2, 0)
    participant = client_of(app, make_key(engine, account.live))
    problem(restore(participant, "?preview=true"), 403, "forbidden")
    problem(restore(client, "?preview=maybe"), 422, "validation_error", "preview")
    amount = {"amount": 0}
    answered = client.post(f"{of()}/freezes/grant?preview=true", json=amount)
    problem(answered, 422, "validation_error", "amount")


def test_a_preview_shows_nothing_of_the_other_side(
    app: Flask, client: FlaskClient, account: Account, pipeline: Pipeline
) -> None:
    make_streak(client)
    [tick_id, _] = record_days(client, pipeline, 2, 0)
    sandbox = client_of(app, account.keys["test"])
    problem(restore(sandbox, "?preview=true"), 404, "streak_not_found")
    make_streak(sandbox)
    problem(restore(sandbox, "?preview=true"), 409, "streak_not_started")
    problem(sandbox.delete(f"{BASE}/ticks/{tick_id}?preview=true"), 404, "tick_not_found")


def test_a_preview_does_not_wait_for_a_drain_nor_a_drain_for_it(
    client: FlaskClient, pipeline: Pipeline, engine: Engine
) -> None:
    make_streak(client)
    record_days(client, pipeline, 2, 0)
    with transaction(engine) as session:  # as a drain that holds the participant
        session.execute(sa.text("SELECT FROM participants FOR UPDATE"))
        assert restore(client, "?preview=true").status_code == 200


def test_a_batch_has_no_preview(client: FlaskClient) -> None:
    body = json.dumps({"restores": [{"participant_id": WHO, "streak_code": "daily_login"}]})
    url = f"{BASE}/restores/batch?preview=true"
    answered = client.post(url, data=body, content_type="application/json")
    problem(answered, 422, "unknown_field", "preview")


def test_an_alias_is_previewed_as_its_survivor(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    record_days(client, pipeline, 3, 0)
    record_days(client, pipeline, 3, who="guest")
    accepted = client.post(f"{BASE}/participants/{WHO}/merge", json={"from": "guest"})
    assert accepted.status_code == 202, accepted.text
    pipeline.drain()
    answered = client.post(f"{of('guest')}/restore?preview=true", json={})
    assert answered.status_code == 200, answered.text
    result = answered.get_json()["result"]
    assert (result["participant_id"], result["streaks"][0]["count"]) == (WHO, 2)


def test_a_merge_has_no_preview(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    record_days(client, pipeline, 2)
    record_days(client, pipeline, 1, who="guest")
    merge = f"{BASE}/participants/{WHO}/merge?preview=true"
    problem(client.post(merge, json={"from": "guest"}), 422, "unknown_field", "preview")
    assert streak_of(client, "guest")["current_count"] == 1
