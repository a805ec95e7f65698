"""Metrics and logs of the whole service: what its processes counted is true, killed or not."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from api.cli.local.proc import wait_until
from tests.e2e.running import PATIENCE_SECONDS, Up, running_up, short_folder, unbroken_json

pytestmark = pytest.mark.promise("P21")

BASE = "/api/v1/gamify"
BATCHES, TICKS = 40, 50
APPLIED = ("unbroken_writes_applied_total", "unbroken_facts_total")  # all writes are ticks


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that only we may enter."""
    path = short_folder()
    yield path
    shutil.rmtree(path)


def total(url: str, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have some labels."""
    text = requests.get(url, timeout=10).text
    return sum(
        one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if one.name == name and labels.items() <= one.labels.items()
    )


def metrics_url(up: Up, starts: int = 1) -> str:
    """Where the exporter says that it listens, once it has started so many times."""
    log, said = up.data.log("metrics"), re.compile(r"http://\S+/metrics")
    assert wait_until(lambda: len(said.findall(log.read_text())) >= starts, PATIENCE_SECONDS)
    return str(said.findall(log.read_text())[-1])


def post(up: Up, key: str, path: str, body: dict[str, Any]) -> requests.Response:
    headers = {"X-API-Key": key}
    return requests.post(f"{up.url}{BASE}/{path}", json=body, headers=headers, timeout=20)


def test_the_counters_of_all_processes_are_true_over_a_killed_drain(folder: Path) -> None:
    with running_up(folder / "d", "--drain-workers", "2") as up:
        up.wait_ready()
        url = metrics_url(up)
        made = unbroken_json("tenant", "create", "acme", "--data", str(folder / "d"))
        key = made["live_key"]
        assert post(up, key, "streaks", {"code": "s", "name": "S"}).status_code == 201
        last = ""
        for nth in range(BATCHES):
            ticks = [
                {"participant_id": f"p{nth}-{one}", "streak_code": "s"} for one in range(TICKS)
            ]
            answered = post(up, key, "streaks/record/batch", {"ticks": ticks})
            last = answered.json()["results"][-1]["tick_id"]
            if nth == BATCHES // 2:
                settle(url)
                for name in APPLIED:  # flushed: what follows is all that may be lost
                    assert_comes(url, name, (nth + 1) * TICKS)
                os.kill(up.pid("drain"), signal.SIGKILL)
        posted = BATCHES * TICKS
        settle(url)
        # The drain was idle when it was killed, and what it had counted was added up.
        for name in ("unbroken_writes_accepted_total", *APPLIED):
            assert_comes(url, name, posted)
        route = f"{BASE}/streaks/record/batch"
        assert_comes(url, "unbroken_api_request_seconds_count", BATCHES, route=route)
        assert total(url, "unbroken_server_up") == 2
        found = unbroken_json("trace", last, "--data", str(folder / "d"))
        assert found["status"] == "applied"
        lines = [
            json.loads(line)
            for line in up.data.log("api").read_text().splitlines()
            if line[0] == "{"
        ]
        mine = [one for one in lines if one.get("write_id", "")[:18] == last[:18]]
        assert len(mine) == 1 and mine[0]["route"] == route and mine[0]["writes"] == TICKS
        assert post(up, key, "streaks/record/batch", {"ticks": ticks}).status_code == 202
    with running_up(folder / "d") as up:  # stopped and started: nothing was lost, nothing is reset
        up.wait_ready()
        url = metrics_url(up, starts=2)
        settle(url)
        assert_comes(url, "unbroken_api_request_seconds_count", BATCHES + 1, route=route)
        for name in ("unbroken_writes_accepted_total", "unbroken_writes_applied_total"):
            assert_comes(url, name, posted + TICKS)
        assert_comes(url, "unbroken_facts_total", posted)  # the last ticks repeat others


def assert_comes(url: str, name: str, value: float, **labels: str) -> None:
    """Processes write their counts every second: wait until all are there."""
    is_there = wait_until(lambda: total(url, name, **labels) >= value, PATIENCE_SECONDS)
    assert is_there and total(url, name, **labels) == value, (name, total(url, name, **labels))


def settle(url: str) -> None:
    """Wait until nothing waits."""
    assert wait_until(lambda: total(url, "unbroken_intake_entries") == 0, PATIENCE_SECONDS)
