"""Fixtures of the integration tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from models.db import Engine, transaction
from models.streaks import Streak
from settings import Settings
from tests.conftest import Account
from tests.integration.batches import make_streak
from tests.integration.world import World
from tests.receiver import Receiver
from webhooks import egress, secrets
from webhooks.deliveries import Terms


@pytest.fixture
def streak(engine: Engine, account: Account) -> Streak:
    """A daily streak of the account's live side."""
    return make_streak(engine, account.live.id)


@pytest.fixture
def world(engine: Engine, account: Account, settings: Settings) -> World:
    """A fresh tenant; nobody else's deliveries are left over."""
    with transaction(engine) as session:
        session.execute(sa.text("TRUNCATE deliveries"))
    policy = egress.policy("127.0.0.0/8,::1/128", True, "*")
    return World(engine, account.live, Terms(secrets.ring(settings.secret_keys), policy))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that answers 200 until told otherwise."""
    with Receiver() as receiver:
        yield receiver
