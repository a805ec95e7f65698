"""Awards through the queue: once in effect, the first one for ever, whatever is killed."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa

from models import clock, ids
from models.db import Engine, reading, transaction
from models.identity.tenants import Tenant
from models.ledgers import awards
from models.streaks.states import Streak
from settings import Settings
from tests.conftest import Account
from tests.integration.batches import (
    award,
    count,
    make_badge,
    post,
    replace_message,
    run_drain_until_death,
    sequences,
    tick,
)
from tests.pipeline import Pipeline
from workers.intake.client import IntakeSettings, open_intake
from workers.intake.messages import AwardV1
from workers.intake.stream import depth

pytestmark = pytest.mark.promise("P13")

SECOND_US = 1_000_000


@pytest.fixture
def tenant(account: Account) -> Tenant:
    return account.live


@pytest.fixture
def badge_id(engine: Engine, tenant: Tenant) -> str:
    return make_badge(engine, tenant.id)


def bodies(engine: Engine, tenant: Tenant) -> list[dict[str, Any]]:
    """Every fact of a tenant as it is sent, in its order."""
    with reading(engine) as session:
        statement = sa.text("SELECT body FROM facts WHERE tenant_id = :id ORDER BY id, sequence")
        rows = session.execute(statement, {"id": tenant.id})
        return sorted((json.loads(row.body) for row in rows), key=lambda one: one["sequence"])


def answers_to(settings: Settings, messages: list[AwardV1]) -> list[dict[str, Any] | None]:
    """What waiting requests are answered."""
    intake = open_intake(settings.of(IntakeSettings))
    try:
        return [intake.wait(message.id, 0.1) for message in messages]
    finally:
        intake.close()


def test_the_first_award_earns_and_the_others_repeat_its_instant(
    engine: Engine, settings: Settings, pipeline: Pipeline, tenant: Tenant, badge_id: str
) -> None:
    now = clock.now_us()
    messages = [
        award(tenant.id, badge_id, earned_us=now + nth * SECOND_US, is_awaited=True)
        for nth in range(3)
    ]
    post(pipeline.client, messages[:2])
    pipeline.drain()
    post(pipeline.client, messages[2:])
    pipeline.drain()
    answers = answers_to(settings, messages)
    assert [one and one["already_earned"] for one in answers] == [False, True, True]
    assert {one and one["earned_at"] for one in answers} == {clock.to_text(now)}
    assert [one and one["award_id"] for one in answers] == [message.id for message in messages]
    assert count(engine, "participant_badges", tenant.id) == 1
    assert count(engine, "awards", tenant.id) == 3
    assert sequences(engine, tenant.id) == {"user_42": [1]}


def test_its_fact_says_what_was_awarded(
    engine: Engine, pipeline: Pipeline, tenant: Tenant, badge_id: str
) -> None:
    message = award(tenant.id, badge_id, metadata='{"trigger":"10th_login"}')
    post(pipeline.client, [message])
    pipeline.drain()
    (fact,) = bodies(engine, tenant)
    assert (fact["type"], fact["participant_id"]) == ("badge.awarded", "user_42")
    assert fact["payload"] == {
        "badge_code": "power_user",
        "badge_name": "Power User",
        "icon": None,
        "rarity": "rare",
        "category": None,
        "earned_at": clock.to_text(message.earned_us),
        "award_id": message.id,
        "metadata": {"trigger": "10th_login"},
    }


def test_ticks_and_awards_of_one_batch_share_a_sequence_in_their_order(
    engine: Engine, pipeline: Pipeline, tenant: Tenant, badge_id: str, streak: Streak
) -> None:
    day_us = 86_400 * SECOND_US
    earlier = tick(streak, occurred_us=clock.now_us() - day_us)
    post(pipeline.client, [earlier, award(tenant.id, badge_id), tick(streak)])
    pipeline.drain()
    facts = bodies(engine, tenant)
    assert [(one["sequence"], one["type"]) for one in facts] == [
        (1, "behavior.streak_recorded"),
        (2, "badge.awarded"),
        (3, "behavior.streak_recorded"),
    ]


def test_an_award_is_no_behavioural_event(
    engine: Engine, pipeline: Pipeline, tenant: Tenant, badge_id: str
) -> None:
    post(pipeline.client, [award(tenant.id, badge_id)])
    pipeline.drain()
    with reading(engine) as session:
        row = session.execute(
            sa.text(
                "SELECT total_events, first_seen_at, last_seen_at, fact_sequence"
                " FROM participants WHERE tenant_id = :id"
            ),
            {"id": tenant.id},
        ).one()
    assert tuple(row) == (0, None, None, 1)


@pytest.mark.parametrize(
    "failpoint", ["drain.after_read", "drain.mid_sql", "drain.after_commit_before_ack"]
)
def test_a_kill_loses_and_doubles_no_award(
    failpoint: str,
    engine: Engine,
    settings: Settings,
    pipeline: Pipeline,
    tenant: Tenant,
    badge_id: str,
) -> None:
    other = make_badge(engine, tenant.id, "other")
    messages = [
        award(tenant.id, badge, f"user_{nth % 7}")
        for nth in range(40)
        for badge in (badge_id, other)
    ]
    post(pipeline.client, messages)
    run_drain_until_death(settings, failpoint)
    assert depth(pipeline.client) == len(messages)
    pipeline.drain()
    assert count(engine, "awards", tenant.id) == len(messages)
    assert count(engine, "participant_badges", tenant.id) == 14
    assert sequences(engine, tenant.id) == {f"user_{nth}": [1, 2] for nth in range(7)}


def test_a_repeated_delivery_is_answered_from_the_ledger(
    engine: Engine, settings: Settings, pipeline: Pipeline, tenant: Tenant, badge_id: str
) -> None:
    message = award(tenant.id, badge_id, is_awaited=True)
    post(pipeline.client, [message])
    pipeline.drain()
    first = answers_to(settings, [message])
    post(pipeline.client, [message, award(tenant.id, badge_id, "somebody_else")])
    pipeline.drain()
    assert answers_to(settings, [message]) == first
    assert count(engine, "awards", tenant.id) == 2


def test_who_has_what_does_not_depend_on_how_workers_batch(
    engine: Engine, pipeline: Pipeline, tenant: Tenant
) -> None:
    random = Random(3)
    badge_ids = [make_badge(engine, tenant.id, f"badge_{nth}") for nth in range(5)]
    messages = [
        award(tenant.id, random.choice(badge_ids), f"user_{random.randrange(9)}")
        for _ in range(200)
    ]
    for batch_max in (1, 7, 1_000):
        post(pipeline.client, messages[:: 1 if batch_max == 1 else 3])
        drain = pipeline.make_drain(
            f"of-{batch_max}", batch_max, should_stop=lambda: depth(pipeline.client) == 0
        )
        drain.streams.create_groups()
        drain.run(30)
    wanted = {(message.participant_id, message.badge_id) for message in messages}
    assert count(engine, "participant_badges", tenant.id) == len(wanted)
    assert count(engine, "awards", tenant.id) == len(messages)
    assert sum(map(len, sequences(engine, tenant.id).values())) == len(wanted)


def test_an_unknown_badge_stands_alone_and_the_others_are_awarded(
    engine: Engine, pipeline: Pipeline, tenant: Tenant, badge_id: str
) -> None:
    unknown = award(tenant.id, str(ids.uuid7(clock.now_us())))
    post(pipeline.client, [unknown, award(tenant.id, badge_id)])
    pipeline.drain()
    assert count(engine, "participant_badges", tenant.id) == 1
    with reading(engine) as session:
        kind, who = session.execute(
            sa.text("SELECT kind, participant_id FROM dead_letters WHERE tenant_id = :id"),
            {"id": tenant.id},
        ).one()
    assert (kind, who) == ("award", "user_42")


# -- of a participant who is suspended ---------------------------------------------------------


def suspend(engine: Engine, tenant: Tenant) -> None:
    """What Scrip's `status` does, now."""
    with transaction(engine) as session:
        session.execute(
            sa.text(
                "UPDATE participants SET status = 'SUSPENDED', inactive_since = now()"
                " WHERE tenant_id = :id AND external_id = 'user_42'"
            ),
            {"id": tenant.id},
        )


