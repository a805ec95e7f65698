"""Milestones: one fact per threshold crossed, and its badge in the same transaction."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa

from models import clock
from models.db import Engine, reading
from models.identity.tenants import Tenant
from models.streaks.states import Streak
from settings import Settings
from tests.conftest import Account
from tests.integration.batches import (
    DAILY,
    DAY_US,
    award,
    count,
    days,
    make_badge,
    make_streak,
    post,
    run_drain_until_death,
    sequences,
    tick,
)
from tests.pipeline import Pipeline

MILESTONES = [
    {"count": 7, "badge_code": "week_warrior"},
    {"count": 3, "badge_code": None},
    {"count": 8, "badge_code": "nobody_made_this"},
]


@pytest.fixture
def tenant(account: Account) -> Tenant:
    return account.live


@pytest.fixture
def streak(engine: Engine, tenant: Tenant) -> Streak:
    make_badge(engine, tenant.id, "week_warrior", name="Week Warrior")
    return make_streak(engine, tenant.id, DAILY | {"milestones": MILESTONES, "grace_periods": 0})


def facts(engine: Engine, tenant: Tenant) -> list[dict[str, Any]]:
    """Every fact of a tenant, in the order of its participant."""
    with reading(engine) as session:
        rows = session.execute(
            sa.text("SELECT body FROM facts WHERE tenant_id = :id ORDER BY sequence"),
            {"id": tenant.id},
        )
        return [json.loads(row.body) for row in rows]


def milestones(engine: Engine, tenant: Tenant) -> list[dict[str, Any]]:
    """What was told of milestones."""
    told = facts(engine, tenant)
    return [one["payload"] for one in told if one["type"] == "behavior.streak_milestone"]


def test_each_threshold_is_told_when_it_is_reached_and_earns_its_badge(
    engine: Engine, pipeline: Pipeline, tenant: Tenant, streak: Streak
) -> None:
    post(pipeline.client, days(streak, 9))
    pipeline.drain()
    told = milestones(engine, tenant)
    assert [(one["milestone"], one["count"]) for one in told] == [(3, 3), (7, 7), (8, 8)]
    assert [(one["badge_code"], one["is_badge_new"]) for one in told] == [
        (None, None),
        ("week_warrior", True),
        ("nobody_made_this", None),
    ]
    assert sequences(engine, tenant.id) == {"user_42": list(range(1, 14))}
    assert count(engine, "participant_badges", tenant.id) == 1


def test_a_late_tick_that_joins_two_chains_crosses_all_thresholds_between(
    engine: Engine, pipeline: Pipeline, tenant: Tenant, streak: Streak
) -> None:
    eight = days(streak, 8)
    missing = eight.pop(3)
    post(pipeline.client, eight)
    pipeline.drain()
    before = len(milestones(engine, tenant))
    post(pipeline.client, [missing])
    pipeline.drain()
    told = milestones(engine, tenant)[before:]
    assert [(one["milestone"], one["previous_count"], one["count"]) for one in told] == [
        (7, 4, 8),
        (8, 4, 8),
    ]


def test_the_badge_comes_with_the_tick_that_earned_it_and_says_so(
    engine: Engine, pipeline: Pipeline, tenant: Tenant, streak: Streak
) -> None:
    *early, last = days(streak, 7)
    post(pipeline.client, [*early, last])
    pipeline.drain()
    types = [one["type"] for one in facts(engine, tenant)][-3:]
    assert types == ["behavior.streak_recorded", "badge.awarded", "behavior.streak_milestone"]
    badge = facts(engine, tenant)[-2]["payload"]
    assert badge["badge_name"] == "Week Warrior"
    assert badge["metadata"] == {
        "streak_code": "daily",
        "milestone": 7,
        "tick_id": last.id,
    }


def test_a_badge_that_is_there_already_is_not_awarded_again(
    engine: Engine, pipeline: Pipeline, tenant: Tenant
) -> None:
    badge_id = make_badge(engine, tenant.id, "week_warrior")
    streak = make_streak(engine, tenant.id, DAILY | {"milestones": MILESTONES})
    post(pipeline.client, [award(tenant.id, badge_id), *days(streak, 7)])
    pipeline.drain()
    assert milestones(engine, tenant)[-1]["is_badge_new"] is False
    assert [one["type"] for one in facts(engine, tenant)].count("badge.awarded") == 1


def test_a_streak_that_starts_again_reports_only_milestones_that_repeat(
    engine: Engine, pipeline: Pipeline, tenant: Tenant
) -> None:
    make_badge(engine, tenant.id, "week_warrior")
    repeated = [{"count": 3}, {"count": 7, "badge_code": "week_warrior", "repeat": "each_run"}]
    streak = make_streak(engine, tenant.id, DAILY | {"milestones": repeated})
    now = clock.now_us()
    early = [tick(streak, occurred_us=now - (20 - nth) * DAY_US) for nth in range(7)]
    post(pipeline.client, [*early, *days(streak, 7)])
    pipeline.drain()
    told = milestones(engine, tenant)
    assert [one["milestone"] for one in told] == [3, 7, 7]
    assert [one["is_badge_new"] for one in told if one["milestone"] == 7] == [True, False]


def test_repeated_ticks_tell_nothing(
    engine: Engine, pipeline: Pipeline, tenant: Tenant, streak: Streak
) -> None:
    post(pipeline.client, days(streak, 3))
    pipeline.drain()
    post(pipeline.client, days(streak, 3))
    pipeline.drain()
    assert len(milestones(engine, tenant)) == 1


@pytest.mark.parametrize("failpoint", ["drain.mid_sql", "drain.after_commit_before_ack"])
def test_a_kill_loses_and_doubles_no_milestone(
    failpoint: str,
    engine: Engine,
    settings: Settings,
    pipeline: Pipeline,
    tenant: Tenant,
    streak: Streak,
) -> None:
    post(pipeline.client, days(streak, 9))
    run_drain_until_death(settings, failpoint)
    pipeline.drain()
    assert [one["milestone"] for one in milestones(engine, tenant)] == [3, 7, 8]
    assert count(engine, "participant_badges", tenant.id) == 1
    assert count(engine, "awards", tenant.id) == 1
    assert sequences(engine, tenant.id) == {"user_42": list(range(1, 14))}


def test_the_badge_of_a_pause_is_told_and_not_awarded(
    engine: Engine, pipeline: Pipeline, tenant: Tenant
) -> None:
    make_badge(engine, tenant.id, "week_warrior", is_active=False)
    streak = make_streak(engine, tenant.id, DAILY | {"milestones": MILESTONES})
    post(pipeline.client, days(streak, 7))
    pipeline.drain()
    assert milestones(engine, tenant)[-1]["is_badge_new"] is None
    assert count(engine, "participant_badges", tenant.id) == 0
