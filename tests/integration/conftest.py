"""Fixtures of the integration tests."""

from __future__ import annotations

import pytest

from models.db import Engine
from models.streaks import Streak
from tests.conftest import Account
from tests.integration.batches import make_streak


@pytest.fixture
def streak(engine: Engine, account: Account) -> Streak:
    """A daily streak of the account's live side."""
    return make_streak(engine, account.live.id)
