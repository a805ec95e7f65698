"""DELETE /participants/{id}: nothing is left of a person, and nothing brings them back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from models import clock, ids
from models.db import Engine, reading, transaction
from models.identity.tenants import Tenant
from models.ledgers import dead_letters, rejections
from models.ledgers.dead_letters import DeadLetter
from models.ledgers.rejections import Rejection
from models.people import erasure
from settings import Settings
from tests.calls import (
    another_app,
    client_of,
    count,
    make_badge,
    make_key,
    make_streak,
    noon,
    post_award,
    post_tick,
    problem,
    revoke,
)
from tests.conftest import BASE, Account
from tests.integration.batches import post
from tests.integration.world import World
from tests.pipeline import Pipeline
from tests.receiver import Answer, Receiver
from workers.intake.messages import TickV1

pytestmark = pytest.mark.promise("P18")

WHO = "erased-7f3a"
OTHER = "stays-91bc"
DONE = {"message": "Participant erased"}


def erase(client: FlaskClient, participant_id: str = WHO) -> Any:
    """DELETE /participants/{id}."""
    return client.delete(f"{BASE}/participants/{quote(participant_id, safe='')}")


# -- everywhere ------------------------------------------------------------------------------


def test_nothing_names_the_person_and_nobody_else_is_touched(
    client: FlaskClient, engine: Engine, pipeline: Pipeline, world: World, receiver: Receiver
) -> None:
    for who in (WHO, OTHER):
        live(client, pipeline, who)
    world.subscribe(receiver.url)
    world.subscribe(f"{receiver.url}/failing")
    receiver.reply = lambda request: Answer(500 if "failing" in request.path else 200)
    for who in (WHO, OTHER):
        post_tick(client, who, timestamp=noon(1))
    pipeline.drain()
    world.deliver()
    for who in (WHO, OTHER):
        post_tick(client, who, timestamp=noon(2))
        keep_leftovers(engine, world.tenant, who)
    pipeline.drain()
    suspend(client, WHO)

    mine, others = names_of(engine, world.tenant, WHO), names_of(engine, world.tenant, OTHER)
    before = mentions(engine, others)
    assert sorted(mentions(engine, mine)) == sorted(before) == [
        "attempts", "awards", "dead_letters", "deliveries", "facts", "participant_badges",
        "participant_programs", "participants", "rejections", "streak_deadlines", "streak_states",
        "ticks",
    ]  # fmt: skip
    assert is_in_redis(pipeline.client, WHO)

    assert (erase(client).status_code, erase(client).status_code) == (200, 404)

    assert mentions(engine, mine) == {}
    assert not is_in_redis(pipeline.client, WHO)
    assert mentions(engine, others) == before


def live(client: FlaskClient, pipeline: Pipeline, who: str) -> None:
    """A profile, an enrolment, a tick and a badge, all before there is any destination."""
    if not client.get(f"{BASE}/streaks").get_json()["total"]:
        make_streak(client)
        make_badge(client)
    program = client.post(f"{BASE}/admin/programs", json={"name": "Loyalty"}).get_json()
    body = {"external_id": who, "program_id": program["id"], "attributes": {"email": f"{who}@x"}}
    assert client.post("/v1/participants", json=body).status_code == 201
    assert post_tick(client, who, metadata={"note": who}).status_code == 202
    assert post_award(client, who).status_code == 202
    pipeline.drain()


def keep_leftovers(engine: Engine, tenant: Tenant, who: str) -> None:
    """A write that their status refused, and one that could not be applied."""
    letter = DeadLetter(tenant.id, uuid4(), "tick", who, f'["tick.1","{who}"]', "error", 5)
    with transaction(engine) as session:
        person_id = internal_id(session, tenant, who)
        write_id = str(ids.uuid7(clock.now_us()))
        rejections.append(session, [Rejection(tenant.id, write_id, person_id, "x")])
        dead_letters.append(session, letter)


def suspend(client: FlaskClient, who: str) -> None:
    """Their writes are refused from now on, at the door already."""
    body = {"external_id": who, "status": "SUSPENDED"}
    assert client.post("/v1/participants", json=body).status_code == 200
    problem(post_tick(client, who), 409, "participant_inactive")


def internal_id(session: sa.Connection, tenant: Tenant, who: str) -> int:
    """The number of a participant."""
    statement = sa.text("SELECT id FROM participants WHERE tenant_id = :t AND external_id = :who")
    return int(session.execute(statement, {"t": tenant.id, "who": who}).scalar_one())


def names_of(engine: Engine, tenant: Tenant, who: str) -> tuple[int, list[str]]:
    """A person's number, and every text that stands for them: their id and those of their rows."""
    with reading(engine) as session:
        person_id = internal_id(session, tenant, who)
        texts = [who]
        for table in ("ticks", "awards", "facts", "rejections"):
            statement = f"SELECT id::text FROM {table} WHERE tenant_id = :t AND participant_id = :p"
            found = session.execute(sa.text(statement), {"t": tenant.id, "p": person_id})
            texts += found.scalars()
    assert len(texts) > 8
    return person_id, texts


