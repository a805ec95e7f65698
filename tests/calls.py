"""What the tests of the API say often: definitions, ticks, problems, a drain beside a request."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.app import create_app, open_context
from models import clock
from models.db import Engine, reading, transaction
from models.identity import tenants
from models.identity.tenants import Tenant
from settings import Settings
from tests.conftest import BASE, Account
from tests.pipeline import Pipeline
from workers.intake import redis_keys
from workers.intake.client import Intake

PROBLEM_FIELDS = ["type", "title", "status", "detail", "code", "request_id"]


def make_streak(client: FlaskClient, code: str = "daily_login", **values: Any) -> dict[str, Any]:
    """Create a definition and return the answer's body."""
    body = {"code": code, "name": "Daily Login", "period": "daily"} | values
    response = client.post(f"{BASE}/streaks", json=body)
    assert response.status_code == 201, response.text
    return dict(response.get_json())


def make_badge(client: FlaskClient, code: str = "power_user", **values: Any) -> dict[str, Any]:
    """Create a badge definition and return the answer's body."""
    body = {"code": code, "name": "Power User"} | values
    response = client.post(f"{BASE}/admin/badges", json=body)
    assert response.status_code == 201, response.text
    return dict(response.get_json())


def post_tick(
    client: FlaskClient,
    participant_id: Any = "user_42",
    headers: dict[str, str] | None = None,
    **values: Any,
) -> TestResponse:
    """POST /streaks/record."""
    body = {"participant_id": participant_id, "streak_code": "daily_login"} | values
    return post_json(client, f"{BASE}/streaks/record", body, headers)


def post_batch(client: FlaskClient, *ticks: Any) -> TestResponse:
    """POST /streaks/record/batch."""
    return post_json(client, f"{BASE}/streaks/record/batch", {"ticks": list(ticks)})


def post_award(
    client: FlaskClient,
    participant_id: Any = "user_123",
    headers: dict[str, str] | None = None,
    **values: Any,
) -> TestResponse:
    """POST /badges/award."""
    return post_json(client, f"{BASE}/badges/award", award(participant_id, **values), headers)


def post_awards(client: FlaskClient, *awards: Any) -> TestResponse:
    """POST /badges/award/batch."""
    return post_json(client, f"{BASE}/badges/award/batch", {"awards": list(awards)})


def award(participant_id: Any = "user_123", **values: Any) -> dict[str, Any]:
    """The body of one award."""
    return {"participant_id": participant_id, "badge_code": "power_user"} | values


def post_json(
    client: FlaskClient, url: str, body: Any, headers: dict[str, str] | None = None
) -> TestResponse:
    """POST a value as JSON in ASCII, which can spell what is no text."""
    text = json.dumps(body)
    return client.post(url, data=text, content_type="application/json", headers=headers)


def tick(participant_id: Any = "user_42", **values: Any) -> dict[str, Any]:
    """The body of one tick."""
    return {"participant_id": participant_id, "streak_code": "daily_login"} | values


def noon(days_ago: int) -> str:
    """Noon UTC of a day, as it is posted."""
    day = datetime.now(UTC).date() - timedelta(days=days_ago)
    return f"{day.isoformat()}T12:00:00Z"


def problem(response: TestResponse, status: int, code: str, *fields: str) -> dict[str, Any]:
    """The problem document of a refusal, whose shape, code and named fields are checked."""
    assert response.status_code == status, response.text
    assert response.mimetype == "application/problem+json"
    document: dict[str, Any] = response.get_json()
    expected = [*PROBLEM_FIELDS, "errors"] if "errors" in document else PROBLEM_FIELDS
    assert list(document) == expected
    assert (document["status"], document["code"]) == (status, code), document
    assert document["request_id"] == response.headers["X-Request-Id"]
    found = [error["field"] for error in document.get("errors", [])]
    assert sorted(set(found)) == sorted(fields), document
    assert all(list(one) == ["field", "code", "message"] for one in document.get("errors", []))
    return document


