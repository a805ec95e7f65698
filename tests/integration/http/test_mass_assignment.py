"""Bodies that ask for more than a caller may set: ignored, or refused whole."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from api.input.unknown_fields import NAMED_MAX
from api.openapi.routes import Route, routes
from models.db import Engine
from models.identity import tenants
from tests.calls import client_of, operator_changes, problem
from tests.conftest import Account
from tests.integration.documented import APP, MAKERS, OPERATIONS
from tests.integration.sides import rows_of, whole_world
from tests.pipeline import Pipeline

EXAMPLES = {(one.method, one.path): one for one in OPERATIONS}

WITH_BODY = [one for one in routes(APP) if one.operation and one.operation.body]


def wishes(other: Account) -> dict[str, Any]:
    """What a caller might like to set."""
    return {
        "tenant_id": other.live.id,
        "tenant": other.slug,
        "mode": "test",
        "id": str(uuid4()),
        "is_admin": True,
        "scopes": ["admin"],
        "scope": "admin",
        "key_id": str(uuid4()),
        "status": "CLOSED",
        "secret": "whsec_" + "A" * 43,
        "signing_key": "x",
        "created_at": "2001-01-01T00:00:00Z",
        "updated_at": "2001-01-01T00:00:00Z",
        "earned_at": "2001-01-01T00:00:00Z",
        "total_events": 987_654,
        "current_count": 987_654,
        "revision": 987_654,
        "sequence": 987_654,
        "__class__": {"x": 1},
        "__proto__": {"is_admin": True},
    }


@pytest.mark.parametrize("route", WITH_BODY, ids=lambda one: f"{one.method} {one.path}")
@pytest.mark.parametrize("is_allowed", [False, True], ids=["refused", "ignored"])
def test_it_ignores_or_refuses_fields_that_are_not_the_callers_to_set(
    is_allowed: bool,
    route: Route,
    app: Flask,
    engine: Engine,
    make_account: Callable[..., Account],
    pipeline: Pipeline,
) -> None:
    example = EXAMPLES[route.method, route.path]
    assert route.operation and route.operation.body and route.operation.example
    plain, greedy, other = make_account(), make_account(), make_account()
    own = route.operation.body.model_fields
    more = {name: value for name, value in wishes(other).items() if name not in own}
    answers = []
    for account, extra in ((plain, {}), (greedy, more)):
        client = client_of(app, account.keys["live"])
        with operator_changes(app, *account.sides.values()) as session:
            tenants.change(session, account.slug, allows_unknown_fields=is_allowed)
        is_maker = example.name.removeprefix("admin_") in MAKERS
        values = {} if is_maker else whole_world(client, pipeline, account.live.id)
        before = counts(engine, account)
        body = json.dumps(dict(route.operation.example) | extra)
        answered = client.open(
            route.path.format_map(values),
            method=route.method,
            data=body,
            content_type="application/json",
        )
        pipeline.drain()
        changed = difference(before, counts(engine, account))
        is_strict = getattr(route.operation.body, "is_always_strict", False) or not is_allowed
        if extra and is_strict:  # it takes no other fields at all
            problem(answered, 422, "unknown_field", *list(more)[:NAMED_MAX])
            assert changed == {}
        else:
            assert answered.status_code < 300, answered.text
            answers.append((without_ids(answered), changed))
        assert counts(engine, other) == counts(engine, make_account())
    assert len({json.dumps(one) for one in answers}) == 1


def counts(engine: Engine, account: Account) -> dict[str, int]:
    """How many rows of each table are of an account's live and test side, where there are any."""
    modes = {side.id: mode for mode, side in account.sides.items()}
    found = rows_of(engine, list(modes))
    return {f"{table} {modes[side_id]}": number for (table, side_id), number in found.items()}


def difference(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    found = {name: after.get(name, 0) - before.get(name, 0) for name in before | after}
    return {name: found[name] for name in sorted(found) if found[name]}


def without_ids(answered: TestResponse) -> str:
    """An answer but for ids, instants and secrets that were just made."""
    text = re.sub(r"evt_\w{32}|whsec_[\w+/=-]+", "ID", answered.text)
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "ID", text)
    text = re.sub(r"20\d\d-\d\d-\d\dT[\d:.]+Z", "AT", text)
    return re.sub(r'"duration_ms":\d+', "", text)
