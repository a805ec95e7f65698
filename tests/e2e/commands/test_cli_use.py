"""The commands for everyday use, against a running API: tick, award, profile, export, loadtest."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from unbroken_client import Unbroken

from api.cli.lazy_group import REST, SECTIONS
from api.cli.loadtest import verify
from api.cli.loadtest.load import LoadPlan, pair_of, percentile, run
from api.cli.main import COMMANDS, main
from docs.generate import cli_page
from models.db import Engine
from settings import Settings
from tests.calls import another_app, client_of, count, draining, make_badge, make_streak, noon
from tests.conftest import Account
from tests.e2e.running import PATIENCE_SECONDS, ROOT, UNBROKEN, environment, invoke, unbroken
from tests.e2e.service import Service, listening
from tests.pipeline import Pipeline


@pytest.fixture
def service(
    settings: Settings, account: Account, pipeline: Pipeline, engine: Engine
) -> Iterator[Service]:
    """A tenant with a streak and a badge, and an API that waits for the worker."""
    key = account.keys["live"]
    with another_app(settings, wait_seconds=5.0) as app:
        make_streak(client_of(app, key), grace_periods=1)
        make_badge(client_of(app, key))
        with listening(app, key, pipeline) as made:
            yield made


def on_terminal(service: Service, *arguments: str) -> str:
    """What a command prints on a terminal."""
    main_end, other_end = pty.openpty()
    env = environment(UNBROKEN_URL=service.url, UNBROKEN_KEY=service.key, TERM="xterm-256color")
    try:
        subprocess.run(
            [*UNBROKEN, *arguments], stdout=other_end, stderr=other_end, cwd=ROOT, env=env,
            timeout=PATIENCE_SECONDS, check=True,
        )  # fmt: skip
        return os.read(main_end, 65_536).decode()
    finally:
        os.close(main_end)
        os.close(other_end)


def test_a_tick_says_what_it_did(service: Service) -> None:
    with draining(service.pipeline):
        done = service.run("tick", "ann", "daily_login", "--at", noon(1))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("started: ann is at 1 of daily_login in ")
        told = service.run("tick", "ann", "daily_login", "--metadata", '{"a": 1}', "--json")
    assert json.loads(told.stdout)["outcome"] == "extended"
    later = service.run("tick", "ann", "daily_login", "--async", "--idempotency-key", "k")
    assert "accepted, to be applied: /api/v1/gamify/ticks/" in later.stdout
    again = service.run("tick", "ann", "daily_login", "--async", "--idempotency-key", "k")
    assert again.stdout == later.stdout


def test_an_award_says_whether_it_was_the_first(service: Service) -> None:
    with draining(service.pipeline):
        first = service.run("award", "ann", "power_user").stdout
        second = service.run("award", "ann", "power_user").stdout
    assert first.startswith("ann earned Power User, ")
    assert second.startswith("ann had earned Power User, ")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["tick", "ann", "nope"], 1, "Streak 'nope' not found (streak_not_found)"),
        (["tick", "ann", "daily_login", "--at", "soon"], 1, "timestamp must be an RFC 3339"),
        (["tick", "ann", "daily_login", "--metadata", "[1]"], 2, "--metadata must be a JSON"),
        (["award", "ann", "nope"], 1, "Badge 'nope' not found (badge_not_found)"),
        (["profile", "nobody"], 1, "participant_not_found"),
        (["loadtest", "--url", "http://192.0.2.1"], 2, "192.0.2.1 is not this machine"),
        (["tick", "ann", "daily_login", "--url", "ftp://x"], 2, "url must be like"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    service: Service, arguments: list[str], code: int, sentence: str
) -> None:
    done = service.run(*arguments)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_profile_has_a_calendar_in_colours_on_a_terminal_only(service: Service) -> None:
    ticks = [
        {"participant_id": "ann", "streak_code": "daily_login", "timestamp": noon(day)}
        for day in (6, 5, 4, 2, 1)
    ]
    service.call("POST", "/streaks/record/batch", json={"ticks": ticks})
    service.pipeline.drain()
    plain = service.run("profile", "ann")
    assert plain.returncode == 0, plain.stderr
    assert "\x1b" not in plain.stdout
    assert "███▒██_" in plain.stdout
    assert "5 days  longest 5" in plain.stdout
    shown = on_terminal(service, "profile", "ann")
    assert "\x1b[32m" in shown
    assert "███▒██_" in re.sub(r"\x1b\[[0-9;]*m", "", shown)
    told = json.loads(service.run("profile", "ann", "--json").stdout)
    assert told["streaks"][0]["history"][3]["status"] == "grace"


def operator(service: Service, settings: Settings, *arguments: str) -> Any:
    return invoke(
        *arguments, DATABASE_URL=settings.database_url, REDIS_URL=settings.redis_url
    )  # fmt: skip


def test_an_export_holds_everybody_and_its_ticks_can_be_imported(
    service: Service,
    settings: Settings,
    account: Account,
    engine: Engine,
    tmp_path: Path,
) -> None:
    ticks = [
        {"participant_id": f"user_{nth}", "streak_code": "daily_login", "timestamp": noon(day),
         "metadata": {"day": day}}
        for nth in range(600) for day in (3, 2)
    ]  # fmt: skip
    for start in (0, 600):
        service.call("POST", "/streaks/record/batch", json={"ticks": ticks[start : start + 600]})
    service.pipeline.drain()
    people = operator(service, settings, "export", account.slug, "participants")
    rows = [json.loads(line) for line in people.stdout.splitlines()]
    assert len({row["participant_id"] for row in rows}) == 600
    assert "600 participants. Not in it: definitions, single" in people.stderr
    states = operator(service, settings, "export", account.slug, "states", "--json")
    first = json.loads(states.stdout.splitlines()[0])
    assert first["recorded"] == [[noon(3)[:10], noon(2)[:10]]]
    assert json.loads(states.stderr)["rows"] == 600
    out = tmp_path / "ticks.csv"
    done = operator(
        service, settings, "export", account.slug, "ticks", "--format", "csv", "--out", str(out)
    )
    assert done.returncode == 0, done.stderr
    with out.open() as stream:
        assert len(list(csv.DictReader(stream))) == 1_200
    make_streak(client_of(service.app, account.keys["test"]))
    moved = invoke("import", str(out), UNBROKEN_URL=service.url, UNBROKEN_KEY=account.keys["test"])
    assert moved.returncode == 0, moved.stderr
    service.pipeline.drain()
    assert count(engine, "ticks", account.sides["test"]) == 1_200
    assert operator(service, settings, "export", "nobody", "ticks").returncode == 1


def test_a_person_is_exported_whole_or_not_at_all(service: Service, tmp_path: Path) -> None:
    tick = {"participant_id": "a b", "streak_code": "daily_login"}
    service.call("POST", "/streaks/record", json=tick)
    service.pipeline.drain()
    out = tmp_path / "person.json"
    done = service.run("export", "person", "a b", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert (out.stat().st_mode & 0o777, len(json.loads(out.read_text())["ticks"])) == (0o600, 1)
    shown = json.loads(service.run("export", "person", "a b").stdout)
    assert shown["ticks"] == json.loads(out.read_text())["ticks"]
    gone = service.run("export", "person", "nobody", "--out", str(tmp_path / "nobody.json"))
    assert (gone.returncode, gone.stdout) == (1, "")
    assert "participant_not_found" in gone.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["person.json"]


def test_a_load_test_ends_by_itself_and_finds_everything_right(
    service: Service, engine: Engine, account: Account
) -> None:
    with draining(service.pipeline):
        done = service.run(
            "loadtest", "--seconds", "2", "--participants", "40", "--clients", "2", "--json"
        )
        many = service.run(
            "loadtest", "--seconds", "1", "--rate", "5", "--batch", "20", "--participants", "30"
        )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["is_right"] is True
    assert told["ticks_accepted"] > 0
    assert told["facts"] == told["days_accepted"] > 0
    assert told["p50_ms"] <= told["p95_ms"] <= told["p99_ms"]
    assert many.returncode == 0, many.stdout + many.stderr
    assert re.search(r"^is right +yes|^is right +True", many.stdout, re.MULTILINE)
    assert service.call("GET", "/admin/participants")["total"] == 0


def test_a_load_test_finds_what_was_lost(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "QUIET_SECONDS_MAX", 1.0)
    plan = LoadPlan.fresh(1, 20, 1, 3, batch=1)
    with Unbroken(service.url, service.key) as api, draining(service.pipeline):
        cursor = verify.prepare(api, plan)
        result = run(api, plan)
        assert verify.check(api, plan, result, cursor)["is_right"]
        result.accepted["nobody", "2026-01-01"] += 1
        told = verify.check(api, plan, result, cursor)
        verify.clean_up(api, plan)
    assert (told["facts_missing"], told["is_right"]) == (1, False)


def test_the_ticks_of_a_load_test_are_all_others_until_its_days_are_used_up() -> None:
    plan = LoadPlan.fresh(1, 0, 1, 3, batch=1)
    assert len({pair_of(plan.tick(nth)) for nth in range(180)}) == 180
    assert percentile([0.001 * n for n in range(1, 101)], 0.95) == 95.0
    assert percentile([], 0.5) is None


# -- help, completion, reference -------------------------------------------------------------


def test_the_reference_is_what_the_commands_say_of_themselves() -> None:
    assert (ROOT / "docs" / "cli.md").read_text() == cli_page.text(), "run `make cli`"


def test_the_tour_shows_every_command_once_in_its_section() -> None:
    shown = invoke("--help").stdout
    titles = [title for title, _ in SECTIONS] + [REST]
    assert [line[:-1] for line in shown.splitlines() if line[:-1] in titles] == titles
    assert "..." not in shown.partition("Options:")[2]  # nothing is cut off
    for name in COMMANDS:
        assert len(re.findall(rf"^  {name} ", shown, re.MULTILINE)) == 1, name


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command that is no group."""
    if not isinstance(command, click.Group):
        yield path
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        assert inner
        yield from commands(inner, (*path, name))