def assert_nothing_stored(client: redis.Redis, engine: Engine, tenant: Tenant) -> None:
    """No entry, no counter and no key in Redis; no participant, tick or fact in Postgres."""
    names: Any = client.keys("*")
    assert [name for name in names if not name.endswith(b":config")] == []
    for table in ("participants", "ticks", "awards", "facts"):
        assert count(engine, table, tenant) == 0


def count(engine: Engine, table: str, tenant: Tenant) -> int:
    """How many rows of a table are a tenant's."""
    with reading(engine) as session:
        statement = sa.text(f"SELECT count(*) FROM {table} WHERE tenant_id = :tenant_id")
        return int(session.execute(statement, {"tenant_id": tenant.id}).scalar_one())


@contextmanager
def draining(pipeline: Pipeline) -> Iterator[None]:
    """A drain that runs beside the block."""
    is_over = threading.Event()
    drain = pipeline.make_drain("beside", should_stop=is_over.is_set)
    drain.streams.create_groups()
    thread = threading.Thread(target=drain.run, args=(60,))
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        while thread.is_alive():
            _wake(pipeline.client)
            thread.join(0.05)


def _wake(client: redis.Redis) -> None:
    """End the read in which an idle drain waits."""
    blocked = [one for one in client.client_list() if one["cmd"] == "xreadgroup"]
    for one in blocked:
        client.client_unblock(int(one["id"]))


@contextmanager
def another_app(settings: Settings, **changes: Any) -> Iterator[Flask]:
    """A further API process on the same servers, or on others."""
    changed = replace(settings, **{"wait_seconds": 0.0} | changes)
    spare = _SPARE[changed.dashboard, changed.proxies]
    if spare:
        app = spare.pop()
        app.extensions["unbroken"] = open_context(changed.require_urls())
    else:
        app = create_app(changed)
    try:
        yield app
    finally:
        context = app.extensions["unbroken"]
        context.close()
        spare.append(app)


# To make the routes takes as long as most tests do: they are made once for each set of them.
_SPARE: defaultdict[tuple[bool, int], list[Flask]] = defaultdict(list)


def client_of(app: Flask, key: str) -> FlaskClient:
    """A client that shows a key."""
    client = app.test_client()
    client.environ_base["HTTP_X_API_KEY"] = key
    return client


@contextmanager
def operator_changes(app: Flask, *sides: Tenant) -> Iterator[sa.Connection]:
    """What the operator's commands do: a change that holds for the next write everywhere."""
    context = app.extensions["unbroken"]
    intake: Intake = context.intake
    with intake.changing([side.id for side in sides]), transaction(context.engine) as session:
        yield session


def entries(client: redis.Redis, tenant: Tenant) -> int:
    """How many accepted writes wait in a tenant's streams."""
    number = redis_keys.stream_of(tenant.id)
    return sum(
        int(client.xlen(name)) for name in (redis_keys.stream(number), redis_keys.backlog(number))
    )


def instant(text: str) -> int:
    """Microseconds since 1970 of a timestamp in an answer."""
    return clock.to_us(datetime.fromisoformat(text))


def make_key(
    engine: Engine, side: Tenant, scopes: list[str] | None = None, lives_s: float | None = None
) -> str:
    """A key of one side; one that lives for less than nothing has expired."""
    expires_at = None if lives_s is None else clock.now() + timedelta(seconds=lives_s)
    with transaction(engine) as session:
        return tenants.create_key(session, side, scopes or [], expires_at)[1]


def cap_key(app: Flask, side: Tenant, key: str, writes_per_minute: int) -> None:
    """As `unbroken key cap` does."""
    with operator_changes(app, side) as session:
        found = tenants.find_key(session, key)
        assert found is not None
        tenants.cap_key(session, side.id, found.id, writes_per_minute)


def cap_tenant(app: Flask, account: Account, **caps: int) -> None:
    """As `unbroken tenant set` does."""
    with operator_changes(app, *account.sides.values()) as session:
        tenants.change(session, account.slug, **caps)


def revoke(app: Flask, side: Tenant, key: str) -> None:
    """As `unbroken key revoke` does."""
    with operator_changes(app, side) as session:
        found = tenants.find_key(session, key)
        assert found is not None
        tenants.revoke_key(session, side.id, found.id)
