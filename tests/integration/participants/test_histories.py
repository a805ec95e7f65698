"""Histories go by the order in which writes were applied, not in which they were accepted."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from flask.testing import FlaskClient

from models import clock, ids
from models.db import Engine
from tests.calls import problem
from tests.conftest import BASE, Account
from tests.integration.batches import post
from tests.integration.earning import (
    assert_the_books_balance,
    claimed,
    make_reward,
    make_tier,
    moved,
    of_participant,
)
from tests.pipeline import Pipeline

HISTORY = f"{BASE}/participants/user_123/points/transactions"


def page(client: FlaskClient, **query: Any) -> dict[str, Any]:
    """A page of movements."""
    response = client.get(HISTORY, query_string=query)
    assert response.status_code == 200, response.text
    return dict(response.get_json())


def write_ids() -> Iterator[str]:
    """Ids of writes that were accepted one after another: those of a millisecond have no order."""
    now = clock.now_us()
    return (str(ids.uuid7(now + nth * 1_000)) for nth in itertools.count())


def apply_backwards(pipeline: Pipeline, tenant_id: int, amounts: list[int]) -> None:
    """Movements of which the one accepted first is applied last, each by a batch of its own."""
    accepted = [
        moved(tenant_id, one, id=its_id) for one, its_id in zip(amounts, write_ids(), strict=False)
    ]
    for message in reversed(accepted):
        post(pipeline.client, [message])
        pipeline.drain()


def test_the_newest_movement_has_the_balance_in_whatever_order_they_were_accepted(
    client: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    apply_backwards(pipeline, account.live.id, [-5, 10, 20])
    items = page(client)["items"]
    assert [one["amount"] for one in items] == [-5, 10, 20]
    assert [one["balance_after"] for one in items] == [25, 30, 20]
    assert items[0]["balance_after"] == of_participant(client, "points")["balance"]
    assert_the_books_balance(engine, account.live.id)


def test_a_cursor_neither_repeats_nor_skips_while_movements_are_written(
    client: FlaskClient, pipeline: Pipeline, account: Account
) -> None:
    apply_backwards(pipeline, account.live.id, [1, 2, 3, 4, 5])
    found = page(client, page_size=2)
    amounts = [one["amount"] for one in found["items"]]
    while found["next_cursor"]:
        apply_backwards(pipeline, account.live.id, [100, 200])
        found = page(client, page_size=2, after=found["next_cursor"])
        amounts += [one["amount"] for one in found["items"]]
    assert amounts == [1, 2, 3, 4, 5]
    assert page(client, page_size=100)["next_cursor"] is None


def test_a_cursor_and_a_page_are_not_taken_together(
    client: FlaskClient, pipeline: Pipeline, account: Account
) -> None:
    apply_backwards(pipeline, account.live.id, [1, 2])
    cursor = page(client, page_size=1)["next_cursor"]
    response = client.get(HISTORY, query_string={"after": cursor, "page": 2})
    problem(response, 422, "validation_error", "page")
    for text in ("", "x", "_" * 32):
        problem(client.get(HISTORY, query_string={"after": text}), 422, "validation_error", "after")


def test_a_history_of_tiers_goes_on_from_each_to_the_next(
    client: FlaskClient, pipeline: Pipeline, account: Account
) -> None:
    for level, code in enumerate(("bronze", "silver", "gold"), 1):
        make_tier(client, code, level, level * 10)
    apply_backwards(pipeline, account.live.id, [10, 10, 10])
    history = of_participant(client, "tier")["tier_history"]
    assert [(one["previous_code"], one["code"]) for one in history] == [
        (None, "bronze"),
        ("bronze", "silver"),
        ("silver", "gold"),
    ]


def test_the_rewards_of_a_participant_are_listed_as_they_were_claimed(
    client: FlaskClient, pipeline: Pipeline, account: Account
) -> None:
    reward_ids = [make_reward(client, code)["id"] for code in ("first", "second")]
    accepted = [
        claimed(account.live.id, one, id=its_id)
        for one, its_id in zip(reward_ids, write_ids(), strict=False)
    ]
    for message in reversed(accepted):
        post(pipeline.client, [message])
        pipeline.drain()
    items = of_participant(client, "rewards")["items"]
    assert [one["reward_code"] for one in items] == ["first", "second"]
