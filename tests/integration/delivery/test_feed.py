"""The feed: every committed fact once, in one order, whatever commits in between."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from models import clock, ids
from models.db import Connection, Engine, reading, transaction
from models.delivery import facts
from models.delivery.facts import START, FactQuery, FeedCursor
from models.identity.tenants import Tenant
from models.streaks.states import Streak
from tests.calls import client_of, make_badge, make_key, post_award, post_tick, problem
from tests.calls import make_streak as post_streak
from tests.conftest import BASE, Account
from tests.integration.batches import DAY_US, days, make_streak, post, tick
from tests.pipeline import Pipeline
from webhooks import outbox
from webhooks.facts import STREAK_RECORDED, Fact, public_id

PATH = f"{BASE}/facts"
PATIENCE_SECONDS = 60.0  # ends a test that hangs; nothing is measured by it


class RolledBack(Exception):
    """This transaction leaves nothing."""


def write(session: Connection, tenant: Tenant, count: int = 1) -> list[UUID]:
    """Publish facts in a transaction that is not over yet."""
    made = [ids.uuid7(clock.now_us()) for _ in range(count)]
    outbox.publish(
        session,
        [
            Fact(tenant.id, one, 1, nth, STREAK_RECORDED, clock.now_us(), f'{{"id":"{one}"}}')
            for nth, one in enumerate(made, 1)
        ],
        [],
    )
    return made


def perhaps_lose(chance: random.Random) -> None:
    if chance.random() < 0.2:
        raise RolledBack


def read(
    engine: Engine, tenant: Tenant, after: FeedCursor, limit: int
) -> tuple[list[UUID], FeedCursor]:
    with reading(engine) as session:
        page = facts.page(session, tenant.id, after, FactQuery(limit))
    return [UUID(json.loads(body)["id"]) for body in page.bodies], page.cursor


def read_all(engine: Engine, tenant: Tenant, limit: int = 100) -> list[UUID]:
    found, cursor = read(engine, tenant, START, limit)
    while len(found) % limit == 0:
        more, cursor = read(engine, tenant, cursor, limit)
        if not more:
            break
        found += more
    return found


# -- in an order in which nothing turns up behind a reader -----------------------------------


def test_a_fact_waits_for_every_transaction_that_began_before_its_own(
    engine: Engine, account: Account
) -> None:
    tenant = account.live
    with transaction(engine) as slow:
        (first,) = write(slow, tenant)
        with transaction(engine) as quick:
            (second,) = write(quick, tenant)
        assert read_all(engine, tenant) == []  # shown now, the first would turn up behind it
    assert read_all(engine, tenant) == [first, second]


def test_a_transaction_that_is_rolled_back_holds_nothing_back(
    engine: Engine, account: Account
) -> None:
    tenant = account.live
    with pytest.raises(RolledBack), transaction(engine) as lost:
        write(lost, tenant)
        with transaction(engine) as session:
            (kept,) = write(session, tenant)
        raise RolledBack
    assert read_all(engine, tenant) == [kept]


def test_readers_see_each_committed_fact_once_and_in_one_order_while_many_write(
    engine: Engine, account: Account
) -> None:
    """Writers of every length, some rolled back; readers that page while they are at it."""
    tenant = account.live
    committed: list[tuple[int, UUID]] = []  # in the order of the commits
    noting, is_over = threading.Lock(), threading.Event()

    def write_some(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(20):
            try:
                with transaction(engine) as session:
                    made = write(session, tenant, chance.randrange(1, 6))
                    xid = session.execute(sa.text("SELECT pg_current_xact_id()::text")).scalar_one()
                    time.sleep(0.15 if chance.random() < 0.1 else chance.random() * 0.01)
                    perhaps_lose(chance)
            except RolledBack:
                continue
            with noting:
                committed.extend((int(xid), one) for one in made)

    def read_along(limit: int) -> list[UUID]:
        seen: list[UUID] = []
        cursor = START
        while True:
            is_last = is_over.is_set()  # asked before the page is read
            found, cursor = read(engine, tenant, cursor, limit)
            seen += found
            if is_last and not found:
                return seen

    with ThreadPoolExecutor(11) as threads:
        readers = [threads.submit(read_along, limit) for limit in (1, 7, 100)]
        writers = [threads.submit(write_some, seed) for seed in range(8)]
        for writer in writers:
            writer.result(PATIENCE_SECONDS)
        is_over.set()
        seen = [reader.result(PATIENCE_SECONDS) for reader in readers]
    expected = sorted(committed)
    assert committed != expected  # transactions did commit out of order
    assert seen == [[one for _, one in expected]] * 3


# -- over HTTP -------------------------------------------------------------------------------


def get(client: FlaskClient, **query: Any) -> dict[str, Any]:
    response = client.get(PATH, query_string=query)
    assert response.status_code == 200, response.text
    return dict(response.get_json())


@pytest.fixture
def told(client: FlaskClient, pipeline: Pipeline) -> list[str]:
    """Facts of two people, two streaks and a badge; their ids in the order of the feed."""
    for code in ("daily_login", "other"):
        post_streak(client, code)
    make_badge(client)
    for who in ("ann", "bob"):
        post_tick(client, who)
        post_tick(client, who, streak_code="other")
        post_award(client, who)
        pipeline.drain()
    return [one["id"] for one in get(client)["items"]]


def test_the_facts_of_one_batch_come_in_their_sequence(
    client: FlaskClient, pipeline: Pipeline, account: Account
) -> None:
    streak = make_streak(pipeline.engine, account.live.id)
    post(pipeline.client, days(streak, 30))
    pipeline.drain()
    assert [one["sequence"] for one in get(client)["items"]] == list(range(1, 31))


def test_it_pages_through_everything_and_goes_on_from_an_empty_page(
    client: FlaskClient, pipeline: Pipeline, told: list[str]
) -> None:
    assert len(told) == 6
    seen: list[str] = []
    page = get(client, limit=4)
    while page["items"]:
        seen += [one["id"] for one in page["items"]]
        page = get(client, limit=4, after=page["next_cursor"])
    assert seen == told
    post_tick(client, "eve")
    pipeline.drain()
    page = get(client, after=page["next_cursor"])
    assert [one["participant_id"] for one in page["items"]] == ["eve"]


def test_latest_is_the_place_before_what_comes(
    client: FlaskClient, pipeline: Pipeline, told: list[str]
) -> None:
    end = get(client, after="latest")
    assert end["items"] == []
    assert get(client, after=end["next_cursor"])["items"] == []
    post_tick(client, "eve")
    pipeline.drain()
    assert len(get(client, after=end["next_cursor"])["items"]) == 1


def test_an_empty_feed_has_a_cursor_too(client: FlaskClient, pipeline: Pipeline) -> None:
    for query in ({}, {"after": "latest"}):
        page = get(client, **query)
        assert page["items"] == []
        assert get(client, after=page["next_cursor"]) == page


def test_the_bytes_of_a_fact_are_those_that_are_sent(
    client: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account, streak: Streak
) -> None:
    post(pipeline.client, [tick(streak, "„ß“ 🦊", metadata='{"b":1,"a":[1.50,"\\u00e9 é"]}')])
    pipeline.drain()
    with reading(engine) as session:
        statement = sa.text("SELECT body FROM facts WHERE tenant_id = :id")
        body = session.execute(statement, {"id": account.live.id}).scalar_one()
    assert f'{{"items":[{body}],'.encode() in client.get(PATH).data


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"types": "behavior.*"}, 4),
        ({"types": "badge.awarded"}, 2),
        ({"types": "badge.awarded,behavior.streak_recorded"}, 6),
        ({"types": "*"}, 6),
        ({"types": "behavior.streak_broken"}, 0),
        ({"participant_id": "ann"}, 3),
        ({"participant_id": "nobody"}, 0),
        ({"streak_code": "other"}, 2),
        ({"streak_code": "unknown"}, 0),
        ({"participant_id": "ann", "types": "behavior.*", "streak_code": "other"}, 1),
    ],
)
def test_it_filters(
    client: FlaskClient, told: list[str], query: dict[str, str], count: int
) -> None:
    whole = [one["id"] for one in get(client, **query)["items"]]
    assert len(whole) == count
    assert whole == [one for one in told if one in whole]
    seen: list[str] = []
    page = get(client, limit=1, **query)
    while page["items"]:
        seen += [one["id"] for one in page["items"]]
        page = get(client, limit=1, after=page["next_cursor"], **query)
    assert seen == whole


def test_a_filter_goes_on_behind_what_it_looked_at_in_vain(
    client: FlaskClient, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "SCANNED_MAX", 2)
    seen, after = [], None
    for _ in range(4):
        query = {"types": "badge.awarded"} | ({"after": after} if after else {})
        page = get(client, **query)
        seen += page["items"]
        assert page["next_cursor"] != after or page["items"] == []
        after = page["next_cursor"]
    assert len(seen) == 2


def test_an_erased_person_is_in_it_no_more(client: FlaskClient, told: list[str]) -> None:
    page = get(client, limit=2)
    assert client.delete(f"{BASE}/participants/ann").status_code == 200
    rest = get(client, after=page["next_cursor"])["items"]
    assert {one["participant_id"] for one in rest} == {"bob"}
    assert len(get(client)["items"]) == 3


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"after": ""}, "after"),
        ({"after": "x"}, "after"),
        ({"after": "A" * 31}, "after"),
        ({"after": "A" * 33}, "after"),
        ({"after": "A" * 31 + "="}, "after"),
        ({"after": "é" * 32}, "after"),
        ({"after": "f" + "_" * 31}, "after"),  # further than any database has come
        ({"after": "_" * 32}, "after"),
        ({"limit": "0"}, "limit"),
        ({"limit": "501"}, "limit"),
        ({"types": ""}, "types"),
        ({"types": "behavior.*,"}, "types"),
        ({"types": "nope.*"}, "types"),
        ({"types": "*," * 1_000 + "*"}, "types"),
        ({"participant_id": ""}, "participant_id"),
        ({"participant_id": "\x00"}, "participant_id"),
        ({"streak_code": "a b"}, "streak_code"),
    ],
)
def test_it_names_the_parameter_that_cannot_be_used(
    client: FlaskClient, query: dict[str, str], field: str
) -> None:
    problem(client.get(PATH, query_string=query), 422, "validation_error", field)


def test_any_key_of_the_side_reads_it_and_no_other(
    app: Flask,
    engine: Engine,
    account: Account,
    make_account: Callable[..., Account],
    told: list[str],
) -> None:
    mine = client_of(app, make_key(engine, account.live))
    assert [one["id"] for one in get(mine)["items"]] == told
    cursor = get(mine, limit=1)["next_cursor"]
    for key in (account.keys["test"], make_account().keys["live"]):
        assert get(client_of(app, key))["items"] == []
        assert get(client_of(app, key), after=cursor)["items"] == []


def test_facts_of_all_days_are_in_it(client: FlaskClient, engine: Engine, account: Account) -> None:
    """A fact whose day has no partition yet, or has one of its own, is found by the same page."""
    made = []
    for days_ahead in (30, 0, -1, 1):
        one = ids.uuid7(clock.now_us() + days_ahead * DAY_US)
        fact = Fact(account.live.id, one, None, None, STREAK_RECORDED, clock.now_us(), "{}")
        with transaction(engine) as session:
            outbox.publish(session, [fact], [])
        made.append(public_id(one))
    assert len(get(client)["items"]) == len(made)
