"""Repairs and restores: named periods, or those of the last break, are mended."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models.db import Engine
from tests.calls import client_of, make_key, make_streak, post_json, problem
from tests.conftest import BASE, Account
from tests.integration.earning import facts_of
from tests.integration.mending import (
    applied,
    day,
    history_of,
    of,
    record_days,
    refused,
    settled,
    streak_of,
)
from tests.pipeline import Pipeline


def repair(client: FlaskClient, **body: Any) -> TestResponse:
    """POST a repair."""
    given = {name.rstrip("_"): value for name, value in body.items()}
    return post_json(client, f"{of()}/repair", given)


def restore(client: FlaskClient, **body: Any) -> TestResponse:
    """POST a restore."""
    return post_json(client, f"{of()}/restore", body)


def test_named_periods_are_protected(
    client: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    make_streak(client)
    record_days(client, pipeline, 5, 4, 1, 0)
    assert streak_of(client)["current_count"] == 2
    result = applied(client, pipeline, repair(client, from_=day(3), to=day(2), reason="Our fault"))
    assert (result["periods"], result["as"]) == ([day(3), day(2)], "protected")
    assert result["streaks"][0] == {
        "streak_code": "daily_login", "count": 4, "previous_count": 2, "longest_count": 4
    }  # fmt: skip
    shown = streak_of(client)
    assert (shown["current_count"], shown["is_perfect"]) == (4, False)
    assert list(history_of(client).values())[2:4] == ["repair", "repair"]
    [told] = [
        one["payload"] for one in facts_of(engine, account.live.id)
        if one["type"] == "behavior.streak_repaired"
    ]  # fmt: skip
    assert (told["cause"], told["reason"], told["corrects"]) == ("repair", "Our fault", None)


def test_named_periods_are_recorded_as_if_each_had_a_tick(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    record_days(client, pipeline, 3, 0)
    body = {"periods": [day(2), day(1)], "as_": "recorded"}
    result = applied(client, pipeline, repair(client, **body))
    assert result["streaks"][0]["count"] == 4
    assert streak_of(client)["is_perfect"]
    assert set(history_of(client).values()) == {"recorded"}


def test_a_repair_that_changes_no_count_is_kept_and_publishes_nothing(
    client: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    make_streak(client)
    record_days(client, pipeline, 1, 0)
    result = applied(client, pipeline, repair(client, periods=[day(0)]))
    assert result["streaks"][0]["count"] == result["streaks"][0]["previous_count"] == 2
    kinds = {one["type"] for one in facts_of(engine, account.live.id)}
    assert kinds == {"behavior.streak_recorded"}


def test_a_restored_streak_goes_on_over_exactly_the_missed_periods(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, grace_periods=1)
    record_days(client, pipeline, 9, 8, 7, 3, 2)
    result = applied(client, pipeline, restore(client, reason="Outage"))
    assert result["kind"] == "restore"
    assert result["periods"] == [day(6), day(5), day(4)]
    shown = streak_of(client)
    assert (shown["current_count"], shown["grace_remaining"]) == (5, 0)


def test_what_a_restored_streak_would_miss_after_its_break_is_protected_too(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, grace_periods=1)
    record_days(client, pipeline, 9, 8, 6, 3, 2)
    result = applied(client, pipeline, restore(client))
    assert result["periods"] == [day(5), day(4), day(1)]  # day 7 cost the grace
    assert streak_of(client)["current_count"] == 5


def test_a_broken_streak_is_restored_up_to_now(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    record_days(client, pipeline, 4, 3)
    assert streak_of(client)["status"] == "broken"
    result = applied(client, pipeline, restore(client))
    assert result["periods"] == [day(2), day(1)]
    shown = streak_of(client)
    assert (shown["current_count"], shown["status"]) == (2, "at_risk")
    assert refused(client, pipeline, restore(client)) == "nothing_to_restore"


def test_only_the_last_break_is_restored(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    record_days(client, pipeline, 8, 6, 4, 3)
    result = applied(client, pipeline, restore(client))
    assert result["periods"] == [day(2), day(1)]
    result = applied(client, pipeline, restore(client))
    assert result["periods"] == [day(5)]


def test_an_unbroken_streak_has_nothing_to_restore(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    record_days(client, pipeline, 1, 0)
    assert refused(client, pipeline, restore(client)) == "nothing_to_restore"


def test_before_the_first_tick_there_is_nothing_to_mend(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    assert refused(client, pipeline, repair(client, periods=[day(1)])) == "streak_not_started"
    found = settled(client, pipeline, restore(client))
    assert (found["status"], found["code"]) == ("rejected", "streak_not_started")
    problem(client.get(f"{BASE}/participants/user_42"), 404, "participant_not_found")


def test_a_period_that_has_not_begun_is_not_mended(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    record_days(client, pipeline, 0)
    found = refused(client, pipeline, repair(client, from_=day(0), to=day(-1)))
    assert found == "period_in_future"
    applied(client, pipeline, repair(client, periods=[day(0)]))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"from_": day(1), "to": day(2)}, "to"),
        ({"from_": "2025-01-01", "to": "2026-01-02"}, "to"),  # 367 days
        ({"from_": day(1)}, "to"),
        ({}, "from"),
        ({"periods": ["2026-W21"]}, "periods"),
        ({"periods": ["2026-05"]}, "periods"),
        ({"periods": ["2026-02-30"]}, "periods"),
        ({"periods": []}, "periods"),
        ({"periods": ["2026-05-23"] * 367}, "periods"),
        ({"periods": ["2026-05-23"], "from_": day(1), "to": day(1)}, "periods"),
        ({"periods": ["2026-05-23"], "as_": "forgiven"}, "as"),
    ],
)
def test_a_repair_out_of_bounds_is_refused(
    client: FlaskClient, body: dict[str, Any], field: str
) -> None:
    make_streak(client)
    problem(repair(client, **body), 422, "validation_error", field)


def test_an_unknown_streak_is_not_mended(client: FlaskClient) -> None:
    problem(repair(client, periods=[day(1)]), 404, "streak_not_found")
    problem(restore(client), 404, "streak_not_found")


def test_only_an_admin_key_may_mend(
    app: Flask, client: FlaskClient, engine: Engine, account: Account
) -> None:
    make_streak(client)
    plain = client_of(app, make_key(engine, account.live))
    problem(repair(plain, periods=[day(1)]), 403, "forbidden")
    problem(restore(plain), 403, "forbidden")


def test_a_change_leaves_a_line_in_the_audit_log_that_names_its_ledger_entry(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    record_days(client, pipeline, 2, 0)
    result = applied(client, pipeline, repair(client, periods=[day(1)], reason="Ann was ill"))
    [line] = client.get(f"{BASE}/admin/audit-log?action=streak_change.repair").get_json()["items"]
    assert line["target"] == "daily_login"
    assert line["detail"]["streak_change_id"] == result["streak_change_id"]
    assert "Ann" not in str(line)


def test_a_batch_of_restores_answers_for_each(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    for who in ("ann", "bob"):
        record_days(client, pipeline, 3, 2, who=who)
    items = [{"participant_id": who, "streak_code": "daily_login"} for who in ("ann", "bob")]
    items.append({"participant_id": "cid", "streak_code": "nope"})
    body = {"restores": items}
    key = {"Idempotency-Key": "outage"}
    answer = post_json(client, f"{BASE}/restores/batch", body, key).get_json()
    assert (answer["accepted"], answer["rejected"]) == (2, 1)
    assert answer["results"][2]["error"]["code"] == "streak_not_found"
    assert post_json(client, f"{BASE}/restores/batch", body, key).get_json() == answer
    pipeline.drain()
    for who, item in zip(("ann", "bob"), answer["results"], strict=False):
        url = f"{BASE}/streak-changes/{item['streak_change_id']}"
        assert client.get(url).get_json()["result"]["periods"] == [day(1)]
        assert streak_of(client, who)["current_count"] == 2
