"""What an API process remembers of a key while a server is away, and what that is good for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models.streaks.states import Streak
from settings import Settings
from tests.calls import another_app, client_of, post_tick, problem, revoke
from tests.conftest import BASE, Account
from tests.links import Link, target_of, through

STREAKS = f"{BASE}/streaks"


@pytest.fixture
def redis_link(settings: Settings) -> Iterator[Link]:
    with Link(target_of(settings.redis_url, 6_379)) as link:
        yield link


@pytest.fixture
def postgres_link(settings: Settings) -> Iterator[Link]:
    with Link(target_of(settings.database_url, 5_432)) as link:
        yield link


@pytest.fixture
def linked(
    settings: Settings,
    account: Account,
    redis_link: Link,
    postgres_link: Link,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[FlaskClient]:
    """A client of a process behind links, which reads the key afresh for every read."""
    monkeypatch.setattr("api.http.key_cache.READ_SECONDS", 0.0)
    with another_app(
        settings,
        redis_url=through(redis_link, settings.redis_url),
        database_url=through(postgres_link, settings.database_url),
        redis_timeout_ms=300,
    ) as app:
        yield client_of(app, account.keys["live"])


def read_without_redis(client: FlaskClient, redis_link: Link) -> None:
    """A read has the key read anew, and nobody can say under which version."""
    redis_link.cut()
    assert client.get(STREAKS).status_code == 200
    problem(post_tick(client, "refused"), 503, "unavailable")
    redis_link.heal()


def test_a_tick_needs_no_postgres_after_a_read_without_redis(
    linked: FlaskClient, streak: Streak, redis_link: Link, postgres_link: Link
) -> None:
    assert post_tick(linked, "before", streak_code=streak.code).status_code == 202
    read_without_redis(linked, redis_link)
    postgres_link.cut()
    assert post_tick(linked, "after", streak_code=streak.code).status_code == 202


def test_what_changed_after_a_read_without_redis_holds_for_the_next_write(
    linked: FlaskClient, app: Flask, account: Account, streak: Streak, redis_link: Link
) -> None:
    assert post_tick(linked, "before", streak_code=streak.code).status_code == 202
    read_without_redis(linked, redis_link)
    revoke(app, account.live, account.keys["live"])
    problem(post_tick(linked, "after", streak_code=streak.code), 401, "unauthorized")


def test_whoever_changed_something_and_read_since_needs_no_postgres_to_write(
    linked: FlaskClient, postgres_link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read of a moment later does not go by what was known before the change."""
    monkeypatch.setattr("api.http.key_cache.READ_SECONDS", 60.0)
    made = {"code": "daily", "name": "Daily", "period": "daily"}
    assert linked.get(STREAKS).status_code == 200
    assert linked.post(STREAKS, json=made).status_code == 201
    assert linked.get(STREAKS).status_code == 200
    postgres_link.cut()
    assert post_tick(linked, "after", streak_code="daily").status_code == 202


def test_a_key_first_read_without_redis_writes_once_redis_is_back(
    linked: FlaskClient, streak: Streak, redis_link: Link
) -> None:
    read_without_redis(linked, redis_link)
    assert post_tick(linked, "after", streak_code=streak.code).status_code == 202


def test_a_change_is_checked_without_postgres_while_nothing_has_changed(
    linked: FlaskClient, postgres_link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is known under the version that Redis has: nothing is to be read again."""
    monkeypatch.setattr("api.http.key_cache.READ_SECONDS", 60.0)
    assert linked.get(STREAKS).status_code == 200
    postgres_link.cut()
    problem(linked.post(STREAKS, json={"code": "daily"}), 422, "validation_error", "name")
