"""A whole tenant moved from one Unbroken to another, by the commands of docs/moving.md."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models.db import Engine
from settings import Settings
from tests.calls import client_of, noon, post_award, post_json, post_tick
from tests.conftest import Account
from tests.e2e.running import PATIENCE_SECONDS, ROOT, UNBROKEN, environment
from tests.e2e.service import Service, listening
from tests.integration.earning import assert_the_books_balance, award_points, claim, ledger
from tests.integration.mending import day, of, pause
from tests.integration.moving.test_tenant_moves import define, shown
from tests.pipeline import Pipeline

BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "moving.md").read_text(), re.DOTALL)
PEOPLE = ("ann", "bob / x", "üte")


@pytest.fixture
def service(app: Flask, account: Account, pipeline: Pipeline) -> Iterator[Service]:
    """The new service, with a tenant that has definitions and nobody."""
    key = account.keys["live"]
    define(client_of(app, key))
    with listening(app, key, pipeline) as made:
        yield made


def test_every_command_of_the_document_moves_what_it_says(
    service: Service, settings: Settings, app: Flask, engine: Engine, account: Account,
    make_account: Callable[..., Account], tmp_path: Path,
) -> None:  # fmt: skip
    old = make_account()
    client = client_of(app, old.keys["live"])
    rewards = define(client)
    for who in PEOPLE:
        for ago in (3, 2, 1):
            post_tick(client, who, timestamp=noon(ago), timezone="Pacific/Kiritimati")
        post_award(client, who, metadata={"why": "x"})
        award_points(client, 140, who)
        claim(client, rewards[0], who)
    mend(client)
    client.post("/v1/participants", json={"external_id": "ann", "status": "SUSPENDED"})
    service.pipeline.drain()
    exporting, importing = BLOCKS[-2:]
    urls = {"DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url}
    shell(tmp_path, exporting.replace("acme", old.slug), urls)
    at = {"UNBROKEN_URL": service.url, "UNBROKEN_KEY": service.key}
    shell(tmp_path, importing, at)
    service.pipeline.drain()
    new = client_of(app, service.key)
    for who in PEOPLE:
        assert shown(new, who) == shown(client, who)
    assert_the_books_balance(engine, account.live.id)


def mend(client: FlaskClient) -> None:
    """A pause, freezes and repairs of both kinds, and a tick that was a mistake."""
    pause(client, 9, 8, "üte", streak_codes=["daily_login"], reason="Vacation, it's long")
    post_json(client, f"{of('üte')}/freezes/grant", {"amount": 2, "reason": "A gift"})
    for how, ago in (("protected", 5), ("recorded", 6)):
        body = {"periods": [day(ago)], "as": how, "reason": "Lost"}
        post_json(client, f"{of('üte')}/repair", body)
    client.delete(f"{of('ann')}/periods/{day(2)}")


def shell(folder: Path, block: str, env: dict[str, str]) -> None:
    """Run a block of the document, as a reader does."""
    shim = folder / "unbroken"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m api.cli "$@"\n')
    shim.chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-ec", block], cwd=folder, env=environment(PYTHONPATH=str(ROOT), PATH=path, **env),
        timeout=3 * PATIENCE_SECONDS, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{block}\n{done.stderr}"


def test_balances_killed_in_the_middle_are_opened_once(
    service: Service, engine: Engine, account: Account, tmp_path: Path
) -> None:
    path, rows = tmp_path / "balances.csv", 6_000
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["participant_id", "total_earned", "total_spent"])
        writer.writerows([f"user_{nth}", 100, 30] for nth in range(rows))
    importing = ["import", str(path), "--kind", "balances", "--json"]
    kill_at(service, importing, Path(f"{path}.import.json"), 1_000)
    done = json.loads(service.run(*importing).stdout)
    assert (done["accepted"], done["refused"], done["resumed_at"] > 0) == (rows, 0, True)
    again = json.loads(service.run(*importing, "--afresh").stdout)
    assert again["accepted"] == rows
    assert len(ledger(engine, account.live.id)) == 2 * rows
    assert_the_books_balance(engine, account.live.id)


def kill_at(service: Service, arguments: list[str], kept: Path, rows: int) -> None:
    """Start a command, and kill it when its checkpoint says that it has come so far."""
    env = environment(UNBROKEN_URL=service.url, UNBROKEN_KEY=service.key)
    process = subprocess.Popen([*UNBROKEN, *arguments], cwd=ROOT, env=env)
    ends = time.monotonic() + PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < ends:
        if kept.exists() and json.loads(kept.read_text())["rows"] >= rows:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    assert process.wait(PATIENCE_SECONDS) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--kind", "balances", "--facts"], "imported balances have no facts"),
        (["--kind", "claims", "--no-effects"], "no facts and no effects"),
        (["--kind", "repairs", "--no-effects"], "imported repairs have no effects"),
        (["--facts", "--no-effects"], "--no-effects goes only with --no-facts"),
    ],
)
def test_what_does_not_go_together_is_said(
    service: Service, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("participant_id\n")
    done = service.run("import", str(path), *arguments)
    assert (done.returncode, sentence in done.stderr) == (2, True), done.stderr
