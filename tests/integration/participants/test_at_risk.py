"""GET /streaks/{code}/at-risk: everybody whose streak ends with this period, once each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from models import clock
from models.db import Engine, transaction
from models.people import at_risk
from tests.calls import client_of, make_key, make_streak, noon, post_batch, problem, tick
from tests.conftest import BASE, Account
from tests.integration.batches import (
    DAY_US,
    ZONES,
    Planned,
    all_streaks,
    messages_of,
    post,
)
from tests.pipeline import Pipeline

FEED = f"{BASE}/streaks/daily_login/at-risk"


def pages(client: FlaskClient, url: str = FEED, **query: Any) -> Iterator[list[dict[str, Any]]]:
    """Follow the cursors to the end."""
    while True:
        response = client.get(url, query_string=query)
        assert response.status_code == 200, response.text
        body = response.get_json()
        assert list(body) == ["items", "next_cursor"]
        yield body["items"]
        if body["next_cursor"] is None:
            return
        query["after"] = body["next_cursor"]


def walk(client: FlaskClient, url: str = FEED, **query: Any) -> list[dict[str, Any]]:
    """Every item of every page."""
    return [item for page in pages(client, url, **query) for item in page]


def ids(items: list[dict[str, Any]]) -> list[str]:
    return [item["participant_id"] for item in items]


def run_of(participant: str, length: int, ended: int) -> list[dict[str, Any]]:
    """The ticks of so many days in a row, of which the last was so many days ago."""
    return [tick(participant, timestamp=noon(ended + nth)) for nth in range(length)]


def test_it_lists_who_must_come_today_and_says_all_that_a_push_needs(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    post_batch(
        client,
        *run_of("a/b 🏃", 23, 1),
        *run_of("short", 6, 1),
        *run_of("safe", 9, 0),
        *run_of("lost", 9, 2),
        *run_of("again", 7, 1),
        *run_of("again", 21, 20),
    )
    pipeline.drain()
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    assert walk(client, min_count=7) == [
        {
            "participant_id": "a/b 🏃",
            "streak_code": "daily_login",
            "current_count": 23,
            "longest_count": 23,
            "last_recorded_at": noon(1),
            "expires_at": f"{tomorrow}T00:00:00Z",
            "grace_remaining": 0,
            "timezone": None,
        },
        {
            "participant_id": "again",
            "streak_code": "daily_login",
            "current_count": 7,
            "longest_count": 21,
            "last_recorded_at": noon(1),
            "expires_at": f"{tomorrow}T00:00:00Z",
            "grace_remaining": 0,
            "timezone": None,
        },
    ]
    assert sorted(ids(walk(client))) == ["a/b 🏃", "again", "short"]
    assert walk(client, min_count=24) == []


def expected(client: FlaskClient, people: set[str], min_count: int) -> dict[str, dict[str, Any]]:
    """Who is at risk by code, as GET /participants/{id}/streaks tells it of each."""
    found: dict[str, dict[str, Any]] = {}
    for participant in people:
        body = client.get(f"{BASE}/participants/{quote(participant, safe='')}/streaks").get_json()
        for one in body["streaks"]:
            if one["is_at_risk"] and one["current_count"] >= min_count:
                found.setdefault(one["code"], {})[participant] = one
    return found


def fed(client: FlaskClient, codes: set[str], **query: int) -> dict[str, dict[str, Any]]:
    """The same, as the feed tells it; nobody twice."""
    found: dict[str, dict[str, Any]] = {}
    for code in codes:
        items = walk(client, f"{BASE}/streaks/{code}/at-risk", **query)
        if items:
            found[code] = {item["participant_id"]: item for item in items}
            assert len(found[code]) == len(items)
    return found


def assert_same(client: FlaskClient, people: set[str], codes: set[str], **query: int) -> None:
    """Compare; again when a period ended meanwhile."""
    before, after = None, expected(client, people, query["min_count"])
    while before != after:
        before, feed = after, fed(client, codes, **query)
        after = expected(client, people, query["min_count"])
    assert {code: set(items) for code, items in feed.items()} == {
        code: set(items) for code, items in after.items()
    }
    shared = ("current_count", "longest_count", "last_recorded_at", "expires_at", "grace_remaining")
    for code, items in feed.items():
        for participant, item in items.items():
            assert [item[name] for name in shared] == [
                after[code][participant][name] for name in shared
            ]


@pytest.mark.parametrize(("scanned", "candidates", "statements"), [(20_000, 200, 50), (7, 3, 2)])
def test_it_finds_all_that_the_readings_show_in_every_zone_and_after_a_change_of_rules(
    scanned: int,
    candidates: int,
    statements: int,
    client: FlaskClient,
    engine: Engine,
    account: Account,
    pipeline: Pipeline,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever a page may cost at most, the walk through the pages is the same."""
    monkeypatch.setattr(at_risk, "_SCANNED", scanned)
    monkeypatch.setattr(at_risk, "_CANDIDATES", candidates)
    monkeypatch.setattr(at_risk, "_STATEMENTS", statements)
    definitions = all_streaks(engine, account.live.id)
    messages = messages_of(lately(Random(7), 900), definitions)
    post(redis_client, messages)
    pipeline.drain()
    people, codes = {message.participant_id for message in messages}, set(definitions)
    live_in(engine, account, ["Pacific/Kiritimati", "Pacific/Niue", "Asia/Kathmandu"])
    assert {"daily", "held"} <= expected(client, people, 1).keys()
    assert_same(client, people, codes, min_count=1, limit=100)
    assert_same(client, people, codes, min_count=2, limit=3)
    for code in codes:
        client.patch(f"{BASE}/streaks/{code}", json={"grace_periods": 3})
    assert_same(client, people, codes, min_count=2, limit=3)


