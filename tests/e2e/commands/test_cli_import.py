"""`unbroken import`: histories, resumed after a kill, and never doubled (docs/import.md)."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask

from api.cli.importing.checkpoint import Checkpoint
from api.cli.importing.errors import BadRow
from api.cli.importing.instants import instant
from api.cli.importing.source_rows import Raw
from models.db import Engine
from tests.calls import client_of, count, make_badge, make_streak, noon
from tests.conftest import Account
from tests.e2e.running import PATIENCE_SECONDS, ROOT, UNBROKEN, environment
from tests.e2e.service import Service, listening
from tests.pipeline import Pipeline

pytestmark = pytest.mark.promise("P12")

DOCUMENT = (ROOT / "docs" / "import.md").read_text()


@pytest.fixture
def service(app: Flask, account: Account, pipeline: Pipeline) -> Iterator[Service]:
    """A tenant with a streak and a badge."""
    key = account.keys["live"]
    make_streak(client_of(app, key))
    make_badge(client_of(app, key))
    with listening(app, key, pipeline) as made:
        yield made


def write_history(path: Path, rows: int) -> None:
    """Ticks of many people, each on days of its own."""
    today = datetime.now(UTC).replace(microsecond=0)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["user", "when"])
        for nth in range(rows):
            day = today - timedelta(days=1 + nth // 100 % 90)
            writer.writerow([f"user_{nth % 100}", day.isoformat()])


def arguments(path: Path, *more: str) -> list[str]:
    mapped = ("--map", "participant_id=user", "--map", "timestamp=when")
    return ["import", str(path), "--streak", "daily_login", *mapped, *more]


def test_a_history_is_there_afterwards_and_nobody_was_told(
    service: Service, tmp_path: Path, engine: Engine, account: Account
) -> None:
    path = tmp_path / "history.csv"
    write_history(path, 2_500)
    done = service.run(*arguments(path, "--json"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "rows": 2_500, "accepted": 2_500, "refused": 0, "resumed_at": 0, "facts": False,
    }  # fmt: skip
    service.pipeline.drain()
    assert count(engine, "ticks", account.live) == 2_500
    assert count(engine, "facts", account.live) == 0
    assert service.call("GET", "/participants/user_7/streaks")["streaks"][0]["longest_count"] == 25
    again = service.run(*arguments(path))
    assert again.returncode == 0
    service.pipeline.drain()
    assert count(engine, "ticks", account.live) == 2_500


def test_with_facts_everybody_is_told(
    service: Service, tmp_path: Path, engine: Engine, account: Account
) -> None:
    path = tmp_path / "history.csv"
    write_history(path, 150)
    assert service.run(*arguments(path, "--facts")).returncode == 0
    service.pipeline.drain()
    assert count(engine, "facts", account.live) == 150


def test_killed_again_and_again_it_goes_on_and_no_row_counts_twice(
    service: Service, tmp_path: Path, engine: Engine, account: Account
) -> None:
    path, rejects = tmp_path / "history.csv", tmp_path / "rejects.csv"
    write_history(path, 12_000)
    with path.open("a") as stream:
        stream.write("somebody,never\r\n")
    text = path.read_text().splitlines(keepends=True)
    path.write_text("".join([text[0], *(["x,\r\n", *text[1:6_001], "y,\r\n", *text[6_001:]])]))
    kept, kills = Path(f"{path}.import.json"), 0
    env = environment(UNBROKEN_URL=service.url, UNBROKEN_KEY=service.key)
    for rows in (1, 3_000, 6_000, 9_000):
        command = [*UNBROKEN, *arguments(path, "--rejects", str(rejects))]
        process = subprocess.Popen(command, cwd=ROOT, env=env)
        ends = time.monotonic() + PATIENCE_SECONDS
        while process.poll() is None and time.monotonic() < ends:
            if kept.exists() and json.loads(kept.read_text())["rows"] >= rows:
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.002)
        process.wait(PATIENCE_SECONDS)
    assert kills >= 2
    done = service.run(*arguments(path, "--rejects", str(rejects), "--json"))
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert (told["accepted"], told["refused"]) == (12_000, 3)
    with rejects.open(newline="") as stream:
        assert [row["reject_line"] for row in csv.DictReader(stream)] == ["2", "6003", "12004"]
    service.pipeline.drain()
    assert count(engine, "ticks", account.live) == 12_000


def test_a_batch_accepted_just_before_the_kill_is_not_accepted_twice(
    service: Service, tmp_path: Path, engine: Engine, account: Account
) -> None:
    path, kept = tmp_path / "history.csv", tmp_path / "history.csv.import.json"
    write_history(path, 2_000)
    assert service.run(*arguments(path)).returncode == 0
    state = json.loads(kept.read_text())
    # As a kill leaves it between the answer to the second batch and the checkpoint after it.
    first = Checkpoint(state["digest"], state["run"])
    with path.open(newline="") as stream:
        first.advance([Raw(0, cells) for cells in list(csv.reader(stream))[1:1_001]])
    before = {"rows": 1_000, "accepted": 1_000, "is_done": False, "settled": first.settled}
    kept.write_text(json.dumps(state | before))
    done = service.run(*arguments(path, "--json"))
    assert json.loads(done.stdout)["resumed_at"] == 1_000
    service.pipeline.drain()
    assert count(engine, "ticks", account.live) == 2_000


def test_bad_rows_are_told_and_kept_and_spoil_nothing(
    service: Service, tmp_path: Path, engine: Engine, account: Account
) -> None:
    path, rejects = tmp_path / "rows.ndjson", tmp_path / "rejects.ndjson"
    good = {"participant_id": "a", "streak_code": "daily_login", "timestamp": noon(1)}
    bad = [{"streak_code": "nope"}, {"timestamp": "yesterday"}, {"timestamp": "1999-01-01T00:00Z"}]
    rows = [good, {"participant_id": "b"}, "no object", *({**good, **one} for one in bad)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = service.run("import", str(path), "--rejects", str(rejects), "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert (told["rows"], told["accepted"], told["refused"]) == (6, 1, 5)
    kept = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [one["reject_line"] for one in kept] == [2, 3, 4, 5, 6]
    assert "Traceback" not in done.stderr
    service.pipeline.drain()
    assert count(engine, "ticks", account.live) == 1


def test_a_dry_run_shows_rows_and_sends_nothing(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    write_history(path, 5)
    done = service.run(*arguments(path, "--dry-run"))
    assert done.returncode == 0
    assert "5 rows, 0 of them unusable; nothing was sent." in done.stdout
    assert service.call("GET", "/admin/participants")["total"] == 0
    assert not Path(f"{path}.import.json").exists()
    assert "\x1b" not in done.stdout + done.stderr


def test_what_cannot_be_imported_is_said_in_a_sentence(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    write_history(path, 5)
    made = service.run("import", "/nowhere.csv")
    assert (made.returncode, "No such file" in made.stderr) == (2, True)
    wrong = service.run(*arguments(path, "--map", "metadata=nope"))
    assert (wrong.returncode, "there is no column 'nope'" in wrong.stderr) == (1, True)
    other = service.run(*arguments(path, "--timezone", "Mars/Base"))
    assert (other.returncode, "IANA" in other.stderr) == (2, True)


def test_an_import_that_took_nothing_is_begun_again_as_it_should_have_been(
    service: Service, tmp_path: Path, engine: Engine, account: Account
) -> None:
    path = tmp_path / "history.csv"
    write_history(path, 40)
    mapped = [one for one in arguments(path) if one != "daily_login"]
    refused = service.run(*mapped[:2], "--streak", "unknown", *mapped[3:])
    assert refused.returncode == 1
    assert "0 accepted, 40 refused" in refused.stdout
    assert "apply them now" not in refused.stdout
    done = service.run(*arguments(path))
    assert done.returncode == 0, done.stderr
    assert "40 accepted, 0 refused" in done.stdout
    assert "apply them now" in done.stdout
    service.pipeline.drain()
    assert count(engine, "ticks", account.live) == 40


def test_another_file_does_not_go_on_where_the_first_one_stopped(
    service: Service, tmp_path: Path
) -> None:
    path = tmp_path / "history.csv"
    write_history(path, 5)
    assert service.run(*arguments(path)).returncode == 0
    write_history(path, 6)
    done = service.run(*arguments(path))
    assert (done.returncode, "of another import" in done.stderr) == (2, True)
    assert service.run(*arguments(path, "--afresh")).returncode == 0


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2026-05-23T08:15:00Z", None, "2026-05-23T08:15:00+00:00"),
        ("2026-05-23 08:15:00", "Australia/Sydney", "2026-05-23T08:15:00+10:00"),
        ("2026-05-23", "America/New_York", "2026-05-23T12:00:00-04:00"),
        ("2026-05-23 08:15:00 UTC", "Australia/Sydney", "2026-05-23T08:15:00+00:00"),
        ("1779524100", None, "2026-05-23T08:15:00+00:00"),
        (1779524100000, None, "2026-05-23T08:15:00+00:00"),
    ],
)
def test_instants_of_other_products_are_read(text: str, zone: str | None, expected: str) -> None:
    assert instant(text, zone)[0] == expected


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "99999999999999999999", "1e99"])
def test_what_is_no_instant_is_said(text: str) -> None:
    with pytest.raises(BadRow):
        instant(text, None)


def test_every_command_of_the_document_does_what_it_says(
    service: Service, tmp_path: Path, engine: Engine, account: Account
) -> None:
    days = re.compile(r"2026-\d\d-\d\d")
    start = datetime.now(UTC).date() - timedelta(days=20)
    for name, text in re.findall(r"<!-- file: (\S+) -->\n```\w*\n(.*?)```", DOCUMENT, re.DOTALL):
        # The days of the document, moved to where ticks may be.
        found = sorted(set(days.findall(text)))
        for nth, day in enumerate(found):
            text = text.replace(day, (start + timedelta(days=nth)).isoformat())
        (tmp_path / name).write_text(text)
    shim = tmp_path / "unbroken"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m api.cli "$@"\n')
    shim.chmod(0o755)
    env = environment(
        UNBROKEN_URL=service.url, UNBROKEN_KEY=service.key, PYTHONPATH=str(ROOT),
        PATH=f"{tmp_path}:{os.environ['PATH']}",
    )  # fmt: skip
    blocks = re.findall(r"```sh\n(.*?)```", DOCUMENT, re.DOTALL)
    assert len(blocks) >= 4
    for block in blocks:
        done = subprocess.run(
            ["bash", "-ec", block], cwd=tmp_path, env=env, timeout=PATIENCE_SECONDS,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}\n{done.stderr}"
    service.pipeline.drain()
    assert count(engine, "ticks", account.live) == 9  # 3 + 2 + 2 + 2
    assert count(engine, "point_transactions", account.live) == 3
