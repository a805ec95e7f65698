"""Fixtures of the integration tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from models.db import Engine, transaction
from models.streaks.states import Streak
from settings import Settings
from tests.calls import client_of
from tests.conftest import Account
from tests.integration.batches import make_streak, sequences
from tests.integration.browsing import Person
from tests.integration.documented import Scene, make_world
from tests.integration.ranking import Place
from tests.integration.serving import Served, serving
from tests.integration.telling import Notified
from tests.integration.world import World
from tests.pipeline import Pipeline, forget_deliveries, worker_context
from tests.receiver import Receiver
from webhooks import egress, secrets
from webhooks.attempt import SendOptions
from workers.runtime.celery_config import make_celery
from workers.runtime.context import Context


@pytest.fixture
def streak(engine: Engine, account: Account) -> Streak:
    """A daily streak of the account's live side."""
    return make_streak(engine, account.live.id)


@pytest.fixture
def world(engine: Engine, account: Account, settings: Settings) -> World:
    """A fresh tenant; nobody else's deliveries are left over."""
    forget_deliveries(engine)
    policy = egress.policy("127.0.0.0/8,::1/128", True, "*")
    return World(engine, account.live, SendOptions(secrets.ring(settings.secret_keys), policy))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that answers 200 until told otherwise."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def told(engine: Engine, pipeline: Pipeline, account: Account) -> Iterator[Notified]:
    """The account's live side; nobody's deadline or review is left over."""
    with transaction(engine) as session:
        for statement in (
            "DELETE FROM streak_deadlines",
            "DELETE FROM streak_reviews",
            "UPDATE streak_states SET is_watched = false WHERE is_watched",
        ):
            session.execute(sa.text(statement))
    here = Notified(engine, pipeline, account.live.id)
    yield here
    assert [is_watched for is_watched in here.watched() if is_watched] == [True] * len(here.due())
    for numbers in sequences(engine, here.tenant_id).values():
        assert numbers == list(range(1, len(numbers) + 1))


@pytest.fixture
def context(settings: Settings, engine: Engine, redis_client: redis.Redis) -> Iterator[Context]:
    """What the tasks are given. Jobs of other tests run no more."""
    with transaction(engine) as session:
        for table in ("replays", "streak_restores"):
            session.execute(sa.text(f"DELETE FROM {table}"))
    celery = make_celery(settings.redis_url)
    yield worker_context(settings, engine, redis_client, celery, "test")
    celery.close()


@pytest.fixture
def nobody(app: Flask) -> Person:
    """Somebody who has not signed in to the dashboard."""
    return Person(app)


@pytest.fixture
def admin(app: Flask, account: Account) -> Person:
    """Somebody who has, with the account's live key."""
    participant = Person(app)
    assert participant.sign_in(account.keys["live"]).status_code == 303
    return participant


@pytest.fixture
def place(client: FlaskClient, pipeline: Pipeline, account: Account, engine: Engine) -> Place:
    """Nobody else's leaderboards are left over."""
    with transaction(engine) as session:
        session.execute(sa.text("UPDATE leaderboards SET is_active = false"))
    return Place(client, pipeline, account.live.id, engine)


@pytest.fixture(scope="module")
def kept() -> list[Scene]:
    """The scene of a file's requests that store nothing, once it is made."""
    return []


@pytest.fixture
def settled(
    kept: list[Scene], app: Flask, make_account: Callable[..., Account], pipeline: Pipeline
) -> Scene:
    """A tenant with one of everything, for requests that store nothing: a file shares it."""
    if not kept:
        account = make_account()
        client = client_of(app, account.keys["live"])
        kept.append(Scene(client, account, make_world(client, pipeline)))
    return kept[0]


@pytest.fixture(scope="module")
def served(
    settings: Settings, engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A server process of a file's own."""
    with serving(settings, tmp_path_factory.mktemp("served")) as one:
        yield one