def lately(random: Random, count: int) -> list[Planned]:
    """Ticks of the last few days: so that many are at risk."""
    return [
        Planned(
            f"user/{random.randrange(150)}",
            random.choice(("daily", "weekly", "held", "monthly")),
            clock.now_us() - random.randrange(8 * DAY_US),
            random.choice(ZONES),
        )
        for _ in range(count)
    ]


def live_in(engine: Engine, account: Account, zones: list[str]) -> None:
    """Give every participant one of some zones."""
    with transaction(engine) as session:
        session.execute(
            sa.text(
                "UPDATE participants SET timezone = (CAST(:zones AS text[]))[id % :some + 1]"
                " WHERE tenant_id = :tenant_id"
            ),
            {"zones": zones, "some": len(zones), "tenant_id": account.live.id},
        )


def test_it_repeats_and_skips_nobody_while_others_come_and_go(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    people = [f"user_{nth}" for nth in range(10)]
    post_batch(client, *(one for participant in people for one in run_of(participant, 2, 1)))
    pipeline.drain()
    walking = pages(client, limit=3)
    seen = ids(next(walking))
    post_batch(client, tick(seen[0]), tick("user_7"), *run_of("late", 2, 1))
    pipeline.drain()
    seen += [one for page in walking for one in ids(page)]
    assert sorted(seen) == sorted({*people, "late"} - {"user_7"})


@pytest.mark.parametrize("count", [4, 5, 6])
def test_it_ends_a_full_last_page_without_a_cursor(
    client: FlaskClient, pipeline: Pipeline, count: int
) -> None:
    make_streak(client)
    post_batch(client, *(tick(f"user_{nth}", timestamp=noon(1)) for nth in range(count)))
    pipeline.drain()
    lengths = [len(page) for page in pages(client, limit=2)]
    assert lengths == [2] * (count // 2) + [1] * (count % 2)


def test_it_names_the_zone_that_quiet_hours_go_by(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    """The participant's own, else that of the last tick, else nobody knows."""
    make_streak(client)
    yesterday_there = datetime.now(ZoneInfo("Africa/Lagos")) - timedelta(days=1)
    for participant in ("lives_in_lima", "ticked_in_lagos"):
        at = yesterday_there.isoformat()
        post_batch(client, tick(participant, timestamp=at, timezone="Africa/Lagos"))
        pipeline.drain()
        if participant == "lives_in_lima":
            live_in(engine, account, ["America/Lima"])
    zones = {item["participant_id"]: item["timezone"] for item in walk(client)}
    assert zones == {"lives_in_lima": "America/Lima", "ticked_in_lagos": "Africa/Lagos"}


def test_it_leaves_out_those_whose_writes_are_rejected(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    make_streak(client)
    post_batch(client, *(tick(one, timestamp=noon(1)) for one in ("active", "suspended")))
    pipeline.drain()
    with transaction(engine) as session:
        session.execute(
            sa.text(
                "UPDATE participants SET status = 'SUSPENDED', inactive_since = now()"
                " WHERE tenant_id = :tenant_id AND external_id = 'suspended'"
            ),
            {"tenant_id": account.live.id},
        )
    assert ids(walk(client)) == ["active"]


def test_it_serves_any_valid_key_and_shows_each_its_own(
    app: Flask, engine: Engine, pipeline: Pipeline, make_account: Callable[..., Account]
) -> None:
    ours, theirs = make_account(), make_account()
    for account in (ours, theirs):
        for mode, key in account.keys.items():
            make_streak(client_of(app, key))
            participant = f"{account.slug}-{mode}"
            post_batch(client_of(app, key), tick(participant, timestamp=noon(1)))
    pipeline.drain()
    plain = client_of(app, make_key(engine, ours.live))
    assert ids(walk(plain)) == [f"{ours.slug}-live"]
    assert ids(walk(client_of(app, ours.keys["test"]))) == [f"{ours.slug}-test"]


def test_it_knows_nobody_at_risk_of_a_paused_streak_and_no_unknown_one(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    post_batch(client, tick(timestamp=noon(1)))
    pipeline.drain()
    assert ids(walk(client)) == ["user_42"]
    client.delete(f"{BASE}/streaks/daily_login")
    assert client.get(FEED).get_json() == {"items": [], "next_cursor": None}
    problem(client.get(f"{BASE}/streaks/nope/at-risk"), 404, "streak_not_found")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("min_count=0", "min_count"), ("min_count=seven", "min_count"), ("min_count=", "min_count"),
        ("limit=0", "limit"), ("limit=101", "limit"), ("after=", "after"), ("after=x", "after"),
        ("after=__________8", "after"), ("after=AAAAAAAAAAB", "after"), ("after=%00", "after"),
        ("after=AAAAAAAAAAA=", "after"), ("after=AAAAAAAAAAA%0A", "after"),
        ("after=" + "A" * 5_000, "after"),
    ],
)  # fmt: skip
def test_it_names_the_parameter_that_it_cannot_use(
    client: FlaskClient, query: str, field: str
) -> None:
    make_streak(client)
    problem(client.get(f"{FEED}?{query}"), 422, "validation_error", field)


def test_it_takes_every_cursor_that_can_be_written(client: FlaskClient) -> None:
    make_streak(client)
    for cursor in ("AAAAAAAAAAA", "f_________8"):
        assert client.get(f"{FEED}?after={cursor}").get_json()["items"] == []
