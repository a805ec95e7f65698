"""docs/repair.md: its commands and bodies do what the page says."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator

import pytest

from settings import Settings
from tests.calls import another_app, client_of, draining, make_streak, noon
from tests.conftest import Account
from tests.e2e.running import ROOT
from tests.e2e.service import Service, listening
from tests.integration.earning import award_points
from tests.integration.mending import day, restoring
from tests.pipeline import Pipeline

PAGE = (ROOT / "docs" / "repair.md").read_text()
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
]
BODIES = re.findall(r"`POST (/[^`]+)`:\n\n```json\n(.*?)```", PAGE, re.DOTALL)
DATES = {"2026-05-24": 1, "2026-05-23": 2}  # of the page, as days ago
PAGE_TICK = "01939c7e-6a1b-7c3d-9e4f-0a1b2c3d4e5f"


@pytest.fixture
def service(settings: Settings, account: Account, pipeline: Pipeline) -> Iterator[Service]:
    """A tenant whose participant missed the day before yesterday, and a drain."""
    key = account.keys["live"]
    with (
        another_app(settings, wait_seconds=10.0) as app,
        draining(pipeline),
        restoring(settings, pipeline),
    ):
        client = client_of(app, key)
        make_streak(client, freezes={"max": 2, "price_points": 50})
        with listening(app, key, pipeline) as made:
            for ago in (4, 3, 1, 0):
                tick = {"participant_id": "user_42", "streak_code": "daily_login"}
                made.call("POST", "/streaks/record", json=tick | {"timestamp": noon(ago)})
            made.call("POST", "/participants", json={"participant_id": "guest_7f3a"})
            award_points(client, 100, "user_42")
            yield made


def test_the_page_has_commands_and_bodies() -> None:
    assert len(COMMANDS) == 8
    assert len(BODIES) == 4


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_works_as_it_is_written(service: Service, command: str) -> None:
    for date, ago in DATES.items():
        command = command.replace(date, day(ago))
    tick = {"participant_id": "user_42", "streak_code": "daily_login", "timestamp": noon(3)}
    tick_id = service.call("POST", "/streaks/record", json=tick)["tick_id"]
    program, *arguments = shlex.split(command.replace(PAGE_TICK, tick_id))
    assert program == "unbroken"
    done = service.run(*arguments)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("path", "body"), BODIES, ids=lambda part: part[:40])
def test_a_body_is_taken_as_it_is_written(service: Service, path: str, body: str) -> None:
    for date, ago in DATES.items():
        body = body.replace(date, day(ago))
    done = service.call("POST", path.replace("{code}", "daily_login"), json=json.loads(body))
    assert done.get("participant_id", "user_42") == "user_42"
