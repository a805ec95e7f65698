"""Ids in paths, through the server that runs in production: what it decodes, and how often."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from api.cli import roles
from api.cli.data import Data
from models.db import Engine
from settings import Settings
from tests.bench.process import answers, free_port, started, wait_until
from tests.conftest import BASE, Account
from tests.e2e.running import PATIENCE_SECONDS

IDS = [
    "user_42", "a/b", "x/streaks", "a/streaks/b/history", "/", "//", "streaks", "état/ü", "a?b",
    "a#b", "a%2Fb", "a%252Fb", "a+b", "a b", "..", "../x", "a//b/", "👩‍🚀", "{a}", "a;b=c", "%",
]  # fmt: skip
SUB_RESOURCES = {"x/streaks": "x", "a/streaks/b/history": "a"}  # longest rule first


@pytest.fixture
def server(settings: Settings, engine: Engine, tmp_path: Path) -> Iterator[int]:
    """The API as `unbroken up` starts it, on the servers of the tests."""
    port = free_port()
    plan = roles.Plan(host="127.0.0.1", port=port, drain_workers=1, webhook_workers=1)
    argv = next(one.argv for one in roles.ours(plan, Data(tmp_path)) if one.name == "api")
    environment = {
        "PATH": os.defpath,
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
    }
    with started(argv, tmp_path / "api.log", environment):
        wait_until(lambda: answers(port), PATIENCE_SECONDS)
        yield port


def send(port: int, key: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """One request whose path goes over the wire as it is given."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    text = None if body is None else json.dumps(body)
    connection.request(method, path, text, headers)
    response = connection.getresponse()
    status, answer = response.status, json.loads(response.read())
    connection.close()
    return status, answer


def test_an_id_in_a_path_is_decoded_exactly_once(server: int, account: Account) -> None:
    key, people = account.keys["live"], f"{BASE}/participants"
    streak = {"code": "b", "name": "b"}
    assert send(server, key, "POST", f"{BASE}/streaks", streak)[0] == 201
    for one in IDS:
        assert send(server, key, "POST", people, {"participant_id": one})[0] == 201
    for one in IDS:
        path = f"{people}/{quote(one, safe='')}"
        change = {"display_name": one}
        status, changed = send(server, key, "PATCH", path, change)
        assert (status, changed["participant_id"]) == (200, one)
        by_query = f"{people}?participant_id={quote(one, safe='')}"
        assert send(server, key, "GET", by_query) == (200, changed)
        assert send(server, key, "GET", f"{path}/state")[1]["participant_id"] == one
        assert send(server, key, "GET", f"{path}/streaks/b/history")[1]["participant_id"] == one
        status, found = send(server, key, "GET", path)
        assert (status, found["participant_id"]) == (200, SUB_RESOURCES.get(one, one))
        assert ("display_name" in found) is (one not in SUB_RESOURCES)
