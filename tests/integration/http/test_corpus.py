"""The corpus of bad input against every operation: a 4xx that names the field, and nothing stored.

Random requests follow the rules of tests/corpus; `CORPUS_ROUNDS=100` sends a hundred times as many.
How many were tried is left in build/bad_inputs.json.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
import redis
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.http.problems import CODES
from models.db import Engine, reading
from tests.calls import award, count, post_awards, post_batch, tick
from tests.conftest import Account
from tests.corpus.requests import Bad, Corpus, mutated, text_of, wrong_values
from tests.integration.documented import (
    DOCUMENT,
    OPERATIONS,
    Documented,
    Scene,
    make_world,
    stores_nothing,
)
from tests.pipeline import Pipeline

pytestmark = pytest.mark.promise("P5")

ROUNDS = int(os.environ.get("CORPUS_ROUNDS", "1"))
OF_A_ROUND = 20  # random requests for each operation
SEED = int(os.environ.get("CORPUS_SEED", "5"))
TALLY = Path(__file__).parents[3] / "build" / "bad_inputs.json"
# `/admin/streaks` is a second spelling of the same views.
ALL = [one for one in OPERATIONS if not one.name.startswith("admin_")]
STORING = [one for one in ALL if not stores_nothing(one)]
READING = [one for one in ALL if stores_nothing(one)]
PROBLEM = ["type", "title", "status", "detail", "code", "request_id"]


@pytest.fixture(scope="module")
def tried() -> Iterator[Counter[str]]:
    """What was answered how often."""
    found: Counter[str] = Counter()
    yield found
    if found.total():
        TALLY.parent.mkdir(exist_ok=True)
        TALLY.write_text(json.dumps({"tried": found.total(), **dict(sorted(found.items()))}))


@pytest.fixture
def scene(client: FlaskClient, account: Account, pipeline: Pipeline) -> Scene:
    """A test's own."""
    return Scene(client, account, make_world(client, pipeline))


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.label)
def test_it_refuses_what_is_wrong_and_stores_nothing(
    one: Documented,
    settled: Scene,
    engine: Engine,
    redis_client: redis.Redis,
    tried: Counter[str],
) -> None:
    before = stored(engine, redis_client, settled.account)
    for bad in Corpus(DOCUMENT, one.method, one.path, settled.values).all():
        if bad.may_pass and not stores_nothing(one):
            continue  # see the tests below
        answer = send(settled.client, bad)
        tried[str(answer.status_code)] += 1
        assert_refused(answer, bad)
    assert stored(engine, redis_client, settled.account) == before


@pytest.mark.parametrize("one", READING, ids=lambda one: one.label)
def test_it_never_fails_at_an_odd_read_and_stores_nothing(
    one: Documented,
    settled: Scene,
    engine: Engine,
    redis_client: redis.Redis,
    tried: Counter[str],
) -> None:
    before = stored(engine, redis_client, settled.account)
    _send_odd(one, settled, tried)
    assert stored(engine, redis_client, settled.account) == before


@pytest.mark.parametrize("one", STORING, ids=lambda one: one.label)
def test_it_never_fails_at_what_is_odd(
    one: Documented, scene: Scene, engine: Engine, pipeline: Pipeline, tried: Counter[str]
) -> None:
    dead = count(engine, "dead_letters", scene.account.live)
    _send_odd(one, scene, tried)
    pipeline.drain()
    # Fewer where somebody was erased.
    assert count(engine, "dead_letters", scene.account.live) <= dead


def _send_odd(one: Documented, scene: Scene, tried: Counter[str]) -> None:
    draw = random.Random(f"{SEED} {one.label}")
    corpus = Corpus(DOCUMENT, one.method, one.path, scene.values)
    odd = [bad for bad in corpus.all() if bad.may_pass and not stores_nothing(one)]
    odd += [mutated(corpus, draw) for _ in range(ROUNDS * OF_A_ROUND)]
    for bad in odd:
        answer = send(scene.client, bad)
        tried[str(answer.status_code)] += 1
        assert_understood(answer, bad)