_TABLES = sa.text("""
SELECT c.relname, EXISTS (
  SELECT FROM information_schema.columns f
  WHERE f.table_schema = 'public' AND f.table_name = c.relname
    AND f.column_name = 'participant_id' AND f.data_type = 'bigint') AS has_number
FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace
  AND c.relkind IN ('r', 'p') AND NOT c.relispartition
""")


def mentions(engine: Engine, names: tuple[int, list[str]]) -> dict[str, int]:
    """How many rows of each table name a person: in any column, of any table there ever is."""
    person_id, texts = names
    found = {}
    with reading(engine) as session:
        for table, has_number in session.execute(_TABLES).all():
            by_number = "OR t.participant_id = :person_id" if has_number else ""
            rows = session.execute(
                sa.text(
                    f"SELECT count(*) FROM {table} t"
                    f" WHERE t::text LIKE ANY(CAST(:patterns AS text[])) {by_number}"
                ),
                {"patterns": [f"%{text}%" for text in texts], "person_id": person_id},
            ).scalar_one()
            if rows:
                found[table] = rows
    return found


def is_in_redis(client: redis.Redis, text: str) -> bool:
    """Whether any key, or anything under one, holds a text."""
    return any(text.encode() in one for one in _all_of_redis(client))


def _all_of_redis(client: redis.Redis) -> Iterator[bytes]:
    readers: dict[bytes, Callable[[bytes], Any]] = {
        b"string": client.get,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1),
        b"hash": client.hgetall,
        b"stream": client.xrange,
    }
    keys: Any = client.scan_iter()
    for key in keys:
        kind: Any = client.type(key)
        yield key + repr(readers[kind](key)).encode()