# What these print is a document or a stream of its own, or a person watches them.
_WITHOUT_JSON = {"up", "serve", "migrate", "demo", "openapi", "metrics"}
_WITHOUT_JSON_EITHER = {
    ("secrets", "new-key"),  # one line, to be put into the environment
    ("export", "person"),  # it is JSON
}


@pytest.mark.parametrize("path", list(commands(main)), ids=" ".join)
def test_every_command_has_json_and_an_example(path: tuple[str, ...]) -> None:
    found: click.Command = main
    for name in path:
        assert isinstance(found, click.Group)
        inner = found.get_command(click.Context(found), name)
        assert inner
        found = inner
    assert "Example:" in (found.help or "")
    has_json = any("--json" in one.opts for one in found.params)
    assert has_json or path[0] in _WITHOUT_JSON or path in _WITHOUT_JSON_EITHER


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands(shell: str, tmp_path: Path) -> None:
    done = unbroken("completion", shell)
    assert (done.returncode, "_UNBROKEN_COMPLETE" in done.stdout) == (0, True)
    found = shutil.which(shell)
    if shell == "bash" and found:
        (tmp_path / "completion").write_text(done.stdout)
        subprocess.run([found, "-n", str(tmp_path / "completion")], check=True, timeout=10)
    word = "pro" if shell == "fish" else "1"
    asked = {"COMP_WORDS": "unbroken pro", "COMP_CWORD": word}
    names = unbroken(_UNBROKEN_COMPLETE=f"{shell}_complete", **asked).stdout
    assert "profile" in names
