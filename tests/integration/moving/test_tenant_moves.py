"""A whole tenant exported and imported elsewhere, over random histories (docs/moving.md)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models.db import Engine, snapshot
from models.people import export, export_repairs
from tests.calls import (
    client_of,
    count,
    make_badge,
    make_streak,
    noon,
    post_award,
    post_json,
    post_tick,
)
from tests.conftest import BASE, Account
from tests.integration.earning import (
    assert_the_books_balance,
    assign,
    award_points,
    claim,
    deduct_points,
    make_challenge,
    make_reward,
    make_tier,
)
from tests.integration.mending import day
from tests.integration.moving.test_imports import bring
from tests.pipeline import Pipeline

BOARDS = (
    "streaks", "streaks/daily_login/history", "streaks/daily_login/freezes", "pauses", "points",
    "tier", "rewards", "challenges", "state",
)  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_an_export_imported_elsewhere_gives_the_same_profile_of_everybody(
    seed: int, app: Flask, engine: Engine, pipeline: Pipeline, make_account: Callable[..., Account]
) -> None:
    chance = random.Random(seed)
    here, there = make_account(), make_account()
    old, new = client_of(app, here.keys["live"]), client_of(app, there.keys["live"])
    rewards = define(old)
    define(new)
    people = [f"p/{nth} ü" for nth in range(6)]
    for who in people:  # a streak without any tick left cannot be repaired
        post_tick(old, who, timestamp=noon(35))
    for _ in range(60):
        act(old, chance, chance.choice(people), rewards)
        if chance.random() < 0.5:
            mend(old, chance, chance.choice(people))
        if chance.random() < 0.3:
            pipeline.drain()
    pipeline.drain()
    post_json(old, "/v1/participants", {"external_id": people[0], "status": "SUSPENDED"})
    for kinds in (ORDER, [kind for kind in ORDER if kind != "freezes"]):
        move(engine, here, new, kinds)
        pipeline.drain()
    for who in people:
        assert shown(old, who) == shown(new, who)
    assert_the_books_balance(engine, there.live.id)
    assert count(engine, "facts", there.live) == 0


def define(client: FlaskClient) -> list[str]:
    """The same definitions on both sides; those of the rewards have ids of their own."""
    make_badge(client)
    make_badge(client, "week_warrior")
    make_streak(
        client, grace_periods=1, boundary="participant",
        freezes={"initial": 1, "earn_every": 3, "max": 2},
        milestones=[{"count": 2, "badge_code": "week_warrior", "points": 15}],
    )  # fmt: skip
    make_tier(client, "silver", 1, 100)
    make_tier(client, "gold", 2)
    make_challenge(client, {"type": "points"}, 150, points=5, badge_code="power_user")
    make_challenge(client, {"type": "badges"}, 2, "badges")
    post_json(client, f"{BASE}/admin/programs", {"name": "Loyalty"})
    return [make_reward(client, code, points_cost=20)["id"] for code in ("mug", "coupon")]


def act(client: FlaskClient, chance: random.Random, who: str, rewards: list[str]) -> None:
    """Something that may happen to a participant."""
    [program] = client.get(f"{BASE}/admin/programs").get_json()["items"]
    zone = chance.choice(["Australia/Sydney", "America/New_York", "Pacific/Kiritimati"])
    participant = {"participant_id": who, "display_name": chance.choice(["Jane", None]),
              "timezone": zone, "attributes": {"n": chance.random()}}  # fmt: skip
    enrolled = {"external_id": who, "program_id": program["id"], "tags": [zone]}
    deeds: list[Callable[[], Any]] = [
        lambda: post_tick(client, who, timestamp=noon(chance.randrange(30))),
        lambda: post_tick(client, who, timestamp=noon(chance.randrange(9)), timezone=zone),
        lambda: post_award(client, who, metadata={"zone": zone}),
        lambda: award_points(client, chance.randrange(1, 90), who),
        lambda: deduct_points(client, chance.randrange(1, 40), who),
        lambda: claim(client, chance.choice(rewards), who, metadata={"zone": zone}),
        lambda: assign(client, "gold", who) if chance.random() < 0.2 else None,
        lambda: post_json(client, f"{BASE}/participants", participant),
        lambda: post_json(client, "/v1/participants", enrolled),
    ]
    chance.choice(deeds)()


def mend(client: FlaskClient, chance: random.Random, who: str) -> None:
    """Something that may be done to a participant's streak."""
    streak = f"{BASE}/participants/{quote(who, safe='')}/streaks/daily_login"
    first = chance.randrange(30)
    span = {"from": day(first), "to": day(max(0, first - chance.randrange(3)))}
    deeds: list[Callable[[], Any]] = [
        lambda: post_json(client, f"{BASE}/participants/{quote(who, safe='')}/pauses", span),
        lambda: post_json(client, f"{streak}/freezes/grant", {"amount": chance.randrange(1, 3)}),
        lambda: post_json(client, f"{streak}/repair", span | {"as": "recorded", "reason": "lost"}),
        lambda: post_json(client, f"{streak}/repair", span),
        lambda: post_json(client, f"{streak}/restore", {}),
        lambda: client.delete(f"{streak}/periods/{day(first)}"),
    ]
    chance.choice(deeds)()


