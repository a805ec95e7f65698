"""Recording many ticks at once: one entry per item in order, each stands for itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models.db import Engine, reading
from tests.calls import (
    assert_nothing_stored,
    client_of,
    count,
    entries,
    make_streak,
    noon,
    operator_changes,
    post_batch,
    problem,
    tick,
)
from tests.conftest import BASE, Account
from tests.pipeline import Pipeline

NDJSON = "application/x-ndjson"


def post_lines(client: FlaskClient, text: bytes) -> TestResponse:
    return client.post(f"{BASE}/streaks/record/batch", data=text, content_type=NDJSON)


def told(response: TestResponse) -> list[str]:
    """Each item's code of refusal, or `ok`."""
    assert response.status_code == 202, response.text
    document = response.get_json()
    assert list(document) == ["results", "accepted", "rejected"]
    results = document["results"]
    assert [one["index"] for one in results] == list(range(len(results)))
    refused = [one for one in results if "error" in one]
    assert all(list(one) == ["index", "error"] for one in refused)
    assert all(list(one["error"]) == ["code", "detail", "errors"] for one in refused)
    assert (document["accepted"], document["rejected"]) == (
        len(results) - len(refused),
        len(refused),
    )
    return [one["error"]["code"] if "error" in one else "ok" for one in results]


@pytest.mark.parametrize("as_lines", [False, True])
def test_it_applies_every_item_in_the_order_of_the_batch(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline, as_lines: bool
) -> None:
    make_streak(client)
    ticks = [tick(timestamp=noon(9 - day)) for day in range(5)] + [tick("user_1")]
    if as_lines:
        text = "\n".join(json.dumps(one) for one in ticks)
        response = post_lines(client, text.encode())
    else:
        response = post_batch(client, *ticks)
    assert told(response) == ["ok"] * 6
    posted = [one["tick_id"] for one in response.get_json()["results"]]
    assert len(set(posted)) == 6
    assert posted == sorted(posted)
    pipeline.drain()
    results = [client.get(f"{BASE}/ticks/{one}").get_json()["result"] for one in posted]
    assert [one["new_count"] for one in results] == [1, 2, 3, 4, 5, 1]
    assert count(engine, "ticks", account.live) == 6


def test_it_takes_a_thousand_items_and_not_one_more(
    client: FlaskClient, account: Account, redis_client: redis.Redis, pipeline: Pipeline
) -> None:
    make_streak(client)
    ticks = [tick(f"user_{nth}") for nth in range(1_001)]
    problem(post_batch(client, *ticks), 422, "validation_error", "ticks")
    lines = "\n".join(json.dumps(one) for one in ticks).encode()
    problem(post_lines(client, lines), 422, "validation_error", "body")
    assert entries(redis_client, account.live) == 0
    assert told(post_batch(client, *ticks[:1_000])) == ["ok"] * 1_000
    assert entries(redis_client, account.live) == 1_000
    pipeline.drain()


BAD: list[tuple[Any, str, list[str]]] = [
    (None, "validation_error", ["body"]),
    ([], "validation_error", ["body"]),
    ("x", "validation_error", ["body"]),
    (7, "validation_error", ["body"]),
    ({}, "validation_error", ["participant_id", "streak_code"]),
    (tick(None), "validation_error", ["participant_id"]),
    (tick("half an emoji \ud83d"), "validation_error", ["participant_id"]),
    (tick(timestamp="2026-02-30T00:00:00Z"), "validation_error", ["timestamp"]),
    (tick(timestamp="1999-01-01T00:00:00Z"), "timestamp_out_of_range", ["timestamp"]),
    (tick(timezone="Mars/Olympus"), "validation_error", ["timezone"]),
    (tick(metadata={"a": "\udc00"}), "validation_error", ["metadata"]),
    (tick(streak_code="never_made"), "streak_not_found", []),
]


@pytest.mark.parametrize("as_lines", [False, True])
def test_it_lets_no_bad_item_spoil_the_others(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline, as_lines: bool
) -> None:
    make_streak(client)
    ticks = [tick("first"), *(one for one, _, _ in BAD), tick("last")]
    if as_lines:
        response = post_lines(client, "\n".join(json.dumps(one) for one in ticks).encode())
    else:
        response = post_batch(client, *ticks)
    assert told(response) == ["ok", *(code for _, code, _ in BAD), "ok"]
    errors = [one["error"]["errors"] for one in response.get_json()["results"][1:-1]]
    assert [[one["field"] for one in each] for each in errors] == [each for _, _, each in BAD]
    pipeline.drain()
    with reading(engine) as session:
        statement = sa.text("SELECT external_id FROM participants WHERE tenant_id = :t ORDER BY 1")
        found = session.execute(statement, {"t": account.live.id}).scalars().all()
    assert found == ["first", "last"]


def test_it_names_the_lines_that_are_no_json(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    good = json.dumps(tick()).encode()
    lines = [good, b"{", b'{"participant_id":"\xff"}', b"NaN", b"[" * 5_000, good[:-1], good]
    assert told(post_lines(client, b"\r\n".join(lines))) == [
        "ok", *["invalid_json"] * 5, "ok",
    ]  # fmt: skip
    pipeline.drain()


def test_it_passes_over_empty_lines(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    good = json.dumps(tick()).encode()
    assert told(post_lines(client, b"\n\n" + good + b"\n  \n" + good + b"\n\n")) == ["ok", "ok"]
    pipeline.drain()


def test_it_accepts_a_batch_in_which_nothing_is_good(
    client: FlaskClient, account: Account, redis_client: redis.Redis, engine: Engine
) -> None:
    make_streak(client)
    assert told(post_batch(client, {}, tick(""))) == ["validation_error", "validation_error"]
    assert_nothing_stored(redis_client, engine, account.live)


@pytest.mark.parametrize(
    ("body", "status", "code", "fields"),
    [
        (b'{"ticks":[]}', 422, "validation_error", ["ticks"]),
        (b'{"ticks":{}}', 422, "validation_error", ["ticks"]),
        (b'{"ticks":null}', 422, "validation_error", ["ticks"]),
        (b"{}", 422, "validation_error", ["ticks"]),
        (b"[]", 422, "validation_error", ["ticks"]),
        (b"null", 422, "validation_error", ["ticks"]),
        (b'{"ticks":[', 400, "invalid_json", []),
        (b"", 400, "invalid_json", []),
    ],
)
def test_it_refuses_a_batch_that_is_none(
    client: FlaskClient, body: bytes, status: int, code: str, fields: list[str]
) -> None:
    url = f"{BASE}/streaks/record/batch"
    response = client.post(url, data=body, content_type="application/json")
    problem(response, status, code, *fields)


@pytest.mark.parametrize("lines", [b"", b"\n \r\n", b"\r"])
def test_it_refuses_no_lines(client: FlaskClient, lines: bytes) -> None:
    problem(post_lines(client, lines), 422, "validation_error", "body")


def test_it_knows_a_definition_that_was_made_a_moment_ago_elsewhere(
    app: Flask, client: FlaskClient, account: Account, pipeline: Pipeline
) -> None:
    assert told(post_batch(client, tick())) == ["streak_not_found"]
    make_streak(client_of(app, account.keys["live"]))
    with operator_changes(app, account.live):
        pass
    assert told(post_batch(client, tick())) == ["ok"]
    pipeline.drain()
