"""Two participants who are one user."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from tests.calls import make_streak
from tests.integration.mending import GUEST, WHO, record_days
from tests.pipeline import Pipeline


@pytest.fixture
def two(client: FlaskClient, pipeline: Pipeline) -> FlaskClient:
    """A client of a tenant with two participants, whose days together have no gap."""
    make_streak(client)
    record_days(client, pipeline, 3, 1, who=WHO)
    record_days(client, pipeline, 4, 2, 0, who=GUEST)
    return client
