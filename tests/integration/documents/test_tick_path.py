"""A tick's way from HTTP to the webhook is one that a reader can follow (docs/architecture.md)."""

from __future__ import annotations

import redis

from api.cli.local.embedded import Urls
from models.db import Engine
from tests.house.tick_path import measure, path_settings

MODULES_MAX = 50
FUNCTIONS_MAX = 280


def test_a_tick_passes_no_more_modules_and_functions_than_a_reader_follows(
    servers: Urls, engine: Engine, redis_client: redis.Redis
) -> None:
    path = measure(path_settings(servers.database_url, servers.redis_url), engine)
    whole = path.counts()["whole"]
    assert whole["modules"] <= MODULES_MAX, path.whole()
    assert whole["functions"] <= FUNCTIONS_MAX, path.whole()