def test_what_was_accepted_before_a_suspension_is_applied_and_what_came_later_rejected(
    engine: Engine,
    settings: Settings,
    pipeline: Pipeline,
    tenant: Tenant,
    badge_id: str,
    streak: Streak,
) -> None:
    post(pipeline.client, [tick(streak)])
    pipeline.drain()
    early = award(tenant.id, badge_id, id=str(ids.uuid7(clock.now_us() - SECOND_US)))
    suspend(engine, tenant)
    later = clock.now_us() + SECOND_US
    late = award(tenant.id, badge_id, id=str(ids.uuid7(later)), is_awaited=True)
    late_tick = tick(streak, id=str(ids.uuid7(later)))
    post(pipeline.client, [late, late_tick, early, tick(streak, "somebody_else")])
    pipeline.drain()
    assert answers_to(settings, [late]) == [{"rejected": "participant_inactive"}]
    assert count(engine, "awards", tenant.id) == 1
    assert count(engine, "ticks", tenant.id) == 2
    assert count(engine, "rejections", tenant.id) == 2
    assert sequences(engine, tenant.id) == {"user_42": [1, 2], "somebody_else": [1]}


def test_a_rejection_stands_when_its_entry_comes_again_after_the_suspension(
    engine: Engine, settings: Settings, pipeline: Pipeline, tenant: Tenant, badge_id: str
) -> None:
    post(pipeline.client, [award(tenant.id, make_badge(engine, tenant.id, "first"))])
    pipeline.drain()
    suspend(engine, tenant)
    refused = award(tenant.id, badge_id, id=str(ids.uuid7(clock.now_us() + SECOND_US)))
    post(pipeline.client, [refused])
    run_drain_until_death(settings, "drain.after_commit_before_ack")
    again = replace_message(refused, is_awaited=True)
    post(pipeline.client, [again])
    pipeline.drain()
    assert answers_to(settings, [again]) == [{"rejected": "participant_inactive"}]
    assert count(engine, "rejections", tenant.id) == 1
    with reading(engine) as session:
        assert awards.some(session, [(tenant.id, refused.id)]) == {}
