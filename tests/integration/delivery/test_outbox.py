"""The outbox: a change and its fact are committed together, and what is stored is what is sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from models.db import Engine, reading, transaction
from models.delivery import destinations
from models.identity.tenants import Tenant
from models.streaks.states import Streak
from tests.conftest import BASE, Account
from tests.integration.batches import (
    DAY_US,
    PATIENCE_SECONDS,
    WEEKLY,
    all_streaks,
    count,
    make_streak,
    post,
    rows,
    tick,
)
from tests.pipeline import Pipeline
from tests.receiver import Receiver
from workers.intake.stream import depth

pytestmark = pytest.mark.promise("P3")

TABLES = ("streak_states", "ticks", "facts", "deliveries")


def subscribe(engine: Engine, side: Tenant, *patterns: str, is_enabled: bool = True) -> UUID:
    """A destination that wants some types; nothing is ever sent to it."""
    values: dict[str, Any] = {
        "url": "https://example.invalid/hook",
        "description": None,
        "event_types": list(patterns),
        "is_enabled": is_enabled,
        "secret": "none",
    }
    with transaction(engine) as session:
        return destinations.create(session, side.id, values).id


def facts_of(engine: Engine, tenant_id: int) -> dict[str, bytes]:
    """The stored bodies of a tenant's facts, by their public ids."""
    statement = sa.text("SELECT id, body FROM facts WHERE tenant_id = :tenant_id")
    with reading(engine) as session:
        found = session.execute(statement, {"tenant_id": tenant_id})
        return {f"evt_{row.id.hex}": row.body.encode() for row in found}


def wanted_by(engine: Engine, tenant_id: int) -> list[UUID]:
    """The destinations of a tenant's deliveries, one entry a delivery."""
    statement = sa.text(
        "SELECT webhook_id FROM deliveries WHERE tenant_id = :tenant_id ORDER BY webhook_id"
    )
    with reading(engine) as session:
        return list(session.execute(statement, {"tenant_id": tenant_id}).scalars())


# -- together or not at all ------------------------------------------------------------------


def test_an_error_after_all_copies_leaves_no_trace(
    engine: Engine, pipeline: Pipeline, account: Account, streak: Streak
) -> None:
    subscribe(engine, account.live, "*")
    with transaction(engine) as session:  # the last statement of the batch will overflow
        session.execute(
            sa.text(
                "INSERT INTO participants (tenant_id, external_id, total_events)"
                " VALUES (:tenant_id, 'user_42', 9223372036854775807)"
            ),
            {"tenant_id": account.live.id},
        )
    post(pipeline.client, [tick(streak)])
    drain = pipeline.make_drain()
    drain.streams.create_groups()
    drain._round(drain.streams.read(10))
    assert {table: count(engine, table, account.live.id) for table in TABLES} == dict.fromkeys(
        TABLES, 0
    )
    assert depth(pipeline.client) == 1
    with transaction(engine) as session:
        session.execute(
            sa.text("UPDATE participants SET total_events = 0 WHERE tenant_id = :tenant_id"),
            {"tenant_id": account.live.id},
        )
    pipeline.drain()
    assert {table: count(engine, table, account.live.id) for table in TABLES} == dict.fromkeys(
        TABLES, 1
    )


def test_nobody_sees_a_change_without_its_fact(
    engine: Engine, pipeline: Pipeline, streak: Streak
) -> None:
    """A reader that looks at states and facts in one snapshot while batches are committed."""
    now = streak.created_at.timestamp() * 1e6
    post(
        pipeline.client,
        [
            tick(streak, f"user_{who}", occurred_us=int(now) - day * DAY_US)
            for day in range(30)
            for who in range(10)
        ],
    )
    drain = pipeline.make_drain(batch_max=7, should_stop=lambda: depth(pipeline.client) == 0)
    drained = threading.Thread(target=drain.run, args=(PATIENCE_SECONDS,))
    statement = sa.text(
        "SELECT (SELECT sum(upper(recorded) - lower(recorded)) FROM streak_states"
        " WHERE tenant_id = :id), (SELECT count(*) FROM facts WHERE tenant_id = :id),"
        " (SELECT sum(fact_sequence) FROM participants WHERE tenant_id = :id)"
    )
    drained.start()
    while drained.is_alive():
        with reading(engine) as session:
            recorded, facts, sequences = session.execute(statement, {"id": streak.tenant_id}).one()
        assert (recorded or 0) == facts == (sequences or 0)
    drained.join()
    assert count(engine, "facts", streak.tenant_id) == 300


def test_repeats_emit_nothing_and_sequences_have_no_gaps(
    engine: Engine, pipeline: Pipeline, account: Account
) -> None:
    definitions = all_streaks(engine, account.live.id)
    messages = [tick(streak) for streak in definitions.values() for _ in range(3)]
    post(pipeline.client, messages)
    pipeline.drain()
    assert rows(engine, account.live.id).facts == {"user_42": [1, 2, 3, 4]}
    assert count(engine, "ticks", account.live.id) == 12