@pytest.mark.parametrize("name", ["record", "award"])
def test_a_bad_item_of_a_batch_spoils_no_other(
    name: str,
    scene: Scene,
    engine: Engine,
    pipeline: Pipeline,
    tried: Counter[str],
) -> None:
    one = next(found for found in OPERATIONS if found.name == name)
    account = scene.account
    corpus = Corpus(DOCUMENT, one.method, one.path, scene.values)
    post, good, table = (
        (post_batch, tick, "ticks") if name == "record" else (post_awards, award, "awards")
    )
    had, dead = count(engine, table, account.live), count(engine, "dead_letters", account.live)
    bad = [json.loads(each.body or b"") for each in corpus.fields()]
    items = [item for nth, each in enumerate(bad) for item in (good(f"user_{nth}"), each)]
    posted = [items[first : first + 200] for first in range(0, len(items), 200)]
    for part in posted:
        answer = post(scene.client, *part)
        assert answer.status_code == 202, answer.text
        for item in answer.get_json()["results"]:
            is_bad = item["index"] % 2 == 1
            assert ("error" in item) == is_bad, (item, part[item["index"]])
            tried["item"] += is_bad
    pipeline.drain()
    assert count(engine, table, account.live) == had + len(bad)
    assert count(engine, "dead_letters", account.live) <= dead  # fewer: somebody was erased


# -- asking and judging ----------------------------------------------------------------------


def send(client: FlaskClient, bad: Bad) -> TestResponse:
    """Send a request with the very bytes of its path and query."""
    return client.open(
        "/",
        method=bad.method,
        data=bad.body,
        content_type=bad.content_type,
        headers=dict(bad.headers),
        environ_overrides={
            "PATH_INFO": unquote_to_bytes(bad.path).decode("latin-1"),
            "QUERY_STRING": bad.query,
        },
        buffered=True,  # an export holds a file until its answer is closed
    )


def assert_understood(answer: TestResponse, bad: Bad) -> None:
    """Whatever it was, it is answered as documented."""
    status = answer.status_code
    assert status < 500, (str(bad), answer.text)
    if status < 400:
        return
    assert answer.mimetype == "application/problem+json", str(bad)
    document: dict[str, Any] = answer.get_json()
    assert list(document)[:6] == PROBLEM
    assert CODES[document["code"]][0] == status == document["status"], str(bad)
    assert answer.headers["X-Request-Id"] == document["request_id"]
    most = 4_000 + 300 * len(document.get("errors", [])) + len(bad.path)  # "Badge 'x' not found"
    assert len(answer.data) < most, str(bad)


def assert_refused(answer: TestResponse, bad: Bad) -> None:
    """It is refused; a field that is wrong is named."""
    assert_understood(answer, bad)
    if bad.may_pass:
        return
    assert answer.status_code >= 400, (str(bad), answer.text[:300])
    if bad.names:
        assert answer.status_code in (400, 422), (str(bad), answer.text)
        named = {error["field"].partition(".")[0] for error in answer.get_json().get("errors", [])}
        assert named == {bad.names}, (str(bad), answer.text)


def stored(engine: Engine, client: redis.Redis, account: Account) -> dict[str, Any]:
    """How many rows of each table are the account's, and what waits in Redis."""
    sides = [side.id for side in account.sides.values()]
    with reading(engine) as session:
        tables = session.execute(_TABLES).scalars().all()
        rows = {
            table: session.execute(
                sa.text(f"SELECT count(*), md5(string_agg(t::text, '' ORDER BY t::text))"
                        f" FROM {table} t WHERE tenant_id = ANY(:sides)"),
                {"sides": sides},
            ).one()
            for table in tables
            if table != "api_keys"
        }  # fmt: skip
    names: Any = client.keys("*")
    return {**rows, "redis": {one: client.type(one) for one in names if not _is_shared(one)}}


def _is_shared(name: bytes) -> bool:
    """Whether a key is made by reading: counts of a minute, and the version of a configuration,
    which Redis lost before this test."""
    return b":rate:" in name or name.endswith(b":config")


_TABLES = sa.text("""
SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE a.attname = 'tenant_id' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND c.relnamespace = 'public'::regnamespace
ORDER BY c.relname
""")


def test_the_corpus_is_as_bad_as_it_says() -> None:
    corpora = [Corpus(DOCUMENT, one.method, one.path, {}) for one in OPERATIONS]
    with_bodies = [one for one in corpora if one.content]
    assert len(with_bodies) >= 15
    assert sum(1 for one in corpora for _ in one.all()) > 10_000
    for one in with_bodies:
        named = {bad.names for bad in one.fields()}
        properties = {
            name
            for name, schema in one.schema["properties"].items()
            if any(True for _ in wrong_values(schema, DOCUMENT))
        }
        assert named >= properties
    assert text_of("\ud800") == b'"\\ud800"'
