"""Logs: one line a record, found again by request and by write, and nobody's data in them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.resources.activity.write_trace import PREFIX_CHARS
from models.streaks.states import Streak
from settings import Settings, SettingsError
from tests.calls import post_tick
from tests.conftest import BASE, Account
from workers.telemetry import logs


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What is written to stderr as JSON; afterwards logging is as it was."""
    root, ours = logging.getLogger(), logging.getLogger("unbroken")
    before = root.handlers[:], root.level, ours.level
    output = io.StringIO()
    logs.configure("json", output)
    logs.show_requests("all")
    yield output
    logs.show_requests("none")
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


def lines(output: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.getvalue().splitlines()]


def test_a_request_is_one_line_that_says_who_asked_for_what(
    written: io.StringIO, client: FlaskClient, account: Account, streak: Streak
) -> None:
    answered = post_tick(
        client, "canary-person", {"X-Request-Id": "req-7"}, streak_code=streak.code
    )
    client.get(f"{BASE}/participants/canary-person?x=canary-query")
    client.get(f"{BASE}/streaks", headers={"X-API-Key": "canary-key"})
    post, get, refused = lines(written)
    assert answered.json
    assert post["logger"] == "unbroken.requests"
    assert post["route"] == f"{BASE}/streaks/record"
    assert (post["method"], post["status"], post["request_id"]) == ("POST", 202, "req-7")
    assert post["write_id"] == answered.json["tick_id"]
    assert (post["tenant_id"], post["level"]) == (account.live.id, "info")
    assert post["duration_ms"] > 0 and post["time"].endswith("Z") and len(post["key_id"]) == 36
    assert get["status"] == 422 and get["code"] == "unknown_field"
    assert (refused["status"], refused["code"], "key_id" in refused) == (401, "unauthorized", False)
    text = written.getvalue()
    assert "canary" not in text and account.keys["live"] not in text


def test_the_request_of_every_write_of_a_batch_is_found_by_the_start_of_its_id(
    written: io.StringIO, client: FlaskClient, streak: Streak
) -> None:
    ticks = [{"participant_id": f"p{nth}", "streak_code": streak.code} for nth in range(50)]
    answered = client.post(f"{BASE}/streaks/record/batch", json={"ticks": ticks})
    assert answered.json
    (line,) = lines(written)
    assert line["writes"] == 50
    for one in answered.json["results"]:
        assert line["write_id"][:PREFIX_CHARS] == one["tick_id"][:PREFIX_CHARS]


def test_failed_requests_alone_are_told_of_where_that_is_asked_for(
    written: io.StringIO, client: FlaskClient
) -> None:
    logs.show_requests("errors")
    client.get(f"{BASE}/streaks")
    client.get(f"{BASE}/nowhere")
    logs.show_requests("none")
    client.get(f"{BASE}/nowhere")
    assert [line["code"] for line in lines(written)] == ["route_not_found"]


def test_a_traceback_stays_in_its_line(written: io.StringIO) -> None:
    try:
        int("no number\nin two lines")
    except ValueError:
        logging.getLogger("unbroken.api").exception("it failed", extra={"tick_id": "t1"})
    (line,) = lines(written)
    assert line["message"] == "it failed" and line["tick_id"] == "t1"
    assert line["exception"].startswith("Traceback") and "in two lines" in line["exception"]


def test_text_is_for_people(written: io.StringIO) -> None:
    logs.configure("text", written)
    logs.request({"method": "GET", "status": 200})
    logging.getLogger("other").info("not told")
    assert written.getvalue().endswith("INFO unbroken.requests: request method=GET status=200\n")


@pytest.mark.parametrize("name", ["UNBROKEN_LOG_FORMAT", "UNBROKEN_LOG_REQUESTS"])
def test_a_setting_that_cannot_be_used_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_env({name: "xml"})
