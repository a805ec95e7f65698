"""`unbroken streak`: what a participant lost is given back in one command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from settings import Settings
from tests.calls import another_app, client_of, draining, make_streak, noon
from tests.conftest import Account
from tests.e2e.service import Service, listening
from tests.integration.mending import day, restoring
from tests.pipeline import Pipeline


@pytest.fixture
def service(settings: Settings, account: Account, pipeline: Pipeline) -> Iterator[Service]:
    """A tenant whose participant missed a day, its API, and a drain."""
    key = account.keys["live"]
    with (
        another_app(settings, wait_seconds=10.0) as app,
        draining(pipeline),
        restoring(settings, pipeline),
    ):
        make_streak(client_of(app, key))
        with listening(app, key, pipeline) as made:
            for ago in (4, 3, 1, 0):
                tick = {"participant_id": "ann", "streak_code": "daily_login"}
                made.call("POST", "/streaks/record", json=tick | {"timestamp": noon(ago)})
            yield made


def streak_of(service: Service) -> dict[str, Any]:
    """The entry of the participant's streak."""
    shown = json.loads(service.run("profile", "ann", "--json").stdout)
    return dict(shown["streaks"][0])


def test_a_streak_is_restored(service: Service) -> None:
    done = service.run("streak", "restore", "ann", "daily_login", "--reason", "Our outage")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "restore: ann, daily_login 2 -> 4\n"
    again = service.run("streak", "restore", "ann", "daily_login")
    assert (again.returncode, again.stdout) == (1, "")
    assert "nothing_to_restore" in again.stderr


def test_all_who_lost_it_get_it_back(service: Service) -> None:
    asked = ("streak", "restore", "daily_login", "--lost-between", day(1), day(1))
    counted = service.run(*asked, "--preview")
    assert (counted.returncode, counted.stderr) == (0, "")
    assert counted.stdout == "1 of 1 participants would be restored; nothing was changed.\n"
    assert streak_of(service)["current_count"] == 2
    unexplained = service.run(*asked)
    assert (unexplained.returncode, "reason" in unexplained.stderr) == (1, True)
    done = service.run(*asked, "--reason", "Our outage")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "1 restored; 0 had nothing to restore, 0 were refused.\n"
    assert streak_of(service)["current_count"] == 4


def test_the_participants_of_a_file_get_it_back(service: Service, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("ann\n\nnobody\n")
    named = ("streak", "restore", "daily_login", "--participants", str(tmp_path / "ids"))
    done = service.run(*named, "--reason", "Ours", "--json")
    shown = json.loads(done.stdout)
    assert (shown["status"], shown["restored"], shown["nothing_to_restore"]) == ("done", 1, 1)
    both = service.run(*named, "--lost-between", day(1), day(1))
    assert (both.returncode, "either" in both.stderr) == (2, True)
    neither = service.run("streak", "restore", "daily_login")
    assert (neither.returncode, "--lost-between" in neither.stderr) == (2, True)


def test_a_period_is_repaired_or_recorded(service: Service) -> None:
    done = service.run("streak", "repair", "ann", "daily_login", day(2), "--recorded", "--json")
    shown = json.loads(done.stdout)
    assert (shown["kind"], shown["periods"]) == ("repair", [day(2)])
    assert streak_of(service)["current_count"] == 5


def test_days_are_paused(service: Service) -> None:
    done = service.run("streak", "pause", "ann", day(2), day(2), "--streak", "daily_login")
    assert done.stdout == "pause: ann, daily_login 2 -> 4\n"
    again = service.run("streak", "pause", "ann", day(2), day(1))
    assert "pause_overlaps" in again.stderr


def test_a_period_is_retracted(service: Service) -> None:
    done = service.run("streak", "retract", "--period", "ann", "daily_login", day(1))
    assert done.stdout == "period retracted: ann, daily_login 2 -> 1\n"
    neither = service.run("streak", "retract")
    assert (neither.returncode, "--tick or --period" in neither.stderr) == (2, True)
    unknown = service.run("streak", "retract", "--tick", "nope")
    assert "tick_not_found" in unknown.stderr


def test_a_preview_prints_what_a_change_would_do_and_changes_nothing(service: Service) -> None:
    restore = ("streak", "restore", "ann", "daily_login")
    done = service.run(*restore, "--preview")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split() for line in done.stdout.splitlines()[:2]] == [
        ["streak", "now", "then", "longest"], ["daily_login", "2", "4", "4"]
    ]  # fmt: skip
    assert "facts: behavior.streak_repaired" in done.stdout
    shown = json.loads(service.run(*restore, "--preview", "--json").stdout)
    assert shown["result"]["streaks"][0]["count"] == 4
    assert streak_of(service)["current_count"] == 2
    nothing = service.run(
        "streak", "retract", "--period", "ann", "daily_login", day(2), "--preview"
    )
    assert "period_not_recorded" in nothing.stderr


def test_two_ids_become_one_participant(service: Service) -> None:
    tick = {"participant_id": "guest_7f3a", "streak_code": "daily_login", "timestamp": noon(2)}
    service.call("POST", "/streaks/record", json=tick)
    done = service.run("participant", "merge", "ann", "--from", "guest_7f3a", "--reason", "One")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "merge: ann, daily_login 2 -> 5\n"
    unknown = service.run("participant", "merge", "ann", "--from", "nobody")
    assert (unknown.returncode, "participant_not_found" in unknown.stderr) == (1, True)
