"""The API against its own description: what a generator of good and bad requests finds.

Derandomized: the same requests every time, so that a red run is a change of ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import hypothesis
import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.config import GenerationConfig
from schemathesis.specs.openapi.checks import unsupported_method

from models.db import Engine
from tests.calls import client_of, count, draining
from tests.conftest import Account
from tests.integration.documented import (
    APP,
    DOCUMENT,
    OPERATIONS,
    Documented,
    Scene,
    make_world,
    stores_nothing,
)
from tests.pipeline import Pipeline

pytestmark = pytest.mark.promise("P5", "P19")

LONG_CHARS = 5_000


def quick(node: Any) -> Any:
    """The document without the pattern of texts that may be long: the generator takes a minute to
    find one of 5,000 characters that matches it. test_conformance.py sends such texts."""
    match node:
        case dict():
            is_long = node.get("maxLength", 0) >= LONG_CHARS
            kept = {name: quick(one) for name, one in node.items()}
            return {name: one for name, one in kept.items() if name != "pattern" or not is_long}
        case list():
            return [quick(one) for one in node]
        case _:
            return node


SCHEMA = schemathesis.openapi.from_dict(quick(DOCUMENT))
# `/admin/streaks` is a second spelling of the same views: test_openapi.py compares them.
ALL = [one for one in OPERATIONS if not one.name.startswith("admin_")]
SCHEMA.app = APP  # requests are calls, not connections; each names the application it is for
EXAMPLES_MAX = 10  # for each operation and kind of data; all of them together take a minute
SETTINGS = hypothesis.settings(
    derandomize=True,
    max_examples=EXAMPLES_MAX,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),  # how long data takes to make is no fault of the API
    phases=[Phase.generate, Phase.shrink],
)
load_all_checks()
# Not positive_data_acceptance: a cursor, a code, an instant may fit the schema and mean nothing.
# Not allow_header_conformance: `…/x/state` is the state of x, and to PATCH, the id `x/state`.
CHECKED: list[Any] = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
        "ignored_auth",
        "unsupported_method",
        "missing_required_header",
    ]
)


@schemathesis.serializer("application/x-ndjson")
def ndjson(context: object, value: Any) -> bytes:
    """Whatever was made, as the only line."""
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@schemathesis.serializer("text/calendar")
def calendar(context: object, value: Any) -> bytes:
    """Whatever was made, as the file."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


@dataclass(frozen=True)
class Target:
    """One operation, in a tenant where its documented example works."""

    one: Documented
    app: Flask
    key: str
    values: dict[str, str]

    @property
    def operation(self) -> Any:
        """As schemathesis knows it."""
        return SCHEMA[self.one.path][self.one.method]

    @property
    def known(self) -> dict[str, str]:
        """Values of its path that exist."""
        return {
            name: value for name, value in self.values.items() if f"{{{name}}}" in self.one.path
        }

    def check(self, case: Case[Any]) -> None:
        """Send a request and check the answer."""
        case.call_and_validate(
            app=self.app,
            headers={"X-API-Key": self.key},
            checks=CHECKED,
            excluded_checks=[unsupported_method] if self.is_below_a_participant else [],
        )

    @property
    def is_below_a_participant(self) -> bool:
        """PATCH and DELETE take the rest of such a path for a part of the id: ids may hold `/`."""
        return "/{participant_id}/" in self.one.path


@pytest.fixture
def aim(
    one: Documented,
    app: Flask,
    account: Account,
    pipeline: Pipeline,
    engine: Engine,
    request: pytest.FixtureRequest,
) -> Iterator[Target]:
    """The target, beside a worker; afterwards, whatever was accepted must have been applied."""
    if stores_nothing(one):
        scene: Scene = request.getfixturevalue("settled")
    else:
        client = client_of(app, account.keys["live"])
        scene = Scene(client, account, make_world(client, pipeline))
    with draining(pipeline):
        yield Target(one, app, scene.key, scene.values)
    pipeline.drain()
    # That of the world: no new one.
    assert count(engine, "dead_letters", scene.account.live) <= 1


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.label)
def test_it_keeps_to_its_description_at_every_boundary(aim: Target, one: Documented) -> None:
    cases = SCHEMA.iter_coverage_cases(
        aim.operation,
        generation_modes=list(GenerationMode),
        generation_config=GenerationConfig(deterministic=True),
    )
    for case in cases:
        aim.check(case)


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.label)
def test_it_keeps_to_its_description_whatever_is_sent(aim: Target, one: Documented) -> None:
    can_be_wrong = "parameters" in one.operation or "requestBody" in one.operation
    try_many(aim, GenerationMode.POSITIVE, aim.known)
    if can_be_wrong:
        for fixed in [aim.known, {}] if aim.known else [{}]:  # of paths that are wrong themselves
            try_many(aim, GenerationMode.NEGATIVE, fixed)


def try_many(target: Target, mode: GenerationMode, fixed: dict[str, str]) -> None:
    """Send what a strategy makes up."""
    strategy = target.operation.as_strategy(generation_mode=mode, path_parameters=fixed)

    @SETTINGS
    @hypothesis.given(case=strategy)
    def run(case: Case[Any]) -> None:
        target.check(case)

    run()
