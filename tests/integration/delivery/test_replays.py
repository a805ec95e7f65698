"""A range of facts sent again: all of it, or only what is missing."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from models import clock
from models.db import transaction
from models.delivery import replays as table
from models.delivery.replays import RUNNING_MAX
from tests.calls import client_of, make_key, problem
from tests.conftest import Account
from tests.integration.batches import PATIENCE_SECONDS
from tests.integration.sending_again import LONG_AGO, NOBODY, due, ids_of, now_of, path, replay
from tests.integration.world import World, always
from tests.receiver import Answer, Receiver
from webhooks.facts import public_id
from workers.maintenance import replays
from workers.runtime.context import Context

# -- a range ---------------------------------------------------------------------------------


def test_a_new_destination_gets_everything_that_was_before_it(
    world: World,
    receiver: Receiver,
    client: FlaskClient,
    context: Context,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replays, "PORTION", 7)
    published = world.publish(30)
    mine, secret = world.subscribe(receiver.url)
    receiver.trust(secret)
    made = replay(client, mine)
    assert made == {
        "id": made["id"],
        "webhook_id": str(mine),
        "status": "running",
        "since": LONG_AGO["since"],
        "until": made["created_at"],
        "event_types": None,
        "only_missing": True,
        "seen": 0,
        "queued": 0,
        "position_at": None,
        "created_at": made["created_at"],
        "finished_at": None,
    }
    assert now_of(client, made) == made
    replays.run(context)
    done = now_of(client, made)
    assert (done["status"], done["seen"], done["queued"]) == ("done", 30, 30)
    assert done["finished_at"] >= done["created_at"] > done["position_at"]
    assert world.deliver() == 30
    assert receiver.bodies() == {public_id(one.id): {one.body.encode()} for one in published}
    assert not receiver.invalid


def test_only_what_is_missing_is_sent_again(
    world: World, receiver: Receiver, client: FlaskClient, context: Context
) -> None:
    mine, _ = world.subscribe(receiver.url)
    delivered = world.publish(3)
    world.deliver()
    receiver.reply = always(Answer(500))
    dead = world.publish(2)
    with transaction(world.engine) as session:
        session.execute(
            sa.text("UPDATE deliveries SET attempts = 9 WHERE status = 'pending'"),
        )
    world.deliver()
    world.change(mine, is_enabled=False)
    missed = world.publish(4)
    world.change(mine, is_enabled=True)
    waiting = world.publish(2)
    made = replay(client, mine)
    replays.run(context)
    done = now_of(client, made)
    assert (done["status"], done["seen"], done["queued"]) == ("done", 11, 6)
    assert due(world, mine) == ids_of(dead + missed + waiting)
    receiver.reply = None
    world.deliver()
    assert world.statuses() == ["delivered"] * 11
    again = replay(client, mine)
    replays.run(context)
    assert now_of(client, again)["queued"] == 0
    everything = replay(client, mine, only_missing=False)
    replays.run(context)
    assert now_of(client, everything)["queued"] == 11
    assert due(world, mine) == ids_of(delivered + dead + missed + waiting)


def test_a_replay_keeps_to_types_subscription_and_range(
    world: World, client: FlaskClient, context: Context
) -> None:
    before = world.publish(2)
    streaks = world.publish(2)
    badges = world.publish(2, "badge.awarded")
    broken = world.publish(2, "behavior.streak_broken")
    after = world.publish(2)
    mine, _ = world.subscribe("https://example.invalid/hook", ["behavior.*", "badge.*"])
    range_ = {
        "since": clock.to_text(streaks[0].occurred_us),
        "until": clock.to_text(after[0].occurred_us),
    }
    for types, expected in (
        (["behavior.streak_broken"], broken),
        (["badge.*", "behavior.streak_broken"], badges),  # the others wait already
        (None, streaks),
    ):
        known = set(due(world, mine))
        made = replay(client, mine, event_types=types, **range_)
        replays.run(context)
        assert now_of(client, made)["seen"] == 6
        assert set(due(world, mine)) - known == set(ids_of(expected))
    world.change(mine, event_types=["badge.*"])
    made = replay(client, mine)
    replays.run(context)
    assert (now_of(client, made)["seen"], now_of(client, made)["queued"]) == (10, 0)
    assert not set(ids_of(before + after)) & set(due(world, mine))


def test_a_replay_keeps_to_the_streaks_that_a_destination_wants(
    world: World, client: FlaskClient, context: Context
) -> None:
    published = world.publish(3)
    with transaction(world.engine) as session:
        session.execute(
            sa.text("UPDATE facts SET streak_code = CASE WHEN id = :id THEN 'a' ELSE 'b' END"
                    " WHERE tenant_id = :tenant_id"),
            {"id": published[1].id, "tenant_id": world.tenant.id},
        )  # fmt: skip
    mine, _ = world.subscribe("https://example.invalid/hook")
    world.change(mine, streak_codes=["a"])
    replay(client, mine)
    replays.run(context)
    assert due(world, mine) == [published[1].id]


def test_facts_of_today_do_not_stand_behind_the_whole_past(
    world: World, receiver: Receiver, client: FlaskClient, context: Context,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(replays, "PORTION", 5)
    monkeypatch.setattr(replays, "PENDING_MAX", 12)
    published = world.publish(40)
    mine, _ = world.subscribe(receiver.url)
    made = replay(client, mine)
    most = 0
    while now_of(client, made)["status"] == "running":
        replays.run(context)
        most = max(most, len(due(world, mine)))
        world.deliver()
    assert 5 <= most <= 12
    assert receiver.bodies().keys() == {public_id(one.id) for one in published}
    assert receiver.count == 40


def test_it_waits_for_transactions_that_were_under_way_when_it_was_asked_for(
    world: World, client: FlaskClient, context: Context
) -> None:
    """One of them may have read that the destination wants nothing, and commit a fact all the
    same: a replay that had passed by then would leave it out for ever."""
    mine, _ = world.subscribe("https://example.invalid/hook")
    world.change(mine, is_enabled=False)
    with transaction(world.engine) as late:
        late.execute(sa.text("SELECT pg_current_xact_id()"))
        world.publish(2)
        world.change(mine, is_enabled=True)
        made = replay(client, mine)
        replays.run(context)
        assert now_of(client, made)["seen"] == 0
    replays.run(context)
    assert (now_of(client, made)["status"], now_of(client, made)["queued"]) == ("done", 2)


# -- asking, cancelling ----------------------------------------------------------------------


def test_a_cancelled_replay_queues_nothing_more(
    world: World,
    client: FlaskClient,
    context: Context,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replays, "PORTION", 5)
    world.publish(20)
    mine, _ = world.subscribe("https://example.invalid/hook")
    made = replay(client, mine)
    replays.attempt(context.engine, table.DeliveryKey(world.tenant.id, mine, UUID(made["id"])))
    gone = client.delete(path(mine, f"replays/{made['id']}"))
    assert (gone.status_code, gone.get_json()["status"]) == (200, "cancelled")
    replays.run(context)
    assert now_of(client, made) == gone.get_json()
    assert len(due(world, mine)) == gone.get_json()["queued"] == 5
    assert client.delete(path(mine, f"replays/{made['id']}")).get_json() == gone.get_json()


def test_a_disabled_destination_waits_and_asks_for_no_new_one(
    world: World, client: FlaskClient, context: Context
) -> None:
    world.publish(2)
    mine, _ = world.subscribe("https://example.invalid/hook")
    made = replay(client, mine)
    world.change(mine, is_enabled=False)
    assert not replays.is_any(context.engine)
    replays.run(context)
    assert now_of(client, made) == made
    problem(client.post(path(mine), json=LONG_AGO), 409, "webhook_disabled")
    world.change(mine, is_enabled=True)
    replays.run(context)
    assert now_of(client, made)["queued"] == 2


def test_a_tenant_has_ten_running_at_most(
    world: World, client: FlaskClient, context: Context, app: Flask, account: Account
) -> None:
    mine, _ = world.subscribe("https://example.invalid/hook")
    with ThreadPoolExecutor(8) as threads:
        clients = [client_of(app, account.keys["live"]) for _ in range(RUNNING_MAX + 6)]
        asked = [threads.submit(one.post, path(mine), json=LONG_AGO) for one in clients]
        statuses = [one.result(PATIENCE_SECONDS).status_code for one in asked]
    assert sorted(statuses) == [202] * RUNNING_MAX + [409] * 6
    problem(client.post(path(mine), json=LONG_AGO), 409, "replay_limit_reached")
    listed = client.get(path(mine), query_string={"page_size": 4}).get_json()
    assert (listed["total"], len(listed["items"])) == (RUNNING_MAX, 4)
    assert listed["items"] == sorted(listed["items"], key=lambda one: one["id"], reverse=True)
    replays.run(context)
    replay(client, mine)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "since"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2999-01-01T00:00:00Z"}, "since"),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-02T00:00:00Z"}, "since"),
        (LONG_AGO | {"until": "soon"}, "until"),
        (LONG_AGO | {"event_types": []}, "event_types"),
        (LONG_AGO | {"event_types": ["nope"]}, "event_types.0"),
        (LONG_AGO | {"only_missing": "yes"}, "only_missing"),
    ],
)
def test_it_names_the_field_that_cannot_be_used(
    world: World, client: FlaskClient, body: dict[str, Any], field: str
) -> None:
    mine, _ = world.subscribe("https://example.invalid/hook")
    problem(client.post(path(mine), json=body), 422, "validation_error", field)
    assert client.get(path(mine)).get_json()["total"] == 0


def test_the_longest_range_there_is_can_be_asked_for(
    world: World, client: FlaskClient, context: Context
) -> None:
    published = world.publish(1)
    mine, _ = world.subscribe("https://example.invalid/hook")
    made = replay(client, mine, since="0001-01-01T00:00:00Z", until="9999-12-31T23:59:59Z")
    assert made["until"] == made["created_at"]
    replays.run(context)
    assert due(world, mine) == ids_of(published)


def test_it_shows_replays_to_nobody_else(
    world: World,
    client: FlaskClient,
    app: Flask,
    account: Account,
    make_account: Callable[..., Account],
) -> None:
    mine, other = (world.subscribe("https://example.invalid/hook")[0] for _ in range(2))
    made = replay(client, mine)
    one = f"replays/{made['id']}"
    for method in ("GET", "DELETE"):
        for nothing in (path(other, one), path(mine, f"replays/{NOBODY}"), path(mine, "replays/x")):
            problem(client.open(nothing, method=method), 404, "replay_not_found")
        for key in (account.keys["test"], make_account().keys["live"]):
            response = client_of(app, key).open(path(mine, one), method=method)
            problem(response, 404, "webhook_not_found")
        key = make_key(world.engine, account.live)
        problem(client_of(app, key).open(path(mine, one), method=method), 403, "forbidden")
    assert now_of(client, made) == made