# -- what is sent ----------------------------------------------------------------------------


def test_the_stored_bytes_are_the_bytes_that_are_sent(
    engine: Engine, pipeline: Pipeline, client: FlaskClient, account: Account
) -> None:
    with Receiver() as receiver:
        body = {"url": receiver.url, "event_types": ["behavior.*"]}
        receiver.trust(client.post(f"{BASE}/admin/webhooks", json=body).get_json()["secret"])
        streak = make_streak(engine, account.live.id, WEEKLY)
        names = ("user_42", 'quo"te\\ \t„ß“ 🦊', "a/b")
        metadata = '{"b":1,"a":[1.50,"\\u00e9 é"]}'
        post(pipeline.client, [tick(streak, name, metadata=metadata) for name in names])
        pipeline.drain()
        pipeline.deliver()
        stored = facts_of(engine, account.live.id)
        assert receiver.invalid == []
        assert receiver.bodies() == {fact_id: {text} for fact_id, text in stored.items()}
    assert sorted(json.loads(text)["participant_id"] for text in stored.values()) == sorted(names)


def test_a_fact_has_the_documented_envelope(
    engine: Engine, pipeline: Pipeline, account: Account, streak: Streak
) -> None:
    first = tick(streak, metadata='{"source":"app"}')
    post(pipeline.client, [first])
    pipeline.drain()
    ((fact_id, text),) = facts_of(engine, account.live.id).items()
    fact = json.loads(text)
    payload = fact["payload"]
    assert list(fact) == [
        "id", "type", "occurred_at", "tenant", "mode", "participant_id", "sequence", "payload",
    ]  # fmt: skip
    assert (fact["id"], fact["type"]) == (fact_id, "behavior.streak_recorded")
    assert (fact["tenant"], fact["mode"]) == (account.slug, "live")
    assert (fact["participant_id"], fact["sequence"]) == ("user_42", 1)
    assert payload["metadata"] == {"source": "app"}
    assert (payload["count"], payload["previous_count"], payload["longest_count"]) == (1, 0, 1)
    assert (payload["streak_code"], payload["outcome"]) == ("daily", "started")
    assert (payload["is_new_record"], payload["tick_id"]) == (True, first.id)
    assert set(payload) >= {"period", "period_key", "grace_remaining", "recorded_at"}


# -- who gets it -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "is_wanted"),
    [
        (["behavior.streak_recorded"], True),
        (["behavior.*"], True),
        (["*"], True),
        (["badge.awarded", "behavior.*"], True),
        (["badge.*"], False),
        (["behavior"], False),
        (["behavior.streak"], False),
        (["behavior.streak_broken"], False),
        (["behavior.streak_recorded.more"], False),
    ],
)
def test_a_destination_gets_what_its_patterns_say(
    patterns: list[str],
    is_wanted: bool,
    engine: Engine,
    pipeline: Pipeline,
    account: Account,
    streak: Streak,
) -> None:
    wants = subscribe(engine, account.live, *patterns)
    post(pipeline.client, [tick(streak)])
    pipeline.drain()
    assert wanted_by(engine, account.live.id) == ([wants] if is_wanted else [])
    assert len(pipeline.kicks) == is_wanted
    assert count(engine, "facts", account.live.id) == 1


def test_several_destinations_get_one_delivery_each_and_disabled_ones_none(
    engine: Engine, pipeline: Pipeline, account: Account, streak: Streak
) -> None:
    wants = [subscribe(engine, account.live, "*"), subscribe(engine, account.live, "behavior.*")]
    subscribe(engine, account.live, "*", is_enabled=False)
    post(pipeline.client, [tick(streak)])
    pipeline.drain()
    assert wanted_by(engine, account.live.id) == sorted(wants)


def test_the_other_mode_and_other_tenants_get_nothing(
    engine: Engine,
    pipeline: Pipeline,
    account: Account,
    make_account: Callable[..., Account],
    streak: Streak,
) -> None:
    other = make_account()
    subscribe(engine, account.sides["test"], "*")
    subscribe(engine, other.live, "*")
    mine = subscribe(engine, account.live, "*")
    theirs = make_streak(engine, other.live.id)
    post(pipeline.client, [tick(streak, "same"), tick(theirs, "same")])
    pipeline.drain()
    assert wanted_by(engine, account.live.id) == [mine]
    assert wanted_by(engine, account.sides["test"].id) == []
    assert len(wanted_by(engine, other.live.id)) == 1


def test_a_destination_made_between_two_batches_of_one_drain_counts_at_once(
    engine: Engine, pipeline: Pipeline, account: Account, streak: Streak
) -> None:
    drain = pipeline.make_drain()
    drain.streams.create_groups()
    for expected in (0, 1):
        post(pipeline.client, [tick(streak, occurred_us=1_790_000_000_000_000 + expected * DAY_US)])
        drain._round(drain.streams.read(10))
        assert len(wanted_by(engine, account.live.id)) == expected
        subscribe(engine, account.live, "*")
