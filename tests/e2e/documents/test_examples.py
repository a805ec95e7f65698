"""The examples and the shell blocks of docs/recipes.md, run as a reader runs them."""

from __future__ import annotations

import importlib.util
import json
import logging
import queue
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests

from api.cli.local.proc import wait_until
from tests.calls import noon, tick
from tests.e2e.running import (
    PATIENCE_SECONDS,
    PATIENT,
    ROOT,
    environment,
    running_up,
    short_folder,
    unbroken_json,
)
from tests.receiver import Answer, Receiver

RECIPES = (ROOT / "docs" / "recipes.md").read_text()
SHELL = re.findall(r"```sh\n(.*?)```", RECIPES, re.DOTALL)
RECEIVES = ".venv/bin/python examples/milestone_badge.py 9000\n"  # it runs until Ctrl-C
DAILY: dict[str, Any] = {"code": "daily_login", "name": "Daily Login", "period": "daily"}


@dataclass(frozen=True)
class Service:
    """A running server, and a tenant of its own."""

    url: str
    key: str

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Call the API and return the answer's body."""
        answer = requests.request(
            method, f"{self.url}/api/v1/gamify{path}", json=body,
            headers={"X-API-Key": self.key}, timeout=30,
        )  # fmt: skip
        assert answer.ok, answer.text
        return answer.json()

    def post_ticks(self, ticks: list[dict[str, Any]]) -> None:
        """Post ticks and wait until the last one is applied."""
        *_, last = self.call("POST", "/streaks/record/batch", {"ticks": ticks})["results"]
        self.wait(lambda: self.call("GET", f"/ticks/{last['tick_id']}")["status"] == "applied")

    def wait(self, condition: Any) -> None:
        """Wait until something holds."""
        assert wait_until(condition, PATIENCE_SECONDS)

    def environment(self, **more: str) -> dict[str, str]:
        """What an example reads."""
        return environment(UNBROKEN_URL=self.url, UNBROKEN_KEY=self.key, **more)

    def run(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run an example to its end."""
        return subprocess.run(
            [sys.executable, f"examples/{name}.py", *arguments],
            cwd=ROOT, env=self.environment(), capture_output=True, text=True,
            timeout=PATIENCE_SECONDS, check=False,
        )  # fmt: skip

    def count(self, participant: str, code: str = "daily_login") -> int:
        """A participant's count now; 0 without one."""
        found = self.call("GET", f"/participants/{participant}/streaks")["streaks"]
        return sum(one["current_count"] for one in found if one["code"] == code)

    def badges(self, participant: str) -> list[str]:
        """The codes of the badges that a participant has."""
        found = self.call("GET", f"/participants/{participant}/badges?earned_only=true")["badges"]
        return [one["code"] for one in found]


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    folder = short_folder()
    try:
        with running_up(folder / "data", **PATIENT) as up:
            made = unbroken_json("tenant", "create", "acme", "--data", str(up.data.root))
            service = Service(up.url, made["live_key"])
            service.call("POST", "/streaks", DAILY)
            local = {"code": "daily_login_local", "boundary": "participant"}
            service.call("POST", "/streaks", DAILY | local)
            yield service
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# -- a tick on every login -------------------------------------------------------------------


def test_a_login_ticks_once_a_day(service: Service) -> None:
    done = service.run("login_tick", "amira", "bo", "amira")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("amira is logged in") == 2
    service.wait(lambda: service.count("amira") == service.count("bo") == 1)


def test_a_login_succeeds_without_the_service_and_says_so_in_the_log() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and never listens
        away = Service(f"http://127.0.0.1:{taken.getsockname()[1]}", "")
        done = away.run("login_tick", "amira")
    assert (done.returncode, done.stdout) == (0, "amira is logged in\n")
    assert "streak tick of amira failed" in done.stderr


def test_a_login_does_not_wait_for_a_service_that_hangs() -> None:
    with Receiver(reply=lambda request: Answer(hangs=True)) as receiver:
        process = subprocess.Popen(
            [sys.executable, "examples/login_tick.py", "amira"],
            cwd=ROOT, env=Service(receiver.url.removesuffix("/hook"), "").environment(),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        with process:
            assert process.stdout and process.stderr
            assert process.stdout.readline() == "amira is logged in\n"
            assert process.poll() is None  # the tick is still on its way
            assert "streak tick of amira failed" in process.stderr.read()
        assert (process.returncode, receiver.count) == (0, 1)


def test_a_login_drops_its_tick_when_too_many_wait(caplog: pytest.LogCaptureFixture) -> None:
    example = _load("login_tick")
    example.waiting = queue.Queue(1)
    with caplog.at_level(logging.WARNING):
        for participant in ("amira", "bo"):
            example.on_login_success(participant)
    assert [one.getMessage().split(":")[0] for one in caplog.records] == [
        "streak tick of bo dropped"
    ]
    assert example.waiting.get_nowait()["participant_id"] == "amira"


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- a campaign for streaks at risk ----------------------------------------------------------


def zone_where_it_is(hour: int) -> str:
    """A zone whose clocks show that hour."""
    offset = (hour - datetime.now(UTC).hour + 12) % 24 - 12
    return f"Etc/GMT{-offset:+d}"


def days_up_to_yesterday(participant: str, length: int, zone: str) -> list[dict[str, Any]]:
    """A tick at noon of each of the last days of somebody's calendar, today excepted."""
    today = datetime.now(ZoneInfo(zone)).replace(hour=12, minute=0, second=0, microsecond=0)
    return [
        tick(participant, timestamp=(today - timedelta(days=nth)).isoformat(), timezone=zone)
        for nth in range(1, length + 1)
    ]


def test_the_campaign_pushes_to_all_whose_streak_is_long_and_who_are_awake(
    service: Service,
) -> None:
    awake, asleep = zone_where_it_is(13), zone_where_it_is(2)
    many = [f"crowd_{nth}" for nth in range(120)]  # more than a page
    service.post_ticks(
        [one for participant in many for one in days_up_to_yesterday(participant, 7, awake)]
    )
    service.post_ticks(
        [
            *days_up_to_yesterday("keen", 23, awake),
            *days_up_to_yesterday("new", 6, awake),
            *days_up_to_yesterday("asleep", 23, asleep),
            *days_up_to_yesterday("safe", 23, awake),
            tick("safe", timezone=awake),
        ]
    )
    done = service.run("at_risk_campaign")
    assert (done.returncode, done.stderr) == (0, "")
    pushes = {one["user_id"]: one for one in map(json.loads, done.stdout.splitlines())}
    assert len(pushes) == len(done.stdout.splitlines())
    assert pushes.keys() == {*many, "keen"}
    key = pushes["keen"].pop("key")
    assert pushes["keen"] == {
        "user_id": "keen",
        "title": "Don't lose your 23-day streak",
        "body": "Open the app to keep it alive.",
        "deep_link": "/streaks",
    }
    assert re.fullmatch(r"keen/daily_login/20\d\d-\d\d-\d\dT\d\d:00:00Z", key)


# -- a badge at a milestone ------------------------------------------------------------------


@contextmanager
def script(service: Service, text: str, folder: Path) -> Iterator[str]:
    """Shell that goes on in the background until the block ends; yields the receiver's URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = text.replace(".venv/bin/python", sys.executable).replace("9000", str(port))
    text = text.replace("webhook.json", str(folder / "webhook.json"))
    text = text.replace("http://127.0.0.1:8000", service.url)
    url, errors = f"http://127.0.0.1:{port}/webhooks/streaks", folder / "errors"
    with (
        errors.open("w") as stream,
        subprocess.Popen(
            ["bash", "-c", f"set -euo pipefail\n{text}"],
            cwd=ROOT, env=environment(KEY=service.key), stdout=stream, stderr=stream,
        ) as process,
    ):  # fmt: skip
        try:
            over = wait_until(lambda: _answers(url) or process.poll() is not None, PATIENCE_SECONDS)
            assert over and process.poll() is None, errors.read_text()
            yield url
        finally:
            process.kill()


def _answers(url: str) -> bool:
    try:
        return requests.post(url, json={}, timeout=5).status_code == 401
    except requests.RequestException:
        return False


def test_every_shell_block_works_and_a_milestone_that_is_jumped_over_earns_its_badge(
    service: Service, tmp_path: Path
) -> None:
    assert SHELL.count(RECEIVES) == 1
    blocks = [block for block in SHELL if block != RECEIVES]
    with script(service, "\n".join([*blocks, f"exec {RECEIVES}"]), tmp_path) as url:
        late = [tick("leaper", timestamp=noon(day)) for day in (7, 5, 4, 3, 2, 1, 0)]
        six = [tick("six", timestamp=noon(day)) for day in range(6)]
        service.post_ticks([*six, *late])
        assert (service.count("six"), service.count("leaper")) == (6, 6)
        service.post_ticks([tick("leaper", timestamp=noon(6))])
        assert service.count("leaper") == 8
        service.wait(lambda: service.badges("leaper") == ["week_warrior"])
        assert service.badges("six") == []
        forged = {"webhook-id": "evt_1", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
        assert requests.post(url, json={}, headers=forged, timeout=5).status_code == 401
    assert service.count("user_42") >= 1  # what the other blocks recorded


@pytest.mark.parametrize("before", [0, 6, 7, 8])
@pytest.mark.parametrize("after", [1, 6, 7, 8, 30])
def test_a_badge_is_earned_by_every_threshold_that_is_crossed(before: int, after: int) -> None:
    badges = {7: "week_warrior", 30: "month_master"}
    payload = {"streak_code": "daily_login", "previous_count": before, "count": after}
    expected = [badges[n] for n in range(before + 1, after + 1) if n in badges]
    assert _load("milestone_badge").crossed(payload) == expected
    assert _load("milestone_badge").crossed(payload | {"streak_code": "other"}) == []


# -- the participant's own day ---------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), ("--remember",)])
def test_each_participant_ticks_on_the_day_of_their_own_zone(
    service: Service, arguments: tuple[str, ...]
) -> None:
    """Between these two zones it is never the same date."""
    for zone in ("Pacific/Kiritimati", "Pacific/Niue"):
        participant = f"{zone.split('/')[1]}{len(arguments)}"
        before = datetime.now(ZoneInfo(zone)).date().isoformat()
        done = service.run("local_time_zone", participant, zone, *arguments)
        after = datetime.now(ZoneInfo(zone)).date().isoformat()
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout)["period_key"] in (before, after)


# -- the documents ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["recipes.md", "time-zones.md"])
def test_every_file_that_is_linked_exists(name: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "docs" / name).read_text())
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def test_every_example_is_short_and_named_in_the_recipes() -> None:
    files = sorted((ROOT / "examples").glob("*.py"))
    assert len(files) == 4
    for file in files:
        assert f"(../examples/{file.name})" in RECIPES
        assert len(file.read_text().splitlines()) < 80
