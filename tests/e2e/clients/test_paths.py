"""Ids in paths, through the server that runs in production: what it decodes, and how often."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from api.cli.local import process_specs
from api.cli.local.data_dir import Data
from models.db import Engine
from settings import Settings
from tests.bench.process import answers, free_port, started, wait_until
from tests.conftest import BASE, Account
from tests.e2e.running import PATIENCE_SECONDS

IDS = [
    "user_42", "a/b", "x/streaks", "a/streaks/b/history", "/", "//", "streaks", "état/ü", "a?b",
    "a#b", "x/badges", "x/state", "x/points/transactions",
    "a%2Fb", "a%252Fb", "a+b", "a b", "..", "../x", "a//b/", "👩‍🚀", "{a}", "a;b=c", "%",
]  # fmt: skip
BELOW = [
    "state", "badges", "streaks", "streaks/b/history", "points", "points/transactions", "tier",
    "rewards", "challenges",
]  # fmt: skip


@pytest.fixture(scope="module")
def server(
    settings: Settings, engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """The API as `unbroken up` starts it, on the servers of the tests."""
    tmp_path = tmp_path_factory.mktemp("paths")
    port = free_port()
    plan = process_specs.ProcessPlan(
        host="127.0.0.1", port=port, drain_workers=1, webhook_workers=1
    )
    argv = next(one.argv for one in process_specs.ours(plan, Data(tmp_path)) if one.name == "api")
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
        assert send(server, key, "GET", path) == (200, changed)
        for below in BELOW:
            status, found = send(server, key, "GET", f"{path}/{below}")
            assert status == 200, (one, below, found)
            assert found.get("participant_id", one) == one, (one, below, found)


@pytest.mark.parametrize("path", [
    "/dashboard%2fkeys", "/%64ashboard/keys", "/dashboard/key%73", "/dashboard/%2e%2e/livez",
    f"{BASE}/admin%2fwebhooks", f"{BASE}/%61dmin/webhooks", f"{BASE}%2Fadmin/webhooks",
    f"{BASE}/admin/%77ebhooks", f"{BASE}/participants/x%2Fbadges/%62adges", "/%6civez", "/livez%2f",
])  # fmt: skip
def test_a_path_has_one_spelling_for_those_who_guard_it(
    server: int, account: Account, path: str
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server, timeout=PATIENCE_SECONDS)
    connection.request("GET", path, headers={"X-API-Key": account.keys["live"]})
    response = connection.getresponse()
    assert response.status == 404 or response.headers["Location"].startswith("/dashboard/sign-in")
    assert response.status == 404 or "%2e" in path, "nothing is there, signed in or not"
    connection.close()


def test_a_header_with_an_underscore_is_no_other_header(server: int, account: Account) -> None:
    key, other = account.keys["live"], account.keys["test"]
    asked = {
        (("X-API-Key", key), ("X_API_Key", other)): 200,
        (("X-API-Key", key), ("Authorization_", f"Bearer {other}")): 200,
        (("X_API_Key", key),): 401,
        (("X-API-Key", key), ("x-api-key", other)): 401,
        (("X-API-Key", key), ("x-api-key", key)): 200,
        (("X-API-Key", key), ("authorization", f"bearer {other}")): 401,
        (("Authorization", f"Bearer {key}"), ("Authorization", f"Bearer {other}")): 401,
        (("Authorization", f"Bearer {key}"), ("X-API-Key", key)): 200,
        (("X-API-Key", key), ("Host", "other")): 400,
    }
    for headers, status in asked.items():
        connection = http.client.HTTPConnection("127.0.0.1", server, timeout=PATIENCE_SECONDS)
        connection.putrequest("GET", f"{BASE}/streaks")
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        assert connection.getresponse().status == status, headers
        connection.close()