READERS = {
    "claims": export.redemptions,
    "pauses": export_repairs.pauses,
    "freezes": export_repairs.freezes,
    "repairs": export_repairs.repairs,
}
ORDER = (
    "ticks",
    "awards",
    "pauses",
    "freezes",
    "repairs",
    "balances",
    "claims",
    "challenges",
    "participants",
)
QUEUED = {
    "ticks": "streaks/record/batch?facts=false&effects=false",
    "awards": "badges/award/batch?facts=false&effects=false",
    "pauses": "pauses/batch?facts=false",
    "freezes": "freezes/batch?facts=false",
    "repairs": "repairs/batch?facts=false",
}
FOR_PEOPLE = {
    "participants": {"total_events", "points_earned", "points_spent"},
    "ticks": {"tick_id", "period_key", "outcome", "new_count"},
    "awards": {"award_id"},
    "balances": {"balance"},
    "challenges": {"target", "updated_at"},
    "pauses": {"pause_id"},
    "freezes": {"what", "streak_change_id"},
    "repairs": {"streak_change_id"},
}


def move(engine: Engine, account: Account, client: FlaskClient, kinds: Sequence[str]) -> None:
    """What `unbroken export` and `unbroken import` do for each kind of row."""
    with snapshot(engine) as session:
        for kind in kinds:
            rows = [
                {name: one for name, one in row.items() if one is not None
                 and name not in FOR_PEOPLE.get(kind, ())}
                for row in reader(kind)(session, account.live.id)
            ]  # fmt: skip
            if kind in QUEUED and rows:
                url = f"{BASE}/{QUEUED[kind]}"
                results = post_json(client, url, {kind: rows}).get_json()["results"]
                codes = {one["error"]["code"] for one in results if "error" in one}
                assert codes <= {"participant_inactive"}  # the second time
            elif rows:
                bring(client, kind, *rows)


def reader(kind: str) -> Callable[..., Iterator[dict[str, Any]]]:
    """What reads the rows of a kind for an export."""
    found: Callable[..., Iterator[dict[str, Any]]] = READERS.get(kind) or getattr(export, kind)
    return found


def shown(client: FlaskClient, who: str) -> dict[str, Any]:
    """What everybody sees of a participant."""
    at = f"{BASE}/participants/{quote(who, safe='')}"
    profile = client.get(at).get_json()
    profile.pop("total_events")  # a tick that is imported twice is an event twice
    told = {name: client.get(f"{at}/{name}").get_json() for name in BOARDS}
    told["tier"] = told["tier"]["current_tier"]  # how they came there is not brought along
    for one in told["challenges"]["challenges"]:
        del one["id"]  # each service gives its own
    for one in told["streaks/daily_login/history"]["periods"]:
        del one["tick_id"], one["recorded_at"]  # a repair may have recorded it first
    for one in told["pauses"]["items"]:
        del one["id"], one["created_at"]
    for one in told["streaks/daily_login/freezes"]["entries"]:
        del one["streak_change_id"]
        one["what"] = one["what"].replace("bought", "granted")
    told["rewards"] = [
        (one["reward_code"], one["claimed_at"], one["points_deducted"])
        for one in told["rewards"]["items"]
    ]
    return told | {"profile": profile}