def test_the_other_mode_keeps_the_person_of_the_same_id(
    app: Flask, client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    sandbox = client_of(app, account.keys["test"])
    for each in (client, sandbox):
        make_streak(each)
        post_tick(each, WHO)
    pipeline.drain()
    assert erase(client).get_json() == DONE
    assert count(engine, "participants", account.live) == 0
    assert count(engine, "ticks", account.sides["test"]) == 1
    problem(erase(client), 404, "participant_not_found")


@pytest.mark.parametrize("who", ["a/b", "x/streaks", "a/streaks/b/history", "//", "é ü?#%2F"])
def test_any_id_can_be_erased(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline, who: str
) -> None:
    make_streak(client)
    post_tick(client, who)
    pipeline.drain()
    assert erase(client, who).get_json() == DONE
    assert count(engine, "participants", account.live) == 0


# -- late writes -----------------------------------------------------------------------------


def test_a_later_tick_starts_afresh(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    make_streak(client)
    for days_ago in (2, 1, 0):
        post_tick(client, WHO, timestamp=noon(days_ago))
    pipeline.drain()
    assert erase(client).get_json() == DONE
    tick_id = post_tick(client, WHO).get_json()["tick_id"]
    pipeline.drain()
    result = client.get(f"{BASE}/ticks/{tick_id}").get_json()["result"]
    assert (result["new_count"], result["longest_count"], result["outcome"]) == (1, 1, "started")
    with reading(engine) as session:
        row = session.execute(
            sa.text(
                "SELECT p.total_events, p.fact_sequence, p.first_seen_at = p.last_seen_at AS fresh,"
                " p.erased_at < p.last_seen_at AS later, f.sequence"
                " FROM participants p JOIN facts f ON f.participant_id = p.id"
                " WHERE p.tenant_id = :t"
            ),
            {"t": account.live.id},
        ).one()
    assert tuple(row) == (1, 1, True, True, 1)


@pytest.mark.parametrize("was_known", [True, False])
def test_what_was_accepted_before_is_not_applied_after(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline, was_known: bool
) -> None:
    make_streak(client)
    make_badge(client)
    if was_known:
        post_tick(client, WHO)
        pipeline.drain()
    tick_id = post_tick(client, WHO).get_json()["tick_id"]
    award_id = post_award(client, WHO).get_json()["award_id"]
    assert erase(client).status_code == (200 if was_known else 404)
    pipeline.drain()
    for url in (f"{BASE}/ticks/{tick_id}", f"{BASE}/awards/{award_id}"):
        document = client.get(url).get_json()
        assert (document["status"], document["code"]) == ("rejected", "participant_erased")
    for table in ("participants", "ticks", "awards", "facts", "participant_badges"):
        assert count(engine, table, account.live) == 0
    assert not is_in_redis(pipeline.client, WHO)


def test_what_was_accepted_before_is_not_applied_beside_what_came_after(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    make_streak(client)
    before = post_tick(client, WHO, timestamp=noon(1)).get_json()["tick_id"]
    erase(client)
    after = post_tick(client, WHO, timestamp=noon(0)).get_json()["tick_id"]
    pipeline.drain()
    found = [client.get(f"{BASE}/ticks/{one}").get_json() for one in (before, after)]
    assert [one["status"] for one in found] == ["rejected", "applied"]
    assert found[1]["result"]["new_count"] == 1
    assert count(engine, "ticks", account.live) == 1


def test_a_profile_made_anew_does_not_let_in_what_was_accepted_before(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    make_streak(client)
    tick_id = post_tick(client, WHO).get_json()["tick_id"]
    erase(client)
    created = client.post(f"{BASE}/participants", json={"participant_id": WHO})
    assert created.status_code == 201
    pipeline.drain()
    assert client.get(f"{BASE}/ticks/{tick_id}").get_json()["status"] == "rejected"
    assert count(engine, "ticks", account.live) == 0


# -- who may, and for how long ---------------------------------------------------------------


def test_any_valid_key_may_erase_and_a_revoked_one_may_not_anywhere(
    app: Flask, client: FlaskClient, settings: Settings, engine: Engine, account: Account,
    pipeline: Pipeline,
) -> None:  # fmt: skip
    make_streak(client)
    post_tick(client, WHO)
    pipeline.drain()
    key = make_key(engine, account.live)
    with another_app(settings) as other:
        elsewhere = client_of(other, key)
        problem(erase(elsewhere, "nobody"), 404, "participant_not_found")
        revoke(app, account.live, key)
        problem(erase(elsewhere), 401, "unauthorized")
    assert count(engine, "participants", account.live) == 1
    assert erase(client_of(app, make_key(engine, account.live))).get_json() == DONE


def test_an_id_that_cannot_be_one_leaves_no_tombstone(
    client: FlaskClient, engine: Engine, account: Account
) -> None:
    problem(erase(client, "x" * 256), 422, "validation_error", "participant_id")
    assert count(engine, "erasures", account.live) == 0


def test_more_erasures_than_may_wait_are_put_off(client: FlaskClient) -> None:
    with ExitStack() as others:
        slots = client.application.extensions["unbroken"].slots
        while others.enter_context(slots.erasures.slot()):
            pass
        response = erase(client)
    problem(response, 503, "unavailable")
    assert response.headers["Retry-After"]
    problem(erase(client), 404, "participant_not_found")


def test_a_tombstone_keeps_no_name_and_its_latest_instant_and_is_forgotten_in_time(
    client: FlaskClient, engine: Engine, account: Account
) -> None:
    secret = account.live.tick_secret
    assert erasure.digest(secret, WHO) != erasure.digest(account.sides["test"].tick_secret, WHO)
    instants = []
    for _ in range(2):
        erase(client)
        with reading(engine) as session:
            instants.append(erasure.last(session, account.live, WHO))
            assert erasure.last(session, account.live, OTHER) is None
            assert erasure.last(session, account.sides["test"], WHO) is None
    first, second = instants
    assert first is not None and second is not None and first < second
    assert count(engine, "erasures", account.live) == 1
    for before, is_kept in ((second, 1), (second + timedelta(microseconds=1), 0)):
        with transaction(engine) as session:
            erasure.purge(session, before)
        assert count(engine, "erasures", account.live) == is_kept


def test_an_applied_tick_is_no_longer_known_once_its_participant_is_erased(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    mine, others = post_tick(client, WHO).get_json(), post_tick(client, OTHER).get_json()
    pipeline.drain()
    erase(client)
    problem(client.get(mine["status_url"]), 404, "tick_not_found")
    assert client.get(others["status_url"]).get_json()["status"] == "applied"


def test_poison_from_before_an_erasure_is_not_kept(
    client: FlaskClient, engine: Engine, settings: Settings, pipeline: Pipeline, account: Account
) -> None:
    make_streak(client)
    now = clock.now_us()
    poisons = [
        TickV1(account.live.id, str(ids.uuid7(now)), who, 2**31 - 1, now) for who in (WHO, OTHER)
    ]
    erase(client)
    post(pipeline.client, poisons)
    pipeline.drain()
    with reading(engine) as session:
        statement = sa.text("SELECT participant_id FROM dead_letters WHERE tenant_id = :id")
        rows = session.execute(statement, {"id": account.live.id})
        assert [row.participant_id for row in rows] == [OTHER]
